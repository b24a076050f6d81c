// The vocabulary of the kernels on 512 bits: AVX-512 F, BW, VL, DQ, VNNI. `Word` holds one 32-bit word per lane of
// `Vec`.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace {

template <class T>
struct Simd;

template <class Index, int Width>
struct Lanes {
    alignas(64) Index lane[Width];
};

// Where the lanes of a half come from in a concatenation of 2 * Width lanes: even or odd lanes ...
template <class Index, int Width>
constexpr Lanes<Index, Width> unzip_sources(int odd) {
    Lanes<Index, Width> out{};
    for (int i = 0; i < Width; ++i) out.lane[i] = static_cast<Index>(2 * i + odd);
    return out;
}

// ... or lanes of both registers in turn.
template <class Index, int Width>
constexpr Lanes<Index, Width> zip_sources(int half) {
    Lanes<Index, Width> out{};
    for (int i = 0; i < Width; ++i) out.lane[i] = static_cast<Index>(i % 2 * Width + (half * Width + i) / 2);
    return out;
}

template <>
struct Simd<float> {
    using Real = float;
    using Vec = __m512;
    using Word = __m512i;
    static constexpr int width = 16, registers = 32, near_bits = 6;

    static Vec load(const Real* p) { return _mm512_loadu_ps(p); }
    static void store(Real* p, Vec v) { _mm512_storeu_ps(p, v); }
    // The first `count` lanes: others are read as zeros, and not written.
    using First = __mmask16;
    static First first(std::size_t count) { return static_cast<First>((1U << count) - 1); }
    static Vec load_first(const Real* p, First lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
    static void store_first(Real* p, Vec v, First lanes) { _mm512_mask_storeu_ps(p, lanes, v); }
    static Vec broadcast(Real x) { return _mm512_set1_ps(x); }
    static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
    static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
    static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
    static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
    static Vec sqrt(Vec a) { return _mm512_sqrt_ps(a); }
    static Vec abs(Vec a) { return _mm512_abs_ps(a); }
    static Vec multiply_add(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
    static Vec multiply_subtract_from(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
    static Vec with_sign(Vec magnitude, Vec sign) {
        return _mm512_or_ps(magnitude, _mm512_and_ps(_mm512_set1_ps(-0.0F), sign));
    }
    static Vec select_negative(Vec s, Vec a, Vec b) {
        return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(s)), b, a);
    }
    static bool any_negative(Vec s) { return _mm512_movepi32_mask(_mm512_castps_si512(s)) != 0; }
    // Bit q of *p decides whether `exchange` swaps lane q; the first lane of a register is lane `lane`.
    using Switch = __mmask16;
    static Switch load_switch(const std::uint16_t* p, std::size_t) { return static_cast<Switch>(*p); }
    static void exchange(Switch s, Vec& a, Vec& b) {
        const Vec x = a, y = b;
        a = _mm512_mask_blend_ps(s, x, y);
        b = _mm512_mask_blend_ps(s, y, x);
    }
    static Real sum(Vec v) { return _mm512_reduce_add_ps(v); }

    static Word load_words(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
    static void store_words(std::uint32_t* p, Word w) { _mm512_storeu_si512(p, w); }
    static Word bit_or(Word a, Word b) { return _mm512_or_si512(a, b); }
    static Word bit_and(Word a, std::uint32_t mask) {
        return _mm512_and_si512(a, _mm512_set1_epi32(static_cast<int>(mask)));
    }
    // Whether a and b differ by `bits` in every lane.
    static bool all_differ_by(Word a, Word b, std::uint32_t bits) {
        return _mm512_cmpneq_epi32_mask(_mm512_xor_si512(a, b), _mm512_set1_epi32(static_cast<int>(bits))) == 0;
    }
    static Word replace_bits(Word w, std::uint32_t kept, std::uint32_t others) {  // (w & kept) | others
        return _mm512_ternarylogic_epi32(w, _mm512_set1_epi32(static_cast<int>(kept)),
                                         _mm512_set1_epi32(static_cast<int>(others)), 0xea);
    }
    static Word shift_left(Word w, int n) { return _mm512_slli_epi32(w, static_cast<unsigned>(n)); }
    static Word shift_right(Word w, int n) { return _mm512_srli_epi32(w, static_cast<unsigned>(n)); }
    static Word add(Word a, std::uint32_t b) { return _mm512_add_epi32(a, _mm512_set1_epi32(static_cast<int>(b))); }
    static Word add(Word a, Word b) { return _mm512_add_epi32(a, b); }
    static Word sub(Word a, Word b) { return _mm512_sub_epi32(a, b); }
    static Word broadcast_word(std::uint32_t w) { return _mm512_set1_epi32(static_cast<int>(w)); }
    static Word or_bits(Word a, Word b, std::uint32_t mask) {  // a | (b & mask)
        return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi32(static_cast<int>(mask)), 0xf8);
    }
    static Word shift_left_by(Word w, Word n) { return _mm512_sllv_epi32(w, n); }  // n < 32, lane by lane
    static Word gather_words(const std::uint32_t* p, Word index) { return _mm512_i32gather_epi32(index, p, 4); }
    // Of signed numbers.
    static Word min(Word a, Word b) { return _mm512_min_epi32(a, b); }
    // a + the products of the signed halves of b and c.
    static Word add_products(Word a, Word b, Word c) { return _mm512_dpwssd_epi32(a, b, c); }
    static Vec to_real(Word w) { return _mm512_cvtepi32_ps(w); }
    static Vec from_float_bits(Word w) { return _mm512_castsi512_ps(w); }
    using Table = Vec;  // 16 entries
    static Table load_table(const Real* p) { return load(p); }
    static Vec lookup16(Table table, Word index) {  // vpermps ignores the upper index bits
        return _mm512_permutexvar_ps(index, table);
    }
    // The upper 8 entries repeat the lower ones.
    static Vec lookup8(Table table, Word index) { return lookup16(table, index); }
    // 16 cosines and sines of half a turn.
    static void lookup_half_turn(const Table& cosine, const Table& sine, Word index, Vec& c, Vec& s) {
        c = lookup16(cosine, index), s = lookup16(sine, index);
    }
    struct LongTable {  // 32 entries
        Vec low, high;
    };
    static LongTable load_long_table(const Real* p) { return {load(p), load(p + 16)}; }
    // 64 cosines and sines: from the second quarter of a turn on, (c, s) is (-s, c) of the first.
    static void lookup_half_turn(const LongTable& cosine, const LongTable& sine, Word index, Vec& c, Vec& s) {
        const Vec x = _mm512_permutex2var_ps(cosine.low, index, cosine.high);
        const Vec y = _mm512_permutex2var_ps(sine.low, index, sine.high);
        const __mmask16 second = _mm512_test_epi32_mask(index, _mm512_set1_epi32(32));
        c = _mm512_mask_xor_ps(x, second, y, _mm512_set1_ps(-0.0F));
        s = _mm512_mask_blend_ps(second, y, x);
    }
    // Lanes of a with bit D of their number set <-> lanes of b with bit D clear. Shuffles of one cycle; vpermt2ps would
    // compete with multiply-adds.
    template <int D>
    static void exchange(Vec& a, Vec& b) {
        const Vec x = a, y = b;
        if constexpr (D == 1) {
            a = _mm512_mask_moveldup_ps(x, 0xaaaa, y);
            b = _mm512_mask_movehdup_ps(y, 0x5555, x);
        } else if constexpr (D == 2) {
            a = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
            b = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
        } else if constexpr (D == 4) {
            a = _mm512_mask_shuffle_f32x4(x, 0xf0f0, y, y, 0x80);
            b = _mm512_mask_shuffle_f32x4(y, 0x0f0f, x, x, 0x31);
        } else {
            a = _mm512_shuffle_f32x4(x, y, 0x44);
            b = _mm512_shuffle_f32x4(x, y, 0xee);
        }
    }
    // Lanes of a|b: even ones to a, odd ones to b. zip is the inverse.
    static void unzip(Vec& a, Vec& b) {
        static constexpr auto even = unzip_sources<std::int32_t, 16>(0);
        static constexpr auto odd = unzip_sources<std::int32_t, 16>(1);
        gather(a, b, even.lane, odd.lane);
    }
    static void zip(Vec& a, Vec& b) {
        static constexpr auto low = zip_sources<std::int32_t, 16>(0);
        static constexpr auto high = zip_sources<std::int32_t, 16>(1);
        gather(a, b, low.lane, high.lane);
    }

private:
    static void gather(Vec& a, Vec& b, const std::int32_t* first, const std::int32_t* second) {
        const Vec x = a, y = b;
        a = _mm512_permutex2var_ps(x, _mm512_load_si512(first), y);
        b = _mm512_permutex2var_ps(x, _mm512_load_si512(second), y);
    }
};

template <>
struct Simd<double> {
    using Real = double;
    using Vec = __m512d;
    using Word = __m256i;
    static constexpr int width = 8, registers = 32, near_bits = 0;

    static Vec load(const Real* p) { return _mm512_loadu_pd(p); }
    static void store(Real* p, Vec v) { _mm512_storeu_pd(p, v); }
    using First = __mmask8;
    static First first(std::size_t count) { return static_cast<First>((1U << count) - 1); }
    static Vec load_first(const Real* p, First lanes) { return _mm512_maskz_loadu_pd(lanes, p); }
    static void store_first(Real* p, Vec v, First lanes) { _mm512_mask_storeu_pd(p, lanes, v); }
    static Vec broadcast(Real x) { return _mm512_set1_pd(x); }
    static Vec add(Vec a, Vec b) { return _mm512_add_pd(a, b); }
    static Vec sub(Vec a, Vec b) { return _mm512_sub_pd(a, b); }
    static Vec mul(Vec a, Vec b) { return _mm512_mul_pd(a, b); }
    static Vec div(Vec a, Vec b) { return _mm512_div_pd(a, b); }
    static Vec sqrt(Vec a) { return _mm512_sqrt_pd(a); }
    static Vec abs(Vec a) { return _mm512_abs_pd(a); }
    static Vec multiply_add(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a, b, c); }
    static Vec multiply_subtract_from(Vec a, Vec b, Vec c) { return _mm512_fnmadd_pd(a, b, c); }
    static Vec with_sign(Vec magnitude, Vec sign) {
        return _mm512_or_pd(magnitude, _mm512_and_pd(_mm512_set1_pd(-0.0), sign));
    }
    static Vec select_negative(Vec s, Vec a, Vec b) {
        return _mm512_mask_blend_pd(_mm512_movepi64_mask(_mm512_castpd_si512(s)), b, a);
    }
    static bool any_negative(Vec s) { return _mm512_movepi64_mask(_mm512_castpd_si512(s)) != 0; }
    // Lanes of v where s is negative, one behind the other; `width` numbers are written. Returns how many are there.
    // To memory at once vcompresspd would take a hundred cycles on Zen 4.
    static std::size_t store_negative(Real* p, Vec s, Vec v) {
        const __mmask8 mask = _mm512_movepi64_mask(_mm512_castpd_si512(s));
        store(p, _mm512_maskz_compress_pd(mask, v));
        return static_cast<std::size_t>(__builtin_popcount(mask));
    }
    static Vec max(Vec a, Vec b) { return _mm512_max_pd(a, b); }
    static Vec reversed(Vec v) { return _mm512_permutexvar_pd(_mm512_setr_epi64(7, 6, 5, 4, 3, 2, 1, 0), v); }
    static Vec load_floats(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
    static void store_floats(float* p, Vec v) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }
    static Vec load_less(const std::int64_t* p, std::int64_t bias) {
        return _mm512_cvtepi64_pd(_mm512_sub_epi64(_mm512_loadu_si512(p), _mm512_set1_epi64(bias)));
    }
    static void store_nearest(std::int32_t* p, Vec v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtpd_epi32(v));
    }
    // Bit q of *p decides whether `exchange` swaps lane q; the first lane of a register is lane `lane`.
    using Switch = __mmask8;
    static Switch load_switch(const std::uint16_t* p, std::size_t lane) { return static_cast<Switch>(*p >> lane); }
    static void exchange(Switch s, Vec& a, Vec& b) {
        const Vec x = a, y = b;
        a = _mm512_mask_blend_pd(s, x, y);
        b = _mm512_mask_blend_pd(s, y, x);
    }
    static Real sum(Vec v) { return _mm512_reduce_add_pd(v); }

    static Word load_words(const std::uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static Word bit_or(Word a, Word b) { return _mm256_or_si256(a, b); }
    static Word bit_and(Word a, std::uint32_t mask) {
        return _mm256_and_si256(a, _mm256_set1_epi32(static_cast<int>(mask)));
    }
    static bool all_differ_by(Word a, Word b, std::uint32_t bits) {
        return _mm256_cmpneq_epi32_mask(_mm256_xor_si256(a, b), _mm256_set1_epi32(static_cast<int>(bits))) == 0;
    }
    static Word replace_bits(Word w, std::uint32_t kept, std::uint32_t others) {  // (w & kept) | others
        return _mm256_ternarylogic_epi32(w, _mm256_set1_epi32(static_cast<int>(kept)),
                                         _mm256_set1_epi32(static_cast<int>(others)), 0xea);
    }
    static Word shift_left(Word w, int n) { return _mm256_slli_epi32(w, n); }
    static Word shift_right(Word w, int n) { return _mm256_srli_epi32(w, n); }
    static Word add(Word a, std::uint32_t b) { return _mm256_add_epi32(a, _mm256_set1_epi32(static_cast<int>(b))); }
    static Vec to_real(Word w) { return _mm512_cvtepi32_pd(w); }
    static Vec from_float_bits(Word w) { return _mm512_cvtps_pd(_mm256_castsi256_ps(w)); }
    struct Table {  // 16 entries
        Vec low, high;
    };
    static Table load_table(const Real* p) { return {load(p), load(p + 8)}; }
    static Vec lookup16(const Table& table, Word index) {  // the low four bits pick of two registers
        return _mm512_permutex2var_pd(table.low, _mm512_cvtepu32_epi64(index), table.high);
    }
    static Vec lookup8(const Table& table, Word index) {  // the upper 8 entries repeat the lower ones
        return _mm512_permutexvar_pd(_mm512_cvtepu32_epi64(index), table.low);
    }
    // 16 cosines and sines of half a turn.
    static void lookup_half_turn(const Table& cosine, const Table& sine, Word index, Vec& c, Vec& s) {
        c = lookup16(cosine, index), s = lookup16(sine, index);
    }
    template <int D>
    static void exchange(Vec& a, Vec& b) {
        const Vec x = a, y = b;
        if constexpr (D == 1) {
            a = _mm512_unpacklo_pd(x, y);
            b = _mm512_unpackhi_pd(x, y);
        } else if constexpr (D == 2) {
            a = _mm512_mask_shuffle_f64x2(x, 0xcc, y, y, 0x80);
            b = _mm512_mask_shuffle_f64x2(y, 0x33, x, x, 0x31);
        } else {
            a = _mm512_shuffle_f64x2(x, y, 0x44);
            b = _mm512_shuffle_f64x2(x, y, 0xee);
        }
    }
    static void unzip(Vec& a, Vec& b) {
        static constexpr auto even = unzip_sources<std::int64_t, 8>(0);
        static constexpr auto odd = unzip_sources<std::int64_t, 8>(1);
        gather(a, b, even.lane, odd.lane);
    }
    static void zip(Vec& a, Vec& b) {
        static constexpr auto low = zip_sources<std::int64_t, 8>(0);
        static constexpr auto high = zip_sources<std::int64_t, 8>(1);
        gather(a, b, low.lane, high.lane);
    }

private:
    static void gather(Vec& a, Vec& b, const std::int64_t* first, const std::int64_t* second) {
        const Vec x = a, y = b;
        a = _mm512_permutex2var_pd(x, _mm512_load_si512(first), y);
        b = _mm512_permutex2var_pd(x, _mm512_load_si512(second), y);
    }
};

// Bytes, 64 at a time, and 16 sums of four products each: the vocabulary of dense matrices in window codes, with
// AVX-512 VBMI and VNNI. The lanes of 16 bytes are four by four, rows of columns or columns of rows.
struct Bytes {
    using Vec = __m512i;
    using Sums = __m512i;
    using Line = __m512i;
    // Whether tiles are read where they lie; else from copies that go on behind their end as they begin.
    static constexpr bool is_direct = true;
    static constexpr bool looks_up_odd = false, zips_words = false;
    static constexpr std::size_t together = 32;
    static constexpr int chunks_at_once = 4;

    // Where the 16 positions from 16 * chunk on lie in a tile of 16 * chunks positions: the words of a line that stands
    // at its end are those at the begin of the tile; a tile of up to 64 bytes is one line.
    struct Place {
        std::ptrdiff_t offset, wrapped_offset;
        __mmask16 wrapped;
        int within, tile_bytes;
    };
    static bool is_one_line(std::size_t chunks, int half_bits) {
        return chunks * static_cast<std::size_t>(half_bits) <= 16;
    }
    static Place place(std::size_t chunk, std::size_t chunks, int half_bits) {
        const int bytes = 4 * half_bits, offset = static_cast<int>(chunk) * bytes,
                  all = static_cast<int>(chunks) * bytes;
        if (is_one_line(chunks, half_bits)) return {0, 0, 0, offset, all};
        const bool is_last = chunk + 1 == chunks;
        return {offset, -bytes, static_cast<__mmask16>(is_last ? 0xffffU << half_bits : 0), 0, all};
    }
    static Line line(const std::uint8_t* tile, const Place& place) {
        return _mm512_mask_loadu_epi32(load(tile + place.offset), place.wrapped, tile + place.wrapped_offset);
    }
    // The same where nothing is wrapped.
    static Line whole_line(const std::uint8_t* tile, const Place& place) { return load(tile + place.offset); }
    static Vec bytes(Line line) { return line; }

    // 16 bytes of each stream from byte 16 line + skipped on, of a tile of `lines` times 16.
    static constexpr bool streams_are_direct = true;
    template <int Skipped>
    static Vec stream_bytes(const std::uint8_t* tile, int line, int lines) {
        const Vec here = load(tile + 64 * line);
        return Skipped == 0 ? here : _mm512_alignr_epi32(load(tile + 64 * ((line + 1) % lines)), here, Skipped);
    }

    // How 64 windows are cut from a line: that of lane l begins at bit start[l] of the stream of column[l], counted
    // from the first position. Lanes of 16 are four columns at each of four positions, in either order. Words of eight
    // lanes hold what these need: four bytes of each of two columns, or (rows) two bytes of each of four columns.
    struct Cut {
        Vec sources, shifts, high_shifts;  // of windows of 11 bits, the upper four
    };
    // Whether rows can be cut: two windows, one behind the other, always lie in two bytes of their stream.
    static constexpr bool cuts_long_rows = false, turns_rows = true;
    static constexpr bool cuts_rows(int half_bits) { return half_bits != 7 && half_bits != 10; }
    // The cut of another chunk, which differs in its sources only: fewer registers.
    static Cut beside(const Cut& cut, const Cut& first) { return {cut.sources, first.shifts, first.high_shifts}; }
    static Cut cut(const std::uint16_t* start, const std::uint8_t* column, bool rows, const Place& place, int) {
        alignas(64) std::uint8_t sources[64], shifts[64];
        const int width = rows ? 2 : 4;
        for (int l = 0; l < 64; ++l) {
            const int slot = rows ? l % 4 : l / 4 % 2, base = start[rows ? l & ~4 : l & ~3] / 8;
            shifts[l] = static_cast<std::uint8_t>(8 * width * slot + start[l] - 8 * base);
            for (int e = 0; e < width; ++e) {
                sources[(l & ~7) + width * slot + e] =
                    static_cast<std::uint8_t>((place.within + 4 * (base + e) + column[l]) % place.tile_bytes);
            }
        }
        const Vec low = _mm512_load_si512(shifts);
        return {_mm512_load_si512(sources), low, _mm512_add_epi8(low, _mm512_set1_epi8(7))};
    }
    // The bits above a window are any: look-ups ignore them.
    template <int Bits>
    static Vec windows(Line line, const Cut& cut) {
        return _mm512_multishift_epi64_epi8(cut.shifts, _mm512_permutexvar_epi8(cut.sources, line));
    }
    // The low 7 bits of windows of 11, and the other four.
    static void windows_7_4(Line line, const Cut& cut, Vec& low, Vec& high) {
        const Vec words = _mm512_permutexvar_epi8(cut.sources, line);
        low = _mm512_multishift_epi64_epi8(cut.shifts, words);
        high = _mm512_multishift_epi64_epi8(cut.high_shifts, words);
    }

    // Words of 64 bits instead: those of four columns from the first position of a line on, and from the 17th on. At
    // rates of up to 3.5 bits, 16 windows lie in one.
    static constexpr bool cuts_words = true;
    static Vec word_sources(const Place& place, int half_bits) {
        alignas(64) std::uint8_t sources[64];
        for (int l = 0; l < 64; ++l) {
            const int byte = l / 32 * half_bits + l % 8;
            sources[l] = static_cast<std::uint8_t>((place.within + 4 * byte + l / 8 % 4) % place.tile_bytes);
        }
        return _mm512_load_si512(sources);
    }
    static Vec words(Line line, Vec sources) { return _mm512_permutexvar_epi8(sources, line); }
    // The window of lane l begins at bit starts[l] of its word; bits above it are any.
    static Vec windows_of_words(Vec words, Vec starts) { return _mm512_multishift_epi64_epi8(starts, words); }
    // Words with the four lowest bits of those that follow them in their streams, `of_next_line` being the words of the
    // next line: windows that begin at the end of a word go on there.
    static Vec wrapped_words(Vec words, Vec of_next_line) {
        return _mm512_ternarylogic_epi64(words, _mm512_alignr_epi64(of_next_line, words, 4), _mm512_set1_epi64(15),
                                         0xd8);
    }
    // Lanes that follow words to rows: four columns, one behind the other, at each of 16 positions.
    static Vec rows_of_words(Vec v) {
        static constexpr auto order = [] {
            Lanes<std::uint8_t, 64> out{};
            for (int l = 0; l < 64; ++l) out.lane[l] = static_cast<std::uint8_t>(l / 32 * 32 + l % 4 * 8 + l / 4 % 8);
            return out;
        }();
        return _mm512_permutexvar_epi8(_mm512_load_si512(order.lane), v);
    }

    // Bits from Shift on, `Bits` of them, of each byte with that of `next` above it; those above are any.
    template <int Shift, int Bits>
    static Vec joined(Vec bytes, Vec next) {
        const Vec low = Shift == 0 ? bytes : _mm512_srli_epi16(bytes, Shift);
        if constexpr (Bits <= 8 - Shift) return low;
        const Vec high = _mm512_slli_epi16(next, 8 - Shift), is_low = _mm512_set1_epi8(static_cast<char>(255 >> Shift));
        return _mm512_ternarylogic_epi32(is_low, low, high, 0xca);  // is_low ? low : high
    }

    struct Table16 {
        Vec entries;
    };
    using Table64 = Table16;
    struct Table128 {
        Vec low, high;
    };
    static Table16 load_table16(const std::uint8_t* p) { return {load(p)}; }  // four times the same 16
    static Table64 load_table64(const std::uint8_t* p) { return {load(p)}; }
    static Table128 load_table128(const std::uint8_t* p) { return {load(p), load(p + 64)}; }
    static Vec lookup16(Table16 table, Vec index) { return _mm512_permutexvar_epi8(index, table.entries); }
    static Vec lookup64(Table64 table, Vec index) { return _mm512_permutexvar_epi8(index, table.entries); }
    static Vec lookup128(const Table128& table, Vec index) {
        return _mm512_permutex2var_epi8(table.low, index, table.high);
    }
    static Vec bit_xor(Vec a, Vec b) { return _mm512_xor_si512(a, b); }
    static Vec bit_xor(Vec a, std::uint8_t b) { return bit_xor(a, _mm512_set1_epi8(static_cast<char>(b))); }
    // Each four by four transposed.
    static Vec transpose(Vec v) {
        return _mm512_shuffle_epi8(
            v, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
    }

    static Vec load(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
    static void store(std::uint8_t* p, Vec v) { _mm512_storeu_si512(p, v); }
    static Vec broadcast(const std::int8_t* p) {  // four bytes
        std::int32_t word;
        __builtin_memcpy(&word, p, 4);
        return _mm512_set1_epi32(word);
    }
    // Four bytes four times, the next four, ...
    static Vec repeat_fours(const std::int8_t* p) {
        const Vec order = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
        return _mm512_permutexvar_epi32(order,
                                        _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }

    static Sums zero() { return _mm512_setzero_si512(); }
    static Sums load(const std::int32_t* p) { return _mm512_loadu_si512(p); }
    static void store(std::int32_t* p, Sums s) { _mm512_storeu_si512(p, s); }
    // Adds four products of unsigned with signed bytes to each sum. Unless IsWide, the unsigned ones are below 128.
    template <bool IsWide>
    static Sums add_products(Sums sums, Vec a, Vec b) {
        return _mm512_dpbusd_epi32(sums, a, b);
    }

    // Four by four quarters transposed.
    static void transpose_quarters(Vec (&v)[4]) {
        const Vec a = _mm512_shuffle_i32x4(v[0], v[1], 0x88), b = _mm512_shuffle_i32x4(v[0], v[1], 0xdd);
        const Vec c = _mm512_shuffle_i32x4(v[2], v[3], 0x88), d = _mm512_shuffle_i32x4(v[2], v[3], 0xdd);
        v[0] = _mm512_shuffle_i32x4(a, c, 0x88), v[1] = _mm512_shuffle_i32x4(b, d, 0x88);
        v[2] = _mm512_shuffle_i32x4(a, c, 0xdd), v[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
};

// Of four times sixteen, the first of each sixteen, the second ones, ...
constexpr Lanes<std::uint8_t, 64> rows_of_four() {
    Lanes<std::uint8_t, 64> out{};
    for (int i = 0; i < 64; ++i) out.lane[i] = static_cast<std::uint8_t>(16 * (i % 4) + i / 4);
    return out;
}

// Tiles of 16 x 32 signs (kernels/cuts/args.hpp) and sums of 16 rows: the vocabulary of signed cuts. A table has, of
// each byte of the 32-bit sums, the lowest first, four times 16 entries.
struct Signs {
    using Vec = __m512i;
    struct Sums {
        __m512i part[4];
    };
    static constexpr int chunks = 4;
    static constexpr std::size_t most_tiles = std::size_t{1} << 18;

    static Vec signs(const std::uint8_t* tile) { return _mm512_loadu_si512(tile); }
    // Rows for columns: each 16 bytes are four rows; bits of four rows and four columns are transposed in words.
    static Vec turned(const std::uint8_t* tile) {
        const Vec order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        alignas(64) static constexpr Lanes<std::uint8_t, 64> fours = rows_of_four();
        Vec v = _mm512_shuffle_epi8(_mm512_loadu_si512(tile), order);
        v = exchange<7>(v, 0x00AA00AA);
        v = exchange<14>(v, 0x0000CCCC);
        return _mm512_permutexvar_epi8(_mm512_load_si512(fours.lane), v);
    }
    static Sums zero() {
        const __m512i none = _mm512_setzero_si512();
        return {{none, none, none, none}};
    }
    template <int Half, int Count>
    [[gnu::always_inline]] static void add(Sums (&sums)[Count], const Vec (&signs)[Count], const std::uint8_t* table) {
        __m512i entries[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) entries[q] = _mm512_loadu_si512(table + 64 * q);
#pragma GCC unroll 4
        for (int i = 0; i < Count; ++i) add_one<Half>(sums[i], signs[i], entries);
    }
    template <int Count>
    [[gnu::always_inline]] static void add_halves(Sums* sums, const Vec (&signs)[Count], const std::uint8_t* table) {
        __m512i entries[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) entries[q] = _mm512_loadu_si512(table + 64 * q);
#pragma GCC unroll 4
        for (int i = 0; i < Count; ++i) {
            add_one<0>(sums[2 * i], signs[i], entries);
            add_one<1>(sums[2 * i + 1], signs[i], entries);
        }
    }
    // `count`: how many tables were added.
    static void add_to(std::int64_t* out, const Sums& sums, std::size_t count) {
        const __m512i bias = _mm512_set1_epi64(static_cast<std::int64_t>(count) << 33);
        for (int half = 0; half < 2; ++half) {
            __m512i total = _mm512_sub_epi64(_mm512_loadu_si512(out + 8 * half), bias);
#pragma GCC unroll 4
            for (int q = 0; q < 4; ++q) {
                const __m256i some =
                    half == 0 ? _mm512_castsi512_si256(sums.part[q]) : _mm512_extracti64x4_epi64(sums.part[q], 1);
                total = _mm512_add_epi64(total, _mm512_slli_epi64(_mm512_cvtepu32_epi64(some), 8U * q));
            }
            _mm512_storeu_si512(out + 8 * half, total);
        }
    }
    static void tables(const std::int32_t* x, std::uint8_t* out) {
        const __m512i order =
            _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        __m512i sums[4];  // each 16 bytes: of four entries, bytes of one significance together
        for (int g = 0; g < 4; ++g, x += 4) {
            __m512i s = _mm512_set1_epi32(
                static_cast<int>(0x80000000U + static_cast<std::uint32_t>(x[0] + x[1] + x[2] + x[3])));
            s = _mm512_mask_sub_epi32(s, 0xAAAA, s, _mm512_set1_epi32(2 * x[0]));
            s = _mm512_mask_sub_epi32(s, 0xCCCC, s, _mm512_set1_epi32(2 * x[1]));
            s = _mm512_mask_sub_epi32(s, 0xF0F0, s, _mm512_set1_epi32(2 * x[2]));
            s = _mm512_mask_sub_epi32(s, 0xFF00, s, _mm512_set1_epi32(2 * x[3]));
            // Words by significance, then by entries.
            const __m512i by_part = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            sums[g] = _mm512_permutexvar_epi32(by_part, _mm512_shuffle_epi8(s, order));
        }
        const __m512i a = _mm512_shuffle_i32x4(sums[0], sums[1], 0x44),
                      b = _mm512_shuffle_i32x4(sums[2], sums[3], 0x44);
        const __m512i c = _mm512_shuffle_i32x4(sums[0], sums[1], 0xee),
                      d = _mm512_shuffle_i32x4(sums[2], sums[3], 0xee);
        _mm512_storeu_si512(out, _mm512_shuffle_i32x4(a, b, 0x88));
        _mm512_storeu_si512(out + 64, _mm512_shuffle_i32x4(a, b, 0xdd));
        _mm512_storeu_si512(out + 128, _mm512_shuffle_i32x4(c, d, 0x88));
        _mm512_storeu_si512(out + 192, _mm512_shuffle_i32x4(c, d, 0xdd));
    }

private:
    // Exchanges bits of a mask with those Shift above them.
    template <unsigned Shift>
    static Vec exchange(Vec v, int mask) {
        const Vec moved = _mm512_ternarylogic_epi32(v, _mm512_srli_epi32(v, Shift), _mm512_set1_epi32(mask), 0x28);
        return _mm512_ternarylogic_epi32(v, moved, _mm512_slli_epi32(moved, Shift), 0x96);
    }
    template <int Half>
    [[gnu::always_inline]] static void add_one(Sums& sums, Vec signs, const __m512i* entries) {
        const __m512i group = _mm512_set1_epi32(0x30201000), low = _mm512_set1_epi8(15), ones = _mm512_set1_epi8(1);
        const __m512i moved = Half == 0 ? signs : _mm512_srli_epi16(signs, 4);
        const __m512i place = _mm512_ternarylogic_epi32(moved, low, group, 0xea);  // (moved & low) | group
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
            sums.part[q] = _mm512_dpbusd_epi32(sums.part[q], _mm512_permutexvar_epi8(place, entries[q]), ones);
        }
    }
};

}  // namespace
