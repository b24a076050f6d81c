// Float factors in a gauge that neither overflows nor underflows: every row of every right part has norm near one.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <vector>

#include "stores/codes/directions.hpp"

namespace bitterfly {

// x * 2^exponent, rounded once; by one multiplication where the power is a normal number.
inline Value times_power(Value x, int exponent) {
    constexpr int kBias = 1023;
    if (-kBias < exponent && exponent <= kBias) {
        return x * std::bit_cast<double>(static_cast<std::uint64_t>(exponent + kBias) << 52);
    }
    return {std::ldexp(x.real(), exponent), std::ldexp(x.imag(), exponent)};
}

// A view of the factors F_1 ... F_p as 2^exponent() times balanced factors in double precision. Scaling column c of a
// factor and row c of the next by 2^e and 2^-e leaves the product as it is; the exponents are kept as integers, so that
// any finite factors can be balanced. Columns whose right row vanishes are zero.
template <class Real>
class BalancedFactors {
public:
    // `values`: p x 2n numbers, factor l + 1 in C order (2^l, 2, 2, n / 2^(l+1)), complex ones interleaved; borrowed.
    // Throws std::invalid_argument where a number is not finite.
    BalancedFactors(const Real* values, std::size_t n, bool is_complex, std::size_t workers = 1);

    std::size_t size() const { return n_; }
    std::size_t levels() const { return levels_; }
    std::size_t d(std::size_t level) const { return n_ >> (level + 1); }

    // Entry (j, k) of block (i, t), i*2d + j*d + t being its row and i*2d + k*d + t its column.
    Value at(std::size_t level, std::size_t i, std::size_t j, std::size_t k, std::size_t t) const {
        return balanced(level, i, j, k, t, stored(level, i, j, k, t));
    }
    // The same for a number in place of the stored one.
    Value balanced(std::size_t level, std::size_t i, std::size_t j, std::size_t k, std::size_t t, Value x) const;
    Value stored(std::size_t level, std::size_t i, std::size_t j, std::size_t k, std::size_t t) const;

    // Squared norms of the rows of the balanced product of the factors level, level + 1, ...; in [1, 4) or 0 for
    // 0 < level < levels(), ones for levels().
    const std::vector<double>& weights(std::size_t level) const { return weights_[level]; }

    int exponent() const { return exponent_; }
    double energy() const { return energy_; }  // squared norm of the balanced product

private:
    void balance_row(std::size_t level, std::size_t row);
    void balance_first();

    const Real* values_;
    std::size_t n_, levels_;
    bool complex_;
    std::vector<std::vector<double>> weights_;
    std::vector<std::vector<int>> exponents_;
    int exponent_ = 0;
    double energy_ = 0;
};

}  // namespace bitterfly
