// The balancing sweep, from right to left, and the effect of rounding the factors.
#include "quantization/balance.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "parallel.hpp"
#include "require.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kPart = 4096;  // numbers or rows that one worker takes at a time

// 2^result <= largest component < 2^(result + 1), for x != 0.
int exponent_of(Value x) { return std::ilogb(std::max(std::fabs(x.real()), std::fabs(x.imag()))); }

template <class Real>
bool is_finite(Real x) {
    return std::isfinite(x);
}

}  // namespace

template <class Real>
BalancedFactors<Real>::BalancedFactors(const Real* values, std::size_t n, bool is_complex, std::size_t workers)
    : values_(values),
      n_(n),
      levels_(static_cast<std::size_t>(std::countr_zero(n))),
      complex_(is_complex),
      weights_(levels_ + 1, std::vector<double>(n, 1.0)),
      exponents_(levels_ + 1, std::vector<int>(n, 0)) {
    const std::size_t count = 2 * n * (is_complex ? 2 : 1);
    for (std::size_t l = 0; l < levels_; ++l) {
        const double wrong = parallel_sum(count, kPart, workers, [&](std::size_t first, std::size_t end) {
            return std::all_of(values + l * count + first, values + l * count + end, is_finite<Real>) ? 0 : 1;
        });
        require(wrong == 0, "op: expected finite factors, got NaN or infinity in factor " + std::to_string(l + 1));
    }
    for (std::size_t level = levels_; level-- > 0;) {
        parallel_ranges(n, kPart, workers, [&](std::size_t first, std::size_t end) {
            for (std::size_t row = first; row < end; ++row) balance_row(level, row);
        });
    }
    balance_first();
}

template <class Real>
Value BalancedFactors<Real>::stored(std::size_t level, std::size_t i, std::size_t j, std::size_t k,
                                    std::size_t t) const {
    const std::size_t index = level * 2 * n_ + ((2 * i + j) * 2 + k) * d(level) + t;
    return complex_ ? Value(values_[2 * index], values_[2 * index + 1]) : Value(values_[index]);
}

template <class Real>
Value BalancedFactors<Real>::balanced(std::size_t level, std::size_t i, std::size_t j, std::size_t k, std::size_t t,
                                      Value x) const {
    const std::size_t row = (2 * i + j) * d(level) + t, column = (2 * i + k) * d(level) + t;
    if (weights_[level + 1][column] == 0) return 0;
    return times_power(x, exponents_[level + 1][column] - exponents_[level][row]);
}

template <class Real>
void BalancedFactors<Real>::balance_row(std::size_t level, std::size_t row) {
    const std::size_t step = d(level), i = row / (2 * step), j = row / step % 2, t = row % step;
    int largest = 0;
    bool any = false;
    for (std::size_t k = 0; k < 2; ++k) {
        const std::size_t column = (2 * i + k) * step + t;
        const Value x = stored(level, i, j, k, t);
        if (x == 0.0 || weights_[level + 1][column] == 0) continue;
        const int e = exponent_of(x) + exponents_[level + 1][column];
        largest = any ? std::max(largest, e) : e;
        any = true;
    }
    exponents_[level][row] = largest;
    double weight = 0;
    for (std::size_t k = 0; any && k < 2; ++k) {
        weight += std::norm(at(level, i, j, k, t)) * weights_[level + 1][(2 * i + k) * step + t];
    }
    const int half = any ? std::ilogb(weight) / 2 : 0;  // weight >= 1: the quotient is a floor
    exponents_[level][row] += half;
    weights_[level][row] = std::ldexp(weight, -2 * half);
}

// The rows of the first factor belong to nobody on their left: one exponent serves all of them.
template <class Real>
void BalancedFactors<Real>::balance_first() {
    bool any = false;
    for (std::size_t row = 0; row < n_; ++row) {
        if (weights_[0][row] == 0) continue;
        exponent_ = any ? std::max(exponent_, exponents_[0][row]) : exponents_[0][row];
        any = true;
    }
    for (std::size_t row = 0; row < n_; ++row) {
        weights_[0][row] = std::ldexp(weights_[0][row], 2 * (exponents_[0][row] - exponent_));
        exponents_[0][row] = exponent_;
        energy_ += weights_[0][row];
    }
}

template class BalancedFactors<float>;
template class BalancedFactors<double>;

}  // namespace bitterfly
