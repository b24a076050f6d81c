// Left-to-right quantization with unit directions.
//
// Only the direction of a column of factor l is coded; its least-squares length goes into the rows of factor l + 1 and
// at last into the scale vector. The product of the coded factors has orthonormal columns inside each block, so the
// squared errors |x - mu u|^2, each weighted by the squared norm of its right row, add up to the squared error of the
// product.
#include "quantize.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "pack.hpp"
#include "require.hpp"

namespace bitterfly {
namespace {

// Factor l as complex double numbers, divided by a power of two near its largest entry.
template <class Real>
class ScaledFactors {
public:
    ScaledFactors(const Real* values, std::size_t n, bool is_complex)
        : values_(values), n_(n), complex_(is_complex), levels_(static_cast<std::size_t>(std::countr_zero(n))) {
        for (std::size_t l = 0; l < levels_; ++l) exponents_.push_back(exponent(l));
    }
    std::size_t levels() const { return levels_; }
    std::size_t d(std::size_t level) const { return n_ >> (level + 1); }
    Value at(std::size_t level, std::size_t index) const {
        const std::size_t i = level * 2 * n_ + index;
        const Value v = complex_ ? Value(values_[2 * i], values_[2 * i + 1]) : Value(values_[i]);
        return {std::ldexp(v.real(), -exponents_[level]), std::ldexp(v.imag(), -exponents_[level])};
    }
    int total_exponent() const {
        int sum = 0;
        for (const int e : exponents_) sum += e;
        return sum;
    }

private:
    int exponent(std::size_t level) const {
        const std::size_t count = 2 * n_ * (complex_ ? 2 : 1);
        const Real* first = values_ + level * count;
        double largest = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const double x = std::fabs(static_cast<double>(first[i]));
            require(std::isfinite(x),
                    "op: expected finite factors, got NaN or infinity in factor " + std::to_string(level + 1));
            largest = std::max(largest, x);
        }
        return largest > 0 ? std::ilogb(largest) : 0;
    }

    const Real* values_;
    std::size_t n_;
    bool complex_;
    std::size_t levels_;
    std::vector<int> exponents_;
};

// row_norms[l][r]: squared norm of row r of the product of the factors l, l + 1, ..., and 1 behind the last.
template <class Real>
std::vector<std::vector<double>> row_norms(const ScaledFactors<Real>& factors, std::size_t n) {
    std::vector<std::vector<double>> out(factors.levels() + 1, std::vector<double>(n, 1.0));
    for (std::size_t l = factors.levels(); l-- > 0;) {
        const std::size_t d = factors.d(l);
        for (std::size_t row = 0; row < n; ++row) {
            const std::size_t i = row / (2 * d), j = row / d % 2, t = row % d;
            double sum = 0;
            for (std::size_t k = 0; k < 2; ++k) {
                sum += std::norm(factors.at(l, ((2 * i + j) * 2 + k) * d + t)) * out[l + 1][(2 * i + k) * d + t];
            }
            out[l][row] = sum;
        }
    }
    return out;
}

// One factor coded in one way.
struct Trial {
    Code code;
    std::vector<std::uint32_t> q;  // in the order of the columns, (i*2 + k)*d + t
    std::vector<Value> lengths;    // likewise
    double error = 0;              // sum of weight * |x - mu u|^2
};

// Columns of a factor whose rows have been multiplied by the lengths that came from the left.
struct Columns {
    std::vector<Value> upper, lower;
    double energy = 0;
};

template <class Real>
Columns columns_of(const ScaledFactors<Real>& factors, std::size_t level, const std::vector<Value>& lengths,
                   const std::vector<double>& weights) {
    const std::size_t n = lengths.size(), d = factors.d(level);
    Columns out{std::vector<Value>(n), std::vector<Value>(n)};
    for (std::size_t c = 0; c < n; ++c) {
        const std::size_t i = c / (2 * d), k = c / d % 2, t = c % d;
        out.upper[c] = factors.at(level, (4 * i + k) * d + t) * lengths[2 * i * d + t];
        out.lower[c] = factors.at(level, (4 * i + 2 + k) * d + t) * lengths[(2 * i + 1) * d + t];
        out.energy += weights[c] * (std::norm(out.upper[c]) + std::norm(out.lower[c]));
    }
    return out;
}

Trial code_columns(const Columns& columns, const std::vector<double>& weights, Code code) {
    const std::size_t n = weights.size();
    Trial out{code, std::vector<std::uint32_t>(n), std::vector<Value>(n)};
    for (std::size_t c = 0; c < n; ++c) {
        const Value x0 = columns.upper[c], x1 = columns.lower[c];
        out.q[c] = encode(code, x0, x1);
        const Direction u = decode(code, out.q[c]);
        const Value mu = std::conj(u.first) * x0 + std::conj(u.second) * x1;
        out.lengths[c] = mu;
        out.error += weights[c] * (std::norm(x0 - mu * u.first) + std::norm(x1 - mu * u.second));
    }
    return out;
}

// Codes that all end in zero bits say the same in fewer bits.
void trim(Trial& trial) {
    if (!trims(trial.code.source)) return;
    std::uint32_t any = 0;
    for (const std::uint32_t q : trial.q) any |= q;
    const int drop = std::min(any == 0 ? trial.code.bits : std::countr_zero(any), trial.code.bits - 1);
    for (std::uint32_t& q : trial.q) q >>= drop;
    trial.code.bits -= drop;
}

// The first candidate that is exact to rounding, else the one with the least error.
Trial best_trial(const Columns& columns, const std::vector<double>& weights, const std::vector<Source>& candidates,
                 int bits, double rounding) {
    Trial best{};
    for (const Source source : candidates) {
        Trial trial = code_columns(columns, weights, {source, std::min(bits, max_bits(source))});
        const bool exact = trial.error <= rounding * rounding * columns.energy;
        if (best.q.empty() || exact || trial.error < best.error) best = std::move(trial);
        if (exact) break;
    }
    trim(best);
    return best;
}

void append_packed(const Trial& trial, std::size_t n, std::size_t d, Quantized& out) {
    const std::size_t first = out.words.size();
    out.words.resize(first + packed_words(n, trial.code.bits));
    pack(trial.q.data(), n, d, trial.code.bits, out.words.data() + first);
    out.codes.push_back(trial.code);
}

}  // namespace

template <class Real>
Quantized quantize(const Real* values, std::size_t n, bool is_complex, const std::vector<Source>& candidates,
                   int bits) {
    const ScaledFactors<Real> factors(values, n, is_complex);
    const auto norms = row_norms(factors, n);
    const double rounding = 16 * static_cast<double>(factors.levels()) * std::numeric_limits<Real>::epsilon();
    Quantized out{};
    std::vector<Value> lengths(n, 1.0);
    double error = 0, energy = 0;
    for (const double x : norms[0]) energy += x;
    for (std::size_t l = 0; l < factors.levels(); ++l) {
        const Columns columns = columns_of(factors, l, lengths, norms[l + 1]);
        Trial trial = best_trial(columns, norms[l + 1], candidates, bits, rounding);
        error += trial.error;
        append_packed(trial, n, factors.d(l), out);
        lengths = std::move(trial.lengths);
    }
    for (Value& mu : lengths)
        mu = {std::ldexp(mu.real(), factors.total_exponent()), std::ldexp(mu.imag(), factors.total_exponent())};
    out.scale = std::move(lengths);
    out.relative_error = energy > 0 ? std::sqrt(error / energy) : 0;
    return out;
}

template Quantized quantize<float>(const float*, std::size_t, bool, const std::vector<Source>&, int);
template Quantized quantize<double>(const double*, std::size_t, bool, const std::vector<Source>&, int);

}  // namespace bitterfly
