// The vocabulary that kernels are written in: every word once, with its meaning and its precondition. A tier supplies
// `Simd<float>` and `Simd<double>`; table.inl asserts that both have all of it, so a compiler names a word that a new
// tier lacks. What a word costs, and how it is done, stands in the header of each tier.
//
// A register `Vec` holds `width` lanes of Real, lane 0 the first in memory; a `Word` holds 32 bits for each of them.
// Numbers and words in memory need no alignment. `s` stands for a register of which only signs count, that of zero too.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

namespace {

// Types and sizes: `width` is a power of two, 16 at most; `registers` is 16 or 32, how many there are to keep sums in.
template <class V>
concept HasRegisters = requires {
    typename V::Real;
    typename V::Vec;
    typename V::Word;
    requires std::same_as<typename V::Real, float> || std::same_as<typename V::Real, double>;
    requires std::same_as<decltype(V::width), const int>;
    requires V::width >= 1 && V::width <= 16 && (V::width&(V::width - 1)) == 0;
    requires V::registers == 16 || V::registers == 32;
};

template <class V>
concept MovesNumbers = HasRegisters<V> && requires(typename V::Real* to, const typename V::Real* from,
                                                   typename V::Real x, typename V::Vec a, std::size_t count) {
    { V::load(from) } -> std::same_as<typename V::Vec>;  // `width` numbers
    { V::store(to, a) } -> std::same_as<void>;
    { V::broadcast(x) } -> std::same_as<typename V::Vec>;  // x in all lanes
    // The first `count` <= width lanes: others are read as zeros, and not written, nor is their memory touched.
    typename V::First;
    { V::first(count) } -> std::same_as<typename V::First>;
    { V::load_first(from, V::first(count)) } -> std::same_as<typename V::Vec>;
    { V::store_first(to, a, V::first(count)) } -> std::same_as<void>;
};

// IEEE 754 arithmetic, lane by lane.
template <class V>
concept Calculates = HasRegisters<V> && requires(typename V::Vec a, typename V::Vec b, typename V::Vec c) {
    { V::add(a, b) } -> std::same_as<typename V::Vec>;
    { V::sub(a, b) } -> std::same_as<typename V::Vec>;  // a - b
    { V::mul(a, b) } -> std::same_as<typename V::Vec>;
    { V::div(a, b) } -> std::same_as<typename V::Vec>;  // a / b
    { V::sqrt(a) } -> std::same_as<typename V::Vec>;
    { V::abs(a) } -> std::same_as<typename V::Vec>;
    { V::multiply_add(a, b, c) } -> std::same_as<typename V::Vec>;            // a * b + c, rounded once or twice
    { V::multiply_subtract_from(a, b, c) } -> std::same_as<typename V::Vec>;  // c - a * b, likewise
    { V::sum(a) } -> std::same_as<typename V::Real>;                          // of all lanes, in any order
};

template <class V>
concept LooksAtSigns = HasRegisters<V> && requires(typename V::Vec s, typename V::Vec a, typename V::Vec b) {
    { V::with_sign(a, s) } -> std::same_as<typename V::Vec>;           // |a| with the signs of s; a >= 0, and no -0
    { V::select_negative(s, a, b) } -> std::same_as<typename V::Vec>;  // a where s is negative, b elsewhere
    { V::any_negative(s) } -> std::same_as<bool>;
};

// Lanes that change places.
template <class V>
concept Exchanges =
    HasRegisters<V> && requires(typename V::Vec& a, typename V::Vec& b, const std::uint16_t* p, std::size_t lane) {
        // Bit `lane` + q of *p decides whether `exchange` swaps lane q of a and b; `lane` is a multiple of width.
        typename V::Switch;
        { V::load_switch(p, lane) } -> std::same_as<typename V::Switch>;
        { V::exchange(V::load_switch(p, lane), a, b) } -> std::same_as<void>;
        { V::unzip(a, b) } -> std::same_as<void>;  // of the lanes of a, then b: even ones to a, odd ones to b
        { V::zip(a, b) } -> std::same_as<void>;    // the inverse
    };

// Lanes of a with bit D of their number set <-> lanes of b with bit D clear. D is a power of two below `width`.
template <class V, int D>
concept ExchangesLanes = D >= V::width || requires(typename V::Vec& a, typename V::Vec& b) {
    { V::template exchange<D>(a, b) } -> std::same_as<void>;
};

template <class V>
concept ReadsWords = HasRegisters<V> && requires(const std::uint32_t* from, typename V::Word w, typename V::Word u,
                                                 std::uint32_t bits, int n) {
    { V::load_words(from) } -> std::same_as<typename V::Word>;
    { V::bit_or(w, u) } -> std::same_as<typename V::Word>;
    { V::bit_and(w, bits) } -> std::same_as<typename V::Word>;
    { V::replace_bits(w, bits, bits) } -> std::same_as<typename V::Word>;  // (w & second) | third
    { V::all_differ_by(w, u, bits) } -> std::same_as<bool>;                // (w ^ u) == bits in every lane
    { V::shift_left(w, n) } -> std::same_as<typename V::Word>;             // 0 <= n <= 32; zeros move in
    { V::shift_right(w, n) } -> std::same_as<typename V::Word>;            // likewise
    { V::add(w, bits) } -> std::same_as<typename V::Word>;                 // modulo 2^32
    { V::to_real(w) } -> std::same_as<typename V::Vec>;                    // of signed integers
    { V::from_float_bits(w) } -> std::same_as<typename V::Vec>;  // floats, widened if Real is double; none a NaN
};

// Numbers by their place in tables of 16, a lane each. Of `index` only the low bits count that a word names; others may
// be set.
template <class V>
concept LooksUp = ReadsWords<V> && requires(const typename V::Real* from, typename V::Word index, typename V::Vec& c,
                                            typename V::Vec& s) {
    typename V::Table;  // may point to the 16 numbers: they outlive it
    { V::load_table(from) } -> std::same_as<typename V::Table>;
    { V::lookup16(V::load_table(from), index) } -> std::same_as<typename V::Vec>;  // by the low 4 bits
    {
        V::lookup8(V::load_table(from), index)
    } -> std::same_as<typename V::Vec>;  // by the low 3; entries repeat after 8
    // By the low 4 bits from tables of the cosines and sines of h / 16 of half a turn, h = 0 to 15.
    { V::lookup_half_turn(V::load_table(from), V::load_table(from), index, c, s) } -> std::same_as<void>;
};

// Optional: tables of 32 cosines and sines of the first quarter of a turn, for the `near_bits` = 6 low bits of an index
// at once, the highest of which says that it is the second quarter. near_bits = 0 where there are none.
template <class V>
concept LooksUpNear = requires {
    requires V::near_bits == 0;
} || requires(const typename V::Real* from, typename V::Word index, typename V::Vec& c, typename V::Vec& s) {
    typename V::LongTable;
    { V::load_long_table(from) } -> std::same_as<typename V::LongTable>;
    { V::lookup_half_turn(V::load_long_table(from), V::load_long_table(from), index, c, s) } -> std::same_as<void>;
};

// Doubles only: the lanes of v where s is negative, one behind the other. `width` numbers are written; returns how many
// of them count.
template <class V>
concept PacksLanes = requires(typename V::Real* to, typename V::Vec s, typename V::Vec v) {
    { V::store_negative(to, s, v) } -> std::same_as<std::size_t>;
};

// Doubles only: from and to other numbers, to the nearest.
template <class V>
concept ConvertsNumbers = requires(const float* from, const std::int64_t* integers, std::int64_t bias, float* to,
                                   std::int32_t* nearest, typename V::Vec a, typename V::Vec b) {
    { V::load_floats(from) } -> std::same_as<typename V::Vec>;
    { V::store_floats(to, a) } -> std::same_as<void>;
    { V::load_less(integers, bias) } -> std::same_as<typename V::Vec>;  // integers - bias
    { V::store_nearest(nearest, a) } -> std::same_as<void>;             // ties to even; below 2^31
    { V::max(a, b) } -> std::same_as<typename V::Vec>;                  // of a NaN any
    { V::reversed(a) } -> std::same_as<typename V::Vec>;                // the last lane first
};

// Single precision only: signed integers of 32 bits, modulo 2^32.
template <class V>
concept CountsWords = ReadsWords<V> && requires(const std::uint32_t* from, std::uint32_t* to, typename V::Word w,
                                                typename V::Word u, typename V::Word v, std::uint32_t bits) {
    { V::store_words(to, w) } -> std::same_as<void>;
    { V::broadcast_word(bits) } -> std::same_as<typename V::Word>;
    { V::add(w, u) } -> std::same_as<typename V::Word>;
    { V::sub(w, u) } -> std::same_as<typename V::Word>;            // w - u
    { V::min(w, u) } -> std::same_as<typename V::Word>;            // of signed numbers
    { V::or_bits(w, u, bits) } -> std::same_as<typename V::Word>;  // w | (u & bits)
    { V::shift_left_by(w, u) } -> std::same_as<typename V::Word>;  // lane by lane, by less than 32
    { V::gather_words(from, u) } -> std::same_as<typename V::Word>;
    { V::add_products(w, u, v) } -> std::same_as<typename V::Word>;  // w + products of the signed halves of u and v
};

// 64 bytes, and 16 sums of 32 bits, for dense matrices: what the words of a tile of window codes (kernels/dense/) need.
// How a tile lies, what `Place` and `Cut` are and which of the ways to cut windows a tier has is said in scalar.hpp and
// copied_tiles.hpp.
template <class B>
concept ByteVocabulary = requires(
    const std::uint8_t* from, std::uint8_t* to, const std::int8_t* digits, const std::int32_t* numbers,
    std::int32_t* sums, typename B::Vec a, typename B::Vec& b, typename B::Sums sum, typename B::Line line,
    typename B::Place place, typename B::Cut cut, const std::uint16_t* start, std::size_t chunk, int half_bits) {
    requires std::same_as<decltype(B::is_direct), const bool>;
    requires std::same_as<decltype(B::streams_are_direct), const bool>;
    requires B::chunks_at_once == 1 || B::chunks_at_once == 4;
    requires B::together == 1 || B::together == 32;  // vectors of one call of a kernel
    { B::place(chunk, chunk, half_bits) } -> std::same_as<typename B::Place>;
    { B::is_one_line(half_bits, half_bits) } -> std::same_as<bool>;
    { B::line(from, place) } -> std::same_as<typename B::Line>;
    { B::whole_line(from, place) } -> std::same_as<typename B::Line>;
    { B::bytes(line) } -> std::same_as<typename B::Vec>;
    { B::cut(start, from, true, place, half_bits) } -> std::same_as<typename B::Cut>;
    { B::beside(cut, cut) } -> std::same_as<typename B::Cut>;
    { B::template windows<7>(line, cut) } -> std::same_as<typename B::Vec>;
    { B::windows_7_4(line, cut, b, b) } -> std::same_as<void>;
    { B::lookup16(B::load_table16(from), a) } -> std::same_as<typename B::Vec>;    // by indices below 16
    { B::lookup64(B::load_table64(from), a) } -> std::same_as<typename B::Vec>;    // below 64
    { B::lookup128(B::load_table128(from), a) } -> std::same_as<typename B::Vec>;  // below 128
    { B::bit_xor(a, a) } -> std::same_as<typename B::Vec>;
    { B::transpose(a) } -> std::same_as<typename B::Vec>;  // each four by four
    { B::load(from) } -> std::same_as<typename B::Vec>;
    { B::store(to, a) } -> std::same_as<void>;
    { B::broadcast(digits) } -> std::same_as<typename B::Vec>;     // four bytes, over and over
    { B::repeat_fours(digits) } -> std::same_as<typename B::Vec>;  // of 16 bytes each four four times
    { B::zero() } -> std::same_as<typename B::Sums>;
    { B::load(numbers) } -> std::same_as<typename B::Sums>;
    { B::store(sums, sum) } -> std::same_as<void>;
    // Adds four products of unsigned with signed bytes to each sum; false: the unsigned ones are below 128.
    { B::template add_products<true>(sum, a, a) } -> std::same_as<typename B::Sums>;
    { B::template add_products<false>(sum, a, a) } -> std::same_as<typename B::Sums>;
    requires !B::zips_words || requires(typename B::Vec(&four)[4]) {
        // In each quarter, byte c of word i of vector t becomes byte t of word c of vector i.
        { B::zip_words(four) } -> std::same_as<void>;
    };
    requires !B::looks_up_odd || requires {
        // By windows of 7 bits from bit 2 of the first on, from half a table that is odd.
        { B::template lookup_odd<2>(B::load_table64(from), a, a) } -> std::same_as<typename B::Vec>;
    };
    requires B::together == 1 || requires(typename B::Vec(&four)[4]) {
        { B::transpose_quarters(four) } -> std::same_as<void>;  // four by four quarters of 16 bytes
    };
};

// Optional: windows from words of 64 bits, of single columns. Not where cuts_words is false.
template <class B>
concept CutsWords = requires { requires !B::cuts_words; } ||
                    requires(typename B::Vec a, typename B::Line line, typename B::Place place, int half_bits) {
                        { B::word_sources(place, half_bits) } -> std::same_as<typename B::Vec>;
                        { B::words(line, a) } -> std::same_as<typename B::Vec>;
                        { B::windows_of_words(a, a) } -> std::same_as<typename B::Vec>;
                        { B::rows_of_words(a) } -> std::same_as<typename B::Vec>;
                        { B::wrapped_words(a, a) } -> std::same_as<typename B::Vec>;
                    };

// Tiles of signs and sums of 16 rows of them by tables of sixteen (kernels/cuts/args.hpp).
template <class S>
concept SignVocabulary =
    requires(const std::uint8_t* tile, std::uint8_t* table, const std::int32_t* numbers, std::int64_t* out,
             const typename S::Vec (&signs)[1], typename S::Sums (&sums)[1], std::size_t count) {
        requires S::chunks == 1 || S::chunks == 4;  // tiles of a panel at once
        requires S::most_tiles >= 4;                // of which sums stay in range
        { S::signs(tile) } -> std::same_as<typename S::Vec>;
        { S::turned(tile) } -> std::same_as<typename S::Vec>;  // transposed: columns for rows, twice 16 of them
        { S::zero() } -> std::same_as<typename S::Sums>;
        // Of the first, or the last 16 columns; of turned tiles both halves, each to sums of its own.
        { S::template add<0>(sums, signs, table) } -> std::same_as<void>;
        { S::template add<1>(sums, signs, table) } -> std::same_as<void>;
        { S::template add_halves<1>(sums, signs, table) } -> std::same_as<void>;
        { S::add_to(out, sums[0], count) } -> std::same_as<void>;  // of `count` tables
        { S::tables(numbers, table) } -> std::same_as<void>;       // of 16 numbers
    };

template <class V>
concept Vocabulary =
    MovesNumbers<V> && Calculates<V> && LooksAtSigns<V> && Exchanges<V> && ExchangesLanes<V, 1> &&
    ExchangesLanes<V, 2> && ExchangesLanes<V, 4> && ExchangesLanes<V, 8> && LooksUp<V> && LooksUpNear<V>;

}  // namespace
