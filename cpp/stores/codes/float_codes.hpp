// Numbers with short significands <-> codes of a few bits: sign, exponent field, fraction.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitterfly {

// A code of `bits` = significand + e bits: a sign, a field E of e bits, a fraction m of significand - 1 bits. Its value
// is +-(1 + m / 2^(significand-1)) 2^(E - M), M = 2^e - 1, or +-(m / 2^(significand-1)) 2^(1 - M) for E = 0.
inline constexpr int kMaxSignificand = 24, kMaxExponentBits = 6;

void require_float_code(int bits, int significand);

// Rounds to nearest where a value lies between codes; |values| < 2.
void encode_floats(const double* values, std::size_t count, int bits, int significand, std::uint32_t* codes);
void decode_floats(const std::uint32_t* codes, std::size_t count, int bits, int significand, double* values);

}  // namespace bitterfly
