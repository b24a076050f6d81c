// The vectors round(lambda x), one for each cell of lambda, up to the scales that a significand does not see.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <vector>

#include "short_floats/rank_one/significand.hpp"

namespace bitterfly {

// Real. Each cell of lambda starts where one entry j goes up from q to its next: there the others are rounded. Powers
// of two do not matter, so q takes the numbers of [1, 2) only.
template <class Visit>
void for_candidates(const double* x, std::size_t size, const Significand& round, int /*depth*/, Visit visit) {
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

// Complex numbers have 4^t cells an octave: beyond this many bits only p with so many bits are listed.
inline constexpr int kListedBits = 8;

inline Significand listed(const Significand& round) { return Significand(std::min(round.bits(), kListedBits)); }

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

// Complex. The rounded values p of the largest entry are listed; lambda is the one at p.
template <class Visit>
void for_candidates(const std::complex<double>* x, std::size_t size, const Significand& round, int depth, Visit visit) {
    using Complex = std::complex<double>;
    std::size_t j = 0;
    for (std::size_t m = 1; m < size; ++m) {
        if (std::norm(x[m]) > std::norm(x[j])) j = m;
    }
    std::vector<Complex> ratio(size), q(size);
    for (std::size_t m = 0; m < size; ++m) ratio[m] = x[m] / x[j];
    for_sector(listed(round), depth, [&](Complex p, double /*re_half*/, double /*im_half*/) {
        q[j] = p;
        for (std::size_t m = 0; m < size; ++m) {
            if (m != j) {
                const Complex r = ratio[m];
                q[m] = round(
                    Complex(r.real() * p.real() - r.imag() * p.imag(), r.real() * p.imag() + r.imag() * p.real()));
            }
        }
        visit(q.data());
    });
}

}  // namespace bitterfly
