// Numbers with the weight of each in the norm, and their arithmetic.
#pragma once

#include <complex>
#include <cstddef>

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

}  // namespace bitterfly
