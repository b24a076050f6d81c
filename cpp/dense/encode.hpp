// Numbers to window codes: the streams of bits of least squared error.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/trellis/args.hpp"

namespace bitterfly {

inline constexpr std::size_t kMostLength = 64;  // of a sequence

// A code: the entries (-63 to 63) of 128 indices, an index for each window; windows of 11 bits have 16 masks.
struct WindowCode {
    Trellis trellis;
    const std::int8_t* table;
    const std::uint8_t* masks;
};

// How many rows on either side decide the state between the last row and the first: ten windows without a common bit,
// at most all rows once. Up to all of them twice takes half as long again, for 0.8 % less error at one bit and windows
// of 11 bits, 0.4 % at one bit and windows of 7, and less at higher rates.
std::size_t enough_around(const Trellis& trellis, std::size_t length);

// Each of `count` sequences of `length` numbers, a multiple of 16 up to kMostLength, in the order of rows and in units
// of the entries, becomes a cyclic stream of length * half_bits / 16 bytes (docs/format.md). Numbers from the
// `valid` th on may be anything: what stands for them does not matter.
//
// Numbers count as the nearest multiples of 1/16 (ties to even), those beyond +-118 as that. The state between the last
// row and the first is that of the best path over `around` rows (up to `length`) on either side, with any ends; the
// stream is the best one with this state. Of windows of equal cost that lead to one state the least is taken, and of
// end states of equal cost the least one. All tiers give the same streams.
void window_codes(const float* x, std::size_t count, std::size_t length, std::size_t valid, const WindowCode& code,
                  std::size_t around, std::uint8_t* streams, std::size_t workers);

}  // namespace bitterfly
