// The vocabulary of the kernels on one lane: plain C++, the honest baseline and the portable fallback.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace {

template <class T>
struct Simd {
    using Real = T;
    using Vec = T;
    using Word = std::uint32_t;
    static constexpr int width = 1, registers = 16, near_bits = 0;

    static Vec load(const Real* p) { return *p; }
    static void store(Real* p, Vec v) { *p = v; }
    // The first `count` lanes: others are read as zeros, and not written.
    using First = bool;
    static First first(std::size_t count) { return count > 0; }
    static Vec load_first(const Real* p, First lanes) { return lanes ? *p : Real(0); }
    static void store_first(Real* p, Vec v, First lanes) {
        if (lanes) *p = v;
    }
    static Vec broadcast(Real x) { return x; }
    static Vec add(Vec a, Vec b) { return a + b; }
    static Vec sub(Vec a, Vec b) { return a - b; }
    static Vec mul(Vec a, Vec b) { return a * b; }
    static Vec div(Vec a, Vec b) { return a / b; }
    static Vec sqrt(Vec a) { return std::sqrt(a); }
    static Vec abs(Vec a) { return std::fabs(a); }
    static Vec multiply_add(Vec a, Vec b, Vec c) { return a * b + c; }
    static Vec multiply_subtract_from(Vec a, Vec b, Vec c) { return c - a * b; }
    static Vec with_sign(Vec magnitude, Vec sign) { return std::copysign(magnitude, sign); }
    static Vec select_negative(Vec s, Vec a, Vec b) { return std::signbit(s) ? a : b; }
    static bool any_negative(Vec s) { return std::signbit(s); }
    // Lanes of v where s is negative, one behind the other; `width` numbers are written. Returns how many are there.
    static std::size_t store_negative(Real* p, Vec s, Vec v) {
        *p = v;
        return std::signbit(s) ? 1 : 0;
    }
    using Switch = std::uint32_t;
    static Switch load_switch(const std::uint16_t* p, std::size_t lane) { return *p >> lane & 1; }
    static void exchange(Switch s, Vec& a, Vec& b) {
        const Vec x = a, y = b;
        a = s ? y : x;
        b = s ? x : y;
    }
    static Real sum(Vec v) { return v; }

    static Word load_words(const std::uint32_t* p) { return *p; }
    static Word bit_or(Word a, Word b) { return a | b; }
    static Word bit_and(Word a, std::uint32_t mask) { return a & mask; }
    // Whether a and b differ by `bits` in every lane.
    static bool all_differ_by(Word a, Word b, std::uint32_t bits) { return (a ^ b) == bits; }
    static Word replace_bits(Word w, std::uint32_t kept, std::uint32_t others) { return (w & kept) | others; }
    static Word shift_left(Word w, int n) { return static_cast<Word>(std::uint64_t{w} << n); }
    static Word shift_right(Word w, int n) { return static_cast<Word>(std::uint64_t{w} >> n); }
    static Word add(Word a, std::uint32_t b) { return a + b; }
    static Vec to_real(Word w) { return static_cast<Real>(static_cast<std::int32_t>(w)); }
    static Vec from_float_bits(Word w) { return static_cast<Real>(std::bit_cast<float>(w)); }
    using Table = const Real*;  // 16 entries
    static Table load_table(const Real* p) { return p; }
    static Vec lookup16(Table table, Word index) { return table[index & 15]; }
    // The upper 8 entries repeat the lower ones.
    static Vec lookup8(Table table, Word index) { return table[index & 7]; }
    // 16 cosines and sines of half a turn.
    static void lookup_half_turn(Table cosine, Table sine, Word index, Vec& c, Vec& s) {
        c = lookup16(cosine, index), s = lookup16(sine, index);
    }
    // Two lanes a|b: the even one to a, the odd one to b; they are there. zip is the inverse.
    static void unzip(Vec&, Vec&) {}
    static void zip(Vec&, Vec&) {}
};

}  // namespace
