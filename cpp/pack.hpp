// Codes <-> packed bits of one factor. The layout is described in docs/format.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.hpp"

namespace bitterfly {

// 32-bit words that one factor of size n takes at `bits` per column.
std::size_t packed_words(std::size_t n, int bits);

// codes[(i*2 + k)*d + t] is the code of column k of block (i, t); `words` has packed_words(n, bits) entries.
void pack(const std::uint32_t* codes, std::size_t n, std::size_t d, int bits, std::uint32_t* words);
void unpack(const std::uint32_t* words, std::size_t n, std::size_t d, int bits, std::uint32_t* codes);

// Factors in tiles (kernels.hpp): `codes` is (tiles, count, 16), one stream for each lane, LSB first, rounded up to
// whole words; `words` is (tiles, ceil(count * bits / 32), 16).
void pack_lanes(const std::uint32_t* codes, std::size_t tiles, std::size_t count, int bits, std::uint32_t* words);
void unpack_lanes(const std::uint32_t* words, std::size_t tiles, std::size_t count, int bits, std::uint32_t* codes);

}  // namespace bitterfly
