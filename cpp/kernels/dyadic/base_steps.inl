// One step of the innermost pass: the eight factors d = 1 .. 128 on 256 contiguous elements, and whole vectors of
// fewer.
//
// The five factors d = 1 .. 16 act on pairs of lines: bit j of the element index is moved to the choice between the two
// lines by an exchange with a bit of the lane, and the last move, unzip, leaves all elements in their natural places.
#pragma once

#include "kernels/dyadic/strided_steps.inl"

namespace {

using bitterfly::PassArgs;

template <class V, bool Transposed, class W, bool C>
[[gnu::always_inline]] inline void act(const W& w, int j, int v, Line<V, C>& a, Line<V, C>& b) {
    const auto act_on = [&](int h) __attribute__((always_inline)) {
        w.block(j, v, h).template apply<Transposed>(a.part[h], b.part[h]);
    };
    if constexpr (W::is_long || (W::needs_constants && kParts<V> > 4)) {
        for (int h = 0; h < kParts<V>; ++h) act_on(h);
    } else {
        each_part<V>(act_on);
    }
}

// Factor j < 5 of the innermost pass on 32 elements; from `count` on there are no factors.
template <class V, bool Transposed, int J, class W, bool C>
[[gnu::always_inline]] inline void lane_factor(const W& w, int v, int count, Line<V, C>& a, Line<V, C>& b) {
    if constexpr (!Transposed && J < 4) exchange<V, 1 << J>(a, b);
    if constexpr (!Transposed && J == 4) unzip<V>(a, b);
    if (J < count) act<V, Transposed>(w, J, v, a, b);
    if constexpr (Transposed && J < 4) exchange<V, 1 << J>(a, b);
    if constexpr (Transposed && J == 4) zip<V>(a, b);
}

template <class V, bool Transposed, class W, bool C>
[[gnu::always_inline]] inline void lane_factors(const W& w, int v, int count, Line<V, C>& a, Line<V, C>& b) {
    unroll<5>([&](auto i) __attribute__((always_inline)) {
        lane_factor<V, Transposed, Transposed ? 4 - i : +i>(w, v, count, a, b);
    });
}

// The innermost eight factors where 256 numbers fit the registers: lines are registers.
template <class V, bool Transposed, class W>
[[gnu::always_inline]] inline void base_step_in_registers(const W& w, const typename V::Real* from,
                                                          typename V::Real* to, const typename V::Real* scale) {
    Line<V, false> x[16];
    const auto line = [](int i) { return static_cast<std::size_t>(i) * kLanes; };
    unroll_late<16>([&](int i) __attribute__((always_inline)) { load_line<V>(from + line(i), 0, x[i]); });
    const auto scaled = [&] __attribute__((always_inline)) {
        if (scale == nullptr) return;
        unroll_late<16>([&](int i) __attribute__((always_inline)) { scale_line<V>(scale + line(i), x[i]); });
    };
    // Factor by factor for a few pairs of lines: a pair alone waits for its shuffles and multiply-adds.
    constexpr int together = W::pairs_together;
    const auto lanes = [&] __attribute__((always_inline)) {
        unroll_late<8 / together>([&](int first) __attribute__((always_inline)) {
            unroll<5>([&](auto i) __attribute__((always_inline)) {
                constexpr int j = Transposed ? 4 - i : +i;
                unroll_late<together>([&](int k) __attribute__((always_inline)) {
                    const int q = first * together + k;
                    lane_factor<V, Transposed, j>(w, q, 5, x[2 * q], x[2 * q + 1]);
                });
            });
        });
    };
    if constexpr (!Transposed) scaled(), lanes();
    unroll_late<2>([&](int c) __attribute__((always_inline)) {
        typename W::Value y[1][8];
        unroll_late<8>([&](int i) __attribute__((always_inline)) { y[0][i] = x[2 * i + c].part[0]; });
        row_factors<V, Transposed, 3, 1>(w.from(5, 4 * c), 0, y);
        unroll_late<8>([&](int i) __attribute__((always_inline)) { x[2 * i + c].part[0] = y[0][i]; });
    });
    if constexpr (Transposed) lanes(), scaled();
    unroll_late<16>([&](int i) __attribute__((always_inline)) { store_line<V>(to + line(i), 0, x[i]); });
}

// Times the numbers from number `at` of the scale vector on, or ones if it is null.
template <class V, bool C>
[[gnu::always_inline]] inline void scale_pair(const typename V::Real* scale, std::size_t at, Line<V, C>& a,
                                              Line<V, C>& b) {
    constexpr std::size_t planes = C ? 2 : 1;
    if (scale == nullptr) return;
    scale_line<V>(scale + planes * at, a), scale_line<V>(scale + planes * (at + kLanes), b);
}

// Elsewhere they are stored between the fifth factor and the sixth.
template <class V, bool Transposed, class W>
[[gnu::always_inline]] inline void base_step_in_memory(const W& w, const typename V::Real* from, typename V::Real* to,
                                                       std::size_t plane, const typename V::Real* scale) {
    constexpr std::size_t pair = 2 * kLanes;
    if constexpr (Transposed) {
        each_half<W>(w, [&](const W& codes, std::size_t half) __attribute__((always_inline)) {
            const std::size_t at = half * kLanes;
            row_step<V, true, 3>(codes, from + at, to + at, pair, plane);
        });
        from = to;
    }
    each_vector<W>([&](int v, int q) __attribute__((always_inline)) {
        Line<V, W::is_complex> a, b;
        const std::size_t at = static_cast<std::size_t>(v + q) * pair;
        load_line<V>(from + at, plane, a), load_line<V>(from + at + kLanes, plane, b);
        if constexpr (!Transposed) scale_pair<V>(scale, at, a, b);
        lane_factors<V, Transposed>(w.from_line(0, v), q, 5, a, b);
        if constexpr (Transposed) scale_pair<V>(scale, at, a, b);
        store_line<V>(to + at, plane, a), store_line<V>(to + at + kLanes, plane, b);
    });
    if constexpr (!Transposed) {
        each_half<W>(w, [&](const W& codes, std::size_t half) __attribute__((always_inline)) {
            const std::size_t at = half * kLanes;
            row_step<V, false, 3>(codes, to + at, to + at, pair, plane);
        });
    }
}

// Vectors of n < 256: 32 elements (with room for as many) take up to five factors, the others act between the lines.
template <class V, bool Transposed, class W>
void small_step(const W& w, const PassArgs<typename V::Real>& args, std::size_t offset) {
    const typename V::Real* from = args.from + offset;
    typename V::Real* to = args.to + offset;
    const std::size_t plane = args.plane_stride;
    const int count = static_cast<int>(args.factor_count);
    const int pairs = static_cast<int>(w.vectors);
    Line<V, W::is_complex> x[8];
    for (int i = 0; i < 2 * pairs; ++i) load_line<V>(from + i * static_cast<int>(kLanes), plane, x[i]);
    const auto scaled = [&] {
        for (int q = 0; q < pairs; ++q)
            scale_pair<V>(args.scale, static_cast<std::size_t>(q) * 2 * kLanes, x[2 * q], x[2 * q + 1]);
    };
    const auto lanes = [&] {
        for (int q = 0; q < pairs; ++q) lane_factors<V, Transposed>(w, q, count, x[2 * q], x[2 * q + 1]);
    };
    const auto lines = [&](int j) {
        for (int v = 0; v < pairs; ++v) {
            const int low = insert_zero(v % (pairs / 2), j - 5), column = v / (pairs / 2);
            act<V, Transposed>(w, j, v, x[2 * low + column], x[2 * (low | 1 << (j - 5)) + column]);
        }
    };
    if (!Transposed) scaled(), lanes();
    for (int j = 5; !Transposed && j < count; ++j) lines(j);
    for (int j = count - 1; Transposed && j >= 5; --j) lines(j);
    if (Transposed) lanes(), scaled();
    for (int i = 0; i < 2 * pairs; ++i) store_line<V>(to + i * static_cast<int>(kLanes), plane, x[i]);
}

}  // namespace
