// Weights of a tile from packed codes: integers of a bit width known at compile time, one after the other; short floats
// and lists of numbers from streams that go on from tile to tile.
#pragma once

#include <utility>

#include "kernels/lanes/bits.inl"
#include "kernels/tiles/args.hpp"
#include "lanes.hpp"

namespace {

using bitterfly::kLanes;
using bitterfly::TileFactor;

inline constexpr int kMostBits = 16;  // of integer codes
inline constexpr int kListBits = 4;   // of codes that stand for numbers of a list

// Codes repeat their places in the words after this many, a power of two: all of them fill `lines` lines. Eight at
// least, so that a loop over periods is unrolled.
template <int Bits>
struct Period {
    static constexpr int twos = Bits & -Bits;
    static constexpr int codes = twos >= 4 ? 8 : 32 / twos;
    static constexpr std::size_t lines = static_cast<std::size_t>(codes * Bits / 32);
};

// Code t of a period is set as the upper bits of a fraction: 2 + 2 code / 2^Bits, whose difference to 3 is exact, the
// weight in units of 2^(Bits-1) steps. No conversion of integers, no rounding.
template <class V, int Bits>
[[gnu::always_inline]] inline typename V::Vec integer_code(const std::uint32_t* line, int t) {
    const int first = t * Bits % 32, right = first + Bits - 23;
    const std::uint32_t* const lines = line + t * Bits / 32 * static_cast<int>(kLanes);
    const auto code = right < 0 ? V::shift_left(V::load_words(lines), -right) : bits_at<V>(lines, right, 23);
    constexpr std::uint32_t fraction = ((std::uint32_t{1} << Bits) - 1) << (23 - Bits), two = 0x40000000;
    return V::sub(V::from_float_bits(V::replace_bits(code, fraction, two)), V::broadcast(3));
}

// How codes of one width are read from a line of their lanes: a number in units of `unit`.
template <class V, int Bits>
struct IntegerCodes {
    static constexpr int bits = Bits;
    typename V::Vec unit;

    explicit IntegerCodes(const TileFactor& f)
        : unit(V::broadcast(static_cast<typename V::Real>(f.step * static_cast<double>(1U << (Bits - 1))))) {}
    [[gnu::always_inline]] typename V::Vec number(const std::uint32_t* line, int t) const {
        return integer_code<V, Bits>(line, t);
    }
};

// Numbers of a list; the bits above a code do not count, since the list goes on periodically.
template <class V, int Bits>
struct ListCodes {
    static constexpr int bits = Bits;
    typename V::Vec unit = V::broadcast(1);
    typename V::Table table;

    explicit ListCodes(const TileFactor& f) : table(V::load_table(f.list.of<typename V::Real>())) {}
    typename V::Vec operator()(typename V::Word code) const {
        if constexpr (Bits <= 3) {
            return V::lookup8(table, code);
        } else {
            return V::lookup16(table, code);
        }
    }
    [[gnu::always_inline]] typename V::Vec number(const std::uint32_t* line, int t) const {
        return (*this)(bits_at<V>(line, t * Bits, Bits));
    }
};

// Lines that are fetched ahead: beyond those of one tile, between which the stream rests.
inline constexpr std::size_t kLinesAhead = 64;

// Calls step(re, im) for the weights from `line` on, (w, w) if real, until it returns false.
template <int Planes, class Codes, class Step, int... W>
[[gnu::always_inline]] inline void walk(const Codes& codes, const std::uint32_t* line, Step& step,
                                        std::integer_sequence<int, W...>) {
    while ((step(codes.number(line, W * Planes), codes.number(line, W * Planes + Planes - 1)) && ...)) {
        line += Period<Codes::bits>::lines * kLanes;
        for (std::size_t i = 0; i < Period<Codes::bits>::lines; ++i)
            __builtin_prefetch(line + (kLinesAhead + i) * kLanes);
    }
}

template <int Planes, class Codes, class Step>
[[gnu::always_inline]] inline void walk(const Codes& codes, const std::uint32_t* line, Step& step) {
    walk<Planes>(codes, line, step, std::make_integer_sequence<int, Period<Codes::bits>::codes / Planes>{});
}

// Writes the weights it walks over.
template <class V>
struct Store {
    typename V::Real* out;
    std::size_t left;
    typename V::Vec unit;

    [[gnu::always_inline]] bool operator()(typename V::Vec w, typename V::Vec) {
        V::store(out, V::mul(w, unit));
        out += kLanes;
        return --left != 0;
    }
};

template <class V, class Codes>
void decode_lines(const TileFactor& f, const std::uint32_t* line, std::size_t count, typename V::Real* out) {
    const Codes codes(f);
    for (std::size_t h = 0; h < kLanes; h += V::width) {
        Store<V> store{out + h, count, codes.unit};
        walk<1>(codes, line + h, store);
    }
}

template <class V>
struct DecodeTable {
    void (*of[kMostBits])(const TileFactor&, const std::uint32_t*, std::size_t, typename V::Real*);  // by bits - 1
};

template <class V, int... BitsLessTwo>
constexpr DecodeTable<V> integer_table(std::integer_sequence<int, BitsLessTwo...>) {
    return {{nullptr, decode_lines<V, IntegerCodes<V, BitsLessTwo + 2>>...}};
}

template <class V, int... BitsLessOne>
constexpr DecodeTable<V> list_table(std::integer_sequence<int, BitsLessOne...>) {
    return {{decode_lines<V, ListCodes<V, BitsLessOne + 1>>...}};
}

// Sign, exponent field E of e bits, fraction of t - 1 bits, as in IEEE 754: the largest E stands for [1, 2) * step, E =
// 0 for zero and for numbers without the leading bit.
template <class V>
class FloatDecoder {
public:
    explicit FloatDecoder(const TileFactor& f)
        : sign_(32 - f.bits),
          fraction_(24 - f.significand),
          magnitude_((std::uint32_t{1} << (f.bits - 1)) - 1),
          normal_(std::uint32_t{1} << (f.significand - 1)),
          // The largest field becomes 127, the exponent zero of a float; the bias keeps subnormal floats out of reach.
          bias_(128 - (std::uint32_t{1} << (f.bits - f.significand))),
          least_(V::broadcast(power(static_cast<int>(bias_) - 127))),
          step_(V::broadcast(static_cast<typename V::Real>(f.step))) {}

    typename V::Vec operator()(typename V::Word code) const {
        const auto magnitude = V::bit_and(code, magnitude_);
        const auto number = V::from_float_bits(V::add(V::shift_left(magnitude, fraction_), bias_ << 23));
        const auto shortened = V::mul(V::sub(number, least_), V::broadcast(2));
        const auto is_short = V::from_float_bits(V::bit_and(V::add(magnitude, 0U - normal_), kSign));
        const auto sign = V::from_float_bits(V::bit_and(V::shift_left(code, sign_), kSign));
        return V::mul(V::with_sign(V::select_negative(is_short, shortened, number), sign), step_);
    }

private:
    static constexpr std::uint32_t kSign = 0x80000000U;
    static typename V::Real power(int exponent) {  // 2^exponent, for exponent <= 0
        typename V::Real x = 1;
        for (; exponent < 0; ++exponent) x /= 2;
        return x;
    }
    int sign_, fraction_;
    std::uint32_t magnitude_, normal_, bias_;
    typename V::Vec least_, step_;
};

// The numbers of one tile from streams that go on from tile to tile.
template <class V, class Decoder>
void decode_stream(const TileFactor& f, std::size_t tile, std::size_t count, typename V::Real* out) {
    const auto bits = static_cast<std::size_t>(f.bits);
    const auto* stream = static_cast<const std::uint32_t*>(f.values);
    const Decoder decode(f);
    for (std::size_t t = 0; t < count; ++t, out += kLanes) {
        const std::size_t bit = (tile * count + t) * bits, start = bit % 32;
        const std::uint32_t* line = stream + bit / 32 * kLanes;
        for (std::size_t h = 0; h < kLanes; h += V::width) {
            auto code = V::shift_right(V::load_words(line + h), static_cast<int>(start));
            if (start + bits > 32) {
                const auto high = V::load_words(line + kLanes + h);
                code = V::bit_or(code, V::shift_left(high, static_cast<int>(32 - start)));
            }
            V::store(out + h, decode(code));
        }
    }
}

// All numbers of a factor in floats, 16 lanes beside each other; `out` has room for whole tiles.
template <class V>
void all_floats(const TileFactor& f, std::size_t planes, typename V::Real* out) {
    decode_stream<V, FloatDecoder<V>>(f, 0, f.tiles * f.weights * planes, out);
}

// Whether the codes of every tile start on a line of their own.
inline bool has_own_lines(const TileFactor& f, std::size_t planes) {
    return !f.is_joined() || (f.is_listed && f.weights * planes * static_cast<std::size_t>(f.bits) % 32 == 0);
}

// The lines of a tile that has its own.
inline const std::uint32_t* lines_of(const TileFactor& f, std::size_t tile, std::size_t planes) {
    const std::size_t lines = (f.weights * planes * static_cast<std::size_t>(f.bits) + 31) / 32;
    return static_cast<const std::uint32_t*>(f.values) + tile * lines * kLanes;
}

template <class V>
void decode_own_lines(const TileFactor& f, const std::uint32_t* line, std::size_t count, typename V::Real* out) {
    static constexpr auto integers = integer_table<V>(std::make_integer_sequence<int, kMostBits - 1>{});
    static constexpr auto lists = list_table<V>(std::make_integer_sequence<int, kListBits>{});
    (f.is_listed ? lists : integers).of[f.bits - 1](f, line, count, out);
}

template <class V>
void decode_joined(const TileFactor& f, std::size_t tile, std::size_t count, typename V::Real* out) {
    if (f.significand > 0) {
        decode_stream<V, FloatDecoder<V>>(f, tile, count, out);
    } else if (f.bits <= 3) {
        decode_stream<V, ListCodes<V, 3>>(f, tile, count, out);
    } else {
        decode_stream<V, ListCodes<V, 4>>(f, tile, count, out);
    }
}

// The weights of one tile as Real: in place, or decoded to `out`.
template <class V>
const typename V::Real* tile_weights(const TileFactor& f, std::size_t tile, std::size_t planes, typename V::Real* out) {
    const std::size_t count = f.weights * planes;
    if (f.bits == 0) return static_cast<const typename V::Real*>(f.values) + tile * count * kLanes;
    if (!has_own_lines(f, planes)) {
        decode_joined<V>(f, tile, count, out);
    } else if (count > 0) {
        decode_own_lines<V>(f, lines_of(f, tile, planes), count, out);
    }
    return out;
}

}  // namespace
