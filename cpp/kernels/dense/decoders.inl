// From tiles of window codes to 64 weights in bytes: four columns at 16 positions.
#pragma once

#include <type_traits>

#include "kernels/dense/args.hpp"
#include "kernels/lanes/unroll.inl"

namespace {

// How a chunk of 16 positions is read.
template <class B>
struct Chunk {
    typename B::Place place;
    typename B::Cut cut;
};

// Weights + bias of a line: the four columns of a row side by side (IsRows), or four rows of a column. IsTurned: cut
// the other way, and turned afterwards.
template <class B, bitterfly::DenseCode Code, bool IsRows, bool IsTurned>
class Decoder {
    using enum bitterfly::DenseCode;

public:
    using Bytes = B;
    static constexpr bool is_wide = bitterfly::bias_of(Code) > 64;

    explicit Decoder(const bitterfly::DenseTable& table) {
        if constexpr (Code == kWindow7 || Code == kWindow11) {
            table_ = B::load_table128(table.entries);
        } else if constexpr (Code == kScalar6) {
            table_ = B::load_table64(table.entries);
        }
        if constexpr (Code == kWindow11) masks_ = B::load_table16(table.masks);
    }
    static void set_chunks(const bitterfly::DenseTiles& matrix, Chunk<B> (&out)[4]) {
        constexpr bool cuts_rows = IsRows != IsTurned;
        std::uint16_t start[64];
        std::uint8_t column[64];
        for (int l = 0; l < 64; ++l) {
            const int position = cuts_rows ? l / 4 : l / 16 * 4 + l % 4;
            start[l] = static_cast<std::uint16_t>(position * matrix.half_bits / 2);
            column[l] = static_cast<std::uint8_t>(cuts_rows ? l % 4 : l / 4 % 4);
        }
        for (std::size_t c = 0; c < matrix.chunks; ++c) {
            out[c].place = B::place(c, matrix.chunks, matrix.half_bits);
            out[c].cut = B::cut(start, column, cuts_rows, out[c].place, Code == kScalar6 ? 6 : 7);
        }
    }
    [[gnu::always_inline]] typename B::Vec operator()(typename B::Line line, const typename B::Cut& cut) const {
        const typename B::Vec out = decoded(line, cut);
        if constexpr (IsTurned) return B::transpose(out);
        return out;
    }
    // The same of windows that begin at bit Start of each of 16 bytes of four streams, the next bytes and those after.
    template <int Start>
    [[gnu::always_inline]] typename B::Vec at(typename B::Vec bytes, typename B::Vec next,
                                              typename B::Vec after) const {
        const typename B::Vec low = B::template joined<Start, 7>(bytes, next);
        if constexpr (Code == kWindow7) {
            return B::lookup128(table_, low);
        } else {
            return B::lookup128(table_, B::bit_xor(low, B::lookup16(masks_, upper<Start + 7>(bytes, next, after))));
        }
    }

    // The same of windows of words: that of lane l begins at bit starts[l] of its word, and its upper four bits at
    // high_starts[l].
    [[gnu::always_inline]] typename B::Vec of_words(typename B::Vec words, typename B::Vec starts,
                                                    typename B::Vec high_starts) const {
        const typename B::Vec low = B::windows_of_words(words, starts);
        if constexpr (Code == kWindow7) {
            return B::lookup128(table_, low);
        } else {
            return B::lookup128(table_, B::bit_xor(low, B::lookup16(masks_, B::windows_of_words(words, high_starts))));
        }
    }
    // The same of windows of 7 bits that begin with their bytes.
    [[gnu::always_inline]] typename B::Vec of_bytes(typename B::Vec bytes) const { return B::lookup128(table_, bytes); }

private:
    // Four bits from bit Start on.
    template <int Start>
    [[gnu::always_inline]] static typename B::Vec upper(typename B::Vec bytes, typename B::Vec next,
                                                        typename B::Vec after) {
        if constexpr (Start >= 8) {
            return B::template joined<Start % 8, 4>(next, after);
        } else if constexpr (B::chunks_at_once > 1) {  // the chunk that begins at bit 4 joins these bytes as well
            const typename B::Vec middle = B::template joined<4, 8>(bytes, next);
            return B::template joined<Start - 4, 4>(middle, middle);
        } else {
            return B::template joined<Start, 4>(bytes, next);
        }
    }
    [[gnu::always_inline]] typename B::Vec decoded(typename B::Line line, const typename B::Cut& cut) const {
        if constexpr (Code == kScalar8) {
            return B::bit_xor(B::bytes(line), std::uint8_t{0x80});
        } else if constexpr (Code == kScalar6) {
            return B::lookup64(table_, B::template windows<6>(line, cut));
        } else if constexpr (Code == kWindow7) {
            return B::lookup128(table_, B::template windows<7>(line, cut));
        } else {
            typename B::Vec low, high;
            B::windows_7_4(line, cut, low, high);
            return B::lookup128(table_, B::bit_xor(low, B::lookup16(masks_, high)));
        }
    }

    struct None {};
    struct NoMasks {};
    using Table = std::conditional_t<Code == kScalar8, None,
                                     std::conditional_t<Code == kScalar6, typename B::Table64, typename B::Table128>>;
    [[no_unique_address]] Table table_;
    [[no_unique_address]] std::conditional_t<Code == kWindow11, typename B::Table16, NoMasks> masks_;
};

// The same from a table that is odd.
template <class B>
class OddDecoder {
public:
    using Bytes = B;
    explicit OddDecoder(const bitterfly::DenseTable& table) : table_(B::load_table64(table.entries)) {}
    static bool decodes(const bitterfly::DenseTable& table) {
        bool is_odd = true;
        for (int i = 0; i < 64; ++i) is_odd = is_odd && table.entries[i] + table.entries[i + 64] == 128;
        return is_odd;
    }
    template <int Start>
    [[gnu::always_inline]] typename B::Vec at(typename B::Vec bytes, typename B::Vec next, typename B::Vec) const {
        return B::template lookup_odd<Start>(table_, bytes, next);
    }

private:
    typename B::Table64 table_;
};

// Calls run with a constant for the number of digits.
template <class Run>
void with_parts(const bitterfly::DenseArgs& args, Run run) {
    if (args.parts == 1) return run(std::integral_constant<int, 1>{});
    if (args.parts == 2) return run(std::integral_constant<int, 2>{});
    run(std::integral_constant<int, 3>{});
}

// Calls run with the decoder of a matrix.
template <class B, bitterfly::DenseCode Code, bool IsRows, class Run>
void with_decoder_of(const bitterfly::DenseArgs& args, Run run) {
    using enum bitterfly::DenseCode;
    if constexpr (Code == kScalar8) {
        run(std::type_identity<Decoder<B, Code, IsRows, !IsRows>>{});
    } else if constexpr (!IsRows) {
        run(std::type_identity<Decoder<B, Code, false, false>>{});
    } else {
        if constexpr (Code != kWindow11 || B::cuts_long_rows) {
            if (B::cuts_rows(args.matrix.half_bits)) return run(std::type_identity<Decoder<B, Code, true, false>>{});
        }
        if constexpr (B::turns_rows) run(std::type_identity<Decoder<B, Code, true, true>>{});
    }
}

// The same with constants for the numbers of vectors and of digits.
template <class B, bitterfly::DenseCode Code, bool IsRows, class Run>
void with_decoder(const bitterfly::DenseArgs& args, Run run) {
    with_decoder_of<B, Code, IsRows>(args, [&](auto decoder) __attribute__((always_inline)) {
        const auto of_vectors = [&](auto vectors) __attribute__((always_inline)) {
            with_parts(args, [&](auto parts) { run(decoder, vectors, parts); });
        };
        if (B::together == 1 || IsRows || args.vectors == 1) return of_vectors(std::integral_constant<int, 1>{});
        if constexpr (B::together > 1 && !IsRows) {
            if (args.vectors == 2) return of_vectors(std::integral_constant<int, 2>{});
            return of_vectors(std::integral_constant<int, 4>{});
        }
    });
}

// Windows that shifts cut, those of one vector and whole panels of two or four bits: calls run with their decoder, and
// constants for the numbers of digits and of bits. Returns whether they are.
template <class B, bitterfly::DenseCode Code, class Run>
bool with_strided(const bitterfly::DenseArgs& args, Run run) {
    using enum bitterfly::DenseCode;
    if constexpr (Code == kWindow7 || Code == kWindow11) {
        const auto of_bits = [&](auto bits) __attribute__((always_inline)) {
            const auto of_parts = [&](auto decoder) __attribute__((always_inline)) {
                with_parts(args, [&](auto parts) { run(decoder, parts, bits); });
            };
            if constexpr (Code == kWindow7 && B::looks_up_odd) {
                if (OddDecoder<B>::decodes(*args.table)) return of_parts(std::type_identity<OddDecoder<B>>{});
            }
            of_parts(std::type_identity<Decoder<B, Code, true, false>>{});
        };
        const int half_bits = args.matrix.half_bits;
        if (args.vectors > 1 || args.matrix.chunks != 4 || (half_bits != 4 && half_bits != 8)) return false;
        half_bits == 4 ? of_bits(std::integral_constant<int, 2>{}) : of_bits(std::integral_constant<int, 4>{});
        return true;
    }
    return false;
}

// Tiles as kernels read them, AtOnce of them: where they lie, or copies that go on as they begin.
template <class B, std::size_t AtOnce, bool IsDirect = B::is_direct>
class TileReader {
public:
    explicit TileReader(std::size_t bytes) : bytes_(bytes) {}
    std::size_t stride() const { return IsDirect ? bytes_ : bytes_ + kBehind; }
    const std::uint8_t* read(const std::uint8_t* tiles, std::size_t count) {
        if constexpr (IsDirect) return tiles;
        for (std::size_t t = 0; t < count; ++t) copy(tiles + t * bytes_, memory_ + t * stride());
        return memory_;
    }

private:
    void copy(const std::uint8_t* from, std::uint8_t* to) const {
        for (std::size_t i = 0; i < bytes_; i += 8) __builtin_memcpy(to + i, from + i, 8);
        for (std::size_t i = 0; i < kBehind; i += 4) __builtin_memcpy(to + bytes_ + i, to + i, 4);
    }
    static constexpr std::size_t kBehind = 16, kMostBytes = 256 + kBehind;
    std::size_t bytes_;
    std::uint8_t memory_[IsDirect ? 1 : AtOnce * kMostBytes + bitterfly::kTilePadding];
};

// Fetches what is read a few hundred cycles later: one vector takes the tiles of a panel faster than the machine would
// bring them from memory by itself.
inline void prefetch_tile(const std::uint8_t* tile, bool is_one_line) {
    constexpr std::size_t kAhead = 2048;
    __builtin_prefetch(tile + kAhead);
    if (!is_one_line) __builtin_prefetch(tile + kAhead + 64);
}

// How whole tiles are cut from words, for one vector and rates of up to 3.5 bits: chunk c is the half c % 2 of the
// positions of each word of the half c / 2 of a tile.
template <class B>
struct WordCut {
    explicit WordCut(const bitterfly::DenseTiles& matrix) {
        std::uint8_t bits[64], high_bits[64];
        for (int h = 0; h < 2; ++h) {
            const typename B::Place place = B::place(static_cast<std::size_t>(h), 2, 2 * matrix.half_bits);
            sources[h] = B::word_sources(place, matrix.half_bits);
            if (h == 1) last = place;
            for (int l = 0; l < 64; ++l) {
                bits[l] = static_cast<std::uint8_t>((8 * h + l % 8) * matrix.half_bits / 2);
                high_bits[l] = static_cast<std::uint8_t>(bits[l] + 7);
            }
            starts[h] = B::load(bits);
            high_starts[h] = B::load(high_bits);
        }
    }
    static bool is_for(const bitterfly::DenseArgs& args) {
        return args.vectors == 1 && args.matrix.chunks == 4 && args.matrix.half_bits <= 7;
    }
    // Of lane `lane` (which has column lane / 8 % 4) of a chunk.
    static constexpr int position(int chunk, int lane) {
        return chunk / 2 * 32 + lane / 32 * 16 + chunk % 2 * 8 + lane % 8;
    }

    // Calls use(chunk, its weights) for those of a tile. IsOneLine: it lies in one.
    template <bool IsOneLine, class D, class Use>
    [[gnu::always_inline]] void decode(const D& weights_of, const std::uint8_t* tile, Use use) const {
        const typename B::Line line = B::load(tile), last_line = IsOneLine ? line : B::line(tile, last);
        const typename B::Vec words[2] = {B::words(line, sources[0]), B::words(last_line, sources[1])};
        unroll<4>([&](auto c) __attribute__((always_inline)) {
            use(c, weights_of.of_words(words[c / 2], starts[c % 2], high_starts[c % 2]));
        });
    }

private:
    typename B::Vec sources[2], starts[2], high_starts[2];
    typename B::Place last;
};

// The same for windows of 7 bits at four bits a weight: chunk c is that of windows which begin at bit c % 2 * 4 of the
// bytes of a line, of 16 bytes of each stream.
template <class B>
struct NibbleCut {
    NibbleCut() {
        std::uint8_t bits[64];
        for (int l = 0; l < 64; ++l) bits[l] = static_cast<std::uint8_t>(l % 8 * 8 + 4);
        starts = B::load(bits);
        sources = B::word_sources(B::place(0, 4, 8), 8);
    }
    static constexpr int position(int chunk, int lane) {
        return chunk / 2 * 32 + lane / 32 * 16 + lane % 8 * 2 + chunk % 2;
    }
    template <bool IsOneLine, class D, class Use>
    [[gnu::always_inline]] void decode(const D& weights_of, const std::uint8_t* tile, Use use) const {
        const typename B::Vec words[2] = {B::words(B::load(tile), sources), B::words(B::load(tile + 64), sources)};
        unroll<2>([&](auto h) __attribute__((always_inline)) {
            use(std::integral_constant<int, 2 * h>{}, weights_of.of_bytes(words[h]));
            use(std::integral_constant<int, 2 * h + 1>{},
                weights_of.of_words(B::wrapped_words(words[h], words[1 - h]), starts, starts));
        });
    }

private:
    typename B::Vec sources, starts;
};

// Adds the sums of all digits, the first the most significant: digit q of number i is sums[q * Count + i].
template <int Parts, int Count>
[[gnu::always_inline]] inline void add_digits(const std::int32_t* __restrict sums, std::int64_t* __restrict out) {
    for (int i = 0; i < Count; ++i) {
        std::int64_t sum = sums[i];
        if constexpr (Parts > 1) sum = sum * 256 + sums[Count + i];
        if constexpr (Parts > 2) sum = sum * 256 + sums[2 * Count + i];
        out[i] += sum;
    }
}

}  // namespace
