// The vectors round(lambda x), one for each cell of lambda, up to the scales that a significand does not see.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <vector>

#include "significand.hpp"

namespace bitterfly {

// Real. Each cell of lambda starts where one entry j goes up from q to its next: there the others are rounded. Powers
// of two do not matter, so q takes the numbers of [1, 2) only.
template <class Visit>
void for_candidates(const double* x, std::size_t size, const Significand& round, int /*depth*/, bool /*all*/,
                    Visit visit) {
    std::vector<double> q(size);
    const double unit = round.unit();
    for (std::size_t j = 0; j < size; ++j) {
        if (x[j] == 0) continue;
        const double least = std::ldexp(1.0, std::ilogb(x[j]));
        for (std::uint32_t i = 0; i < round.count(); ++i) {
            const double at = least * (1 + (i + 0.5) * unit), lambda = at / std::fabs(x[j]);
            for (std::size_t m = 0; m < size; ++m) q[m] = round(lambda * x[m]);
            q[j] = std::copysign(least * (1 + (i + 1) * unit), x[j]);
            visit(q.data());
        }
    }
}

// The rounded numbers that a real number within +-half of `centre` takes; those below `least` are zero.
class Reach {
public:
    Reach(double centre, double half, const Significand& round, double least) {
        const double low = trimmed(round(centre - half), least), high = trimmed(round(centre + half), least);
        for (double q = low; q <= high && count_ < kMost; q = round.next(q, least)) at_[count_++] = q;
    }
    const double* begin() const { return at_; }
    const double* end() const { return at_ + count_; }

private:
    static constexpr std::size_t kMost = 128;
    static double trimmed(double q, double least) { return std::fabs(q) < least ? 0 : q; }
    double at_[kMost];
    std::size_t count_ = 0;
};

// The rounded values p of lambda x_j in the sector |Im p| <= Re p, 1 <= Re p < 2, where all lambda come to by quarter
// turns and powers of two. Imaginary parts below 2^-depth are zero. `half` is half the width of the cell of p.
template <class Visit>
void for_sector(const Significand& round, int depth, Visit visit) {
    const double unit = round.unit(), least = std::ldexp(1.0, -depth);
    for (std::uint32_t i = 0; i <= round.count(); ++i) {
        const double re = 1 + i * unit, re_half = unit / 2;
        visit(std::complex<double>(re, 0), re_half, least / 2);
        for (double im = least; im <= re; im = round.next(im, least)) {
            const double im_half = std::ldexp(unit, std::ilogb(im)) / 2;
            visit(std::complex<double>(re, im), re_half, im_half);
            visit(std::complex<double>(re, -im), re_half, im_half);
        }
    }
}

// Complex. The rounded values p of the largest entry are listed; `all` (two entries): while lambda runs through the
// cell of p, the other entry runs through a turned rectangle: all rounded values that it may meet are combined. Else
// lambda is the one at p.
template <class Visit>
void for_candidates(const std::complex<double>* x, std::size_t size, const Significand& round, int depth, bool all,
                    Visit visit) {
    using Complex = std::complex<double>;
    std::size_t j = 0;
    for (std::size_t m = 1; m < size; ++m) {
        if (std::norm(x[m]) > std::norm(x[j])) j = m;
    }
    std::vector<Complex> ratio(size), q(size);
    for (std::size_t m = 0; m < size; ++m) ratio[m] = x[m] / x[j];
    for_sector(round, depth, [&](Complex p, double re_half, double im_half) {
        q[j] = p;
        for (std::size_t m = 0; m < size; ++m) {
            if (m != j) {
                const Complex r = ratio[m];
                q[m] = round(Complex(r.real() * p.real() - r.imag() * p.imag(),
                                     r.real() * p.imag() + r.imag() * p.real()));
            }
        }
        if (size != 2 || !all) return visit(q.data());
        const std::size_t m = 1 - j;
        const Complex r = ratio[m];
        const double a = std::fabs(r.real()), b = std::fabs(r.imag());
        const double re = r.real() * p.real() - r.imag() * p.imag(), im = r.real() * p.imag() + r.imag() * p.real();
        const double least = std::ldexp(std::max(a, b), -depth);
        const double floor = least > 0 ? std::ldexp(1.0, std::ilogb(least)) : 1;
        const Reach reals(re, a * re_half + b * im_half, round, floor);
        const Reach imags(im, a * im_half + b * re_half, round, floor);
        for (const double u : reals) {
            for (const double v : imags) {
                q[m] = {u, v};
                visit(q.data());
            }
        }
    });
}

}  // namespace bitterfly
