// Codes <-> packed bits of one factor. The layout is described in docs/format.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lanes.hpp"

namespace bitterfly {

// Where a code begins: bit `shift` of words[word]; its next word, if any, stands kLanes further.
struct CodePosition {
    std::size_t word;
    int shift;
};

// Column k of block beta of a factor.
inline CodePosition code_position(std::size_t beta, std::size_t k, int bits) {
    const std::size_t group = beta / kGroupBlocks, vector = beta % kGroupBlocks / kLanes, lane = beta % kLanes;
    const std::size_t bit = (2 * vector + k) * static_cast<std::size_t>(bits);
    const std::size_t line = group * static_cast<std::size_t>(bits) + bit / 32;
    return {line * kLanes + lane, static_cast<int>(bit % 32)};
}

inline std::uint32_t low_mask(int bits) { return ~std::uint32_t{0} >> (32 - bits); }

inline std::uint32_t read_code(const std::uint32_t* words, CodePosition at, int bits) {
    std::uint64_t code = words[at.word];
    if (at.shift + bits > 32) code |= std::uint64_t{words[at.word + kLanes]} << 32;
    return static_cast<std::uint32_t>(code >> at.shift) & low_mask(bits);
}

// `code` fits `bits`; the bits at its place are zero.
inline void write_code(std::uint32_t* words, CodePosition at, int bits, std::uint32_t code) {
    const std::uint64_t shifted = std::uint64_t{code} << at.shift;
    words[at.word] |= static_cast<std::uint32_t>(shifted);
    if (at.shift + bits > 32) words[at.word + kLanes] |= static_cast<std::uint32_t>(shifted >> 32);
}

// 32-bit words that one factor of size n takes at `bits` per column.
std::size_t packed_words(std::size_t n, int bits);

// codes[(i*2 + k)*d + t] is the code of column k of block (i, t); `words` has packed_words(n, bits) entries.
void pack(const std::uint32_t* codes, std::size_t n, std::size_t d, int bits, std::uint32_t* words);
void unpack(const std::uint32_t* words, std::size_t n, std::size_t d, int bits, std::uint32_t* codes);

// Factors in tiles (stores/layout.hpp): `codes` is (tiles, count, 16), one stream for each lane, LSB first, rounded up
// to whole words; `words` is (tiles, ceil(count * bits / 32), 16).
void pack_lanes(const std::uint32_t* codes, std::size_t tiles, std::size_t count, int bits, std::uint32_t* words);
void unpack_lanes(const std::uint32_t* words, std::size_t tiles, std::size_t count, int bits, std::uint32_t* codes);

}  // namespace bitterfly
