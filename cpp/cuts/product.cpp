// Products: numbers to integers, integers to sums, sums to numbers.
#include "cuts/product.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "dense/digits.hpp"
#include "parallel.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

constexpr int kBits = 28;
// Adding it to a number below 2^31 rounds that to an integer, which the low 32 bits of the sum hold.
constexpr double kRounding = 6755399441055744.0;  // 1.5 * 2^52
// Numbers near one times a larger power overflow, or vanish.
constexpr int kMostPower = 1400;
// Numbers up to 2^kPlain in magnitude, or more than 2^-kPlain, need no other unit before they become integers.
constexpr int kPlain = 500;

int exponent_of(double x) {
    int exponent;
    std::frexp(x, &exponent);
    return exponent;
}

// z, up to `most` in magnitude, becomes unit * value; what that leaves of it is exact. Returns the unit.
double take_integers(double* z, std::size_t count, double most, bool is_last, std::int32_t* value) {
    const int exponent = exponent_of(most) - kBits;
    const double unit = std::ldexp(1.0, exponent), inverse = std::ldexp(1.0, -exponent);
    for (std::size_t i = 0; i < count; ++i) {
        value[i] = static_cast<std::int32_t>(std::bit_cast<std::int64_t>(z[i] * inverse + kRounding));
    }
    for (std::size_t i = 0; i < count && !is_last; ++i) z[i] -= unit * value[i];
    return unit;
}

// out = op(signs) z times 2^exponent, which it returns; z, up to `most` in magnitude, is lost.
int multiply(const SignMatrix& signs, bool transposed, int rounds, double* z, double most, double* out,
             std::size_t workers) {
    const std::size_t count = transposed ? signs.rows() : signs.columns();
    const std::size_t sums = transposed ? signs.columns() : signs.rows();
    const Workspace<std::int32_t> value(signs.values(transposed));
    const Workspace<std::int64_t> sum(signs.sums(transposed));
    std::fill(value.data() + count, value.data() + signs.values(transposed), 0);
    std::fill_n(out, sums, 0.0);
    int exponent = 0;
    if (most != 0 && std::abs(exponent_of(most)) > kPlain) {
        exponent = bring_near_one(z, count);
        most = largest(z, count);
    }
    for (int round = 0; round < rounds && most != 0; ++round) {
        const double unit = take_integers(z, count, most, round + 1 == rounds, value.data());
        signs.multiply(transposed, value.data(), sum.data(), workers);
        for (std::size_t i = 0; i < sums; ++i) out[i] += unit * static_cast<double>(sum.data()[i]);
        most = round + 1 < rounds ? largest(z, count) : 0;
    }
    return exponent;
}

template <class Real>
void write_as(const MutableView& y, char* to, const double* number) {
    if (y.row_stride == static_cast<std::ptrdiff_t>(sizeof(Real))) {
        auto* numbers = reinterpret_cast<Real*>(to);
        for (std::size_t i = 0; i < y.rows; ++i) numbers[i] = static_cast<Real>(number[i]);
        return;
    }
    for (std::size_t i = 0; i < y.rows; ++i, to += y.row_stride)
        *reinterpret_cast<Real*>(to) = static_cast<Real>(number[i]);
}

// A column of y becomes numbers times 2^exponent, which are lost.
void write(const MutableView& y, std::size_t column, double* number, int exponent) {
    if (exponent != 0) {
        const PowerOfTwo power = power_of_two(std::clamp(exponent, -kMostPower, kMostPower));
        for (std::size_t i = 0; i < y.rows; ++i) number[i] = number[i] * power.first * power.second;
    }
    char* to = y.re + static_cast<std::ptrdiff_t>(column) * y.column_stride;
    y.is_double ? write_as<double>(y, to, number) : write_as<float>(y, to, number);
}

void read(const View& x, std::size_t column, double* out) {
    if (x.is_double || x.row_stride != static_cast<std::ptrdiff_t>(sizeof(float))) {
        return read_columns(x, column, 1, out);
    }
    const char* from = x.re + static_cast<std::ptrdiff_t>(column) * x.column_stride;
    for (std::size_t i = 0; i < x.rows; ++i) out[i] = reinterpret_cast<const float*>(from)[i];
}

}  // namespace

void apply(const CutProduct& product, bool transposed, int rounds, const View& x, const MutableView& y,
           std::size_t workers) {
    const std::size_t width = product.coefficients.size();
    if ((x.rows + y.rows) * width < least_parallel_work()) workers = 1;
    const SignMatrix &before = transposed ? product.left : product.right,
                     &after = transposed ? product.right : product.left;
    const Workspace<double, 0> in(x.rows);
    const Workspace<double, 1> cuts(width);
    const Workspace<double, 2> out(y.rows);
    for (std::size_t v = 0; v < x.columns; ++v) {
        read(x, v, in.data());
        const double most = largest(in.data(), x.rows);
        if (!std::isfinite(most)) {
            std::fill_n(out.data(), y.rows, std::numeric_limits<double>::quiet_NaN());
            write(y, v, out.data(), 0);
            continue;
        }
        int exponent = product.exponent + multiply(before, transposed, rounds, in.data(), most, cuts.data(), workers);
        for (std::size_t j = 0; j < width; ++j) cuts.data()[j] *= product.coefficients[j];
        exponent += multiply(after, transposed, rounds, cuts.data(), largest(cuts.data(), width), out.data(), workers);
        write(y, v, out.data(), exponent);
    }
}

}  // namespace bitterfly
