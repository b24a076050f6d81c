// Short floats to codes and back, one number at a time.
#include "stores/codes/float_codes.hpp"

#include <algorithm>
#include <cmath>

#include "require.hpp"

namespace bitterfly {

void require_float_code(int bits, int significand) {
    require(significand >= 1 && significand <= kMaxSignificand, "significand: expected 1 to 24 bits");
    const int exponent = bits - significand;
    require(exponent >= 1 && exponent <= kMaxExponentBits, "bits: expected 1 to 6 more than the significand has");
}

void encode_floats(const double* values, std::size_t count, int bits, int significand, std::uint32_t* codes) {
    const int most = (1 << (bits - significand)) - 1;
    const std::uint32_t largest = (std::uint32_t{1} << (bits - 1)) - 1;
    for (std::size_t i = 0; i < count; ++i) {
        const double size = std::fabs(values[i]);
        const int exponent = size > 0 ? std::max(std::ilogb(size), 1 - most) : 1 - most;
        // In units of the last place; a leading bit is the first step of the field E.
        const auto units = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, significand - 1 - exponent)));
        const auto field = static_cast<std::uint32_t>(exponent + most - 1) << (significand - 1);
        const std::uint32_t code = std::min(field + units, largest);
        codes[i] = code | (code > 0 && values[i] < 0 ? largest + 1 : 0);
    }
}

void decode_floats(const std::uint32_t* codes, std::size_t count, int bits, int significand, double* values) {
    const int most = (1 << (bits - significand)) - 1;
    const std::uint32_t leading = std::uint32_t{1} << (significand - 1), sign = std::uint32_t{1} << (bits - 1);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t magnitude = codes[i] & (sign - 1);
        const int field = static_cast<int>(magnitude >> (significand - 1));
        const std::uint32_t units = (magnitude & (leading - 1)) + (field > 0 ? leading : 0);
        const double size = std::ldexp(units, std::max(field, 1) - most - (significand - 1));
        values[i] = (codes[i] & sign) != 0 ? -size : size;
    }
}

}  // namespace bitterfly
