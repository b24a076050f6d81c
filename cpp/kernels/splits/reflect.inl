// A reflector on many columns, as in QR: x - tau <v, x> v, and what it leaves below the last row.
//
// Operations: two multiply-adds for each number (eight if complex), one (two) more for the squares; bytes: each number
// is read twice and written once, a few columns at a time, which stay in the first cache.
#pragma once

#include "kernels/lanes/unroll.inl"
#include "kernels/splits/args.hpp"
#include "lanes.hpp"

namespace {

using bitterfly::ReflectArgs;

// Sums over one column: the product with v, four for complex numbers, so that each has a chain of its own.
template <class V, bool IsComplex>
struct Projection {
    using Vec = typename V::Vec;
    Vec rr = V::broadcast(0), ii = V::broadcast(0), ri = V::broadcast(0), ir = V::broadcast(0);

    [[gnu::always_inline]] void add(Vec v_re, Vec v_im, const typename V::Real* x, std::size_t plane) {
        const Vec x_re = V::load(x);
        rr = V::multiply_add(v_re, x_re, rr);
        if constexpr (IsComplex) {
            const Vec x_im = V::load(x + plane);
            ii = V::multiply_add(v_im, x_im, ii);
            ri = V::multiply_add(v_re, x_im, ri);
            ir = V::multiply_add(v_im, x_re, ir);
        }
    }
};

// J columns: the products with v, then the update with its squares.
template <class V, bool IsComplex, int J>
void reflect_columns(const ReflectArgs<typename V::Real>& args, std::size_t first, typename V::Vec live) {
    using Real = typename V::Real;
    using Vec = typename V::Vec;
    constexpr std::size_t planes = IsComplex ? 2 : 1;
    const std::size_t plane = args.plane, column = planes * plane, width = V::width;
    const std::size_t end = (args.rows + width - 1) / width * width;
    const Real* v = args.v;
    Real* x = args.x + first * column;

    Projection<V, IsComplex> sums[J];
    for (std::size_t r = 0; r < end; r += width) {
        const Vec v_re = V::load(v + r), v_im = IsComplex ? V::load(v + plane + r) : v_re;
        unroll<J>([&](auto j) __attribute__((always_inline)) { sums[j].add(v_re, v_im, x + j * column + r, plane); });
    }
    Vec c_re[J], c_im[J], squares[J];
    unroll<J>([&](auto j) __attribute__((always_inline)) {
        const auto& s = sums[j];
        c_re[j] = V::broadcast(args.tau * (IsComplex ? V::sum(V::add(s.rr, s.ii)) : V::sum(s.rr)));
        if constexpr (IsComplex) c_im[j] = V::broadcast(args.tau * V::sum(V::sub(s.ri, s.ir)));
        squares[j] = V::broadcast(0);
    });
    const auto update = [&](std::size_t r, auto is_last) __attribute__((always_inline)) {
        const Vec v_re = V::load(v + r), v_im = IsComplex ? V::load(v + plane + r) : v_re;
        unroll<J>([&](auto j) __attribute__((always_inline)) {
            Real* to = x + j * column + r;
            const auto put = [&](Real* p, Vec y) __attribute__((always_inline)) {
                V::store(p, y);
                if constexpr (is_last) y = V::mul(y, live);
                squares[j] = V::multiply_add(y, y, squares[j]);
            };
            Vec re = V::multiply_subtract_from(c_re[j], v_re, V::load(to));
            if constexpr (IsComplex) {
                re = V::multiply_add(c_im[j], v_im, re);
                const Vec im = V::multiply_subtract_from(c_re[j], v_im, V::load(to + plane));
                put(to + plane, V::multiply_subtract_from(c_im[j], v_re, im));
            }
            put(to, re);
        });
    };
    for (std::size_t r = 0; r + width < end; r += width) update(r, std::false_type{});
    update(end - width, std::true_type{});
    unroll<J>([&](auto j) __attribute__((always_inline)) {
        args.squares[first + j] = V::sum(squares[j]);
        for (std::size_t p = 0; p < planes; ++p) {
            Real& last = x[j * column + p * plane + args.rows - 1];
            args.last[(first + j) * planes + p] = last;
            last = 0;
        }
    });
}

template <class V, bool IsComplex>
void reflect_all(const ReflectArgs<typename V::Real>& args) {
    // Sums of as many columns as keep the multipliers busy, and fit the registers.
    constexpr int together = V::registers == 16 ? (IsComplex ? 2 : 4) : (IsComplex ? 4 : 8);
    alignas(64) typename V::Real ones[V::width] = {};
    for (std::size_t i = 0; i < (args.rows - 1) % V::width; ++i) ones[i] = 1;
    const auto live = V::load(ones);
    std::size_t j = 0;
    for (; j + together <= args.columns; j += together) reflect_columns<V, IsComplex, together>(args, j, live);
    for (; j < args.columns; ++j) reflect_columns<V, IsComplex, 1>(args, j, live);
}

template <class V>
void reflect(const ReflectArgs<typename V::Real>& args) {
    args.planes == 2 ? reflect_all<V, true>(args) : reflect_all<V, false>(args);
}

}  // namespace
