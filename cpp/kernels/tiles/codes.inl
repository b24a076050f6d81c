// Every form of the numbers of a tile: what it is called, how long it is, and how it is decoded. Integers and lists
// have a decoder for each width, known at compile time, for tiles that start on lines of their own; short floats, and
// lists that do not, are read from streams that go on from tile to tile.
#pragma once

#include <utility>

#include "kernels/lanes/bits.inl"
#include "kernels/tiles/args.hpp"
#include "lanes.hpp"

namespace {

using bitterfly::Form;
using bitterfly::FormFacts;
using bitterfly::kLanes;
using bitterfly::TileFactor;

inline constexpr int kMostBits = 16;  // of codes with a decoder for each width

// The value of `steps` steps, from where every decoder has its unit.
template <class V>
typename V::Vec unit_of(const TileFactor& f, double steps) {
    return V::broadcast(static_cast<typename V::Real>(f.step * steps));
}

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

    explicit IntegerCodes(const TileFactor& f) : unit(unit_of<V>(f, static_cast<double>(1U << (Bits - 1)))) {}
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
          step_(unit_of<V>(f, 1)) {}

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

// The lines of a tile that has its own.
inline const std::uint32_t* lines_of(const TileFactor& f, std::size_t tile, std::size_t count) {
    const std::size_t lines = f.is_joined ? count * static_cast<std::size_t>(f.bits) / 32 : f.lines;
    return static_cast<const std::uint32_t*>(f.values) + tile * lines * kLanes;
}

// ---- a function for each width ----

template <class Function>
struct ByWidth {
    Function of[kMostBits + 1] = {};
};

// make.template operator()<Codes>() for the codes of each width of a form; null for widths that it does not have.
template <class V, class Kind, class Function, class Make>
constexpr ByWidth<Function> by_width(Make make) {
    ByWidth<Function> out;
    [&]<int... Above>(std::integer_sequence<int, Above...>) {
        constexpr int least = Kind::facts.least_bits;
        ((out.of[least + Above] = make.template operator()<typename Kind::template Codes<V, least + Above>>()), ...);
    }(std::make_integer_sequence<int, Kind::facts.most_bits - Kind::facts.least_bits + 1>{});
    return out;
}

// The numbers of a tile that starts on a line of its own.
template <class V, class Kind>
void decode_own_lines(const TileFactor& f, const std::uint32_t* line, std::size_t count, typename V::Real* out) {
    using Decode = void (*)(const TileFactor&, const std::uint32_t*, std::size_t, typename V::Real*);
    static constexpr auto decode =
        by_width<V, Kind, Decode>([]<class Codes>() -> Decode { return decode_lines<V, Codes>; });
    if (count > 0) decode.of[f.bits](f, line, count, out);
}

// ---- the forms ----
//
// weights() gives `count` numbers of each lane of a tile as Real: in place, or decoded to `out`. Where `has_lines`,
// codes of tiles that start on lines of their own are also multiplied as they are decoded, Codes<V, Bits> of each
// width.

inline std::size_t packed_lines(int bits, std::size_t count) {
    return (count * static_cast<std::size_t>(bits) + 31) / 32;
}

// Numbers of the operator's precision.
struct Plain {
    static constexpr bool has_lines = false;
    static constexpr FormFacts facts{.name = "plain", .lines = [](int, std::size_t count) { return count; }};

    template <class V>
    static const typename V::Real* weights(const TileFactor& f, std::size_t tile, std::size_t count,
                                           typename V::Real*) {
        return static_cast<const typename V::Real*>(f.values) + tile * count * kLanes;
    }
};

// step * (code - 2^(bits-1))
struct Integers {
    static constexpr bool has_lines = true;
    static constexpr FormFacts facts{.name = "integer", .least_bits = 2, .most_bits = kMostBits, .lines = packed_lines};
    template <class V, int Bits>
    using Codes = IntegerCodes<V, Bits>;

    template <class V>
    static const typename V::Real* weights(const TileFactor& f, std::size_t tile, std::size_t count,
                                           typename V::Real* out) {
        decode_own_lines<V, Integers>(f, lines_of(f, tile, count), count, out);
        return out;
    }
};

// step times a float of few bits, see FloatDecoder.
struct ShortFloats {
    static constexpr bool has_lines = false;
    static constexpr FormFacts facts{.name = "float",
                                     .least_bits = 2,
                                     .most_bits = 30,
                                     .is_joined = true,
                                     .has_significand = true,
                                     .lines = packed_lines};

    template <class V>
    static const typename V::Real* weights(const TileFactor& f, std::size_t tile, std::size_t count,
                                           typename V::Real* out) {
        decode_stream<V, FloatDecoder<V>>(f, tile, count, out);
        return out;
    }
};

// The number of the code in f.list.
struct Lists {
    static constexpr bool has_lines = true;
    static constexpr FormFacts facts{
        .name = "list", .least_bits = 1, .most_bits = 4, .is_joined = true, .has_list = true, .lines = packed_lines};
    template <class V, int Bits>
    using Codes = ListCodes<V, Bits>;

    template <class V>
    static const typename V::Real* weights(const TileFactor& f, std::size_t tile, std::size_t count,
                                           typename V::Real* out) {
        if (count * static_cast<std::size_t>(f.bits) % 32 == 0) {
            decode_own_lines<V, Lists>(f, lines_of(f, tile, count), count, out);
        } else if (f.bits <= 3) {
            decode_stream<V, ListCodes<V, 3>>(f, tile, count, out);
        } else {
            decode_stream<V, ListCodes<V, 4>>(f, tile, count, out);
        }
        return out;
    }
};

template <class V>
using TileWeights = const typename V::Real* (*)(const TileFactor&, std::size_t tile, std::size_t count,
                                                typename V::Real* out);

template <class... Kinds>
struct FormList {
    static constexpr int count = sizeof...(Kinds);
    static constexpr FormFacts facts[count] = {Kinds::facts...};
    static constexpr bool has_lines[count] = {Kinds::has_lines...};
    template <class V>
    static constexpr TileWeights<V> weights[count] = {Kinds::template weights<V>...};

    // The functions of all forms by width, see by_width(); none for forms without lines of their own.
    template <class Function>
    struct ByForm {
        ByWidth<Function> of[count];
    };
    template <class V, class Function, class Make>
    static constexpr ByForm<Function> by_form(Make make) {
        return {{by_width_of<V, Kinds, Function>(make)...}};
    }

private:
    template <class V, class Kind, class Function, class Make>
    static constexpr ByWidth<Function> by_width_of(Make make) {
        if constexpr (Kind::has_lines) {
            return by_width<V, Kind, Function>(make);
        } else {
            return {};
        }
    }
};

using Forms = FormList<Plain, Integers, ShortFloats, Lists>;

inline int place_of(const TileFactor& f) { return static_cast<int>(f.form); }

// Whether codes of a tile can be multiplied as they are decoded: they start on a line of their own.
inline bool has_own_lines(const TileFactor& f, std::size_t planes) {
    return Forms::has_lines[place_of(f)] &&
           (!f.is_joined || f.weights * planes * static_cast<std::size_t>(f.bits) % 32 == 0);
}

// The weights of one tile as Real: in place, or decoded to `out`.
template <class V>
const typename V::Real* tile_weights(const TileFactor& f, std::size_t tile, std::size_t planes, typename V::Real* out) {
    return Forms::weights<V>[place_of(f)](f, tile, f.weights * planes, out);
}

// All numbers of a factor whose streams are joined, 16 lanes beside each other; `out` has room for whole tiles.
template <class V>
void all_floats(const TileFactor& f, std::size_t planes, typename V::Real* out) {
    Forms::weights<V>[place_of(f)](f, 0, f.tiles * f.weights * planes, out);
}

}  // namespace
