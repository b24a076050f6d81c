// One scale a vector, rounding to the nearest, digits.
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
void gather(const View& x, std::size_t column, double* out) {
    const char* p = x.re + static_cast<std::ptrdiff_t>(column) * x.column_stride;
    for (std::size_t i = 0; i < x.rows; ++i) {
        out[i] = *reinterpret_cast<const Real*>(p + static_cast<std::ptrdiff_t>(i) * x.row_stride);
    }
}

// Infinite where a number is not finite. Several maxima side by side: each waits for the one before.
double largest(const double* z, std::size_t count) {
    constexpr std::size_t kBeside = 8;
    double most[kBeside] = {}, zero[kBeside] = {};
    std::size_t i = 0;
    for (; i + kBeside <= count; i += kBeside) {
        for (std::size_t j = 0; j < kBeside; ++j) {
            const double magnitude = std::fabs(z[i + j]);
            most[j] = magnitude > most[j] ? magnitude : most[j];
            zero[j] += magnitude - magnitude;
        }
    }
    for (; i < count; ++i) {
        most[0] = std::max(most[0], std::fabs(z[i]));
        zero[0] += z[i] - z[i];
    }
    const bool is_finite = std::all_of(zero, zero + kBeside, [](double x) { return x == 0; });
    return is_finite ? *std::max_element(most, most + kBeside) : std::numeric_limits<double>::infinity();
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

Scaled round_to_values(const View& x, std::size_t column, const float* scale, std::size_t parts, double* scratch,
                       std::int32_t* value) {
    const std::size_t n = x.rows;
    x.is_double ? gather<double>(x, column, scratch) : gather<float>(x, column, scratch);
    Scaled out{0, 0, true, 0};
    double most = largest(scratch, n);
    if (scale != nullptr && most > 0 && std::isfinite(most)) {
        most = std::frexp(most, &out.exponent);
        const PowerOfTwo power = power_of_two(-out.exponent);
        for (std::size_t i = 0; i < n; ++i) {
            scratch[i] = scratch[i] * power.first * power.second * static_cast<double>(scale[i]);
        }
        most = largest(scratch, n);
    }
    out.is_finite = std::isfinite(most);
    if (most == 0 || !out.is_finite) {
        std::fill(value, value + n, 0);
        return out;
    }
    int exponent;
    most = std::frexp(most, &exponent);
    out.exponent += exponent;
    const double top = largest_value(parts), inverse = top / most;
    out.unit = most / top;
    const PowerOfTwo power = power_of_two(-exponent);
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double rounded = scratch[i] * power.first * power.second * inverse + kRounding;
        value[i] = static_cast<std::int32_t>(std::bit_cast<std::int64_t>(rounded));
        sum += value[i];
    }
    out.sum = sum;
    return out;
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
                 std::size_t stride, std::int8_t* out) {
    const std::uint32_t offset = digits_offset(parts);
    std::uint32_t shifted[kPanelRows];
    for (std::size_t p = 0; p < positions - count; ++p) shifted[p] = offset;
    for (std::size_t i = 0; i < count; ++i) shifted[positions - 1 - i] = static_cast<std::uint32_t>(value[i]) + offset;
    for (std::size_t q = 0; q < parts; ++q) {
        for (std::size_t p = 0; p < positions; p += 4) {
            write_digits(shifted + p, 8 * (parts - 1 - q), out + q * stride + p);
        }
    }
}

}  // namespace bitterfly
