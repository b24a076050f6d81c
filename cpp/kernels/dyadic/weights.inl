// What a fused pass multiplies with: blocks of weights in the order of their use, or of angle codes decoded on the fly.
#pragma once

#include "kernels/dyadic/args.hpp"
#include "kernels/dyadic/decode.inl"
#include "kernels/lanes/bits.inl"
#include "kernels/lanes/lines.inl"

namespace {

// Hadamard: no weights at all.
template <class V>
struct NoWeights {
    using Block = HadamardBlock<V>;
    using Value = typename Block::Value;
    static constexpr bool is_complex = false, needs_constants = false, is_long = false;
    static constexpr int period = 1, pairs_together = 4;
    static constexpr std::size_t numbers = 0;
    std::size_t vectors;

    NoWeights(const typename V::Real*, std::size_t step_vectors) : vectors(step_vectors) {}
    [[gnu::always_inline]] Block block(int, int, int) const { return {}; }
    NoWeights from(int, int) const { return *this; }
    NoWeights from_line(int, int) const { return *this; }
    [[gnu::always_inline]] static Block of_lane(const typename V::Real*) { return {}; }
};

// Block-vector v of factor j of a step: `numbers` lines of 16 at (j * vectors + v) * numbers.
template <class V, class BlockOf, std::size_t Numbers>
struct NumberWeights {
    using Real = typename V::Real;
    using Block = BlockOf;
    using Value = typename Block::Value;
    static constexpr std::size_t numbers = Numbers;
    static constexpr bool is_complex = Numbers > 4, needs_constants = false, is_long = false;
    static constexpr int period = 1, pairs_together = 1;
    const Real* p;
    std::size_t vectors;

    NumberWeights(const Real* weights, std::size_t step_vectors) : p(weights), vectors(step_vectors) {}
    [[gnu::always_inline]] Block block(int j, int v, int h) const {
        return of(p + offset(j, static_cast<std::size_t>(v)) + h * V::width);
    }
    NumberWeights from(int j, int v) const { return {p + offset(j, static_cast<std::size_t>(v)), vectors}; }
    NumberWeights from_line(int j, int v) const { return from(j, v); }
    // The block of one lane, for all lanes.
    [[gnu::always_inline]] static Block of_lane(const Real* q) {
        return from_numbers([q](auto i) __attribute__((always_inline)) { return V::broadcast(q[i * kLanes]); });
    }

private:
    std::size_t offset(int j, std::size_t v) const {
        return (static_cast<std::size_t>(j) * vectors + v) * Numbers * kLanes;
    }
    [[gnu::always_inline]] static Block of(const Real* q) {
        return from_numbers([q](auto i) __attribute__((always_inline)) { return V::load(q + i * kLanes); });
    }
    template <class Number>
    [[gnu::always_inline]] static Block from_numbers(Number number) {
        typename V::Vec w[Numbers];
        unroll<static_cast<int>(Numbers)>([&](auto i) __attribute__((always_inline)) { w[i] = number(i); });
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

// A code of the lanes at `lines`, which begins with bit `first` of their streams.
template <class V>
struct CodeAt {
    const std::uint32_t* lines;
    int first;

    // A word whose lowest bits are the `count` ones from bit `at` of the code on.
    [[gnu::always_inline]] typename V::Word bits(int at, int count) const {
        return bits_at<V>(lines, first + at, count);
    }
};

// Angle codes. Look-ups take the low bits of an index: shifts are all it takes to unpack.
template <class V, int Bits>
struct AngleCodes {
    using Block = RealBlock<V>;
    using Value = typename Block::Value;
    using Rotation = AngleRotation<V, Bits>;
    static constexpr bool is_complex = false, needs_constants = true;
    // Whether two copies of the decoder are more than a machine keeps decoded.
    static constexpr bool is_long = Rotation::registers > 4;
    // Block-vectors after which codes begin on a line again.
    static constexpr int period = Bits % 4 != 0 ? 8 : Bits % 8 != 0 ? 4 : Bits % 16 != 0 ? 2 : 1;
    static constexpr int pairs_together = Rotation::registers == 2 ? 4 : 2;
    const Rotation& rotation;
    const std::uint32_t* lines;  // of the first factor of a group, moved to the first block-vector of a step
    int start = 0;               // the bit of a line with which that one begins

    [[gnu::always_inline]] Block block(int j, int v, int h) const {
        const std::uint32_t* at = lines + j * Bits * static_cast<int>(kLanes) + h * V::width;
        const int first = start + 2 * Bits * v;
        return rotation.block(CodeAt<V>{at, first}, CodeAt<V>{at, first + Bits});
    }
    // From block-vector v on, a constant, since it may be within a line; or one that begins a line as this one does.
    [[gnu::always_inline]] AngleCodes from(int j, int v) const {
        const int bit = start + 2 * Bits * v;
        return {rotation, lines + (j * Bits + bit / 32) * static_cast<int>(kLanes), bit % 32};
    }
    [[gnu::always_inline]] AngleCodes from_line(int j, int v) const {
        return {rotation, lines + (j * Bits + 2 * Bits * v / 32) * static_cast<int>(kLanes), start};
    }
};

}  // namespace
