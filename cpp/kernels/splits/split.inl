// The two passes of a rank-one split over a pair of rows: Gram matrix, then projection and what it discards.
//
// Operations: 3 multiply-adds and 5 for each pair of real numbers, 8 and 14 for complex ones; bytes: both rows, from
// cache where they fit. Sums come in two parts that do not wait for each other.
#pragma once

#include "kernels/lanes/blocks.inl"
#include "kernels/splits/args.hpp"

namespace {

// Partial sums are kept in Real over this many vectors, then added up in double.
inline constexpr std::size_t kChunk = 32;

// Calls chunk(first, end) for the whole vectors of a row; returns the first number behind them.
template <class V, class Chunk>
std::size_t for_each_chunk(std::size_t length, Chunk chunk) {
    const std::size_t whole = length / V::width * V::width;
    for (std::size_t i = 0; i < whole; i += kChunk * V::width) {
        chunk(i, i + kChunk * V::width < whole ? i + kChunk * V::width : whole);
    }
    return whole;
}

template <class Real>
void gram_tail(const bitterfly::RowPair<Real>& rows, std::size_t first, double* out) {
    for (std::size_t i = first; i < rows.length; ++i) {
        const double a = rows.a[i], b = rows.b[i];
        out[0] += a * a, out[1] += b * b, out[2] += a * b;
        if (rows.a_imag == nullptr) continue;
        const double ai = rows.a_imag[i], bi = rows.b_imag[i];
        out[0] += ai * ai, out[1] += bi * bi, out[2] += ai * bi, out[3] += ai * b - a * bi;
    }
}

template <class V, bool Complex>
struct GramSums {
    using Vec = typename V::Vec;
    Vec aa = V::broadcast(0), bb = aa, re = aa, im = aa, minus_im = aa;

    void add(const bitterfly::RowPair<typename V::Real>& rows, std::size_t i) {
        const Vec a = V::load(rows.a + i), b = V::load(rows.b + i);
        aa = V::multiply_add(a, a, aa), bb = V::multiply_add(b, b, bb), re = V::multiply_add(a, b, re);
        if constexpr (Complex) {
            const Vec ai = V::load(rows.a_imag + i), bi = V::load(rows.b_imag + i);
            aa = V::multiply_add(ai, ai, aa), bb = V::multiply_add(bi, bi, bb), re = V::multiply_add(ai, bi, re);
            im = V::multiply_add(ai, b, im), minus_im = V::multiply_add(a, bi, minus_im);
        }
    }
};

template <class V, bool Complex>
void gram_chunk(const bitterfly::RowPair<typename V::Real>& rows, std::size_t first, std::size_t end, double* out) {
    GramSums<V, Complex> even, odd;
    std::size_t i = first;
    for (; i + 2 * V::width <= end; i += 2 * V::width) even.add(rows, i), odd.add(rows, i + V::width);
    if (i < end) even.add(rows, i);
    out[0] += static_cast<double>(V::sum(V::add(even.aa, odd.aa)));
    out[1] += static_cast<double>(V::sum(V::add(even.bb, odd.bb)));
    out[2] += static_cast<double>(V::sum(V::add(even.re, odd.re)));
    if constexpr (Complex) {
        const auto im = V::sub(V::add(even.im, odd.im), V::add(even.minus_im, odd.minus_im));
        out[3] += static_cast<double>(V::sum(im));
    }
}

template <class V>
void gram(const bitterfly::RowPair<typename V::Real>& rows, double* out) {
    for (int i = 0; i < 4; ++i) out[i] = 0;
    const std::size_t whole = for_each_chunk<V>(rows.length, [&](std::size_t first, std::size_t end) {
        if (rows.a_imag != nullptr) {
            gram_chunk<V, true>(rows, first, end, out);
        } else {
            gram_chunk<V, false>(rows, first, end, out);
        }
    });
    gram_tail(rows, whole, out);
}

// u = (u0, Re u1, Im u1).
template <class Real>
double project_tail(const bitterfly::RowPair<Real>& rows, std::size_t first, const double* u, Real* out,
                    Real* out_imag) {
    double discarded = 0;
    for (std::size_t i = first; i < rows.length; ++i) {
        const double a = rows.a[i], b = rows.b[i];
        const bool is_complex = rows.a_imag != nullptr;
        const double ai = is_complex ? rows.a_imag[i] : 0, bi = is_complex ? rows.b_imag[i] : 0;
        const double re = u[0] * b - (u[1] * a - u[2] * ai), im = u[0] * bi - (u[1] * ai + u[2] * a);
        discarded += re * re + im * im;
        out[i] = static_cast<Real>(u[0] * a + (u[1] * b + u[2] * bi));
        if (is_complex) out_imag[i] = static_cast<Real>(u[0] * ai + (u[1] * bi - u[2] * b));
    }
    return discarded;
}

// Projects one vector of both rows; returns `sum` plus the squares of what that discards.
template <class V, bool Complex>
typename V::Vec project_vector(const bitterfly::RowPair<typename V::Real>& rows, std::size_t i,
                               const typename V::Vec* u, typename V::Real* out, typename V::Real* out_imag,
                               typename V::Vec sum) {
    using Vec = typename V::Vec;
    const Vec a = V::load(rows.a + i), b = V::load(rows.b + i);
    Vec kept = V::multiply_add(u[0], a, V::mul(u[1], b)), lost = V::multiply_subtract_from(u[1], a, V::mul(u[0], b));
    if constexpr (Complex) {
        const Vec ai = V::load(rows.a_imag + i), bi = V::load(rows.b_imag + i);
        kept = V::multiply_add(u[2], bi, kept), lost = V::multiply_add(u[2], ai, lost);
        const Vec kept_imag = V::multiply_subtract_from(u[2], b, V::multiply_add(u[0], ai, V::mul(u[1], bi)));
        const Vec lost_imag = V::multiply_subtract_from(u[2], a, V::multiply_subtract_from(u[1], ai, V::mul(u[0], bi)));
        sum = V::multiply_add(lost_imag, lost_imag, sum);
        V::store(out_imag + i, kept_imag);
    }
    V::store(out + i, kept);
    return V::multiply_add(lost, lost, sum);
}

template <class V, bool Complex>
double project_chunk(const bitterfly::RowPair<typename V::Real>& rows, std::size_t first, std::size_t end,
                     const typename V::Vec* u, typename V::Real* out, typename V::Real* out_imag) {
    typename V::Vec even = V::broadcast(0), odd = even;
    std::size_t i = first;
    for (; i + 2 * V::width <= end; i += 2 * V::width) {
        even = project_vector<V, Complex>(rows, i, u, out, out_imag, even);
        odd = project_vector<V, Complex>(rows, i + V::width, u, out, out_imag, odd);
    }
    if (i < end) even = project_vector<V, Complex>(rows, i, u, out, out_imag, even);
    return static_cast<double>(V::sum(V::add(even, odd)));
}

template <class V>
double project(const bitterfly::RowPair<typename V::Real>& rows, const double* u, typename V::Real* out,
               typename V::Real* out_imag) {
    using Real = typename V::Real;
    const typename V::Vec coefficients[3] = {V::broadcast(static_cast<Real>(u[0])),
                                             V::broadcast(static_cast<Real>(u[1])),
                                             V::broadcast(static_cast<Real>(u[2]))};
    double discarded = 0;
    const std::size_t whole = for_each_chunk<V>(rows.length, [&](std::size_t first, std::size_t end) {
        discarded += rows.a_imag != nullptr ? project_chunk<V, true>(rows, first, end, coefficients, out, out_imag)
                                            : project_chunk<V, false>(rows, first, end, coefficients, out, out_imag);
    });
    return discarded + project_tail(rows, whole, u, out, out_imag);
}

}  // namespace
