// The scale of a lattice code by walking the breakpoints where a rounding changes.
#include "lattice.hpp"

#include <algorithm>
#include <cmath>
#include <complex>
#include <vector>

#include "parallel.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kPart = 4096;  // numbers that one worker takes at a time

// One column of `size` real numbers (real and imaginary parts).
class LatticeSearch {
public:
    explicit LatticeSearch(int bits)
        : most_((1 << (bits - 1)) - 1), window_(bits > 4 ? std::min(0.5, 64.0 / most_) : 1) {}

    // Returns the scale lambda for a column whose largest modulus is `largest` > 0; `plain`, where nothing is better:
    // factors that are codes already remain what they are.
    double operator()(const double* x, std::size_t size, double largest, double plain) {
        const double last = (most_ + 0.5) / largest, first = last * (1 - window_);
        collect(x, size, first, last);
        double dot = 0, norm = 0;
        for (std::size_t e = 0; e < size; ++e) {
            const double q = std::floor(std::fabs(x[e]) * first + 0.5);
            dot += q * std::fabs(x[e]), norm += q * q;
        }
        const double gain = plain < last ? gain_at(x, size, plain) : 0;
        double best = norm > 0 ? dot * dot / norm : 0, scale = first > 0 ? first : last;
        if (gain * (1 + kTie) >= best) best = gain * (1 + kTie), scale = plain;
        for (std::size_t k = 0; k < events_.size(); ++k) {
            const Event& event = events_[k];
            dot += event.x, norm += 2 * event.q + 1;
            if (dot * dot > best * norm) {
                best = dot * dot / norm;
                scale = k + 1 < events_.size() ? (event.at + events_[k + 1].at) / 2 : (event.at + last) / 2;
            }
        }
        return scale;
    }
    int most() const { return most_; }

private:
    static constexpr double kTie = 1e-12;  // of a gain, above its rounding errors

    struct Event {  // at this scale the code of |x| = x goes from q to q + 1
        double at, x, q;
    };
    // <x, q>^2 / <q, q> for the codes at a scale.
    static double gain_at(const double* x, std::size_t size, double scale) {
        double dot = 0, norm = 0;
        for (std::size_t e = 0; e < size; ++e) {
            const double q = std::floor(std::fabs(x[e]) * scale + 0.5);
            dot += q * std::fabs(x[e]), norm += q * q;
        }
        return norm > 0 ? dot * dot / norm : 0;
    }
    void collect(const double* x, std::size_t size, double first, double last) {
        events_.clear();
        for (std::size_t e = 0; e < size; ++e) {
            const double value = std::fabs(x[e]);
            if (value == 0) continue;
            for (double q = std::floor(value * first + 0.5); q < most_; ++q) {
                const double at = (q + 0.5) / value;
                if (!(at < last)) break;
                events_.push_back({at, value, q});
            }
        }
        std::sort(events_.begin(), events_.end(), [](const Event& a, const Event& b) { return a.at < b.at; });
    }

    int most_;
    double window_;  // share of the scales up to the largest that are walked
    std::vector<Event> events_;
};

int rounded(double x, int most) { return std::clamp(static_cast<int>(std::lround(x)), -most, most); }

void codes_of_columns(const double* x, std::size_t count, std::size_t b, bool is_complex, int bits,
                      std::uint32_t* codes, double* lengths) {
    const std::size_t planes = is_complex ? 2 : 1, size = b * planes;
    LatticeSearch search(bits);
    const double unit = std::ldexp(1.0, 1 - bits);
    std::vector<double> scaled(size);
    for (std::size_t c = 0; c < count; ++c, x += size, codes += size, lengths += planes) {
        double largest = 0;
        for (std::size_t e = 0; e < size; ++e) largest = std::max(largest, std::fabs(x[e]));
        const int exponent = largest > 0 ? std::ilogb(largest) : 0;  // squares neither vanish nor overflow
        for (std::size_t e = 0; e < size; ++e) scaled[e] = std::ldexp(x[e], -exponent);
        const double top = std::ldexp(largest, -exponent), plain = std::ldexp(1, bits - 1 + exponent);
        const double scale = largest > 0 ? search(scaled.data(), size, top, plain) : 0;
        std::complex<double> dot = 0;
        double norm = 0;
        for (std::size_t e = 0; e < size; e += planes) {
            const int re = rounded(scaled[e] * scale, search.most());
            const int im = is_complex ? rounded(scaled[e + 1] * scale, search.most()) : 0;
            codes[e] = static_cast<std::uint32_t>(re + search.most() + 1);
            if (is_complex) codes[e + 1] = static_cast<std::uint32_t>(im + search.most() + 1);
            const std::complex<double> q(re, im), z(scaled[e], is_complex ? scaled[e + 1] : 0.0);
            dot += std::conj(q) * z, norm += std::norm(q);
        }
        const std::complex<double> length = norm > 0 ? dot / (norm * unit) : 0;
        lengths[0] = std::ldexp(length.real(), exponent);
        if (is_complex) lengths[1] = std::ldexp(length.imag(), exponent);
    }
}

}  // namespace

void lattice_codes(const double* x, std::size_t count, std::size_t b, bool is_complex, int bits, std::uint32_t* codes,
                   double* lengths, std::size_t workers) {
    const std::size_t planes = is_complex ? 2 : 1, size = b * planes;
    const std::size_t part = kPart / size + 1;
    parallel_ranges(count, part, workers, [&](std::size_t first, std::size_t end) {
        codes_of_columns(x + first * size, end - first, b, is_complex, bits, codes + first * size,
                         lengths + first * planes);
    });
}

}  // namespace bitterfly
