// Left-to-right quantization with unit directions.
//
// Only the direction of a column of factor l is coded; its least-squares length goes into the rows of factor l + 1 and
// at last into the scale vector. The product of the coded factors has orthonormal columns inside each block, so the
// squared errors |x - mu u|^2, each weighted by the squared norm of its right row, add up to the squared error of the
// product.
#include "quantization/quantize.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "parallel.hpp"
#include "quantization/balance.hpp"
#include "stores/codes/pack.hpp"

namespace bitterfly {
namespace {

// One factor coded in one way.
struct Trial {
    Code code;
    std::vector<std::uint32_t> q;  // in the order of the columns, (i*2 + k)*d + t
    std::vector<Value> lengths;    // likewise
    double error = 0;              // sum of weight * |x - mu u|^2
};

// Columns of a factor whose rows have been multiplied by the lengths that came from the left.
struct FactorColumns {
    std::vector<Value> upper, lower;
    double energy = 0;
};

constexpr std::size_t kPart = 2048;  // columns that one worker takes at a time

template <class Real>
FactorColumns columns_of(const BalancedFactors<Real>& factors, std::size_t level, const std::vector<Value>& lengths,
                         std::size_t workers) {
    const std::size_t n = lengths.size(), d = factors.d(level);
    const std::vector<double>& weights = factors.weights(level + 1);
    FactorColumns out{std::vector<Value>(n), std::vector<Value>(n)};
    out.energy = parallel_sum(n, kPart, workers, [&](std::size_t first, std::size_t end) {
        double energy = 0;
        for (std::size_t c = first; c < end; ++c) {
            const std::size_t i = c / (2 * d), k = c / d % 2, t = c % d;
            out.upper[c] = factors.at(level, i, 0, k, t) * lengths[2 * i * d + t];
            out.lower[c] = factors.at(level, i, 1, k, t) * lengths[(2 * i + 1) * d + t];
            energy += weights[c] * (std::norm(out.upper[c]) + std::norm(out.lower[c]));
        }
        return energy;
    });
    return out;
}

// Decodes by a table where a code has fewer values than there are columns.
class Decoder {
public:
    Decoder(Code code, std::size_t columns) : code_(code) {
        if (code.bits > kMostBits || columns >> code.bits == 0) return;
        table_.resize(std::size_t{1} << code.bits);
        for (std::size_t q = 0; q < table_.size(); ++q) table_[q] = decode(code, static_cast<std::uint32_t>(q));
    }
    Direction operator()(std::uint32_t q) const { return table_.empty() ? decode(code_, q) : table_[q]; }

private:
    static constexpr int kMostBits = 12;
    Code code_;
    std::vector<Direction> table_;
};

Trial code_columns(const FactorColumns& columns, const std::vector<double>& weights, Code code, std::size_t workers) {
    const std::size_t n = weights.size();
    const Decoder decoder(code, n);
    Trial out{code, std::vector<std::uint32_t>(n), std::vector<Value>(n)};
    out.error = parallel_sum(n, kPart, workers, [&](std::size_t first, std::size_t end) {
        double error = 0;
        for (std::size_t c = first; c < end; ++c) {
            const Value x0 = columns.upper[c], x1 = columns.lower[c];
            out.q[c] = encode(code, x0, x1);
            const Direction u = decoder(out.q[c]);
            const Value mu = std::conj(u.first) * x0 + std::conj(u.second) * x1;
            out.lengths[c] = mu;
            error += weights[c] * (std::norm(x0 - mu * u.first) + std::norm(x1 - mu * u.second));
        }
        return error;
    });
    return out;
}

// Codes that all end in zero bits say the same in fewer bits.
void trim(Trial& trial) {
    if (!trial.code.kind->trims) return;
    std::uint32_t any = 0;
    for (const std::uint32_t q : trial.q) any |= q;
    const int drop = std::min(any == 0 ? trial.code.bits : std::countr_zero(any), trial.code.bits - 1);
    for (std::uint32_t& q : trial.q) q >>= drop;
    trial.code.bits -= drop;
}

// The first candidate that is exact to rounding, else the one with the least error.
Trial best_trial(const FactorColumns& columns, const std::vector<double>& weights,
                 const std::vector<const DirectionKind*>& candidates, int bits, double rounding, std::size_t workers) {
    Trial best{};
    for (const DirectionKind* kind : candidates) {
        Trial trial = code_columns(columns, weights, {kind, std::min(bits, kind->most_bits)}, workers);
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
Quantized quantize(const Real* values, std::size_t n, bool is_complex,
                   const std::vector<const DirectionKind*>& candidates, const std::vector<int>& bits,
                   std::size_t workers) {
    const BalancedFactors<Real> factors(values, n, is_complex, workers);
    const double rounding = 16 * static_cast<double>(factors.levels()) * std::numeric_limits<Real>::epsilon();
    Quantized out{};
    std::vector<Value> lengths(n, 1.0);
    for (std::size_t l = 0; l < factors.levels(); ++l) {
        const std::vector<double>& weights = factors.weights(l + 1);
        const FactorColumns columns = columns_of(factors, l, lengths, workers);
        Trial trial = best_trial(columns, weights, candidates, bits[l], rounding, workers);
        out.losses.push_back(factors.energy() > 0 ? trial.error / factors.energy() : 0);
        append_packed(trial, n, factors.d(l), out);
        lengths = std::move(trial.lengths);
    }
    out.scale = std::move(lengths);
    out.exponent = factors.exponent();
    return out;
}

template <class Real>
double round_scale(const Quantized& quantized, bool is_complex, Real* out) {
    double error = 0, energy = 0;
    for (std::size_t i = 0; i < quantized.scale.size(); ++i) {
        const Value x = times_power(quantized.scale[i], quantized.exponent);
        const auto re = static_cast<Real>(x.real()), im = static_cast<Real>(is_complex ? x.imag() : 0);
        if (is_complex) {
            out[2 * i] = re, out[2 * i + 1] = im;
        } else {
            out[i] = re;
        }
        error = std::hypot(error, std::abs(times_power({re, im}, -quantized.exponent) - quantized.scale[i]));
        energy = std::hypot(energy, std::abs(quantized.scale[i]));
    }
    return energy > 0 ? error / energy : 0;
}

template double round_scale<float>(const Quantized&, bool, float*);
template double round_scale<double>(const Quantized&, bool, double*);
template Quantized quantize<float>(const float*, std::size_t, bool, const std::vector<const DirectionKind*>&,
                                   const std::vector<int>&, std::size_t);
template Quantized quantize<double>(const double*, std::size_t, bool, const std::vector<const DirectionKind*>&,
                                    const std::vector<int>&, std::size_t);

}  // namespace bitterfly
