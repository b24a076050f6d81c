// Codes out of the streams of sixteen lanes: a line is one word of each.
#pragma once

#include <cstdint>

#include "lanes.hpp"

namespace {

// A word whose lowest bits are the `count` ones from bit `first` of the streams on. Positions are numbers that become
// constants as calls are inlined: as template arguments each of them would be compiled by itself.
template <class V>
[[gnu::always_inline]] inline typename V::Word bits_at(const std::uint32_t* lines, int first, int count) {
    constexpr int next = static_cast<int>(bitterfly::kLanes);
    const std::uint32_t* const line = lines + first / 32 * next;
    const int shift = first % 32;
    const auto word = V::shift_right(V::load_words(line), shift);
    if (shift + count <= 32) return word;
    return V::bit_or(word, V::shift_left(V::load_words(line + next), 32 - shift));
}

}  // namespace
