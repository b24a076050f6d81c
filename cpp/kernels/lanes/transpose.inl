// Chunks of lanes that registers exchange: squares of them, transposed.
#pragma once

#include <utility>

namespace {

// One stage of the transposition of Count x Count chunks of D lanes: registers whose numbers differ by Stride.
template <class V, int D, int Stride, int... Pair>
[[gnu::always_inline]] inline void transpose_stage(typename V::Vec* v, std::integer_sequence<int, Pair...>) {
    (V::template exchange<D * Stride>(v[Pair / Stride * 2 * Stride + Pair % Stride],
                                      v[Pair / Stride * 2 * Stride + Pair % Stride + Stride]),
     ...);
}

// Chunk j of register i becomes chunk i of register j, for Count chunks in as many registers, bit by bit of i and j.
template <class V, int D, int Count, int Stride = 1>
[[gnu::always_inline]] inline void transpose_chunks(typename V::Vec* v) {
    if constexpr (Stride < Count) {
        transpose_stage<V, D, Stride>(v, std::make_integer_sequence<int, Count / 2>{});
        transpose_chunks<V, D, Count, Stride * 2>(v);
    }
}

}  // namespace
