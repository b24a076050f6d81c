// The scale of a lattice code by walking the breakpoints where a rounding changes.
#include "quantization/lattice.hpp"

#include <algorithm>
#include <cmath>
#include <complex>
#include <utility>
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
    // How far below `most` the code of the largest number may lie.
    int depth() const { return static_cast<int>(std::ceil(window_ * most_)) + 1; }

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
        sort(first, last);
    }

    // The events spread over the window: they are dealt to as many parts of it, each of which holds a few.
    void sort(double first, double last) {
        const std::size_t count = events_.size();
        const double parts = static_cast<double>(count) / (last - first);
        const auto part_of = [&](const Event& event) {
            return std::min(static_cast<std::size_t>((event.at - first) * parts), count - 1);
        };
        ends_.assign(count + 1, 0);
        for (const Event& event : events_) ++ends_[part_of(event) + 1];
        for (std::size_t k = 0; k < count; ++k) ends_[k + 1] += ends_[k];
        sorted_.resize(count);
        for (const Event& event : events_) sorted_[ends_[part_of(event)]++] = event;
        events_.swap(sorted_);
        auto begin = events_.begin();
        for (std::size_t k = 0; k < count; ++k) {
            const auto end = events_.begin() + static_cast<std::ptrdiff_t>(ends_[k]);
            if (end - begin > 1) std::sort(begin, end, [](const Event& a, const Event& b) { return a.at < b.at; });
            begin = end;
        }
    }

    int most_;
    double window_;  // share of the scales up to the largest that are walked
    std::vector<Event> events_, sorted_;
    std::vector<std::size_t> ends_;  // of the parts; while events are dealt, where the next one goes
};

// Codes of one column, with real and imaginary parts side by side, and how near they come.
struct Fit {
    std::vector<int> q;
    std::complex<double> dot = 0;  // <q, x>
    double norm = 0;               // <q, q>

    // x is nearest to q times this number.
    std::complex<double> length() const { return norm > 0 ? dot / norm : 0; }
    double gain() const { return norm > 0 ? std::norm(dot) / norm : 0; }

    void round(const double* x, std::size_t size, std::size_t planes, std::complex<double> scale, int most) {
        const auto code = [most](double z) { return std::clamp(static_cast<int>(std::lround(z)), -most, most); };
        q.resize(size), dot = 0, norm = 0;
        for (std::size_t e = 0; e < size; e += planes) {
            const std::complex<double> z(x[e], planes == 2 ? x[e + 1] : 0.0), at = z * scale;
            q[e] = code(at.real());
            if (planes == 2) q[e + 1] = code(at.imag());
            const std::complex<double> number(q[e], planes == 2 ? q[e + 1] : 0);
            dot += std::conj(number) * z, norm += std::norm(number);
        }
    }
};

// The scale at which all parts of complex numbers are nearest to codes of up to `most`: equal to them but for rounding,
// else 0. Codes of the largest part are tried from the largest on, `depth` of them, with those of the other part of its
// number that a small turn makes of it. What is no multiple of codes leaves after one number or two.
std::complex<double> scale_of_codes(const double* x, std::size_t size, std::size_t at, int most, int depth) {
    constexpr int turned = 3;
    double least = 0.01;  // of a code: what single precision leaves of 16 bits
    std::complex<double> found = 0;
    const std::complex<double> largest(x[at / 2 * 2], x[at / 2 * 2 + 1]);
    const double ratio = x[at ^ 1] / x[at];
    const auto off = [most](double z) {
        const double nearest = std::nearbyint(z);
        return std::fabs(nearest) <= most ? std::fabs(z - nearest) : 1.0;
    };
    for (int p = most; p > 0 && p >= most - depth; --p) {
        const int middle = static_cast<int>(std::lround(ratio * p));
        for (int r = middle - turned; r <= middle + turned; ++r) {
            const std::complex<double> q = at % 2 == 0 ? std::complex<double>(p, r) : std::complex<double>(r, p);
            const std::complex<double> scale = (x[at] < 0 ? -q : q) / largest;
            double worst = 0;
            for (std::size_t e = 0; worst < least && e < size; e += 2) {
                const std::complex<double> z = std::complex<double>(x[e], x[e + 1]) * scale;
                worst = std::max({worst, off(z.real()), off(z.imag())});
            }
            if (worst < least) least = worst, found = scale;
        }
    }
    return found;
}

constexpr int kTurns = 4;

void codes_of_columns(const double* x, std::size_t count, std::size_t b, bool is_complex, int bits,
                      std::uint32_t* codes, double* lengths) {
    const std::size_t planes = is_complex ? 2 : 1, size = b * planes;
    LatticeSearch search(bits);
    const double unit = std::ldexp(1.0, 1 - bits);
    std::vector<double> scaled(size);
    Fit best, other;
    for (std::size_t c = 0; c < count; ++c, x += size, codes += size, lengths += planes) {
        std::size_t at = 0;
        for (std::size_t e = 0; e < size; ++e) at = std::fabs(x[e]) > std::fabs(x[at]) ? e : at;
        const double largest = std::fabs(x[at]);
        const int exponent = largest > 0 ? std::ilogb(largest) : 0;  // squares neither vanish nor overflow
        for (std::size_t e = 0; e < size; ++e) scaled[e] = std::ldexp(x[e], -exponent);
        const std::complex<double> known =
            is_complex && largest > 0 ? scale_of_codes(scaled.data(), size, at, search.most(), search.depth()) : 0;
        if (known != 0.0) {
            best.round(scaled.data(), size, planes, known, search.most());
        } else {
            const double top = std::ldexp(largest, -exponent), plain = std::ldexp(1, bits - 1 + exponent);
            const double scale = largest > 0 ? search(scaled.data(), size, top, plain) : 0;
            best.round(scaled.data(), size, planes, scale, search.most());
            // The codes of complex numbers may be turned by the phase of their length.
            for (int turn = 0; is_complex && best.dot != 0.0 && turn < kTurns; ++turn) {
                other.round(scaled.data(), size, planes, 1.0 / best.length(), search.most());
                if (!(other.gain() > best.gain())) break;
                std::swap(best, other);
            }
        }
        for (std::size_t e = 0; e < size; ++e) codes[e] = static_cast<std::uint32_t>(best.q[e] + search.most() + 1);
        const std::complex<double> length = best.length() / unit;
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
