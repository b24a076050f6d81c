// One unit a vector, rounding to the nearest, digits.
#include "dense/digits.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace bitterfly {
namespace {

// Adding it to a number below 2^31 rounds that to an integer, which the low 32 bits of the sum hold.
constexpr double kRounding = 6755399441055744.0;  // 1.5 * 2^52

template <class Real>
void gather(const View& x, std::size_t first, std::size_t count, double* out) {
    const char* p = x.re + static_cast<std::ptrdiff_t>(first) * x.column_stride;
    const auto number = [&](std::size_t i, std::size_t j) -> double {
        return *reinterpret_cast<const Real*>(p + static_cast<std::ptrdiff_t>(i) * x.row_stride +
                                              static_cast<std::ptrdiff_t>(j) * x.column_stride);
    };
    if (count == 1) {
        for (std::size_t i = 0; i < x.rows; ++i) out[i] = number(i, 0);
        return;
    }
    for (std::size_t i = 0; i < x.rows; ++i) {
        for (std::size_t j = 0; j < count; ++j) out[j * x.rows + i] = number(i, j);
    }
}

std::int32_t nearest(double x) { return static_cast<std::int32_t>(std::bit_cast<std::int64_t>(x + kRounding)); }

int exponent_of(double x) {
    int exponent;
    std::frexp(x, &exponent);
    return exponent;
}

Scaled without_values(double most, std::size_t count, std::int32_t* value) {
    std::fill_n(value, count, 0);
    return {most == 0 ? 0 : std::numeric_limits<double>::quiet_NaN(), 0, 0};
}

// Added to a value, all its digits become bytes from 0 to 255: 128 more than they are.
std::uint32_t digits_offset(std::size_t parts) { return 0x808080U >> (8 * (3 - parts)); }

// The digits of four values that stand `down` bits above the last one.
void write_digits(const std::uint32_t* shifted, std::size_t down, std::int8_t* out) {
    std::uint32_t word = 0;
    for (std::size_t j = 0; j < 4; ++j) word |= (shifted[j] >> down & 255) << (8 * j);
    word ^= 0x80808080U;
    std::memcpy(out, &word, 4);
}

}  // namespace

std::int32_t largest_value(std::size_t parts) { return parts == 1 ? 127 : parts == 2 ? 32511 : 8323071; }

PowerOfTwo power_of_two(int exponent) {
    return {std::ldexp(1.0, exponent / 2), std::ldexp(1.0, exponent - exponent / 2)};
}

void read_columns(const View& x, std::size_t first, std::size_t count, double* out) {
    x.is_double ? gather<double>(x, first, count, out) : gather<float>(x, first, count, out);
}

double largest(const double* z, std::size_t count) {
    // Magnitudes are ordered as the integers of the same bits, with what is not finite behind all others.
    constexpr std::size_t kBeside = 4;
    std::uint64_t most[kBeside] = {};
    const auto take = [&](std::uint64_t& to, double x) { to = std::max(to, std::bit_cast<std::uint64_t>(x) << 1); };
    std::size_t i = 0;
    for (; i + kBeside <= count; i += kBeside) {
        for (std::size_t j = 0; j < kBeside; ++j) take(most[j], z[i + j]);
    }
    for (; i < count; ++i) take(most[0], z[i]);
    const double magnitude = std::bit_cast<double>(*std::max_element(most, most + kBeside) >> 1);
    return std::isfinite(magnitude) ? magnitude : std::numeric_limits<double>::infinity();
}

int bring_near_one(double* z, std::size_t count) {
    const double most = largest(z, count);
    if (most == 0 || !std::isfinite(most)) return 0;
    const int exponent = exponent_of(most);
    const PowerOfTwo power = power_of_two(-exponent);
    for (std::size_t i = 0; i < count; ++i) z[i] = z[i] * power.first * power.second;
    return exponent;
}

Scaled round_to_values(const double* z, std::size_t count, std::size_t parts, std::int32_t* value) {
    double most = largest(z, count);
    if (most == 0 || !std::isfinite(most)) return without_values(most, count, value);
    int exponent;
    most = std::frexp(most, &exponent);
    const double top = largest_value(parts), inverse = top / most;
    const PowerOfTwo power = power_of_two(-exponent);
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
        value[i] = nearest(z[i] * power.first * power.second * inverse);
        sum += value[i];
    }
    return {most / top, exponent, sum};
}

Scaled take_values(double* z, std::size_t count, std::int32_t* value) {
    constexpr int kBits = 22;
    const double most = largest(z, count);
    if (most == 0 || !std::isfinite(most)) return without_values(most, count, value);
    const int exponent = exponent_of(most) - kBits;
    const PowerOfTwo power = power_of_two(-exponent);
    const double unit = std::ldexp(1.0, exponent);
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
        value[i] = nearest(z[i] * power.first * power.second);
        z[i] -= unit * value[i];
        sum += value[i];
    }
    return {unit, 0, sum};
}

void split_columns(const std::int32_t* value, std::size_t count, std::size_t parts, std::size_t group_stride,
                   std::int8_t* out) {
    const std::uint32_t offset = digits_offset(parts);
    std::uint32_t shifted[4];
    const auto write = [&] {
        for (std::size_t q = 0; q < parts; ++q) write_digits(shifted, 8 * (parts - 1 - q), out + 4 * q);
        out += group_stride;
    };
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        for (std::size_t j = 0; j < 4; ++j) shifted[j] = static_cast<std::uint32_t>(value[i + j]) + offset;
        write();
    }
    if (i == count) return;
    for (std::size_t j = 0; j < 4; ++j)
        shifted[j] = (i + j < count ? static_cast<std::uint32_t>(value[i + j]) : 0) + offset;
    write();
}

void split_panel(const std::int32_t* value, std::size_t count, std::size_t parts, std::size_t positions,
                 std::size_t stride, std::size_t four_stride, std::int8_t* out) {
    const std::uint32_t offset = digits_offset(parts);
    std::uint32_t shifted[kPanelRows];
    for (std::size_t p = 0; p < positions - count; ++p) shifted[p] = offset;
    for (std::size_t i = 0; i < count; ++i) shifted[positions - 1 - i] = static_cast<std::uint32_t>(value[i]) + offset;
    for (std::size_t q = 0; q < parts; ++q) {
        for (std::size_t p = 0; p < positions; p += 4) {
            write_digits(shifted + p, 8 * (parts - 1 - q), out + q * stride + p / 4 * four_stride);
        }
    }
}

}  // namespace bitterfly
