// Numbers with the weight of each in the norm, and their arithmetic.
#pragma once

#include <algorithm>
#include <complex>
#include <cstddef>
#include <vector>

namespace bitterfly {

// `size` numbers and the weight of each in the norm.
template <class T>
struct Weighted {
    const T* at;
    const double* weight;
    std::size_t size;
};

inline double conjugate(double x) { return x; }
inline std::complex<double> conjugate(std::complex<double> z) { return std::conj(z); }

// Without the tests for infinities of the operator.
inline double times(double a, double b) { return a * b; }
inline std::complex<double> times(std::complex<double> a, std::complex<double> b) {
    return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

template <class T>
double energy(const Weighted<T>& x) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size; ++i) sum += x.weight[i] * std::norm(x.at[i]);
    return sum;
}

// The order of entries by what they weigh.
template <class T>
std::vector<std::size_t> largest_first(const Weighted<T>& y) {
    std::vector<std::size_t> order(y.size);
    std::vector<double> size(y.size);
    for (std::size_t i = 0; i < y.size; ++i) order[i] = i, size[i] = y.weight[i] * std::norm(y.at[i]);
    std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return size[i] > size[j]; });
    return order;
}

}  // namespace bitterfly
