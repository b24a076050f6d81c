// y = W^T x for dense matrices in window codes, from the same tiles: sums of a few columns, all panels one by one.
#pragma once

#include "kernels/dense/decoders.inl"

namespace {

// Adds `Chunks` chunks of 16 rows of `groups` tiles to the sums of their columns; `digits` are repeated, see
// repeat_fours. IsOneLine: all lie in the line of the first.
template <class D, int Chunks, int Vectors, int Parts, bool IsOneLine>
void column_sums(const D& weights_of, const Chunk<typename D::Bytes>* chunks, const std::uint8_t* tile,
                 std::size_t stride, std::size_t groups, const std::uint8_t* digits, std::int32_t* sums) {
    using B = typename D::Bytes;
    constexpr int kSums = Vectors * Parts;
    // Copies stay in registers: stores to sums cannot change them.
    const D decoder = weights_of;
    typename B::Place places[Chunks];
    unroll<Chunks>([&](auto c) __attribute__((always_inline)) { places[c] = chunks[c].place; });
    const auto digit = [&](int c, int i) { return B::load(digits + (c * kSums + i) * 64); };
    typename B::Vec kept[Vectors == 1 ? Chunks : 1][Parts], weights[Chunks];
    if constexpr (Vectors == 1) {
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
            unroll<Parts>([&](auto q) __attribute__((always_inline)) { kept[c][q] = digit(c, q); });
        });
    }
    typename B::Cut cuts[IsOneLine ? Chunks : 1];
    cuts[0] = chunks[0].cut;
    if constexpr (IsOneLine) {
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) { cuts[c] = B::beside(chunks[c].cut, cuts[0]); });
    }
    for (std::size_t g = 0; g < groups; ++g, tile += stride, sums += 16 * kSums) {
        if constexpr (B::is_direct) prefetch_tile(tile, IsOneLine);
        typename B::Line line = B::whole_line(tile, places[0]);
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
            if constexpr (!IsOneLine) {
                line = c + 1 < Chunks ? B::whole_line(tile, places[c]) : B::line(tile, places[c]);
            }
            weights[c] = decoder(line, cuts[IsOneLine ? static_cast<int>(c) : 0]);
        });
        unroll<kSums>([&](auto i) __attribute__((always_inline)) {
            typename B::Sums sum = B::load(sums + 16 * i);
            unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
                if constexpr (Vectors == 1) {
                    sum = B::template add_products<D::is_wide>(sum, weights[c], kept[c][i]);
                } else {
                    sum = B::template add_products<D::is_wide>(sum, weights[c], digit(c, i));
                }
            });
            B::store(sums + 16 * i, sum);
        });
    }
}

// The same of one vector for whole panels and rates of up to four bits, cut from words.
template <class D, class Cut, int Parts, bool IsOneLine>
void word_column_sums(const D& weights_of, const Cut& cut, const std::uint8_t* tile, std::size_t stride,
                      std::size_t groups, const std::uint8_t* digits, std::int32_t* sums) {
    using B = typename D::Bytes;
    const Cut kept_cut = cut;
    // A copy stays in registers. Where a tile is one line, reading tables anew is faster.
    const std::conditional_t<IsOneLine, const D&, D> decoder = weights_of;
    typename B::Vec kept[4][Parts], weights[4];
    unroll<4>([&](auto c) __attribute__((always_inline)) {
        unroll<Parts>([&](auto q)
                          __attribute__((always_inline)) { kept[c][q] = B::load(digits + (c * Parts + q) * 64); });
    });
    for (std::size_t g = 0; g < groups; ++g, tile += stride, sums += 16 * Parts) {
        prefetch_tile(tile, IsOneLine);
        kept_cut.template decode<IsOneLine>(decoder, tile,
                                            [&](auto c, typename B::Vec decoded)
                                                __attribute__((always_inline)) { weights[c] = decoded; });
        unroll<Parts>([&](auto q) __attribute__((always_inline)) {
            typename B::Sums sum = B::load(sums + 16 * q);
            unroll<4>([&](auto c) __attribute__((always_inline)) {
                sum = B::template add_products<false>(sum, weights[c], kept[c][q]);
            });
            B::store(sums + 16 * q, sum);
        });
    }
}

// Of 16 sums, those with equal last two bits of their numbers belong to one column, or (AreOfWords) those with equal
// two bits before the last. All four of them fit 32 bits. Inlined: behind a call,
// GCC forgets vzeroupper, and what returns to code without AVX slows it down.
template <int Vectors, int Parts, bool AreOfWords>
[[gnu::always_inline]] inline void add_columns(const std::int32_t* sums, std::size_t groups, std::int64_t* out) {
    constexpr int kColumn = AreOfWords ? 2 : 1, kNext = AreOfWords ? 1 : 4;
    for (std::size_t g = 0; g < groups * Vectors; ++g, sums += 16 * Parts, out += 4) {
        std::int32_t of_column[Parts * 4];
        unroll<Parts>([&](auto q) __attribute__((always_inline)) {
            for (int j = 0; j < 4; ++j) {
                const std::int32_t* s = sums + 16 * q + kColumn * j;
                of_column[4 * q + j] = s[0] + s[kNext] + s[8] + s[8 + kNext];
            }
        });
        add_digits<Parts, 4>(of_column, out);
    }
}

// Adds up the sums of all panels: spread(digits of a panel, where to write them as kernels read them), then run(tiles,
// their distance, their number, digits, sums of their columns).
template <class B, int Vectors, int Parts, bool AreOfWords, bool IsDirect, class Spread, class Run>
void for_each_panel(const bitterfly::DenseArgs& args, Spread spread, Run run) {
    constexpr int kSums = Vectors * Parts;
    constexpr std::size_t kTiles = IsDirect ? bitterfly::kMostGroups : 64;
    constexpr std::size_t kSafePanels = bitterfly::kSafeProducts / bitterfly::kPanelRows;
    const bitterfly::DenseTiles& matrix = args.matrix;
    TileReader<B, kTiles, IsDirect> reader(matrix.tile_bytes());
    alignas(64) std::int32_t sums[bitterfly::kMostGroups * 16];
    alignas(64) std::uint8_t digits[4 * kSums * 64];
    for (std::size_t i = 0; i < matrix.panels; ++i) {
        if (i % kSafePanels == 0) {
            if (i > 0) add_columns<Vectors, Parts, AreOfWords>(sums, args.count, args.sums);
            for (std::size_t j = 0; j < args.count * 16 * kSums; ++j) sums[j] = 0;
        }
        spread(args.digits + i * kSums * bitterfly::kPanelRows, digits);
        const std::uint8_t* tiles = matrix.tiles + i * matrix.panel_bytes() + args.first * matrix.tile_bytes();
        for (std::size_t g = 0; g < args.count; g += kTiles) {
            const std::size_t count = args.count - g < kTiles ? args.count - g : kTiles;
            const std::uint8_t* from = reader.read(tiles + g * matrix.tile_bytes(), count);
            run(from, reader.stride(), count, digits, sums + g * 16 * kSums);
        }
    }
    if (matrix.panels > 0) add_columns<Vectors, Parts, AreOfWords>(sums, args.count, args.sums);
}

template <class D, int Vectors, int Parts>
void multiply_columns(const bitterfly::DenseArgs& args) {
    using B = typename D::Bytes;
    constexpr int kChunks = B::chunks_at_once, kSums = Vectors * Parts;
    const bitterfly::DenseTiles& matrix = args.matrix;
    const D weights_of(*args.table);
    Chunk<B> chunks[4];
    D::set_chunks(matrix, chunks);
    const auto spread = [&](const std::int8_t* from, std::uint8_t* digits) {
        for (std::size_t c = 0; c < matrix.chunks; ++c) {
            for (std::size_t s = 0; s < kSums; ++s) {
                B::store(digits + (c * kSums + s) * 64, B::repeat_fours(from + s * bitterfly::kPanelRows + 16 * c));
            }
        }
    };
    for_each_panel<B, Vectors, Parts, false, B::is_direct>(
        args, spread,
        [&](const std::uint8_t* tiles, std::size_t stride, std::size_t count, const std::uint8_t* digits,
            std::int32_t* sums) {
            const auto run = [&](auto sum, std::size_t c) {
                sum(weights_of, chunks + c, tiles, stride, count, digits + c * kSums * 64, sums);
            };
            if (kChunks == 1 || matrix.chunks != kChunks) {
                for (std::size_t c = 0; c < matrix.chunks; ++c) run(column_sums<D, 1, Vectors, Parts, false>, c);
            } else if (B::is_one_line(kChunks, matrix.half_bits)) {
                run(column_sums<D, kChunks, Vectors, Parts, true>, 0);
            } else {
                run(column_sums<D, kChunks, Vectors, Parts, false>, 0);
            }
        });
}

template <class D, int Parts, class Cut>
void multiply_word_columns(const bitterfly::DenseArgs& args, const Cut& cut) {
    using B = typename D::Bytes;
    const D weights_of(*args.table);
    typename B::Vec positions[4];
    for (int c = 0; c < 4; ++c) {
        std::uint8_t of_lane[64];
        for (int l = 0; l < 64; ++l) of_lane[l] = static_cast<std::uint8_t>(cut.position(c, l));
        positions[c] = B::load(of_lane);
    }
    const auto spread = [&](const std::int8_t* from, std::uint8_t* digits) {
        for (std::size_t q = 0; q < Parts; ++q) {
            const auto panel = B::load_table64(reinterpret_cast<const std::uint8_t*>(from) + q * bitterfly::kPanelRows);
            for (std::size_t c = 0; c < 4; ++c) {
                B::store(digits + (c * Parts + q) * 64, B::lookup64(panel, positions[c]));
            }
        }
    };
    const auto sum = B::is_one_line(4, args.matrix.half_bits) ? word_column_sums<D, Cut, Parts, true>
                                                              : word_column_sums<D, Cut, Parts, false>;
    for_each_panel<B, 1, Parts, true, B::is_direct>(
        args, spread,
        [&](const std::uint8_t* tiles, std::size_t stride, std::size_t count, const std::uint8_t* digits,
            std::int32_t* sums) { sum(weights_of, cut, tiles, stride, count, digits, sums); });
}

template <class B, bitterfly::DenseCode Code>
void dense_columns(const bitterfly::DenseArgs& args) {
    using enum bitterfly::DenseCode;
    if constexpr (B::cuts_words && (Code == kWindow7 || Code == kWindow11)) {
        using D = Decoder<B, Code, false, false>;
        const auto cut_by = [&](const auto& cut) {
            with_parts(args, [&](auto parts) { multiply_word_columns<D, parts>(args, cut); });
        };
        const bool is_whole = args.vectors == 1 && args.matrix.chunks == 4;
        if constexpr (Code == kWindow7) {
            if (is_whole && args.matrix.half_bits == 8) return cut_by(NibbleCut<B>{});
        }
        if (WordCut<B>::is_for(args)) return cut_by(WordCut<B>(args.matrix));
    }
    with_decoder<B, Code, false>(args, [&](auto decoder, auto vectors, auto parts) {
        multiply_columns<typename decltype(decoder)::type, vectors, parts>(args);
    });
}

}  // namespace
