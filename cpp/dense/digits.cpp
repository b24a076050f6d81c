// One unit a vector, rounding to the nearest, digits.
#include "dense/digits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/kernels.hpp"

namespace bitterfly {
namespace {

template <class Real>
void gather(const View& x, std::size_t first, std::size_t count, double* out) {
    const char* p = x.re + static_cast<std::ptrdiff_t>(first) * x.column_stride;
    const auto number = [&](std::size_t i, std::size_t j) -> double {
        return *reinterpret_cast<const Real*>(p + static_cast<std::ptrdiff_t>(i) * x.row_stride +
                                              static_cast<std::ptrdiff_t>(j) * x.column_stride);
    };
    if (count == 1) {
        if (!x.is_double && x.row_stride == sizeof(float))
            return kernels().dense.vectors.widen(reinterpret_cast<const float*>(p), x.rows, out);
        for (std::size_t i = 0; i < x.rows; ++i) out[i] = number(i, 0);
        return;
    }
    for (std::size_t i = 0; i < x.rows; ++i) {
        for (std::size_t j = 0; j < count; ++j) out[j * x.rows + i] = number(i, j);
    }
}

int exponent_of(double x) {
    int exponent;
    std::frexp(x, &exponent);
    return exponent;
}

Scaled without_values(double most, std::size_t count, std::int32_t* value) {
    std::fill_n(value, padded_values(count), 0);
    return {most == 0 ? 0 : std::numeric_limits<double>::quiet_NaN(), 0, 0};
}

void fill_behind(std::int32_t* value, std::size_t count) {
    std::fill_n(value + count, padded_values(count) - count, 0);
}

}  // namespace

std::int32_t largest_value(std::size_t parts) { return parts == 1 ? 127 : parts == 2 ? 32511 : 8323071; }

PowerOfTwo power_of_two(int exponent) {
    return {std::ldexp(1.0, exponent / 2), std::ldexp(1.0, exponent - exponent / 2)};
}

void read_columns(const View& x, std::size_t first, std::size_t count, double* out) {
    x.is_double ? gather<double>(x, first, count, out) : gather<float>(x, first, count, out);
}

double largest(const double* z, std::size_t count) { return kernels().dense.vectors.largest(z, count); }

int bring_near_one(double* z, std::size_t count) {
    const double most = largest(z, count);
    if (most == 0 || !std::isfinite(most)) return 0;
    const int exponent = exponent_of(most);
    kernels().dense.vectors.twice.times_power(z, count, power_of_two(-exponent), z);
    return exponent;
}

Scaled round_to_values(const double* z, std::size_t count, std::size_t parts, std::int32_t* value) {
    double most = largest(z, count);
    if (most == 0 || !std::isfinite(most)) return without_values(most, count, value);
    int exponent;
    most = std::frexp(most, &exponent);
    const double top = largest_value(parts), inverse = top / most;
    fill_behind(value, count);
    return {most / top, exponent, kernels().dense.vectors.round(z, count, power_of_two(-exponent), inverse, value)};
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
    fill_behind(value, count);
    return {unit, 0, sum};
}

void split_columns(const std::int32_t* value, std::size_t count, std::size_t parts, std::size_t group_stride,
                   std::int8_t* out) {
    kernels().dense.vectors.split({.value = value,
                                   .fours = (count + 3) / 4,
                                   .parts = parts,
                                   .four_stride = group_stride,
                                   .part_stride = 4,
                                   .out = out});
}

void split_panel(const std::int32_t* value, std::size_t count, std::size_t parts, std::size_t positions,
                 std::size_t stride, std::size_t four_stride, std::int8_t* out) {
    std::int32_t reversed[kPanelRows] = {};
    std::reverse_copy(value, value + count, reversed + positions - count);
    kernels().dense.vectors.split({.value = reversed,
                                   .fours = positions / 4,
                                   .parts = parts,
                                   .four_stride = four_stride,
                                   .part_stride = stride,
                                   .out = out});
}

}  // namespace bitterfly
