// One step of a strided pass: several factors on 2^F rows of 16 columns (four and two times as many for F = 1, 2) while
// they are in registers, or four rows at a time where there are not enough of these.
#pragma once

#include "kernels/dyadic/weights.inl"

namespace {

// F factors on 2^F rows, G columns.
template <class V, bool Transposed, int F, int G, class W>
[[gnu::always_inline]] inline void row_factors(const W& w, int h, typename W::Value (&x)[G][1 << F]) {
    constexpr int pairs = 1 << (F - 1);
    unroll<F>([&](auto i) __attribute__((always_inline)) {
        constexpr int j = Transposed ? F - 1 - i : +i;
        unroll<G * pairs>([&](auto v) __attribute__((always_inline)) {
            constexpr int low = insert_zero(v % pairs, j);
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
        const std::size_t lane = static_cast<std::size_t>(h) * V::width;
        unroll<columns * rows>([&](auto i) __attribute__((always_inline)) {
            load<V>(from + lane + (i / rows) * kLanes + (i % rows) * stride, plane, x[i / rows][i % rows]);
        });
        row_factors<V, Transposed, F, columns>(w, h, x);
        unroll<columns * rows>([&](auto i) __attribute__((always_inline)) {
            store<V>(to + lane + (i / rows) * kLanes + (i % rows) * stride, plane, x[i / rows][i % rows]);
        });
    }
}

template <class V, class W>
inline constexpr bool kManyRegisters = V::registers >= 32 && !W::is_complex;

// Calls f with 0, ..., N - 1: as constants where the position of a code must be one.
template <class W, int N, class F>
[[gnu::always_inline]] inline void each(F f) {
    if constexpr (W::needs_constants) {
        unroll<N>(f);
    } else {
        for (int i = 0; i < N; ++i) f(i);
    }
}

// Calls f(v, q) for the block-vectors v + q of eight: v where codes begin on a line, q a constant where it must be one.
// No longer than that, since code as long as that of all eight would run from the decoders of the machine.
template <class W, class F>
[[gnu::always_inline]] inline void each_vector(F f) {
    for (int v = 0; v < 8; v += W::period) {
        each<W, W::period>([&](auto q) __attribute__((always_inline)) { f(v, q); });
    }
}

// Calls f with 0 and 4, the first ones of both halves of eight block-vectors: as constants where these differ.
template <class W, class F>
[[gnu::always_inline]] inline void each_half(F f) {
    if constexpr (W::period > 4) {
        unroll<2>([&](auto c) __attribute__((always_inline)) { f(std::integral_constant<int, 4 * c>{}); });
    } else {
        for (int v = 0; v < 8; v += 4) f(v);
    }
}

// Four of 16 rows and two of four factors at a time: where 16 rows do not fit the registers.
template <class V, bool Transposed, int J0, class W>
[[gnu::always_inline]] inline void quarter_steps(const W& w, const typename V::Real* from, typename V::Real* to,
                                                 std::size_t stride, std::size_t plane) {
    const std::size_t step = J0 == 0 ? stride : 4 * stride;
    each<W, 4>([&](auto a) __attribute__((always_inline)) {
        const std::size_t first = static_cast<std::size_t>(a) * (J0 == 0 ? 4 * stride : stride);
        for (int h = 0; h < kParts<V>; ++h) {
            typename W::Value x[4];
            const std::size_t at = first + static_cast<std::size_t>(h) * V::width;
            unroll<4>([&](auto i) __attribute__((always_inline)) { load<V>(from + at + i * step, plane, x[i]); });
            unroll<4>([&](auto i) __attribute__((always_inline)) {
                constexpr int j = (Transposed ? 3 - i : +i) / 2, low = insert_zero(i % 2, j);
                const auto v =
                    combine(a, i, [](int part, int k) { return J0 == 0 ? 2 * part + k % 2 : part + k % 2 * 4; });
                w.block(J0 + j, v, h).template apply<Transposed>(x[low], x[low | 1 << j]);
            });
            unroll<4>([&](auto i) __attribute__((always_inline)) { store<V>(to + at + i * step, plane, x[i]); });
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
