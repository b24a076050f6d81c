// Fused passes: several factors while their elements stay in registers, forward and transposed, from any weights.
//
// A step of a strided pass takes 16 columns of 2^F rows (four and two times as many columns for F = 1, 2), one of the
// innermost pass 256 contiguous elements. Its five factors d = 1 .. 16 act on pairs of lines: bit j of the element
// index is moved to the choice between the two lines by an exchange with a bit of the lane, and the last move, unzip,
// leaves all elements in their natural places.
#pragma once

#include "weights.inl"

namespace {

using bitterfly::PassArgs;

template <class V, bool Transposed, class W, class Index, bool C>
[[gnu::always_inline]] inline void act(const W& w, int j, Index v, Line<V, C>& a, Line<V, C>& b) {
    for (int h = 0; h < kParts<V>; ++h) w.block(j, v, h).template apply<Transposed>(a.part[h], b.part[h]);
}

// Factor j < 5 of the innermost pass on 32 elements; from `count` on there are no factors.
template <class V, bool Transposed, int J, class W, class Index, bool C>
[[gnu::always_inline]] inline void lane_factor(const W& w, Index v, int count, Line<V, C>& a, Line<V, C>& b) {
    if constexpr (!Transposed && J < 4) exchange<V, 1 << J>(a, b);
    if constexpr (!Transposed && J == 4) unzip<V>(a, b);
    if (J < count) act<V, Transposed>(w, J, v, a, b);
    if constexpr (Transposed && J < 4) exchange<V, 1 << J>(a, b);
    if constexpr (Transposed && J == 4) zip<V>(a, b);
}

template <class V, bool Transposed, class W, class Index, bool C>
[[gnu::always_inline]] inline void lane_factors(const W& w, Index v, int count, Line<V, C>& a, Line<V, C>& b) {
    unroll<5>([&](auto i) __attribute__((always_inline)) {
        lane_factor<V, Transposed, Transposed ? 4 - i : +i>(w, v, count, a, b);
    });
}

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

// The innermost eight factors where 256 numbers fit the registers: lines are registers.
template <class V, bool Transposed, class W>
[[gnu::always_inline]] inline void base_step_in_registers(const W& w, const typename V::Real* from,
                                                          typename V::Real* to) {
    Line<V, false> x[16];
    unroll<16>([&](auto i) __attribute__((always_inline)) { load_line<V>(from + i * kLanes, 0, x[i]); });
    const auto lanes = [&] __attribute__((always_inline)) {
        unroll<8>([&](auto q) __attribute__((always_inline)) {
            lane_factors<V, Transposed>(w.from(0, q / 4 * 4), std::integral_constant<int, q % 4>{}, 5, x[2 * q],
                                        x[2 * q + 1]);
        });
    };
    if constexpr (!Transposed) lanes();
    unroll<2>([&](auto c) __attribute__((always_inline)) {
        typename W::Value y[1][8];
        unroll<8>([&](auto i) __attribute__((always_inline)) { y[0][i] = x[2 * i + c].part[0]; });
        row_factors<V, Transposed, 3, 1>(w.from(5, 4 * c), 0, y);
        unroll<8>([&](auto i) __attribute__((always_inline)) { x[2 * i + c].part[0] = y[0][i]; });
    });
    if constexpr (Transposed) lanes();
    unroll<16>([&](auto i) __attribute__((always_inline)) { store_line<V>(to + i * kLanes, 0, x[i]); });
}

// Elsewhere they are stored between the fifth factor and the sixth.
template <class V, bool Transposed, class W>
[[gnu::always_inline]] inline void base_step_in_memory(const W& w, const typename V::Real* from, typename V::Real* to,
                                                       std::size_t plane) {
    constexpr std::size_t pair = 2 * kLanes;
    if constexpr (Transposed) {
        for (std::size_t c = 0; c < 2; ++c) {
            row_step<V, true, 3>(w.from(5, 4 * c), from + c * kLanes, to + c * kLanes, pair, plane);
        }
        from = to;
    }
    for (std::size_t u = 0; u < 2; ++u) {
        each<W, 4>([&](auto q) __attribute__((always_inline)) {
            Line<V, W::is_complex> a, b;
            const std::size_t at = (4 * u + static_cast<std::size_t>(q)) * pair;
            load_line<V>(from + at, plane, a), load_line<V>(from + at + kLanes, plane, b);
            lane_factors<V, Transposed>(w.from(0, 4 * u), q, 5, a, b);
            store_line<V>(to + at, plane, a), store_line<V>(to + at + kLanes, plane, b);
        });
    }
    if constexpr (!Transposed) {
        for (std::size_t c = 0; c < 2; ++c) {
            row_step<V, false, 3>(w.from(5, 4 * c), to + c * kLanes, to + c * kLanes, pair, plane);
        }
    }
}

// Vectors of n < 256: 32 elements (with room for as many) take up to five factors, the others act between the lines.
template <class V, bool Transposed, class W>
void small_step(const W& w, const typename V::Real* from, typename V::Real* to, std::size_t plane, int count) {
    const int pairs = static_cast<int>(w.vectors);
    Line<V, W::is_complex> x[8];
    for (int i = 0; i < 2 * pairs; ++i) load_line<V>(from + i * static_cast<int>(kLanes), plane, x[i]);
    const auto lanes = [&] {
        for (int q = 0; q < pairs; ++q) lane_factors<V, Transposed>(w, q, count, x[2 * q], x[2 * q + 1]);
    };
    const auto lines = [&](int j) {
        for (int v = 0; v < pairs; ++v) {
            const int low = insert_zero(v % (pairs / 2), j - 5), column = v / (pairs / 2);
            act<V, Transposed>(w, j, v, x[2 * low + column], x[2 * (low | 1 << (j - 5)) + column]);
        }
    };
    if (!Transposed) lanes();
    for (int j = 5; !Transposed && j < count; ++j) lines(j);
    for (int j = count - 1; Transposed && j >= 5; --j) lines(j);
    if (Transposed) lanes();
    for (int i = 0; i < 2 * pairs; ++i) store_line<V>(to + i * static_cast<int>(kLanes), plane, x[i]);
}

// Where step s of a pass begins, and the block-vectors of a factor in it. F = 8 is the innermost pass.
template <int F>
inline constexpr std::size_t kStepVectors = F >= 4 ? 8 : 4;
template <int F>
std::size_t step_start(std::size_t s) {
    return F == 8 ? 256 * s : s * kLanes * (F >= 3 ? 1 : F == 2 ? 2 : 4);
}

template <class V, bool Transposed, int F, class W>
[[gnu::always_inline]] inline void step(const W& w, const PassArgs<typename V::Real>& args, std::size_t s,
                                        std::size_t offset) {
    const std::size_t at = offset + step_start<F>(s);
    if constexpr (F == 4 && !kManyRegisters<V, W>) {
        row_step_in_quarters<V, Transposed>(w, args.from + at, args.to + at, args.stride, args.plane_stride);
    } else if constexpr (F != 8) {
        row_step<V, Transposed, F>(w, args.from + at, args.to + at, args.stride, args.plane_stride);
    } else if constexpr (kManyRegisters<V, W> && V::width == kLanes) {
        base_step_in_registers<V, Transposed>(w, args.from + at, args.to + at);
    } else {
        base_step_in_memory<V, Transposed>(w, args.from + at, args.to + at, args.plane_stride);
    }
}

// The weights of step s, decoded to the scratch memory.
template <class V, class W>
[[gnu::noinline]] void decode_step(const PassArgs<typename V::Real>& args, std::size_t s, std::size_t vectors,
                                   std::size_t steps) {
    constexpr bool is_complex = W::numbers == 6;
    const auto* group = static_cast<const std::uint32_t*>(args.stream) + s / steps * args.group_words;
    typename V::Real* out = args.scratch;
    for (std::size_t j = 0; j < args.factor_count; ++j, out += vectors * W::numbers * kLanes) {
        const auto& f = args.factors[j];
        decode<V, is_complex>(f, group + f.offset, s % steps * vectors * 2, vectors, out);
    }
}

// `args` by value in all loops: stores to vectors might else change it, for all that compilers know.
// Transposed products run through the stream backwards.
template <class V, bool Transposed, int F, class W>
void run_numbers(PassArgs<typename V::Real> args) {
    using Real = typename V::Real;
    constexpr std::size_t vectors = kStepVectors<F>, numbers = F * vectors * W::numbers * kLanes;
    const std::size_t steps = args.size / (32 * vectors);
    for (std::size_t i = 0; i < steps; ++i) {
        const std::size_t s = Transposed ? steps - 1 - i : i;
        const Real* p = static_cast<const Real*>(args.stream) + s * numbers;
        if constexpr (numbers > 0) {
            if (args.factors != nullptr) {
                decode_step<V, W>(args, s, vectors, 16 / vectors);
                p = args.scratch;
            }
        }
        for (std::size_t v = 0; v < args.vectors; ++v) {
            step<V, Transposed, F>(W(p, vectors), args, s, v * args.vector_stride);
        }
    }
}

template <class V, bool Transposed, int F, int Bits>
void run_codes(PassArgs<typename V::Real> args) {
    constexpr std::size_t vectors = kStepVectors<F>, steps = 16 / vectors, words = F * Bits * kLanes;
    constexpr std::ptrdiff_t ahead = Transposed ? -1024 : 1024;  // words: 4 KiB
    const Rotation<V> rotation(*args.factors->rotation);
    const std::size_t groups = args.size / 512;
    for (std::size_t i = 0; i < groups; ++i) {
        const std::size_t g = Transposed ? groups - 1 - i : i;
        const auto* lines = static_cast<const std::uint32_t*>(args.stream) + g * words;
        for (std::size_t line = 0; line < words; line += kLanes) __builtin_prefetch(lines + line + ahead);
        for (std::size_t k = 0; k < steps; ++k) {
            const std::size_t u = Transposed ? steps - 1 - k : k;
            step<V, Transposed, F>(AngleCodes<V, Bits>{rotation, lines}.from(0, u * vectors), args, g * steps + u, 0);
        }
    }
}

template <class V, bool Transposed, class W>
void run_small(const PassArgs<typename V::Real>& args) {
    const std::size_t vectors = (args.size + 2 * kLanes - 1) / (2 * kLanes);
    const auto* p = static_cast<const typename V::Real*>(args.stream);
    if (args.factors != nullptr) {
        decode_step<V, W>(args, 0, vectors, 1);
        p = args.scratch;
    }
    const W w(p, vectors);
    for (std::size_t v = 0; v < args.vectors; ++v) {
        const std::size_t offset = v * args.vector_stride;
        small_step<V, Transposed>(w, args.from + offset, args.to + offset, args.plane_stride,
                                  static_cast<int>(args.factor_count));
    }
}

}  // namespace
