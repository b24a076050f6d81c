// What a fused pass multiplies with: blocks of weights in the order of their use, or of angle codes decoded on the fly.
#pragma once

#include "decode.inl"
#include "kernels.hpp"
#include "lines.inl"

namespace {

// Hadamard: no weights at all.
template <class V>
struct NoWeights {
    using Block = HadamardBlock<V>;
    using Value = typename Block::Value;
    static constexpr bool is_complex = false, needs_constants = false;
    static constexpr int pairs_together = 4;
    static constexpr std::size_t numbers = 0;
    std::size_t vectors;

    NoWeights(const typename V::Real*, std::size_t step_vectors) : vectors(step_vectors) {}
    template <class Index>
    [[gnu::always_inline]] Block block(int, Index, int) const {
        return {};
    }
    NoWeights from(int, std::size_t) const { return *this; }
};

// Block-vector v of factor j of a step: `numbers` lines of 16 at (j * vectors + v) * numbers.
template <class V, class BlockOf, std::size_t Numbers>
struct NumberWeights {
    using Real = typename V::Real;
    using Block = BlockOf;
    using Value = typename Block::Value;
    static constexpr std::size_t numbers = Numbers;
    static constexpr bool is_complex = Numbers > 4, needs_constants = false;
    static constexpr int pairs_together = 1;
    const Real* p;
    std::size_t vectors;

    NumberWeights(const Real* weights, std::size_t step_vectors) : p(weights), vectors(step_vectors) {}
    template <class Index>
    [[gnu::always_inline]] Block block(int j, Index v, int h) const {
        return of(p + offset(j, static_cast<std::size_t>(v)) + h * V::width);
    }
    NumberWeights from(int j, std::size_t v) const { return {p + offset(j, v), vectors}; }
    // The block of one lane, for all lanes.
    [[gnu::always_inline]] static Block of_lane(const Real* q) {
        return from_numbers([q](std::size_t i) __attribute__((always_inline)) { return V::broadcast(q[i * kLanes]); });
    }

private:
    std::size_t offset(int j, std::size_t v) const {
        return (static_cast<std::size_t>(j) * vectors + v) * Numbers * kLanes;
    }
    [[gnu::always_inline]] static Block of(const Real* q) {
        return from_numbers([q](std::size_t i) __attribute__((always_inline)) { return V::load(q + i * kLanes); });
    }
    template <class Number>
    [[gnu::always_inline]] static Block from_numbers(Number number) {
        typename V::Vec w[Numbers];
        for (std::size_t i = 0; i < Numbers; ++i) w[i] = number(i);
        if constexpr (Numbers == 4) return {{{w[0], w[1]}, {w[2], w[3]}}};
        if constexpr (Numbers == 6) return {{w[0], w[1]}, {{w[2], w[3]}, {w[4], w[5]}}};
        if constexpr (Numbers == 8) return {{{{w[0], w[1]}, {w[2], w[3]}}, {{w[4], w[5]}, {w[6], w[7]}}}};
    }
};

template <class V>
using RealNumbers = NumberWeights<V, RealBlock<V>, 4>;
template <class V>
using ColumnNumbers = NumberWeights<V, ColumnsBlock<V>, 6>;
template <class V>
using ComplexNumbers = NumberWeights<V, ComplexBlock<V>, 8>;

// Angle codes of 4 or 8 bits. Look-ups take the low four bits of an index: shifts are all it takes to unpack.
template <class V, int Bits>
struct AngleCodes {
    using Block = RealBlock<V>;
    using Value = typename Block::Value;
    static constexpr bool is_complex = false, needs_constants = true;
    static constexpr int pairs_together = Bits == 4 ? 4 : 2;
    const Rotation<V>& rotation;
    const std::uint32_t* lines;  // of the first factor of a group, moved to the first block-vector of a step

    template <class Index>
    [[gnu::always_inline]] Block block(int j, Index, int h) const {
        const std::uint32_t* at = lines + j * Bits * static_cast<int>(kLanes) + h * V::width;
        const Complex<V> a = column<2 * Index::value>(at), b = column<2 * Index::value + 1>(at);
        return {{{a.re, b.re}, {a.im, b.im}}};
    }
    // v is a multiple of four: whole lines.
    AngleCodes from(int j, std::size_t v) const {
        return {rotation, lines + (static_cast<std::size_t>(j) * Bits + v * Bits / 16) * kLanes};
    }

private:
    template <int Code>
    [[gnu::always_inline]] Complex<V> column(const std::uint32_t* at) const {
        constexpr int line = Code * Bits / 32, shift = Code * Bits % 32;
        const auto word = V::load_words(at + line * static_cast<int>(kLanes));
        if constexpr (Bits == 4) return rotation.coarse_angle(V::template shift_right<shift>(word));
        if constexpr (Bits == 8) {
            return rotation.fine(rotation.coarse_angle(V::template shift_right<shift + 4>(word)),
                                 V::template shift_right<shift>(word));
        }
    }
};

}  // namespace
