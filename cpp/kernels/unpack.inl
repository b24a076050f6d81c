// Packed bits -> one "turn" (a code at the top of Width bits) per code, for a group of 256 blocks.
#pragma once

#include <cstring>
#include <utility>

#include "kernels.hpp"

namespace {

using bitterfly::kCodesPerLane;
using bitterfly::kGroupBlocks;
using bitterfly::kLanes;

// Code T of the lanes at `line` (line s of a group lies at line + s * kLanes), moved to the top of the low Width bits
// of the word. Bits above Width may be anything, those below the code are zero.
template <class V, int Bits, int Width, int T>
typename V::Word aligned_code(const std::uint32_t* line) {
    constexpr int word = T * Bits / 32, start = T * Bits % 32, right = start + Bits - Width;
    typename V::Word code = V::load_words(line + word * kLanes);
    if constexpr (right > 0) {
        code = V::template shift_right<right>(code);
    } else if constexpr (right < 0) {
        code = V::template shift_left<-right>(code);
    }
    if constexpr (start + Bits > 32) {
        code = V::bit_or(code, V::template shift_left<32 - right>(V::load_words(line + (word + 1) * kLanes)));
    }
    if constexpr (Bits < Width) code = V::bit_and(code, ~std::uint32_t{0} << (Width - Bits));
    return code;
}

template <class V, int Bits, int Width, int... T>
void unpack_lanes(const std::uint32_t* line, std::uint32_t* turns, std::integer_sequence<int, T...>) {
    (V::store_words(turns + T * kLanes, aligned_code<V, Bits, Width, T>(line)), ...);
}

template <class V, int Bits, int Width>
void unpack_group(const std::uint32_t* lines, std::uint32_t* turns) {
    constexpr auto codes = std::make_integer_sequence<int, static_cast<int>(kCodesPerLane)>{};
    for (std::size_t lane = 0; lane < kLanes; lane += V::width) {
        unpack_lanes<V, Bits, Width>(lines + lane, turns + lane, codes);
    }
}

using UnpackGroup = void (*)(const std::uint32_t*, std::uint32_t*);

struct UnpackTable {
    UnpackGroup of[33];
};

// Codes of up to Width bits.
template <class V, int Width, int... BitsMinusOne>
constexpr UnpackTable unpack_table(std::integer_sequence<int, BitsMinusOne...>) {
    return {{nullptr, unpack_group<V, BitsMinusOne + 1, Width>...}};
}

// The turns of one group at a time, in a buffer that stays in L1.
template <int Width>
class Turns {
public:
    Turns(const void* words, int bits, std::size_t n)
        : words_(static_cast<const std::uint32_t*>(words)), bits_(bits), group_blocks_(n / 2) {}

    void open(std::size_t group) {
        static constexpr UnpackTable table = unpack_table<Simd<float>, Width>(std::make_integer_sequence<int, Width>{});
        const std::size_t group_words = static_cast<std::size_t>(bits_) * kLanes;
        if (group_blocks_ >= kGroupBlocks) {
            table.of[bits_](words_ + group * group_words, turns_);
        } else {  // the only group of a small factor stores no more lines than it needs
            alignas(64) std::uint32_t lines[32 * kLanes] = {};
            std::memcpy(lines, words_, stored_lines() * kLanes * sizeof(std::uint32_t));
            table.of[bits_](lines, turns_);
        }
    }

    // Turns of the columns k of the blocks that start at block `offset` of the group.
    template <class V>
    typename V::Word column(std::size_t offset, int k) const {
        const std::size_t vector = offset / kLanes, lane = offset % kLanes;
        return V::load_words(turns_ + (2 * vector + static_cast<std::size_t>(k)) * kLanes + lane);
    }

private:
    std::size_t stored_lines() const {
        const std::size_t vectors = (group_blocks_ + kLanes - 1) / kLanes;
        return (2 * vectors * static_cast<std::size_t>(bits_) + 31) / 32;
    }

    const std::uint32_t* words_;
    int bits_;
    std::size_t group_blocks_;
    alignas(64) std::uint32_t turns_[kCodesPerLane * kLanes];
};

}  // namespace
