// Columns to numbers of a list: a walk over the breakpoints of their rounding for a real scale, phases for a complex
// one.
#include "quantization/lists.hpp"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

#include "parallel.hpp"

namespace bitterfly {
namespace {

constexpr int kPhases = 8;  // of a quarter turn, to start from
constexpr int kTurns = 6;   // improvements of a phase, at most

// The best codes for one real scale of `size` real numbers.
class ScaleWalk {
public:
    ScaleWalk(std::span<const double> magnitudes, std::size_t size) : magnitudes_(magnitudes), index_(size) {}

    const std::vector<std::uint32_t>& operator()(const std::vector<double>& z, const std::vector<double>& weights) {
        collect(z);
        const double first = magnitudes_.front();
        double dot = 0, norm = 0;
        for (std::size_t e = 0; e < z.size(); ++e) {
            dot += weights[e] * first * std::fabs(z[e]), norm += weights[e] * first * first;
        }
        double best = norm > 0 ? dot * dot / norm : 0;
        std::size_t taken = 0;
        for (std::size_t k = 0; k < events_.size(); ++k) {
            const double low = magnitudes_[events_[k].from], high = magnitudes_[events_[k].from + 1];
            const double weight = weights[events_[k].entry];
            dot += weight * (high - low) * std::fabs(z[events_[k].entry]);
            norm += weight * (high - low) * (high + low);
            if (dot * dot > best * norm) best = dot * dot / norm, taken = k + 1;
        }
        std::fill(index_.begin(), index_.end(), 0U);
        for (std::size_t k = 0; k < taken; ++k) ++index_[events_[k].entry];
        return index_;
    }

private:
    struct Event {  // at this scale the code of the entry goes from `from` to the next
        double at;
        std::uint32_t entry, from;
    };
    void collect(const std::vector<double>& z) {
        events_.clear();
        for (std::uint32_t e = 0; e < z.size(); ++e) {
            if (z[e] == 0) continue;
            for (std::uint32_t m = 0; m + 1 < magnitudes_.size(); ++m) {
                events_.push_back({(magnitudes_[m] + magnitudes_[m + 1]) / 2 / std::fabs(z[e]), e, m});
            }
        }
        std::stable_sort(events_.begin(), events_.end(), [](const Event& a, const Event& b) { return a.at < b.at; });
    }

    std::span<const double> magnitudes_;
    std::vector<std::uint32_t> index_;
    std::vector<Event> events_;
};

// One column, scaled to numbers near 1.
class ColumnSearch {
public:
    ColumnSearch(std::span<const double> magnitudes, std::size_t b, bool is_complex)
        : magnitudes_(magnitudes),
          planes_(is_complex ? 2 : 1),
          x_(b * planes_),
          z_(b * planes_),
          weights_(b * planes_),
          walk_(magnitudes, b * planes_) {}

    void run(const double* x, const double* weights, std::uint32_t* codes) {
        double largest = 0;
        for (std::size_t e = 0; e < x_.size(); ++e) largest = std::max(largest, std::fabs(x[e]));
        const int exponent = largest > 0 ? std::ilogb(largest) : 0;
        for (std::size_t e = 0; e < x_.size(); ++e) {
            x_[e] = std::ldexp(x[e], -exponent), weights_[e] = weights[e / planes_];
        }
        best_ = -1;
        try_unscaled(x, codes);
        try_from(1, codes);
        if (planes_ == 1) return;
        std::size_t top = 0;
        for (std::size_t j = 1; j < x_.size() / 2; ++j) top = std::abs(number(j)) > std::abs(number(top)) ? j : top;
        const double aligned = -std::arg(number(top));
        try_from(std::polar(1.0, aligned), codes);
        try_from(std::polar(1.0, aligned + std::numbers::pi / 4), codes);
        for (int k = 1; k < kPhases; ++k) try_from(std::polar(1.0, k * std::numbers::pi / (2 * kPhases)), codes);
    }

private:
    using Value = std::complex<double>;
    Value number(std::size_t j) const { return {x_[2 * j], x_[2 * j + 1]}; }

    // mu = 1, which stays where nothing is better: factors in the list remain what they are.
    void try_unscaled(const double* x, std::uint32_t* codes) {
        std::vector<std::uint32_t> index(x_.size());
        for (std::size_t e = 0; e < x_.size(); ++e) {
            for (std::size_t m = 0; m + 1 < magnitudes_.size(); ++m) {
                index[e] += std::fabs(x[e]) >= (magnitudes_[m] + magnitudes_[m + 1]) / 2;
            }
        }
        z_ = x_;
        Value dot = 0;
        best_ = gain_of(index, dot);
        write(index, codes);
    }
    // Walks at a phase and at those that least squares give then; writes the codes where they are the best so far.
    void try_from(Value turn, std::uint32_t* codes) {
        double here = -1;
        for (int step = 0; step < kTurns; ++step) {
            rotate(turn);
            const std::vector<std::uint32_t>& index = walk_(z_, weights_);
            Value dot = 0;
            const double gain = gain_of(index, dot);
            if (gain > best_ * (1 + 1e-14)) {
                best_ = gain;
                write(index, codes);
            }
            if (planes_ == 1 || gain <= here * (1 + 1e-12) || std::abs(dot) == 0) return;
            here = gain, turn = std::conj(dot) / std::abs(dot);
        }
    }
    void rotate(Value turn) {
        if (planes_ == 1) {
            z_ = x_;
            return;
        }
        for (std::size_t j = 0; 2 * j < x_.size(); ++j) {
            const Value z = turn * number(j);
            z_[2 * j] = z.real(), z_[2 * j + 1] = z.imag();
        }
    }
    double signed_magnitude(const std::vector<std::uint32_t>& index, std::size_t e) const {
        return std::copysign(magnitudes_[index[e]], z_[e]);
    }
    // |<q, x>|^2 / <q, q>; dot = <q, x>.
    double gain_of(const std::vector<std::uint32_t>& index, Value& dot) const {
        double norm = 0;
        for (std::size_t e = 0; e < x_.size(); e += planes_) {
            const Value q(signed_magnitude(index, e), planes_ == 2 ? signed_magnitude(index, e + 1) : 0.0);
            const Value x(x_[e], planes_ == 2 ? x_[e + 1] : 0.0);
            dot += weights_[e] * std::conj(q) * x, norm += weights_[e] * std::norm(q);
        }
        return norm > 0 ? std::norm(dot) / norm : 0;
    }
    void write(const std::vector<std::uint32_t>& index, std::uint32_t* codes) const {
        const auto negative = static_cast<std::uint32_t>(magnitudes_.size());
        for (std::size_t e = 0; e < x_.size(); ++e) {
            codes[e] = index[e] + (z_[e] < 0 && magnitudes_[index[e]] > 0 ? negative : 0);
        }
    }

    std::span<const double> magnitudes_;
    std::size_t planes_;
    std::vector<double> x_, z_, weights_;
    ScaleWalk walk_;
    double best_ = -1;
};

}  // namespace

void alphabet_codes(const double* x, const double* weights, std::size_t count, std::size_t b, bool is_complex,
                    std::span<const double> magnitudes, std::uint32_t* codes) {
    const std::size_t size = b * (is_complex ? 2 : 1);
    ColumnSearch search(magnitudes, b, is_complex);
    for (std::size_t c = 0; c < count; ++c) {
        checkpoint();
        search.run(x + c * size, weights + c * b, codes + c * size);
    }
}

}  // namespace bitterfly
