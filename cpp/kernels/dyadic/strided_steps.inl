// One step of a strided pass: several factors on 2^F rows of 16 columns (four and two times as many for F = 1, 2) while
// they are in registers, or four rows at a time where there are not enough of these.
#pragma once

#include "kernels/dyadic/weights.inl"

namespace {

// F factors on 2^F rows, G columns.
template <class V, bool Transposed, int F, int G, class W>
[[gnu::always_inline]] inline void row_factors(const W& w, int h, typename W::Value (&x)[G][1 << F]) {
    constexpr int pairs = 1 << (F - 1);
    unroll_late<F>([&](int i) __attribute__((always_inline)) {
        const int j = Transposed ? F - 1 - i : i;
        unroll_late<G * pairs>([&](int v) __attribute__((always_inline)) {
            const int low = insert_zero(v % pairs, j);
            w.block(j, v, h).template apply<Transposed>(x[v / pairs][low], x[v / pairs][low | 1 << j]);
        });
    });
}

template <class V, bool Transposed, int F, class W>
[[gnu::always_inline]] inline void row_step(const W& w, const typename V::Real* from, typename V::Real* to,
                                            std::size_t stride, std::size_t plane) {
    constexpr int rows = 1 << F, columns = rows < 8 ? 8 / rows : 1;
    for (int h = 0; h < kParts<V>; ++h) {
        typename W::Value x[columns][rows];
        const auto at = [stride, h](int i) {
            return (static_cast<std::size_t>(h) * V::width) + static_cast<std::size_t>(i / rows) * kLanes +
                   static_cast<std::size_t>(i % rows) * stride;
        };
        unroll_late<columns * rows>(
            [&](int i) __attribute__((always_inline)) { load<V>(from + at(i), plane, x[i / rows][i % rows]); });
        row_factors<V, Transposed, F, columns>(w, h, x);
        unroll_late<columns * rows>(
            [&](int i) __attribute__((always_inline)) { store<V>(to + at(i), plane, x[i / rows][i % rows]); });
    }
}

template <class V, class W>
inline constexpr bool kManyRegisters = V::registers >= 32 && !W::is_complex;

// Calls f with 0, ..., N - 1: as constants where the position of a code must be one.
template <class W, int N, class F>
[[gnu::always_inline]] inline void each(F f) {
    if constexpr (W::needs_constants) {
        unroll_late<N>(f);
    } else {
        for (int i = 0; i < N; ++i) f(i);
    }
}

// Calls f(v, q) for the block-vectors v + q of eight: v where codes begin on a line, q a constant where it must be one.
// No longer than that, since code as long as that of all eight would run from the decoders of the machine.
template <class W, class F>
[[gnu::always_inline]] inline void each_vector(F f) {
    for (int v = 0; v < 8; v += W::period) {
        each<W, W::period>([&](int q) __attribute__((always_inline)) { f(v, q); });
    }
}

// Calls f(weights, half) with those of the last three factors for both halves of eight block-vectors: unrolled where
// codes of the second half begin within a line.
template <class W, class F>
[[gnu::always_inline]] inline void each_half(const W& w, F f) {
    if constexpr (W::period > 4) {
        unroll_late<2>([&](int c) __attribute__((always_inline)) { f(w.from(5, 4 * c), static_cast<std::size_t>(c)); });
    } else {
        for (int c = 0; c < 2; ++c) f(w.from_line(5, 4 * c), static_cast<std::size_t>(c));
    }
}

// Four of 16 rows and two of four factors at a time: where 16 rows do not fit the registers.
template <class V, bool Transposed, int J0, class W>
[[gnu::always_inline]] inline void quarter_steps(const W& w, const typename V::Real* from, typename V::Real* to,
                                                 std::size_t stride, std::size_t plane) {
    const std::size_t step = J0 == 0 ? stride : 4 * stride;
    each<W, 4>([&](int a) __attribute__((always_inline)) {
        const std::size_t first = static_cast<std::size_t>(a) * (J0 == 0 ? 4 * stride : stride);
        for (int h = 0; h < kParts<V>; ++h) {
            typename W::Value x[4];
            const std::size_t at = first + static_cast<std::size_t>(h) * V::width;
            const auto row = [at, step](int i) { return at + static_cast<std::size_t>(i) * step; };
            unroll_late<4>([&](int i) __attribute__((always_inline)) { load<V>(from + row(i), plane, x[i]); });
            unroll_late<4>([&](int i) __attribute__((always_inline)) {
                const int j = (Transposed ? 3 - i : i) / 2, low = insert_zero(i % 2, j);
                const int v = J0 == 0 ? 2 * a + i % 2 : a + i % 2 * 4;
                w.block(J0 + j, v, h).template apply<Transposed>(x[low], x[low | 1 << j]);
            });
            unroll_late<4>([&](int i) __attribute__((always_inline)) { store<V>(to + row(i), plane, x[i]); });
        }
    });
}

template <class V, bool Transposed, class W>
[[gnu::always_inline]] inline void row_step_in_quarters(const W& w, const typename V::Real* from, typename V::Real* to,
                                                        std::size_t stride, std::size_t plane) {
    quarter_steps<V, Transposed, Transposed ? 2 : 0>(w, from, to, stride, plane);
    quarter_steps<V, Transposed, Transposed ? 0 : 2>(w, to, to, stride, plane);
}

}  // namespace
