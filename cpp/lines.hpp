// A rank-one chain seen from a junction: columns of one factor, rows of the next, and what lies beyond them.
#pragma once

#include <algorithm>
#include <complex>
#include <cstddef>
#include <vector>

#include "drivers.hpp"

namespace bitterfly {

// A column or a row of a factor: `size` numbers from `first` on, `stride` apart; number e lies on the crossing line
// cross + e * cross_stride.
struct Line {
    std::size_t first, stride, size, cross, cross_stride;
};

template <class T>
Line column(const ShortFactor<T>& f, std::size_t q) {
    const std::size_t i = q / (f.c * f.d), k = q / f.d % f.c, t = q % f.d;
    return {(i * f.b * f.c + k) * f.d + t, f.c * f.d, f.b, i * f.b * f.d + t, f.d};
}

template <class T>
Line row(const ShortFactor<T>& f, std::size_t q) {
    const std::size_t i = q / (f.b * f.d), j = q / f.d % f.b, t = q % f.d;
    return {(i * f.b + j) * f.c * f.d + t, f.d, f.c, i * f.c * f.d + t, f.d};
}

// A line u of the product on one side of a junction and the rounded one: u = kappa u^ + rest, the rest orthogonal to
// u^. `norm` is |u^|^2, `missed` |rest|^2.
template <class T>
struct Part {
    T kappa{1};
    double norm = 1, missed = 0;
};

// The numbers of one line with the parts behind them: the target of its rounded values, and their weights.
template <class T>
struct Target {
    std::vector<T> at, rounded;
    std::vector<double> weight;
    double missed = 0;  // energy that no rounded values reach

    Target(const ShortFactor<T>& f, const Line& line, const std::vector<Part<T>>& behind, bool weighted = true)
        : at(line.size), rounded(line.size), weight(line.size) {
        for (std::size_t e = 0; e < line.size; ++e) {
            const Part<T>& part = behind[line.cross + e * line.cross_stride];
            const T value = f.values[line.first + e * line.stride];
            at[e] = value * part.kappa, weight[e] = weighted ? part.norm : 1;
            rounded[e] = f.rounded[line.first + e * line.stride];
            missed += std::norm(value) * part.missed;
        }
    }
    Weighted<T> view() const { return {at.data(), weight.data(), at.size()}; }
    double energy() const {
        double sum = 0;
        for (std::size_t e = 0; e < at.size(); ++e) sum += weight[e] * std::norm(at[e]);
        return sum;
    }
    // The part that the line with these rounded values is to the lines that cross it further on.
    Part<T> part(const T* values) const {
        Part<T> out{scale_of(view(), values), 0, missed};
        for (std::size_t e = 0; e < at.size(); ++e) {
            out.norm += weight[e] * std::norm(values[e]);
            out.missed += weight[e] * std::norm(at[e] - out.kappa * values[e]);
        }
        return out;
    }
};

template <class T>
void store(const ShortFactor<T>& f, const Line& line, const std::vector<T>& values) {
    for (std::size_t e = 0; e < line.size; ++e) f.rounded[line.first + e * line.stride] = values[e];
}

}  // namespace bitterfly
