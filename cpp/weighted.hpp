// Numbers with the weight of each in the norm.
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

template <class T>
double energy(const Weighted<T>& x) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size; ++i) sum += x.weight[i] * std::norm(x.at[i]);
    return sum;
}

}  // namespace bitterfly
