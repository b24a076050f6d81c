// The vocabulary of the kernels on 256 bits: AVX2, FMA. `Word` holds one 32-bit word per lane of `Vec`.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "simd/copied_tiles.hpp"

namespace {

template <class T>
struct Simd;

// Where the lanes come from that the bits of `mask` name, one behind the other, each as two words.
struct PackedLanes {
    alignas(32) std::int32_t word[16][8];
    constexpr PackedLanes() : word{} {
        for (int mask = 0; mask < 16; ++mask) {
            for (int lane = 0, to = 0; lane < 4; ++lane) {
                if ((mask >> lane & 1) == 0) continue;
                word[mask][to++] = 2 * lane, word[mask][to++] = 2 * lane + 1;
            }
        }
    }
};

template <>
struct Simd<float> {
    using Real = float;
    using Vec = __m256;
    using Word = __m256i;
    static constexpr int width = 8, registers = 16, near_bits = 0;

    static Vec load(const Real* p) { return _mm256_loadu_ps(p); }
    static void store(Real* p, Vec v) { _mm256_storeu_ps(p, v); }
    // The first `count` lanes: others are read as zeros, and not written.
    using First = __m256i;
    static First first(std::size_t count) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                                  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
    static Vec load_first(const Real* p, First lanes) { return _mm256_maskload_ps(p, lanes); }
    static void store_first(Real* p, Vec v, First lanes) { _mm256_maskstore_ps(p, lanes, v); }
    static Vec broadcast(Real x) { return _mm256_set1_ps(x); }
    static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
    static Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
    static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
    static Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
    static Vec sqrt(Vec a) { return _mm256_sqrt_ps(a); }
    static Vec abs(Vec a) { return _mm256_andnot_ps(sign_bit(), a); }
    static Vec multiply_add(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
    static Vec multiply_subtract_from(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
    static Vec with_sign(Vec magnitude, Vec sign) { return _mm256_or_ps(magnitude, _mm256_and_ps(sign_bit(), sign)); }
    static Vec select_negative(Vec s, Vec a, Vec b) { return _mm256_blendv_ps(b, a, s); }
    static bool any_negative(Vec s) { return _mm256_movemask_ps(s) != 0; }
    // Bit q of *p decides whether `exchange` swaps lane q; the first lane of a register is lane `lane`.
    using Switch = Vec;
    static Switch load_switch(const std::uint16_t* p, std::size_t lane) {
        const __m256i bits = _mm256_sll_epi32(_mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128),
                                              _mm_cvtsi64_si128(static_cast<long long>(lane)));
        return _mm256_castsi256_ps(
            _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi16(static_cast<short>(*p)), bits), bits));
    }
    static void exchange(Switch s, Vec& a, Vec& b) {
        const Vec changed = _mm256_and_ps(_mm256_xor_ps(a, b), s);
        a = _mm256_xor_ps(a, changed);
        b = _mm256_xor_ps(b, changed);
    }
    static Real sum(Vec v) {
        __m128 h = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        h = _mm_add_ps(h, _mm_movehl_ps(h, h));
        return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
    }

    static Word load_words(const std::uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static void store_words(std::uint32_t* p, Word w) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), w); }
    static Word bit_or(Word a, Word b) { return _mm256_or_si256(a, b); }
    static Word bit_and(Word a, std::uint32_t mask) {
        return _mm256_and_si256(a, _mm256_set1_epi32(static_cast<int>(mask)));
    }
    // Whether a and b differ by `bits` in every lane.
    static bool all_differ_by(Word a, Word b, std::uint32_t bits) {
        const Word found = _mm256_cmpeq_epi32(_mm256_xor_si256(a, b), _mm256_set1_epi32(static_cast<int>(bits)));
        return _mm256_movemask_epi8(found) == -1;
    }
    static Word replace_bits(Word w, std::uint32_t kept, std::uint32_t others) {  // (w & kept) | others
        return bit_or(bit_and(w, kept), _mm256_set1_epi32(static_cast<int>(others)));
    }
    static Word shift_left(Word w, int n) { return _mm256_slli_epi32(w, n); }
    static Word shift_right(Word w, int n) { return _mm256_srli_epi32(w, n); }
    static Word add(Word a, std::uint32_t b) { return _mm256_add_epi32(a, _mm256_set1_epi32(static_cast<int>(b))); }
    static Word add(Word a, Word b) { return _mm256_add_epi32(a, b); }
    static Word sub(Word a, Word b) { return _mm256_sub_epi32(a, b); }
    static Word broadcast_word(std::uint32_t w) { return _mm256_set1_epi32(static_cast<int>(w)); }
    static Word or_bits(Word a, Word b, std::uint32_t mask) { return bit_or(a, bit_and(b, mask)); }
    static Word shift_left_by(Word w, Word n) { return _mm256_sllv_epi32(w, n); }  // n < 32, lane by lane
    static Word gather_words(const std::uint32_t* p, Word index) {
        return _mm256_i32gather_epi32(reinterpret_cast<const int*>(p), index, 4);
    }
    // Of signed numbers.
    static Word min(Word a, Word b) { return _mm256_min_epi32(a, b); }
    // a + the products of the signed halves of b and c.
    static Word add_products(Word a, Word b, Word c) { return add(a, _mm256_madd_epi16(b, c)); }
    static Vec to_real(Word w) { return _mm256_cvtepi32_ps(w); }
    static Vec from_float_bits(Word w) { return _mm256_castsi256_ps(w); }
    // vpermps reads the low three bits of each index; bit 3, moved to the sign, picks the half.
    struct Table {  // 16 entries
        Vec low, high;
    };
    static Table load_table(const Real* p) { return {load(p), load(p + 8)}; }
    static Vec lookup16(const Table& table, Word index) {
        const Vec low = _mm256_permutevar8x32_ps(table.low, index);
        const Vec high = _mm256_permutevar8x32_ps(table.high, index);
        return where_negative(_mm256_slli_epi32(index, 28), high, low);
    }
    // The upper 8 entries repeat the lower ones.
    static Vec lookup8(const Table& table, Word index) { return _mm256_permutevar8x32_ps(table.low, index); }
    // 16 cosines and sines of half a turn: from the second quarter on, (c, s) is (-s, c) of the first.
    static void lookup_half_turn(const Table& cosine, const Table& sine, Word index, Vec& c, Vec& s) {
        const Vec x = _mm256_permutevar8x32_ps(cosine.low, index), y = _mm256_permutevar8x32_ps(sine.low, index);
        const Word second = _mm256_slli_epi32(index, 28);
        c = where_negative(second, _mm256_xor_ps(y, sign_bit()), x);
        s = where_negative(second, x, y);
    }
    // Lanes of a with bit D of their number set <-> lanes of b with bit D clear.
    template <int D>
    static void exchange(Vec& a, Vec& b) {
        const Vec x = a, y = b;
        if constexpr (D == 1) {
            a = _mm256_blend_ps(x, _mm256_moveldup_ps(y), 0xaa);
            b = _mm256_blend_ps(_mm256_movehdup_ps(x), y, 0xaa);
        } else if constexpr (D == 2) {
            a = unpack_pairs<0>(x, y);
            b = unpack_pairs<15>(x, y);
        } else {
            a = _mm256_permute2f128_ps(x, y, 0x20);
            b = _mm256_permute2f128_ps(x, y, 0x31);
        }
    }
    // Lanes of a|b: even ones to a, odd ones to b. zip is the inverse.
    static void unzip(Vec& a, Vec& b) {
        const Vec x = a, y = b;
        a = in_order(_mm256_shuffle_ps(x, y, 0x88));
        b = in_order(_mm256_shuffle_ps(x, y, 0xdd));
    }
    static void zip(Vec& a, Vec& b) {
        const Vec low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
        a = _mm256_permute2f128_ps(low, high, 0x20);
        b = _mm256_permute2f128_ps(low, high, 0x31);
    }

private:
    static Vec sign_bit() { return _mm256_set1_ps(-0.0F); }
    // a where w is negative, b elsewhere. Of an intrinsic compilers know that it compares integers with zero, and some
    // then do so, with an instruction of its own.
    static Vec where_negative(Word w, Vec a, Vec b) {
        Vec v;
        asm("vblendvps %3, %2, %1, %0" : "=x"(v) : "x"(b), "x"(a), "x"(w));
        return v;
    }
    template <int Mask>
    static Vec unpack_pairs(Vec x, Vec y) {
        return _mm256_castpd_ps(_mm256_shuffle_pd(_mm256_castps_pd(x), _mm256_castps_pd(y), Mask));
    }
    static Vec in_order(Vec v) {  // 64-bit quarters 0 2 1 3: undoes the 128-bit halves of shuffle
        return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
    }
};

template <>
struct Simd<double> {
    using Real = double;
    using Vec = __m256d;
    using Word = __m128i;
    static constexpr int width = 4, registers = 16, near_bits = 0;

    static Vec load(const Real* p) { return _mm256_loadu_pd(p); }
    static void store(Real* p, Vec v) { _mm256_storeu_pd(p, v); }
    using First = __m256i;
    static First first(std::size_t count) {
        return _mm256_cmpgt_epi64(_mm256_set1_epi64x(static_cast<long long>(count)), _mm256_setr_epi64x(0, 1, 2, 3));
    }
    static Vec load_first(const Real* p, First lanes) { return _mm256_maskload_pd(p, lanes); }
    static void store_first(Real* p, Vec v, First lanes) { _mm256_maskstore_pd(p, lanes, v); }
    static Vec broadcast(Real x) { return _mm256_set1_pd(x); }
    static Vec add(Vec a, Vec b) { return _mm256_add_pd(a, b); }
    static Vec sub(Vec a, Vec b) { return _mm256_sub_pd(a, b); }
    static Vec mul(Vec a, Vec b) { return _mm256_mul_pd(a, b); }
    static Vec div(Vec a, Vec b) { return _mm256_div_pd(a, b); }
    static Vec sqrt(Vec a) { return _mm256_sqrt_pd(a); }
    static Vec abs(Vec a) { return _mm256_andnot_pd(sign_bit(), a); }
    static Vec multiply_add(Vec a, Vec b, Vec c) { return _mm256_fmadd_pd(a, b, c); }
    static Vec multiply_subtract_from(Vec a, Vec b, Vec c) { return _mm256_fnmadd_pd(a, b, c); }
    static Vec with_sign(Vec magnitude, Vec sign) { return _mm256_or_pd(magnitude, _mm256_and_pd(sign_bit(), sign)); }
    static Vec select_negative(Vec s, Vec a, Vec b) { return _mm256_blendv_pd(b, a, s); }
    static bool any_negative(Vec s) { return _mm256_movemask_pd(s) != 0; }
    // Lanes of v where s is negative, one behind the other; `width` numbers are written. Returns how many are there.
    static std::size_t store_negative(Real* p, Vec s, Vec v) {
        static constexpr PackedLanes lanes;
        const int mask = _mm256_movemask_pd(s);
        const __m256i from = _mm256_load_si256(reinterpret_cast<const __m256i*>(lanes.word[mask]));
        store(p, _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(v), from)));
        return static_cast<std::size_t>(__builtin_popcount(static_cast<unsigned>(mask)));
    }
    static Vec max(Vec a, Vec b) { return _mm256_max_pd(a, b); }
    static Vec reversed(Vec v) { return _mm256_permute4x64_pd(v, 0x1b); }
    static Vec load_floats(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
    static void store_floats(float* p, Vec v) { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
    // Both halves as mantissas of larger numbers: differences are exact, their sum is rounded once.
    static Vec load_less(const std::int64_t* p, std::int64_t bias) {
        const __m256i v =
            _mm256_sub_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_set1_epi64x(bias));
        const __m256i low = _mm256_blend_epi32(_mm256_castpd_si256(_mm256_set1_pd(0x1p52)), v, 0x55);
        const __m256i high =
            _mm256_xor_si256(_mm256_srli_epi64(v, 32), _mm256_castpd_si256(_mm256_set1_pd(0x1p84 + 0x1p63)));
        return _mm256_add_pd(_mm256_sub_pd(_mm256_castsi256_pd(high), _mm256_set1_pd(0x1p84 + 0x1p63 + 0x1p52)),
                             _mm256_castsi256_pd(low));
    }
    static void store_nearest(std::int32_t* p, Vec v) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtpd_epi32(v));
    }
    // Bit q of *p decides whether `exchange` swaps lane q; the first lane of a register is lane `lane`.
    using Switch = Vec;
    static Switch load_switch(const std::uint16_t* p, std::size_t lane) {
        const __m256i bits =
            _mm256_sll_epi64(_mm256_setr_epi64x(1, 2, 4, 8), _mm_cvtsi64_si128(static_cast<long long>(lane)));
        return _mm256_castsi256_pd(
            _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi16(static_cast<short>(*p)), bits), bits));
    }
    static void exchange(Switch s, Vec& a, Vec& b) {
        const Vec changed = _mm256_and_pd(_mm256_xor_pd(a, b), s);
        a = _mm256_xor_pd(a, changed);
        b = _mm256_xor_pd(b, changed);
    }
    static Real sum(Vec v) {
        const __m128d h = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
        return _mm_cvtsd_f64(_mm_add_sd(h, _mm_unpackhi_pd(h, h)));
    }

    static Word load_words(const std::uint32_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
    static Word bit_or(Word a, Word b) { return _mm_or_si128(a, b); }
    static Word bit_and(Word a, std::uint32_t mask) { return _mm_and_si128(a, _mm_set1_epi32(static_cast<int>(mask))); }
    static bool all_differ_by(Word a, Word b, std::uint32_t bits) {
        const Word found = _mm_cmpeq_epi32(_mm_xor_si128(a, b), _mm_set1_epi32(static_cast<int>(bits)));
        return _mm_movemask_epi8(found) == 0xffff;
    }
    static Word replace_bits(Word w, std::uint32_t kept, std::uint32_t others) {  // (w & kept) | others
        return bit_or(bit_and(w, kept), _mm_set1_epi32(static_cast<int>(others)));
    }
    static Word shift_left(Word w, int n) { return _mm_slli_epi32(w, n); }
    static Word shift_right(Word w, int n) { return _mm_srli_epi32(w, n); }
    static Word add(Word a, std::uint32_t b) { return _mm_add_epi32(a, _mm_set1_epi32(static_cast<int>(b))); }
    static Vec to_real(Word w) { return _mm256_cvtepi32_pd(w); }
    static Vec from_float_bits(Word w) { return _mm256_cvtps_pd(_mm_castsi128_ps(w)); }
    // A table of 16 doubles fills four registers: the gather from L1 costs less than the blends.
    using Table = const Real*;  // 16 entries
    static Table load_table(const Real* p) { return p; }
    static Vec lookup16(Table table, Word index) { return _mm256_i32gather_pd(table, bit_and(index, 15), 8); }
    // The upper 8 entries repeat the lower ones.
    static Vec lookup8(Table table, Word index) { return _mm256_i32gather_pd(table, bit_and(index, 7), 8); }
    // 16 cosines and sines of half a turn.
    static void lookup_half_turn(const Table& cosine, const Table& sine, Word index, Vec& c, Vec& s) {
        c = lookup16(cosine, index), s = lookup16(sine, index);
    }
    template <int D>
    static void exchange(Vec& a, Vec& b) {
        const Vec x = a, y = b;
        a = D == 1 ? _mm256_unpacklo_pd(x, y) : _mm256_permute2f128_pd(x, y, 0x20);
        b = D == 1 ? _mm256_unpackhi_pd(x, y) : _mm256_permute2f128_pd(x, y, 0x31);
    }
    static void unzip(Vec& a, Vec& b) {
        const Vec x = a, y = b;
        a = _mm256_permute4x64_pd(_mm256_unpacklo_pd(x, y), 0xd8);
        b = _mm256_permute4x64_pd(_mm256_unpackhi_pd(x, y), 0xd8);
    }
    static void zip(Vec& a, Vec& b) {
        const Vec low = _mm256_unpacklo_pd(a, b), high = _mm256_unpackhi_pd(a, b);
        a = _mm256_permute2f128_pd(low, high, 0x20);
        b = _mm256_permute2f128_pd(low, high, 0x31);
    }

private:
    static Vec sign_bit() { return _mm256_set1_pd(-0.0); }
};

// Bytes, 64 at a time, and 16 sums of four products each: the vocabulary of dense matrices in window codes. The lanes
// of 16 bytes are four by four, rows of columns or columns of rows.
struct Bytes : CopiedTiles {
    struct Vec {
        __m256i half[2];
    };
    using Sums = Vec;
    static constexpr std::size_t together = 32;
    static Vec bytes(Line line) { return load(line); }

    // 16 bytes of each stream from byte 16 line + skipped on, of a tile of `lines` times 16.
    static constexpr bool streams_are_direct = true;
    template <int Skipped>
    static Vec stream_bytes(const std::uint8_t* tile, int line, int lines) {
        Vec out = load(tile + 64 * line + 4 * Skipped);
        if (Skipped > 0 && line + 1 == lines) {
            std::int64_t first;
            __builtin_memcpy(&first, tile, 8);
            const __m256i wrapped =
                Skipped == 1 ? _mm256_set1_epi32(static_cast<std::int32_t>(first)) : _mm256_set1_epi64x(first);
            out.half[1] = _mm256_blend_epi32(out.half[1], wrapped, 0xff << (8 - Skipped) & 0xff);
        }
        return out;
    }

    // How 64 windows are cut from a line: that of lane l begins at bit start[l] of the stream of column[l], counted
    // from the first position. Lanes of 16 are four columns at each of four positions, in either order: they lie in
    // four bytes of each column. Words of two of these are shifted by multiplications.
    struct Part {
        std::size_t base[4];
        Vec sources[2], factors[2];  // of even lanes and of odd ones
    };
    struct Cut {
        Part low, high;  // of windows of 11 bits, the upper four
    };
    static constexpr bool cuts_long_rows = true, turns_rows = false;
    static constexpr bool cuts_rows(int) { return true; }
    static Cut beside(const Cut& cut, const Cut&) { return cut; }
    static Cut cut(const std::uint16_t* start, const std::uint8_t* column, bool, Place, int bits) {
        return {part(start, column, 0, bits < 7 ? bits : 7), part(start, column, 7, 4)};
    }
    template <int Bits>
    static Vec windows(Line line, const Cut& cut) {
        return cut_out<Bits>(line, cut.low);
    }
    // The low 7 bits of windows of 11, and the other four.
    static void windows_7_4(Line line, const Cut& cut, Vec& low, Vec& high) {
        low = cut_out<7>(line, cut.low), high = cut_out<4>(line, cut.high);
    }

    // Bits from Shift on, `Bits` of them, of each byte with that of `next` above it.
    template <int Shift, int Bits>
    static Vec joined(const Vec& bytes, const Vec& next) {
        constexpr int low = (1 << (Bits < 8 - Shift ? Bits : 8 - Shift)) - 1, high = ((1 << Bits) - 1) & ~low;
        Vec out;
        for (int h = 0; h < 2; ++h) {
            out.half[h] = _mm256_and_si256(_mm256_srli_epi16(bytes.half[h], Shift), _mm256_set1_epi8(low));
            if constexpr (high != 0) {
                const __m256i above = _mm256_slli_epi16(next.half[h], 8 - Shift);
                out.half[h] = _mm256_or_si256(out.half[h], _mm256_and_si256(above, _mm256_set1_epi8(high)));
            }
        }
        return out;
    }

    struct Table16 {
        __m256i entries;
    };
    // Each 16 entries but the first flipped by the 16 before: 16 more are looked up and flipped again while the index
    // is not below them.
    template <int Count>
    struct Table {
        __m256i entries[Count];
    };
    using Table64 = Table<4>;
    using Table128 = Table<8>;
    static Table16 load_table16(const std::uint8_t* p) { return {load16(p)}; }  // four times the same 16
    static Table64 load_table64(const std::uint8_t* p) { return load_table<4>(p); }
    static Table128 load_table128(const std::uint8_t* p) { return load_table<8>(p); }
    static Vec lookup16(const Table16& table, const Vec& index) {
        return {{_mm256_shuffle_epi8(table.entries, index.half[0]), _mm256_shuffle_epi8(table.entries, index.half[1])}};
    }
    static Vec lookup64(const Table64& table, const Vec& index) { return lookup<4>(table, index); }
    static Vec lookup128(const Table128& table, const Vec& index) { return lookup<8>(table, index); }
    // Tables that are odd, entry i ^ 64 the negative of entry i, of entries + 64: half of them is enough.
    static constexpr bool looks_up_odd = true;
    template <int Start>
    static Vec lookup_odd(const Table64& table, const Vec& bytes, const Vec& next) {
        const Vec entry = lookup64(table, joined<Start, 6>(bytes, next));
        Vec out;
        for (int h = 0; h < 2; ++h) {
            const __m256i sign = _mm256_and_si256(at_top<Start + 6>(bytes.half[h], next.half[h]),
                                                  _mm256_set1_epi8(static_cast<char>(128)));
            out.half[h] = _mm256_abs_epi8(_mm256_xor_si256(entry.half[h], sign));
        }
        return out;
    }

    static Vec bit_xor(const Vec& a, const Vec& b) {
        return {{_mm256_xor_si256(a.half[0], b.half[0]), _mm256_xor_si256(a.half[1], b.half[1])}};
    }
    static Vec bit_xor(const Vec& a, std::uint8_t b) {
        const __m256i all = _mm256_set1_epi8(static_cast<char>(b));
        return bit_xor(a, {{all, all}});
    }
    // Each four by four transposed.
    static Vec transpose(const Vec& v) {
        const __m256i order =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        return {{_mm256_shuffle_epi8(v.half[0], order), _mm256_shuffle_epi8(v.half[1], order)}};
    }

    static Vec load(const std::uint8_t* p) { return {{load32(p), load32(p + 32)}}; }
    static void store(std::uint8_t* p, const Vec& v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.half[0]);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), v.half[1]);
    }
    static Vec broadcast(const std::int8_t* p) {  // four bytes
        std::int32_t word;
        __builtin_memcpy(&word, p, 4);
        const __m256i all = _mm256_set1_epi32(word);
        return {{all, all}};
    }
    // Four bytes four times, the next four, ...
    static Vec repeat_fours(const std::int8_t* p) {
        const __m256i all = load16(reinterpret_cast<const std::uint8_t*>(p));
        return {{_mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)),
                 _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3))}};
    }

    // In each quarter, byte c of word i of vector t becomes byte t of word c of vector i.
    static constexpr bool zips_words = true;
    static void zip_words(Vec (&v)[4]) {
        for (int h = 0; h < 2; ++h) {
            const __m256i a = _mm256_unpacklo_epi8(v[0].half[h], v[1].half[h]);
            const __m256i b = _mm256_unpackhi_epi8(v[0].half[h], v[1].half[h]);
            const __m256i c = _mm256_unpacklo_epi8(v[2].half[h], v[3].half[h]);
            const __m256i d = _mm256_unpackhi_epi8(v[2].half[h], v[3].half[h]);
            v[0].half[h] = _mm256_unpacklo_epi16(a, c), v[1].half[h] = _mm256_unpackhi_epi16(a, c);
            v[2].half[h] = _mm256_unpacklo_epi16(b, d), v[3].half[h] = _mm256_unpackhi_epi16(b, d);
        }
    }
    // Four by four quarters transposed.
    static void transpose_quarters(Vec (&v)[4]) {
        Vec out[4];
        for (int h = 0; h < 2; ++h) {
            for (int k = 0; k < 2; ++k) {
                out[2 * k].half[h] = _mm256_permute2x128_si256(v[2 * h].half[k], v[2 * h + 1].half[k], 0x20);
                out[2 * k + 1].half[h] = _mm256_permute2x128_si256(v[2 * h].half[k], v[2 * h + 1].half[k], 0x31);
            }
        }
        for (int i = 0; i < 4; ++i) v[i] = out[i];
    }

    static Sums zero() { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
    static Sums load(const std::int32_t* p) { return load(reinterpret_cast<const std::uint8_t*>(p)); }
    static void store(std::int32_t* p, const Sums& s) { store(reinterpret_cast<std::uint8_t*>(p), s); }
    // Adds four products of unsigned with signed bytes to each sum. Unless IsWide, the unsigned ones are below 128: two
    // products then fit 16 bits.
    template <bool IsWide>
    static Sums add_products(const Sums& sums, const Vec& a, const Vec& b) {
        return {{add_products<IsWide>(sums.half[0], a.half[0], b.half[0]),
                 add_products<IsWide>(sums.half[1], a.half[1], b.half[1])}};
    }

private:
    static __m256i load32(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    // Bit `At` as the highest of its byte.
    template <int At>
    static __m256i at_top(__m256i bytes, __m256i next) {
        return _mm256_slli_epi16(At < 8 ? bytes : next, 7 - At % 8);
    }
    static __m256i load16(const std::uint8_t* p) {
        return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    static __m256i load16(const std::uint8_t* low, const std::uint8_t* high) {
        return _mm256_loadu2_m128i(reinterpret_cast<const __m128i*>(high), reinterpret_cast<const __m128i*>(low));
    }
    // Windows of `bits` bits that begin `skipped` bits on: those of even lanes at the top of their words, those of odd
    // lanes at the bottom of the upper byte.
    static Part part(const std::uint16_t* start, const std::uint8_t* column, int skipped, int bits) {
        Part out{};
        alignas(32) std::uint8_t sources[2][64];
        alignas(32) std::uint16_t factors[2][32];
        for (int l = 0; l < 64; ++l) {
            const int bit = start[l] + skipped, base = (start[l & 48] + skipped) / 8,
                      from = 4 * (bit / 8 - base) + column[l];
            out.base[l / 16] = static_cast<std::size_t>(4 * base);
            sources[l % 2][l / 2 * 2] = static_cast<std::uint8_t>(from);
            sources[l % 2][l / 2 * 2 + 1] = static_cast<std::uint8_t>(from + 4);
            factors[l % 2][l / 2] = static_cast<std::uint16_t>(1 << ((l % 2 == 0 ? 16 - bits : 8) - bit % 8));
        }
        for (int odd = 0; odd < 2; ++odd) {
            out.sources[odd] = load(sources[odd]);
            out.factors[odd] = load(reinterpret_cast<const std::uint8_t*>(factors[odd]));
        }
        return out;
    }
    template <int Bits>
    static Vec cut_out(Line line, const Part& part) {
        Vec out;
        for (int h = 0; h < 2; ++h) {
            const __m256i all = load16(line + part.base[2 * h], line + part.base[2 * h + 1]);
            const __m256i even =
                _mm256_mullo_epi16(_mm256_shuffle_epi8(all, part.sources[0].half[h]), part.factors[0].half[h]);
            const __m256i odd =
                _mm256_mullo_epi16(_mm256_shuffle_epi8(all, part.sources[1].half[h]), part.factors[1].half[h]);
            out.half[h] = _mm256_or_si256(_mm256_srli_epi16(even, 16 - Bits),
                                          _mm256_and_si256(odd, _mm256_set1_epi16(((1 << Bits) - 1) << 8)));
        }
        return out;
    }
    template <int Count>
    static Table<Count> load_table(const std::uint8_t* p) {
        Table<Count> out{{load16(p)}};
        for (int i = 1; i < Count; ++i) out.entries[i] = _mm256_xor_si256(load16(p + 16 * i), load16(p + 16 * i - 16));
        return out;
    }
    template <int Count>
    static Vec lookup(const Table<Count>& table, Vec index) {
        Vec out = {{_mm256_shuffle_epi8(table.entries[0], index.half[0]),
                    _mm256_shuffle_epi8(table.entries[0], index.half[1])}};
#pragma GCC unroll 8
        for (int i = 1; i < Count; ++i) {
            for (int h = 0; h < 2; ++h) {
                index.half[h] = _mm256_sub_epi8(index.half[h], _mm256_set1_epi8(16));
                out.half[h] = _mm256_xor_si256(out.half[h], _mm256_shuffle_epi8(table.entries[i], index.half[h]));
            }
        }
        return out;
    }
    template <bool IsWide>
    static __m256i add_products(__m256i sums, __m256i a, __m256i b) {
        if constexpr (IsWide) {
            const __m256i low = _mm256_madd_epi16(_mm256_and_si256(a, _mm256_set1_epi16(255)),
                                                  _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
            const __m256i high = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
            return _mm256_add_epi32(sums, _mm256_add_epi32(low, high));
        } else {
            const __m256i pairs = _mm256_maddubs_epi16(a, b);
            return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
    }
};

// Tiles of 16 x 32 signs (kernels/cuts/args.hpp) and sums of 16 rows: the vocabulary of signed cuts. A table has, of
// each byte of the 32-bit sums, the lowest first, four times 16 entries.
struct Signs {
    struct Vec {  // 16 bytes of each table: the rows
        __m256i half[2];
    };
    struct Sums {  // of the bytes of each significance in words of two rows, and of the upper ones alone
        __m256i both[4], upper[4];
    };
    static constexpr int chunks = 1;
    static constexpr std::size_t most_tiles = 64;  // 256 bytes fit 16 bits

    static Vec signs(const std::uint8_t* tile) {
        const __m256i order = by_fours();
        const auto quarters = [&](int i) {
            return _mm256_shuffle_epi8(
                _mm256_inserti128_si256(_mm256_castsi128_si256(load(tile + 16 * i)), load(tile + 16 * i + 32), 1),
                order);
        };
        const __m256i a = quarters(0), b = quarters(1);
        return {{_mm256_permute4x64_epi64(_mm256_unpacklo_epi32(a, b), 0xd8),
                 _mm256_permute4x64_epi64(_mm256_unpackhi_epi32(a, b), 0xd8)}};
    }
    // Rows for columns: each 16 bytes are four rows; bits of four rows and four columns are transposed in words.
    static Vec turned(const std::uint8_t* tile) {
        Vec out;
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
            const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile + 32 * i));
            out.half[i] = exchange<14>(exchange<7>(_mm256_shuffle_epi8(v, by_fours()), 0x00AA00AA), 0x0000CCCC);
        }
        return out;
    }
    static Sums zero() {
        const __m256i none = _mm256_setzero_si256();
        return {{none, none, none, none}, {none, none, none, none}};
    }
    template <int Half, int Count>
    [[gnu::always_inline]] static void add(Sums (&sums)[Count], const Vec (&signs)[Count], const std::uint8_t* table) {
#pragma GCC unroll 4
        for (int i = 0; i < Count; ++i) add_one<Half>(sums[i], signs[i], table);
    }
    template <int Count>
    [[gnu::always_inline]] static void add_halves(Sums* sums, const Vec (&signs)[Count], const std::uint8_t* table) {
#pragma GCC unroll 4
        for (int i = 0; i < Count; ++i) {
            add_one<0>(sums[2 * i], signs[i], table);
            add_one<1>(sums[2 * i + 1], signs[i], table);
        }
    }
    // `count`: how many tables were added.
    static void add_to(std::int64_t* out, const Sums& sums, std::size_t count) {
        alignas(32) std::uint32_t even[4][8], odd[4][8];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
            const __m256i lower = _mm256_sub_epi16(sums.both[q], _mm256_slli_epi16(sums.upper[q], 8));
            _mm256_store_si256(reinterpret_cast<__m256i*>(even[q]), folded(lower));
            _mm256_store_si256(reinterpret_cast<__m256i*>(odd[q]), folded(sums.upper[q]));
        }
        const auto total = [](const std::uint32_t (&part)[4][8], int i) {
            std::uint64_t sum = 0;
            for (int q = 0; q < 4; ++q) sum += static_cast<std::uint64_t>(part[q][i]) << 8 * q;
            return static_cast<std::int64_t>(sum);
        };
        const std::int64_t bias = static_cast<std::int64_t>(count) << 33;
        for (int i = 0; i < 8; ++i) {
            out[2 * i] += total(even, i) - bias;
            out[2 * i + 1] += total(odd, i) - bias;
        }
    }
    static void tables(const std::int32_t* x, std::uint8_t* out) {
        const __m256i first = _mm256_setr_epi32(0, -1, 0, -1, 0, -1, 0, -1);
        const __m256i second = _mm256_setr_epi32(0, 0, -1, -1, 0, 0, -1, -1);
        const __m256i last = _mm256_setr_epi32(0, 0, 0, 0, -1, -1, -1, -1);
        for (int g = 0; g < 4; ++g, x += 4, out += 16) {
            const auto less = [](__m256i s, __m256i where, std::int32_t number) {
                return _mm256_sub_epi32(s, _mm256_and_si256(where, _mm256_set1_epi32(2 * number)));
            };
            const std::uint32_t sum = 0x80000000U + static_cast<std::uint32_t>(x[0] + x[1] + x[2] + x[3]);
            __m256i a = _mm256_set1_epi32(static_cast<int>(sum));
            a = less(less(less(a, first, x[0]), second, x[1]), last, x[3]);  // entries 0 to 3 and 8 to 11
            __m256i b = _mm256_sub_epi32(a, _mm256_set1_epi32(2 * x[2]));
            a = _mm256_shuffle_epi8(a, by_fours()), b = _mm256_shuffle_epi8(b, by_fours());
            const __m256i low = _mm256_permute4x64_epi64(_mm256_unpacklo_epi32(a, b), 0xd8);
            const __m256i high = _mm256_permute4x64_epi64(_mm256_unpackhi_epi32(a, b), 0xd8);
            store(out, _mm256_castsi256_si128(low)), store(out + 64, _mm256_extracti128_si256(low, 1));
            store(out + 128, _mm256_castsi256_si128(high)), store(out + 192, _mm256_extracti128_si256(high, 1));
        }
    }

private:
    static __m128i load(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
    static void store(std::uint8_t* p, __m128i v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
    // Transposes four by four bytes.
    static __m256i by_fours() {
        return _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    }
    // Exchanges bits of a mask with those Shift above them.
    template <int Shift>
    static __m256i exchange(__m256i v, int mask) {
        const __m256i moved =
            _mm256_and_si256(_mm256_xor_si256(v, _mm256_srli_epi32(v, Shift)), _mm256_set1_epi32(mask));
        return _mm256_xor_si256(_mm256_xor_si256(v, moved), _mm256_slli_epi32(moved, Shift));
    }
    static __m256i folded(__m256i v) {
        return _mm256_add_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)),
                                _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1)));
    }
    template <int Half>
    [[gnu::always_inline]] static void add_one(Sums& sums, const Vec& signs, const std::uint8_t* table) {
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
            const __m256i moved = Half == 0 ? signs.half[i] : _mm256_srli_epi16(signs.half[i], 4);
            const __m256i place = _mm256_and_si256(moved, _mm256_set1_epi8(15));
#pragma GCC unroll 4
            for (int q = 0; q < 4; ++q) {
                const auto* entries = reinterpret_cast<const __m256i*>(table + 64 * q + 32 * i);
                const __m256i bytes = _mm256_shuffle_epi8(_mm256_loadu_si256(entries), place);
                sums.both[q] = _mm256_add_epi16(sums.both[q], bytes);
                sums.upper[q] = _mm256_add_epi16(sums.upper[q], _mm256_srli_epi16(bytes, 8));
            }
        }
    }
};

}  // namespace
