// Rotations: signs, then the weight-free passes of products, then a few rows of additions.
#include "dense/rotation.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "dense/digits.hpp"
#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "products/apply.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kOrders[] = {1, 12, 20, 28};
constexpr std::size_t kOperations = 16;  // of a number, about
constexpr std::size_t kMostShort = 128;  // rows of so many numbers go to a kernel together

struct Size {
    std::size_t order, width;
};

// The largest transform of at most n numbers, that of the least order among equals.
Size largest_below(std::size_t n) {
    Size best{1, std::bit_floor(n)};
    for (const std::size_t order : kOrders) {
        const std::size_t width = std::bit_floor(n / order);
        if (order * width > best.order * best.width) best = {order, width};
    }
    return best;
}

// Word j of SplitMix64 (Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014).
std::uint64_t random_word(std::uint64_t seed, std::size_t j) {
    std::uint64_t z = seed + (j + 1) * 0x9E3779B97F4A7C15U;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    return z ^ z >> 31;
}

std::vector<std::uint16_t> random_bits(std::uint64_t seed, std::size_t first, std::size_t count) {
    std::vector<std::uint16_t> out((count + 15) / 16);
    std::uint64_t word = random_word(seed, first / 64);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = first + i;
        if (at % 64 == 0) word = random_word(seed, at / 64);
        out[i / 16] |= static_cast<std::uint16_t>((word >> (at % 64) & 1) << (i % 16));
    }
    return out;
}

// Paley, On orthogonal matrices, J. Math. Phys. 12, 1933, over a prime q: of order q + 1 where q = 3 mod 4, else of
// order 2 (q + 1).
std::vector<std::int8_t> paley(std::size_t order) {
    const bool is_skew = order != 28;
    const std::size_t q = is_skew ? order - 1 : order / 2 - 1, n = q + 1;
    std::vector<int> residue(q, -1);
    residue[0] = 0;
    for (std::size_t i = 1; i < q; ++i) residue[i * i % q] = 1;
    const auto conference = [&](std::size_t i, std::size_t j) {
        if (i == 0 || j == 0) return i == j ? 0 : is_skew && j == 0 ? -1 : 1;
        return residue[(q + i - j) % q];
    };
    std::vector<std::int8_t> out(order * order);
    const std::size_t inner = order / n;
    for (std::size_t i = 0; i < order; ++i) {
        for (std::size_t j = 0; j < order; ++j) {
            const int entry = conference(i / inner, j / inner), both = i % inner == 1 && j % inner == 1 ? -1 : 1;
            const int on_diagonal = i % inner == 0 && j % inner == 0 ? 1 : -1;
            out[i * order + j] = static_cast<std::int8_t>(i / inner == j / inner ? on_diagonal : entry * both);
        }
    }
    return out;
}

template <class Real>
Product<Real> sylvester(std::size_t width) {
    return product_of_signs<Real>(std::max<std::size_t>(width, 2));
}

// Of the workspaces of a thread; others may live beside them.
enum Use : int { kVectors = 8, kRotated };

template <class Real>
void rotate(const Rotation& rotation, bool adjoint, int exponent, double* z, std::size_t count) {
    Workspace<Real, kRotated> memory(2 * count + kLanes);
    Real *numbers = memory.data(), *scratch = numbers + (count + kLanes - 1) / kLanes * kLanes;
    const VectorKernels& vectors = kernels().dense.vectors;
    vectors.of<Real>().times_power(z, count, power_of_two(-exponent), numbers);
    adjoint ? rotation.adjoint(numbers, scratch) : rotation.forward(numbers, scratch);
    if constexpr (std::is_same_v<Real, float>) {
        vectors.widen(numbers, count, z);
    } else {
        std::copy_n(numbers, count, z);
    }
}

// Vectors that are read together: a line of memory holds as many numbers of a row.
constexpr std::size_t kTogether = 8;

template <class Real>
void write_columns(const double* z, double factor, const PowerOfTwo* powers, std::size_t first, std::size_t count,
                   const MutableView& y) {
    char* p = y.re + static_cast<std::ptrdiff_t>(first) * y.column_stride;
    for (std::size_t i = 0; i < y.rows; ++i, p += y.row_stride) {
        for (std::size_t j = 0; j < count; ++j) {
            const double number = z[j * y.rows + i] * factor * powers[j].first * powers[j].second;
            *reinterpret_cast<Real*>(p + static_cast<std::ptrdiff_t>(j) * y.column_stride) = static_cast<Real>(number);
        }
    }
}

}  // namespace

Rotation::Part::Part(std::size_t first_, std::size_t order_, std::size_t width_, std::uint64_t seed, double factor_)
    : first(first_),
      order(order_),
      width(width_),
      signs(random_bits(seed, first_, order_ * width_)),
      factor(factor_),
      rows{},
      columns{},
      single(sylvester<float>(width_)),
      twice(sylvester<double>(width_)) {
    if (order == 1) return;
    const std::vector<std::int8_t> entries = paley(order);
    for (const bool is_one : {true, false}) {
        for (std::size_t i = 0; i < order; ++i) {
            std::size_t in_row = is_one ? 0 : rows.ones[i], in_column = is_one ? 0 : columns.ones[i];
            for (std::size_t j = 0; j < order; ++j) {
                const auto at = static_cast<std::uint8_t>(j);
                if ((entries[i * order + j] > 0) == is_one) rows.at[i][in_row++] = at;
                if ((entries[j * order + i] > 0) == is_one) columns.at[i][in_column++] = at;
            }
            if (!is_one) continue;
            rows.ones[i] = static_cast<std::uint8_t>(in_row);
            columns.ones[i] = static_cast<std::uint8_t>(in_column);
        }
    }
}

template <class Real>
const Product<Real>& Rotation::Part::product() const {
    if constexpr (std::is_same_v<Real, float>) {
        return single;
    } else {
        return twice;
    }
}

template <class Real>
void Rotation::Part::multiply_signs(const Real* x, Real* out) const {
    kernels().dense.vectors.of<Real>().signs(x, signs.data(), static_cast<Real>(factor), order * width, out);
}

template <class Real>
void Rotation::Part::multiply_sylvester(const Real* x, Real* out) const {
    if (width == 1) return static_cast<void>(std::copy_n(x, order, out));
    if (width >= 2 * kLanes && width <= kMostShort)
        return kernels().dense.vectors.of<Real>().transform(x, width, order, out);
    for (std::size_t i = 0; i < order * width; i += width) {
        constexpr bool is_double = std::is_same_v<Real, double>;
        const View from{reinterpret_cast<const char*>(x + i), nullptr, width, 1, sizeof(Real), 0, is_double};
        const MutableView to{reinterpret_cast<char*>(out + i), nullptr, width, 1, sizeof(Real), 0, is_double};
        bitterfly::apply<Real>(product<Real>(), {false, false}, from, to, 1);
    }
}

template <class Real>
void Rotation::Part::multiply_paley(bool transposed, const Real* x, Real* out) const {
    const SignedRows& signed_rows = transposed ? columns : rows;
    if (width % kLanes == 0) {
        return kernels().dense.vectors.of<Real>().mix({.at = signed_rows.at[0],
                                                       .ones = signed_rows.ones,
                                                       .row_stride = kMostOrder,
                                                       .order = order,
                                                       .width = width,
                                                       .from = x,
                                                       .to = out});
    }
    for (std::size_t i = 0; i < order; ++i) {
        const std::uint8_t* at = signed_rows.at[i];
        for (std::size_t c = 0; c < width; ++c) {
            Real sum = 0;
            for (std::size_t j = 0; j < signed_rows.ones[i]; ++j) sum += x[at[j] * width + c];
            for (std::size_t j = signed_rows.ones[i]; j < order; ++j) sum -= x[at[j] * width + c];
            out[i * width + c] = sum;
        }
    }
}

Rotation::Rotation(std::size_t n, std::uint64_t seed) : scale_(1) {
    const Size size = largest_below(n);
    const std::size_t mixed = size.order * size.width;
    const double factor = 1 / std::sqrt(static_cast<double>(mixed));
    if (mixed == n) scale_ = factor;
    parts_.emplace_back(0, size.order, size.width, seed, mixed == n ? 1 : factor);
    if (mixed < n) parts_.emplace_back(n - mixed, size.order, size.width, seed + 1, factor);
}

std::vector<std::array<std::size_t, 3>> Rotation::sizes() const {
    std::vector<std::array<std::size_t, 3>> out;
    for (const Part& part : parts_) out.push_back({part.first, part.order, part.width});
    return out;
}

template <class Real>
void Rotation::forward(Real* x, Real* scratch) const {
    for (const Part& part : parts_) {
        Real* z = x + part.first;
        if (part.order == 1) {
            part.multiply_signs(z, scratch);
            part.multiply_sylvester(scratch, z);
        } else {
            part.multiply_signs(z, z);
            part.multiply_sylvester(z, scratch);
            part.multiply_paley(false, scratch, z);
        }
    }
}

template <class Real>
void Rotation::adjoint(Real* x, Real* scratch) const {
    for (auto part = parts_.rbegin(); part != parts_.rend(); ++part) {
        Real* z = x + part->first;
        part->multiply_sylvester(z, scratch);
        if (part->order > 1) {
            part->multiply_paley(true, scratch, z);
            part->multiply_signs(z, z);
        } else {
            part->multiply_signs(scratch, z);
        }
    }
}

template void Rotation::forward<float>(float*, float*) const;
template void Rotation::forward<double>(double*, double*) const;
template void Rotation::adjoint<float>(float*, float*) const;
template void Rotation::adjoint<double>(double*, double*) const;

int rotate_near_one(const Rotation& rotation, bool adjoint, bool in_double, double* z, std::size_t count) {
    const double most = largest(z, count);
    if (most == 0) return 0;
    if (!std::isfinite(most)) {
        std::fill_n(z, count, std::numeric_limits<double>::quiet_NaN());
        return 0;
    }
    int exponent;
    std::frexp(most, &exponent);
    in_double ? rotate<double>(rotation, adjoint, exponent, z, count)
              : rotate<float>(rotation, adjoint, exponent, z, count);
    return exponent;
}

void apply(const Rotation& rotation, bool adjoint, const View& x, const MutableView& y, std::size_t workers) {
    const std::size_t n = x.rows;
    if (n * x.columns * kOperations < least_parallel_work()) workers = 1;
    parallel_ranges(x.columns, kTogether, workers, [&](std::size_t first, std::size_t end) {
        Workspace<double, kVectors> vectors((end - first) * n);
        PowerOfTwo powers[kTogether];
        read_columns(x, first, end - first, vectors.data());
        for (std::size_t j = 0; j < end - first; ++j) {
            powers[j] = power_of_two(rotate_near_one(rotation, adjoint, x.is_double, vectors.data() + j * n, n));
        }
        const auto write = y.is_double ? write_columns<double> : write_columns<float>;
        write(vectors.data(), rotation.scale(), powers, first, end - first, y);
    });
}

}  // namespace bitterfly
