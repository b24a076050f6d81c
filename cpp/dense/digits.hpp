// Vectors as integers of one to three signed digits of base 256, times one number.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dense/args.hpp"
#include "matrix.hpp"

namespace bitterfly {

// Entry i of a vector is about unit * 2^exponent * value[i], |value[i]| <= largest_value(parts).
struct Scaled {
    double unit;  // 0: all are zero; NaN: some are not finite
    int exponent;
    std::int64_t sum;  // of the values
};

std::int32_t largest_value(std::size_t parts);

// Columns first, ..., first + count - 1 of x in double precision, one behind the other.
void read_columns(const View& x, std::size_t first, std::size_t count, double* out);

// The largest magnitude; infinite where a number is not finite.
double largest(const double* z, std::size_t count);

// Divides by the power of two that brings the largest magnitude between 1/2 and 1, and returns its exponent; 0 where
// there is nothing to divide.
int bring_near_one(double* z, std::size_t count);

// Values of so many numbers, with zeros behind them that are split together with the last ones.
inline std::size_t padded_values(std::size_t count) { return (count + 15) / 16 * 16; }

// Numbers to values; the largest magnitude becomes the largest value.
Scaled round_to_values(const double* z, std::size_t count, std::size_t parts, std::int32_t* value);

// The same for three digits and a unit that is a power of two, so that what is left in z, at most half a unit, is
// exact. Numbers are at most near one.
Scaled take_values(double* z, std::size_t count, std::int32_t* value);

// Signed digits of values as bytes, the most significant one first: those of four values go to a word, digit q of
// values 4 g, ... to out + g * group_stride + 4 q. Values beyond `count` are zeros.
void split_columns(const std::int32_t* value, std::size_t count, std::size_t parts, std::size_t group_stride,
                   std::int8_t* out);

// Of a panel: values count - 1, ..., 0 to the last of its positions, zeros before; digit q of positions 4 f, ... to
// out + q * stride + f * four_stride.
void split_panel(const std::int32_t* value, std::size_t count, std::size_t parts, std::size_t positions,
                 std::size_t stride, std::size_t four_stride, std::int8_t* out);

PowerOfTwo power_of_two(int exponent);

}  // namespace bitterfly
