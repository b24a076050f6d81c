// The two passes of a rank-one split over a pair of rows: Gram matrix, then projection and what it discards.
#pragma once

#include "blocks.inl"

namespace {

// Partial sums are kept in Real over this many vectors, then added up in double.
inline constexpr std::size_t kChunk = 32;

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

template <class V>
void gram_chunk(const bitterfly::RowPair<typename V::Real>& rows, std::size_t first, double* out) {
    using Vec = typename V::Vec;
    Vec aa = V::broadcast(0), bb = aa, re = aa, im = aa;
    for (std::size_t i = first; i < first + kChunk * V::width; i += V::width) {
        const Vec a = V::load(rows.a + i), b = V::load(rows.b + i);
        aa = V::multiply_add(a, a, aa), bb = V::multiply_add(b, b, bb), re = V::multiply_add(a, b, re);
        if (rows.a_imag == nullptr) continue;
        const Vec ai = V::load(rows.a_imag + i), bi = V::load(rows.b_imag + i);
        aa = V::multiply_add(ai, ai, aa), bb = V::multiply_add(bi, bi, bb), re = V::multiply_add(ai, bi, re);
        im = V::multiply_subtract_from(a, bi, V::multiply_add(ai, b, im));
    }
    out[0] += static_cast<double>(V::sum(aa)), out[1] += static_cast<double>(V::sum(bb));
    out[2] += static_cast<double>(V::sum(re)), out[3] += static_cast<double>(V::sum(im));
}

template <class V>
void gram(const bitterfly::RowPair<typename V::Real>& rows, double* out) {
    for (int i = 0; i < 4; ++i) out[i] = 0;
    constexpr std::size_t step = kChunk * V::width;
    std::size_t i = 0;
    for (; i + step <= rows.length; i += step) gram_chunk<V>(rows, i, out);
    gram_tail(rows, i, out);
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

template <class V>
double project_chunk(const bitterfly::RowPair<typename V::Real>& rows, std::size_t first, const typename V::Vec* u,
                     typename V::Real* out, typename V::Real* out_imag) {
    using Vec = typename V::Vec;
    Vec sum = V::broadcast(0);
    for (std::size_t i = first; i < first + kChunk * V::width; i += V::width) {
        const Vec a = V::load(rows.a + i), b = V::load(rows.b + i);
        Vec kept = V::multiply_add(u[0], a, V::mul(u[1], b)),
            lost = V::multiply_subtract_from(u[1], a, V::mul(u[0], b));
        if (rows.a_imag != nullptr) {
            const Vec ai = V::load(rows.a_imag + i), bi = V::load(rows.b_imag + i);
            kept = V::multiply_add(u[2], bi, kept), lost = V::multiply_add(u[2], ai, lost);
            const Vec kept_imag = V::multiply_subtract_from(u[2], b, V::multiply_add(u[0], ai, V::mul(u[1], bi)));
            const Vec lost_imag =
                V::multiply_subtract_from(u[2], a, V::multiply_subtract_from(u[1], ai, V::mul(u[0], bi)));
            sum = V::multiply_add(lost_imag, lost_imag, sum);
            V::store(out_imag + i, kept_imag);
        }
        sum = V::multiply_add(lost, lost, sum);
        V::store(out + i, kept);
    }
    return static_cast<double>(V::sum(sum));
}

template <class V>
double project(const bitterfly::RowPair<typename V::Real>& rows, const double* u, typename V::Real* out,
               typename V::Real* out_imag) {
    using Real = typename V::Real;
    const typename V::Vec coefficients[3] = {V::broadcast(static_cast<Real>(u[0])),
                                             V::broadcast(static_cast<Real>(u[1])),
                                             V::broadcast(static_cast<Real>(u[2]))};
    constexpr std::size_t step = kChunk * V::width;
    double discarded = 0;
    std::size_t i = 0;
    for (; i + step <= rows.length; i += step) discarded += project_chunk<V>(rows, i, coefficients, out, out_imag);
    return discarded + project_tail(rows, i, u, out, out_imag);
}

}  // namespace
