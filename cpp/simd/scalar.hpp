// The vocabulary of the kernels on one lane: plain C++, the honest baseline and the portable fallback.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "simd/copied_tiles.hpp"

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
    static Vec max(Vec a, Vec b) { return a < b ? b : a; }
    static Vec reversed(Vec v) { return v; }
    static Vec load_floats(const float* p) { return *p; }
    static void store_floats(float* p, Vec v) { *p = static_cast<float>(v); }
    static Vec load_less(const std::int64_t* p, std::int64_t bias) { return static_cast<Real>(*p - bias); }
    // Adding 1.5 * 2^52 rounds to an integer, which the low half of the sum holds.
    static void store_nearest(std::int32_t* p, double v) {
        *p = static_cast<std::int32_t>(std::bit_cast<std::int64_t>(v + 6755399441055744.0));
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
    static void store_words(std::uint32_t* p, Word w) { *p = w; }
    static Word bit_or(Word a, Word b) { return a | b; }
    static Word bit_and(Word a, std::uint32_t mask) { return a & mask; }
    // Whether a and b differ by `bits` in every lane.
    static bool all_differ_by(Word a, Word b, std::uint32_t bits) { return (a ^ b) == bits; }
    static Word replace_bits(Word w, std::uint32_t kept, std::uint32_t others) { return (w & kept) | others; }
    static Word shift_left(Word w, int n) { return static_cast<Word>(std::uint64_t{w} << n); }
    static Word shift_right(Word w, int n) { return static_cast<Word>(std::uint64_t{w} >> n); }
    static Word add(Word a, std::uint32_t b) { return a + b; }
    static Word sub(Word a, Word b) { return a - b; }
    static Word broadcast_word(std::uint32_t w) { return w; }
    static Word or_bits(Word a, Word b, std::uint32_t mask) { return a | (b & mask); }
    static Word shift_left_by(Word w, Word n) { return w << n; }  // n < 32, lane by lane
    static Word gather_words(const std::uint32_t* p, Word index) { return p[index]; }
    // Of signed numbers.
    static Word min(Word a, Word b) { return static_cast<std::int32_t>(b) < static_cast<std::int32_t>(a) ? b : a; }
    // a + the products of the signed halves of b and c.
    static Word add_products(Word a, Word b, Word c) {
        const auto low = [](Word w) { return static_cast<std::int16_t>(w); };
        return a + static_cast<Word>(low(b) * low(c)) + static_cast<Word>(low(b >> 16) * low(c >> 16));
    }
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

// Bytes, 64 at a time, and 16 sums of four products each: the vocabulary of dense matrices in window codes. The lanes
// of 16 bytes are four by four, rows of columns or columns of rows.
struct Bytes : CopiedTiles {
    struct Vec {
        std::uint8_t lane[64];
    };
    struct Sums {
        std::int32_t lane[16];
    };
    static constexpr bool looks_up_odd = false, zips_words = false;
    static constexpr std::size_t together = 1;  // vectors of a call: the fallback is kept small
    static Vec bytes(Line line) {
        return each([&](int l) { return line[l]; });
    }

    // 16 bytes of each stream from byte 16 line + skipped on, of a tile of `lines` times 16.
    static constexpr bool streams_are_direct = false;
    template <int Skipped>
    static Vec stream_bytes(const std::uint8_t* tile, int line, int) {
        return load(tile + 64 * line + 4 * Skipped);
    }

    // How 64 windows are cut from a line: that of lane l begins at bit start[l] of the stream of column[l], counted
    // from the first position. Lanes of 16 are four columns at each of four positions, in either order.
    struct Cut {
        std::uint8_t source[64], shift[64];
    };
    static constexpr bool cuts_long_rows = true, turns_rows = false;
    static constexpr bool cuts_rows(int) { return true; }
    static Cut beside(const Cut& cut, const Cut&) { return cut; }
    static Cut cut(const std::uint16_t* start, const std::uint8_t* column, bool, Place, int) {
        Cut out;
        for (int l = 0; l < 64; ++l) {
            out.source[l] = static_cast<std::uint8_t>(4 * (start[l] / 8) + column[l]);
            out.shift[l] = start[l] % 8;
        }
        return out;
    }
    template <int Bits>
    static Vec windows(Line line, const Cut& cut) {
        return each([&](int l) { return window(line, cut, l) & ((1 << Bits) - 1); });
    }
    // The low 7 bits of windows of 11, and the other four.
    static void windows_7_4(Line line, const Cut& cut, Vec& low, Vec& high) {
        low = windows<7>(line, cut);
        high = each([&](int l) { return window(line, cut, l) >> 7 & 15; });
    }

    // Bits from Shift on, `Bits` of them, of each byte with that of `next` above it.
    template <int Shift, int Bits>
    static Vec joined(const Vec& bytes, const Vec& next) {
        return each([&](int l) { return (bytes.lane[l] | next.lane[l] << 8) >> Shift & ((1 << Bits) - 1); });
    }

    using Table16 = const std::uint8_t*;
    using Table64 = const std::uint8_t*;
    using Table128 = const std::uint8_t*;
    static Table16 load_table16(const std::uint8_t* p) { return p; }  // four times the same 16
    static Table64 load_table64(const std::uint8_t* p) { return p; }
    static Table128 load_table128(const std::uint8_t* p) { return p; }
    static Vec lookup16(Table16 table, const Vec& index) {
        return each([&](int l) { return table[index.lane[l]]; });
    }
    static Vec lookup64(Table64 table, const Vec& index) {
        return each([&](int l) { return table[index.lane[l]]; });
    }
    static Vec lookup128(Table128 table, const Vec& index) {
        return each([&](int l) { return table[index.lane[l]]; });
    }
    static Vec bit_xor(const Vec& a, const Vec& b) {
        return each([&](int l) { return a.lane[l] ^ b.lane[l]; });
    }
    static Vec bit_xor(const Vec& a, std::uint8_t b) {
        return each([&](int l) { return a.lane[l] ^ b; });
    }
    // Each four by four transposed.
    static Vec transpose(const Vec& v) {
        return each([&](int l) { return v.lane[(l & 48) | (l & 3) << 2 | (l >> 2 & 3)]; });
    }

    static Vec load(const std::uint8_t* p) { return bytes(p); }
    static void store(std::uint8_t* p, const Vec& v) {
        for (int l = 0; l < 64; ++l) p[l] = v.lane[l];
    }
    static Vec broadcast(const std::int8_t* p) {  // four bytes
        return each([&](int l) { return static_cast<std::uint8_t>(p[l & 3]); });
    }
    // Four bytes four times, the next four, ...
    static Vec repeat_fours(const std::int8_t* p) {
        return each([&](int l) { return static_cast<std::uint8_t>(p[(l >> 4) * 4 + (l & 3)]); });
    }

    static Sums zero() { return {}; }
    static Sums load(const std::int32_t* p) {
        Sums out;
        for (int i = 0; i < 16; ++i) out.lane[i] = p[i];
        return out;
    }
    static void store(std::int32_t* p, const Sums& s) {
        for (int i = 0; i < 16; ++i) p[i] = s.lane[i];
    }
    // Adds four products of unsigned with signed bytes to each sum. Unless IsWide, the unsigned ones are below 128.
    template <bool IsWide>
    static Sums add_products(Sums sums, const Vec& a, const Vec& b) {
        for (int l = 0; l < 64; ++l) sums.lane[l / 4] += a.lane[l] * static_cast<std::int8_t>(b.lane[l]);
        return sums;
    }

private:
    template <class F>
    static Vec each(F f) {
        Vec out;
        for (int l = 0; l < 64; ++l) out.lane[l] = static_cast<std::uint8_t>(f(l));
        return out;
    }
    static int window(Line line, const Cut& cut, int l) {
        const std::uint8_t* p = line + cut.source[l];
        return (p[0] | p[4] << 8 | p[8] << 16) >> cut.shift[l];
    }
};

// Tiles of 16 x 32 signs (kernels/cuts/args.hpp) and sums of 16 rows: the vocabulary of signed cuts. A table has four
// times 16 sums of 32 bits.
struct Signs {
    struct Vec {
        std::uint8_t lane[64];
    };
    struct Sums {
        std::uint64_t lane[16];
    };
    static constexpr int chunks = 1;
    static constexpr std::size_t most_tiles = std::size_t{1} << 18;

    static Vec signs(const std::uint8_t* tile) {
        Vec out;
        __builtin_memcpy(out.lane, tile, 64);
        return out;
    }
    // Rows for columns.
    static Vec turned(const std::uint8_t* tile) {
        Vec out;
        for (int rows = 0; rows < 4; ++rows) {
            for (int b = 0; b < 4; ++b) {
                std::uint32_t word = 0;
                for (int r = 0; r < 4; ++r) word |= static_cast<std::uint32_t>(tile[16 * rows + 4 * r + b]) << 8 * r;
                word = exchange(exchange(word, 7, 0x00AA00AA), 14, 0x0000CCCC);
                for (int c = 0; c < 4; ++c) {
                    out.lane[4 * (4 * b + c) + rows] = static_cast<std::uint8_t>(word >> 8 * c);
                }
            }
        }
        return out;
    }
    static Sums zero() { return {}; }
    template <int Half, int Count>
    static void add(Sums (&sums)[Count], const Vec (&signs)[Count], const std::uint8_t* table) {
        for (int i = 0; i < Count; ++i) add_one<Half>(sums[i], signs[i], table);
    }
    template <int Count>
    static void add_halves(Sums* sums, const Vec (&signs)[Count], const std::uint8_t* table) {
        for (int i = 0; i < Count; ++i) {
            add_one<0>(sums[2 * i], signs[i], table);
            add_one<1>(sums[2 * i + 1], signs[i], table);
        }
    }
    // `count`: how many tables were added.
    static void add_to(std::int64_t* out, const Sums& sums, std::size_t count) {
        for (int i = 0; i < 16; ++i) out[i] += static_cast<std::int64_t>(sums.lane[i] - (std::uint64_t{count} << 33));
    }
    static void tables(const std::int32_t* x, std::uint8_t* out) {
        for (int g = 0; g < 4; ++g, x += 4, out += 64) {
            std::uint32_t entries[16];
            entries[0] = 0x80000000U + static_cast<std::uint32_t>(x[0] + x[1] + x[2] + x[3]);
            for (int bit = 0; bit < 4; ++bit) {
                for (int e = 0; e < 1 << bit; ++e) {
                    entries[(1 << bit) + e] = entries[e] - 2 * static_cast<std::uint32_t>(x[bit]);
                }
            }
            __builtin_memcpy(out, entries, 64);
        }
    }

private:
    // Exchanges bits of a mask with those `shift` above them.
    static std::uint32_t exchange(std::uint32_t v, int shift, std::uint32_t mask) {
        const std::uint32_t moved = (v ^ v >> shift) & mask;
        return v ^ moved ^ moved << shift;
    }
    template <int Half>
    static void add_one(Sums& sums, const Vec& signs, const std::uint8_t* table) {
        for (int l = 0; l < 16; ++l) {
            for (int b = 0; b < 4; ++b) {
                std::uint32_t entry;
                __builtin_memcpy(&entry, table + 64 * b + 4 * (signs.lane[4 * l + b] >> 4 * Half & 15), 4);
                sums.lane[l] += entry;
            }
        }
    }
};

}  // namespace
