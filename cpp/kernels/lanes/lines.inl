// Sixteen lanes as one or several registers, and how two lines exchange elements.
#pragma once

#include "kernels/lanes/blocks.inl"
#include "kernels/lanes/unroll.inl"
#include "lanes.hpp"

namespace {

using bitterfly::kLanes;

// `bits` with a zero put in at position j.
constexpr int insert_zero(int bits, int j) { return (bits >> j << (j + 1)) | (bits & ((1 << j) - 1)); }

template <class V>
inline constexpr int kParts = static_cast<int>(kLanes) / V::width;

// Calls f with the numbers of the parts, unrolled: a loop might leave the parts in memory. Sixteen parts lie there
// anyway.
template <class V, class F>
[[gnu::always_inline]] inline void each_part(F f) {
    if constexpr (V::width == 1) {
        for (int h = 0; h < kParts<V>; ++h) f(h);
    } else {
        unroll_late<kParts<V>>(f);
    }
}

// One number a lane, real or complex. (Registers are no template arguments: compilers drop their attributes there.)
template <class V, bool IsComplex>
struct ValueOf {
    using type = typename V::Vec;
};
template <class V>
struct ValueOf<V, true> {
    using type = Complex<V>;
};

template <class V, bool IsComplex>
struct Line {
    using Value = typename ValueOf<V, IsComplex>::type;
    Value part[kParts<V>];
};

template <class V>
[[gnu::always_inline]] inline void load(const typename V::Real* p, std::size_t, typename V::Vec& x) {
    x = V::load(p);
}
template <class V>
[[gnu::always_inline]] inline void load(const typename V::Real* p, std::size_t plane, Complex<V>& x) {
    x = {V::load(p), V::load(p + plane)};
}
template <class V>
[[gnu::always_inline]] inline void store(typename V::Real* p, std::size_t, const typename V::Vec& x) {
    V::store(p, x);
}
template <class V>
[[gnu::always_inline]] inline void store(typename V::Real* p, std::size_t plane, const Complex<V>& x) {
    V::store(p, x.re), V::store(p + plane, x.im);
}

template <class V, bool IsComplex>
[[gnu::always_inline]] inline void load_line(const typename V::Real* p, std::size_t plane, Line<V, IsComplex>& x) {
    each_part<V>([&](int h) __attribute__((always_inline)) { load<V>(p + h * V::width, plane, x.part[h]); });
}
template <class V, bool IsComplex>
[[gnu::always_inline]] inline void store_line(typename V::Real* p, std::size_t plane, const Line<V, IsComplex>& x) {
    each_part<V>([&](int h) __attribute__((always_inline)) { store<V>(p + h * V::width, plane, x.part[h]); });
}

template <class V, int D>
[[gnu::always_inline]] inline void exchange_lanes(typename V::Vec& a, typename V::Vec& b) {
    V::template exchange<D>(a, b);
}
template <class V, int D>
[[gnu::always_inline]] inline void exchange_lanes(Complex<V>& a, Complex<V>& b) {
    V::template exchange<D>(a.re, b.re), V::template exchange<D>(a.im, b.im);
}
template <class V>
[[gnu::always_inline]] inline void unzip_lanes(typename V::Vec& a, typename V::Vec& b) {
    V::unzip(a, b);
}
template <class V>
[[gnu::always_inline]] inline void unzip_lanes(Complex<V>& a, Complex<V>& b) {
    V::unzip(a.re, b.re), V::unzip(a.im, b.im);
}
template <class V>
[[gnu::always_inline]] inline void zip_lanes(typename V::Vec& a, typename V::Vec& b) {
    V::zip(a, b);
}
template <class V>
[[gnu::always_inline]] inline void zip_lanes(Complex<V>& a, Complex<V>& b) {
    V::zip(a.re, b.re), V::zip(a.im, b.im);
}

// Lanes of a with bit D set <-> lanes of b with bit D clear. With the lines as one more bit of an index of 32 elements,
// this swaps that bit with bit D.
template <class V, int D, bool IsComplex>
[[gnu::always_inline]] inline void exchange(Line<V, IsComplex>& a, Line<V, IsComplex>& b) {
    each_part<V>([&](int h) __attribute__((always_inline)) {
        if constexpr (D < V::width) {
            exchange_lanes<V, D>(a.part[h], b.part[h]);
        } else if ((h & D / V::width) == 0) {
            const int other = h + D / V::width;
            const auto x = a.part[other];
            a.part[other] = b.part[h], b.part[h] = x;
        }
    });
}

// Lanes of a|b: the even ones to a, the odd ones to b. zip is the inverse.
template <class V, bool IsComplex>
[[gnu::always_inline]] inline void unzip(Line<V, IsComplex>& a, Line<V, IsComplex>& b) {
    constexpr int parts = kParts<V>;
    const Line<V, IsComplex> from[2] = {a, b};
    each_part<V>([&](int q) __attribute__((always_inline)) {
        a.part[q] = from[2 * q / parts].part[2 * q % parts];
        b.part[q] = from[(2 * q + 1) / parts].part[(2 * q + 1) % parts];
        unzip_lanes<V>(a.part[q], b.part[q]);
    });
}
template <class V, bool IsComplex>
[[gnu::always_inline]] inline void zip(Line<V, IsComplex>& a, Line<V, IsComplex>& b) {
    constexpr int parts = kParts<V>;
    Line<V, IsComplex> to[2];
    each_part<V>([&](int q) __attribute__((always_inline)) {
        zip_lanes<V>(a.part[q], b.part[q]);
        to[2 * q / parts].part[2 * q % parts] = a.part[q];
        to[(2 * q + 1) / parts].part[(2 * q + 1) % parts] = b.part[q];
    });
    a = to[0], b = to[1];
}

// x times 16 numbers, complex ones interleaved; rounded as for columns side by side.
template <class V, bool IsComplex>
[[gnu::always_inline]] inline void scale_line(const typename V::Real* scale, Line<V, IsComplex>& x) {
    each_part<V>([&](int h) __attribute__((always_inline)) {
        if constexpr (IsComplex) {
            auto re = V::load(scale + 2 * h * V::width), im = V::load(scale + (2 * h + 1) * V::width);
            V::unzip(re, im);
            const auto [x_re, x_im] = x.part[h];
            x.part[h] = {V::sub(V::mul(re, x_re), V::mul(im, x_im)), V::add(V::mul(re, x_im), V::mul(im, x_re))};
        } else {
            x.part[h] = V::mul(x.part[h], V::load(scale + h * V::width));
        }
    });
}

}  // namespace
