// What happens to vectors before and after dense products: rotations, digits, and the scales of sums. Tails are formed
// one number at a time, in the same operations.
#pragma once

#include "kernels/dense/args.hpp"
#include "kernels/lanes/lines.inl"

namespace {

using Doubles = Simd<double>;

// Calls several(i) for whole registers, and one(i) for the numbers that are left.
template <std::size_t Width, class Several, class One>
[[gnu::always_inline]] inline void each_number(std::size_t count, Several several, One one) {
    std::size_t i = 0;
    for (; i + Width <= count; i += Width) several(i);
    for (; i < count; ++i) one(i);
}

inline double largest_number(const double* z, std::size_t count) {
    using V = Doubles;
    constexpr int kBeside = 4;
    constexpr std::size_t width = V::width;
    V::Vec most[kBeside], off[kBeside];  // x - x is not zero exactly where x is not finite
    unroll<kBeside>([&](auto k) __attribute__((always_inline)) { most[k] = off[k] = V::broadcast(0); });
    double out = 0, rest_off = 0;
    each_number<kBeside * width>(
        count,
        [&](std::size_t i) __attribute__((always_inline)) {
            unroll<kBeside>([&](auto k) __attribute__((always_inline)) {
                const V::Vec x = V::load(z + i + k * width);
                most[k] = V::max(most[k], V::abs(x)), off[k] = V::add(off[k], V::sub(x, x));
            });
        },
        [&](std::size_t i) __attribute__((always_inline)) {
            const double x = z[i] < 0 ? -z[i] : z[i];
            out = x > out ? x : out, rest_off += z[i] - z[i];
        });
    double lanes[width];
    V::store(lanes, V::max(V::max(most[0], most[1]), V::max(most[2], most[3])));
    for (const double x : lanes) out = x > out ? x : out;
    const double is_off = V::sum(V::add(V::add(off[0], off[1]), V::add(off[2], off[3]))) + rest_off;
    return is_off == 0 ? out : __builtin_inf();
}

inline void widen(const float* x, std::size_t count, double* out) {
    using V = Doubles;
    each_number<V::width>(
        count, [&](std::size_t i) __attribute__((always_inline)) { V::store(out + i, V::load_floats(x + i)); },
        [&](std::size_t i) __attribute__((always_inline)) { out[i] = x[i]; });
}

[[gnu::always_inline]] inline void store_as(float* p, Doubles::Vec v) { Doubles::store_floats(p, v); }
[[gnu::always_inline]] inline void store_as(double* p, Doubles::Vec v) { Doubles::store(p, v); }

template <class Real>
void times_power(const double* z, std::size_t count, bitterfly::PowerOfTwo power, Real* out) {
    using V = Doubles;
    const V::Vec first = V::broadcast(power.first), second = V::broadcast(power.second);
    each_number<V::width>(
        count,
        [&](std::size_t i)
            __attribute__((always_inline)) { store_as(out + i, V::mul(V::mul(V::load(z + i), first), second)); },
        [&](std::size_t i)
            __attribute__((always_inline)) { out[i] = static_cast<Real>(z[i] * power.first * power.second); });
}

// The sum of up to 256 values below 2^23, which fits 32 bits.
inline std::int32_t sum_of_values(const std::int32_t* value, std::size_t count) {
    using W = Simd<float>;
    W::Word sums = W::broadcast_word(0);
    std::int32_t out = 0;
    const auto* words = reinterpret_cast<const std::uint32_t*>(value);
    each_number<W::width>(
        count, [&](std::size_t i) __attribute__((always_inline)) { sums = W::add(sums, W::load_words(words + i)); },
        [&](std::size_t i) __attribute__((always_inline)) { out += value[i]; });
    std::uint32_t lanes[W::width];
    W::store_words(lanes, sums);
    for (const std::uint32_t lane : lanes) out += static_cast<std::int32_t>(lane);
    return out;
}

inline std::int64_t round_numbers(const double* z, std::size_t count, bitterfly::PowerOfTwo power, double factor,
                                  std::int32_t* value) {
    using V = Doubles;
    constexpr std::size_t kBlock = 256;
    const V::Vec first = V::broadcast(power.first), second = V::broadcast(power.second), last = V::broadcast(factor);
    std::int64_t sum = 0;
    for (std::size_t at = 0; at < count; at += kBlock, z += kBlock, value += kBlock) {
        const std::size_t size = count - at < kBlock ? count - at : kBlock;
        each_number<V::width>(
            size,
            [&](std::size_t i) __attribute__((always_inline)) {
                V::store_nearest(value + i, V::mul(V::mul(V::mul(V::load(z + i), first), second), last));
            },
            [&](std::size_t i) __attribute__((always_inline)) {
                value[i] = bitterfly::nearest(z[i] * power.first * power.second * factor);
            });
        sum += sum_of_values(value, size);
    }
    return sum;
}

// Sixteen values at a time.
template <std::size_t Parts>
void split_in_parts(const bitterfly::SplitArgs& args) {
    using W = Simd<float>;
    constexpr std::size_t kFours = 4;
    // Added to a value, all its digits become bytes from 0 to 255: 128 more than they are.
    constexpr std::uint32_t offset = 0x808080U >> (8 * (3 - Parts));
    const auto* value = reinterpret_cast<const std::uint32_t*>(args.value);
    const std::size_t four_stride = args.four_stride, part_stride = args.part_stride;
    std::int8_t* out = args.out;
    for (std::size_t f = 0; f < args.fours; f += kFours, value += 4 * kFours) {
        alignas(64) std::uint32_t shifted[4 * kFours];
        alignas(64) std::uint8_t bytes[16 * kFours];
        for (std::size_t i = 0; i < 4 * kFours; i += W::width)
            W::store_words(shifted + i, W::add(W::load_words(value + i), offset));
        const Bytes::Vec digits = Bytes::transpose(Bytes::load(reinterpret_cast<const std::uint8_t*>(shifted)));
        Bytes::store(bytes, Bytes::bit_xor(digits, std::uint8_t{128}));
        const auto write = [&](std::size_t g) __attribute__((always_inline)) {
            unroll<Parts>([&](auto q) __attribute__((always_inline)) {
                __builtin_memcpy(out + q * part_stride, bytes + 16 * g + 4 * (Parts - 1 - q), 4);
            });
            out += four_stride;
        };
        if (args.fours - f >= kFours) {
            unroll<kFours>(write);
        } else {
            for (std::size_t g = 0; g < args.fours - f; ++g) write(g);
        }
    }
}

inline void split_values(const bitterfly::SplitArgs& args) {
    if (args.parts == 1) return split_in_parts<1>(args);
    if (args.parts == 2) return split_in_parts<2>(args);
    split_in_parts<3>(args);
}

template <bool IsReversed>
[[gnu::always_inline]] inline Doubles::Vec sums_at(const bitterfly::SumsArgs& args, std::size_t i) {
    using V = Doubles;
    if constexpr (!IsReversed) return V::load_less(args.sums + i, args.bias);
    return V::reversed(V::load_less(args.sums + args.count - V::width - i, args.bias));
}

// `use(at, sums of a register)`, `use_one(at, sum)`.
template <bool IsReversed, class Use, class UseOne>
[[gnu::always_inline]] inline void each_sum(const bitterfly::SumsArgs& args, Use use, UseOne use_one) {
    each_number<Doubles::width>(
        args.count, [&](std::size_t i) __attribute__((always_inline)) { use(i, sums_at<IsReversed>(args, i)); },
        [&](std::size_t i) __attribute__((always_inline)) {
            use_one(i, static_cast<double>(args.sums[IsReversed ? args.count - 1 - i : i] - args.bias));
        });
}

template <bool IsReversed>
void scale_sums_in_order(const bitterfly::SumsArgs& args) {
    using V = Doubles;
    const V::Vec unit = V::broadcast(args.unit);
    const double* scale = args.scale;
    each_sum<IsReversed>(
        args,
        [&](std::size_t i, V::Vec sums) __attribute__((always_inline)) {
            const V::Vec factor = scale == nullptr ? unit : V::mul(V::load(scale + i), unit);
            V::store(args.out + i, V::mul(factor, sums));
        },
        [&](std::size_t i, double sum)
            __attribute__((always_inline)) { args.out[i] = (scale == nullptr ? 1 : scale[i]) * args.unit * sum; });
}

template <bool IsReversed>
void add_sums_in_order(const bitterfly::SumsArgs& args) {
    using V = Doubles;
    const V::Vec unit = V::broadcast(args.unit);
    each_sum<IsReversed>(
        args,
        [&](std::size_t i, V::Vec sums) __attribute__((always_inline)) {
            V::store(args.out + i, V::add(V::load(args.out + i), V::mul(unit, sums)));
        },
        [&](std::size_t i, double sum) __attribute__((always_inline)) { args.out[i] += args.unit * sum; });
}

inline void scale_sums(const bitterfly::SumsArgs& args) {
    args.is_reversed ? scale_sums_in_order<true>(args) : scale_sums_in_order<false>(args);
}
inline void add_sums(const bitterfly::SumsArgs& args) {
    args.is_reversed ? add_sums_in_order<true>(args) : add_sums_in_order<false>(args);
}

template <class Real>
void multiply_signs(const Real* x, const std::uint16_t* signs, Real factor, std::size_t count, Real* out) {
    using V = Simd<Real>;
    const auto plus = V::broadcast(factor), minus = V::broadcast(-factor);
    each_number<kLanes>(
        count,
        [&](std::size_t i) __attribute__((always_inline)) {
            each_part<V>([&](int h) __attribute__((always_inline)) {
                const auto lane = static_cast<std::size_t>(h * V::width);
                auto here = V::mul(V::load(x + i + lane), plus), flipped = V::mul(V::load(x + i + lane), minus);
                V::exchange(V::load_switch(signs + i / kLanes, lane), here, flipped);
                V::store(out + i + lane, here);
            });
        },
        [&](std::size_t i) __attribute__((always_inline)) {
            out[i] = x[i] * ((signs[i / kLanes] >> i % kLanes & 1) != 0 ? -factor : factor);
        });
}

template <class V>
[[gnu::always_inline]] inline void add_and_subtract(Line<V, false>& a, Line<V, false>& b) {
    each_part<V>([&](int h) __attribute__((always_inline)) {
        const auto x = a.part[h], y = b.part[h];
        a.part[h] = V::add(x, y), b.part[h] = V::sub(x, y);
    });
}

// The Hadamard transform of pairs of lines: first within each pair, where bit j of the number of an element becomes the
// choice between both lines (kernels/dyadic/base_steps.inl), then between pairs.
template <class V, int Pairs>
[[gnu::always_inline]] inline void transform_lines(const typename V::Real* from, typename V::Real* to) {
    constexpr int kFactors = Pairs == 4 ? 2 : Pairs - 1, kHalf = Pairs > 1 ? Pairs / 2 : 1;
    const auto place = [](int i) { return static_cast<std::size_t>(i) * kLanes; };
    Line<V, false> x[2 * Pairs];
    unroll_late<2 * Pairs>([&](int i) __attribute__((always_inline)) { load_line<V>(from + place(i), 0, x[i]); });
    unroll<5>([&](auto j) __attribute__((always_inline)) {
        unroll_late<Pairs>([&](int q) __attribute__((always_inline)) {
            if constexpr (j < 4) {
                exchange<V, 1 << j>(x[2 * q], x[2 * q + 1]);
            } else {
                unzip<V>(x[2 * q], x[2 * q + 1]);
            }
            add_and_subtract<V>(x[2 * q], x[2 * q + 1]);
        });
    });
    unroll_late<kFactors>([&](int j) __attribute__((always_inline)) {
        unroll_late<Pairs>([&](int v) __attribute__((always_inline)) {
            const int low = 2 * insert_zero(v % kHalf, j) + v / kHalf;
            add_and_subtract<V>(x[low], x[low + (2 << j)]);
        });
    });
    unroll_late<2 * Pairs>([&](int i) __attribute__((always_inline)) { store_line<V>(to + place(i), 0, x[i]); });
}

// Rows of 32, 64 or 128 numbers.
template <class Real>
void transform_rows(const Real* from, std::size_t width, std::size_t rows, Real* to) {
    const auto each = [&](auto pairs) {
        for (std::size_t i = 0; i < rows; ++i, from += width, to += width) transform_lines<Simd<Real>, pairs>(from, to);
    };
    if (width == 32) each(std::integral_constant<int, 1>{});
    if (width == 64) each(std::integral_constant<int, 2>{});
    if (width == 128) each(std::integral_constant<int, 4>{});
}

// Sums and differences of rows, in the order of their numbers: the ones of a row, then the others. `Lines` times 16
// columns.
template <class Real, int Lines>
void mix_columns(const bitterfly::MixArgs<Real>& args, std::size_t column) {
    using V = Simd<Real>;
    constexpr int kRegisters = Lines * kParts<V>;
    const std::size_t order = args.order, width = args.width;
    const Real* from = args.from + column;
    Real* to = args.to + column;
    for (std::size_t i = 0; i < order; ++i, to += width) {
        const std::uint8_t *at = args.at + i * args.row_stride, *end = at + order, *others = at + args.ones[i];
        typename V::Vec sums[kRegisters];
        unroll_late<kRegisters>([&](int r) __attribute__((always_inline)) { sums[r] = V::broadcast(0); });
        for (; at < others; ++at) {
            unroll_late<kRegisters>([&](int r) __attribute__((always_inline)) {
                sums[r] = V::add(sums[r], V::load(from + *at * width + r * V::width));
            });
        }
        for (; at < end; ++at) {
            unroll_late<kRegisters>([&](int r) __attribute__((always_inline)) {
                sums[r] = V::sub(sums[r], V::load(from + *at * width + r * V::width));
            });
        }
        unroll_late<kRegisters>([&](int r) __attribute__((always_inline)) { V::store(to + r * V::width, sums[r]); });
    }
}

template <class Real>
void mix_rows(const bitterfly::MixArgs<Real>& args) {
    constexpr int kLines = Simd<Real>::width < 8 ? 1 : 2;
    std::size_t column = 0;
    for (; column + kLines * kLanes <= args.width; column += kLines * kLanes) mix_columns<Real, kLines>(args, column);
    for (; column < args.width; column += kLanes) mix_columns<Real, 1>(args, column);
}

template <class Real>
constexpr bitterfly::RotationKernels<Real> rotation_kernels() {
    return {times_power<Real>, multiply_signs<Real>, transform_rows<Real>, mix_rows<Real>};
}

}  // namespace
