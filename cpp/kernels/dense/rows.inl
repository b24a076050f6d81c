// y = W x for dense matrices in window codes, one vector.
#pragma once

#include "kernels/dense/decoders.inl"

namespace {

// `Chunks` chunks of 16 rows of `groups` tiles. IsOneLine: all lie in the line of the first.
template <class D, int Chunks, int Vectors, int Parts, bool IsOneLine>
void row_sums(const D& weights_of, const Chunk<typename D::Bytes>* chunks, const std::uint8_t* tile, std::size_t stride,
              std::size_t groups, const std::int8_t* digits, std::int64_t* out) {
    using B = typename D::Bytes;
    constexpr int kSums = Vectors * Parts;
    typename B::Sums sums[Chunks][kSums];
    typename B::Cut cuts[IsOneLine ? Chunks : 1];
    cuts[0] = chunks[0].cut;
    if constexpr (IsOneLine) {
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) { cuts[c] = B::beside(chunks[c].cut, cuts[0]); });
    }
    unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
        unroll<kSums>([&](auto i) __attribute__((always_inline)) { sums[c][i] = B::zero(); });
    });
    for (std::size_t g = 0; g < groups; ++g, tile += stride, digits += 4 * kSums) {
        if constexpr (B::is_direct && Chunks > 1) prefetch_tile(tile, IsOneLine);
        typename B::Line line = B::whole_line(tile, chunks[0].place);
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
            if constexpr (!IsOneLine) {
                line = c + 1 < Chunks ? B::whole_line(tile, chunks[c].place) : B::line(tile, chunks[c].place);
            }
            const typename B::Vec weights = weights_of(line, cuts[IsOneLine ? static_cast<int>(c) : 0]);
            unroll<kSums>([&](auto i) __attribute__((always_inline)) {
                sums[c][i] = B::template add_products<D::is_wide>(sums[c][i], weights, B::broadcast(digits + 4 * i));
            });
        });
    }
    alignas(64) std::int32_t stored[kSums * 16];
    unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
        unroll<kSums>([&](auto i) __attribute__((always_inline)) { B::store(stored + 16 * i, sums[c][i]); });
        for (int v = 0; v < Vectors; ++v) add_digits<Parts, 16>(stored + v * Parts * 16, out + v * 64 + 16 * c);
    });
}

// Adds the sums of a chunk of one vector to those of its positions.
template <class B, int Parts, class PositionOf>
void add_chunk(const typename B::Sums (&sums)[Parts], PositionOf position, std::int64_t* out) {
    alignas(64) std::int32_t stored[Parts * 16];
    unroll<Parts>([&](auto q) __attribute__((always_inline)) { B::store(stored + 16 * q, sums[q]); });
    std::int64_t of_chunk[16] = {};
    add_digits<Parts, 16>(stored, of_chunk);
    for (int i = 0; i < 16; ++i) out[position(i)] += of_chunk[i];
}

// The same for whole panels and rates of two and four bits: windows that begin at the same bit of their bytes make a
// chunk, so that shifts cut them. Chunks First, ..., positions of a chunk are 8 / Bits apart.
template <class D, int First, int Chunks, int Parts, int Bits>
void strided_row_sums(const D& weights_of, const std::uint8_t* tile, std::size_t stride, std::size_t groups,
                      const std::int8_t* digits, std::int64_t* out) {
    using B = typename D::Bytes;
    constexpr int kShifts = 8 / Bits, kLines = 4 / kShifts;
    typename B::Sums sums[Chunks][Parts];
    unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
        unroll<Parts>([&](auto q) __attribute__((always_inline)) { sums[c][q] = B::zero(); });
    });
    for (std::size_t g = 0; g < groups; ++g, tile += stride, digits += 4 * Parts) {
        if constexpr (B::is_direct) prefetch_tile(tile, kLines == 1);
        typename B::Vec bytes, next, after;
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
            constexpr int chunk = First + c, line = chunk / kShifts, start = chunk % kShifts * Bits;
            if constexpr (c == 0 || start == 0) {
                bytes = B::template stream_bytes<0>(tile, line, kLines);
                next = B::template stream_bytes<1>(tile, line, kLines);
                after = B::template stream_bytes<2>(tile, line, kLines);
            }
            const typename B::Vec weights = weights_of.template at<start>(bytes, next, after);
            unroll<Parts>([&](auto q) __attribute__((always_inline)) {
                sums[c][q] = B::template add_products<false>(sums[c][q], weights, B::broadcast(digits + 4 * q));
            });
        });
    }
    unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
        constexpr int chunk = First + c, line = chunk / kShifts, shift = chunk % kShifts;
        add_chunk<B>(sums[c], [&](int b) { return (16 * line + b) * kShifts + shift; }, out);
    });
}

// The same for rates of up to 3.5 bits, cut from words.
template <class D, int Parts, bool IsOneLine>
void word_row_sums(const D& weights_of, const WordCut<typename D::Bytes>& cut, const std::uint8_t* tile,
                   std::size_t stride, std::size_t groups, const std::int8_t* digits, std::int64_t* out) {
    using B = typename D::Bytes;
    const WordCut<B> kept_cut = cut;
    typename B::Sums sums[4][Parts];
    unroll<4>([&](auto c) __attribute__((always_inline)) {
        unroll<Parts>([&](auto q) __attribute__((always_inline)) { sums[c][q] = B::zero(); });
    });
    for (std::size_t g = 0; g < groups; ++g, tile += stride, digits += 4 * Parts) {
        prefetch_tile(tile, IsOneLine);
        kept_cut.template decode<IsOneLine>(
            weights_of, tile, [&](auto c, typename B::Vec decoded) __attribute__((always_inline)) {
                const typename B::Vec weights = B::rows_of_words(decoded);
                unroll<Parts>([&](auto q) __attribute__((always_inline)) {
                    sums[c][q] = B::template add_products<false>(sums[c][q], weights, B::broadcast(digits + 4 * q));
                });
            });
    }
    unroll<4>([&](auto c) __attribute__((always_inline)) {
        add_chunk<B>(sums[c], [&](int b) { return WordCut<B>::position(c, b / 8 * 32 + b % 8); }, out);
    });
}

// Calls run(tiles, distance of tiles, their number, digits, sums) for up to Tiles tiles of a panel at once.
template <class B, std::size_t Tiles, bool IsDirect, class Run>
void for_each_batch(const bitterfly::DenseArgs& args, Run run) {
    const bitterfly::DenseTiles& matrix = args.matrix;
    const std::size_t panel_sums = args.vectors * bitterfly::kPanelRows;
    TileReader<B, Tiles, IsDirect> reader(matrix.tile_bytes());
    for (std::size_t i = 0; i < matrix.panels; ++i) {
        const std::uint8_t* tiles = matrix.tiles + i * matrix.panel_bytes();
        std::int64_t* sums = args.sums + i * panel_sums;
        for (std::size_t j = 0; j < panel_sums; ++j) sums[j] = 0;
        for (std::size_t g = 0; g < matrix.groups; g += Tiles) {
            const std::size_t count = matrix.groups - g < Tiles ? matrix.groups - g : Tiles;
            run(reader.read(tiles + g * matrix.tile_bytes(), count), reader.stride(), count,
                args.digits + g * 4 * args.vectors * args.parts, sums);
        }
    }
}

// One vector: all chunks of a tile at once where the registers hold their sums. Else each for itself, of so many tiles
// that they stay in the cache.
template <class B, int Chunks>
constexpr std::size_t tiles_of_batch() {
    if (!B::is_direct) return 64;
    return Chunks > 1 ? bitterfly::kSafeProducts / bitterfly::kTileColumns : 128;
}

template <class D, int Vectors, int Parts>
void multiply_rows(const bitterfly::DenseArgs& args) {
    using B = typename D::Bytes;
    constexpr int kChunks = Vectors == 1 ? B::chunks_at_once : 1;
    const bitterfly::DenseTiles& matrix = args.matrix;
    const D weights_of(*args.table);
    Chunk<B> chunks[4];
    D::set_chunks(matrix, chunks);
    for_each_batch<B, tiles_of_batch<B, kChunks>(), B::is_direct>(
        args, [&](const std::uint8_t* tiles, std::size_t stride, std::size_t count, const std::int8_t* digits,
                  std::int64_t* sums) {
            const auto run = [&](auto sum, std::size_t c) {
                sum(weights_of, chunks + c, tiles, stride, count, digits, sums + 16 * c);
            };
            if (kChunks == 1 || matrix.chunks != kChunks) {
                for (std::size_t c = 0; c < matrix.chunks; ++c) run(row_sums<D, 1, Vectors, Parts, false>, c);
            } else if (B::is_one_line(kChunks, matrix.half_bits)) {
                run(row_sums<D, kChunks, Vectors, Parts, true>, 0);
            } else {
                run(row_sums<D, kChunks, Vectors, Parts, false>, 0);
            }
        });
}

template <class D, int Parts, int Bits>
void multiply_strided_rows(const bitterfly::DenseArgs& args) {
    using B = typename D::Bytes;
    constexpr int kChunks = B::chunks_at_once;
    const D weights_of(*args.table);
    for_each_batch<B, tiles_of_batch<B, kChunks>(), B::streams_are_direct>(
        args, [&](const std::uint8_t* tiles, std::size_t stride, std::size_t count, const std::int8_t* digits,
                  std::int64_t* sums) {
            unroll<4 / kChunks>([&](auto i) {
                strided_row_sums<D, i * kChunks, kChunks, Parts, Bits>(weights_of, tiles, stride, count, digits, sums);
            });
        });
}

template <class D, int Parts>
void multiply_word_rows(const bitterfly::DenseArgs& args) {
    using B = typename D::Bytes;
    const D weights_of(*args.table);
    const WordCut<B> cut(args.matrix);
    const auto sum =
        B::is_one_line(4, args.matrix.half_bits) ? word_row_sums<D, Parts, true> : word_row_sums<D, Parts, false>;
    for_each_batch<B, tiles_of_batch<B, 4>(), B::is_direct>(
        args, [&](const std::uint8_t* tiles, std::size_t stride, std::size_t count, const std::int8_t* digits,
                  std::int64_t* sums) { sum(weights_of, cut, tiles, stride, count, digits, sums); });
}

template <class B, bitterfly::DenseCode Code>
void dense_rows(const bitterfly::DenseArgs& args) {
    using enum bitterfly::DenseCode;
    const auto strided = [&](auto decoder, auto parts, auto bits) {
        multiply_strided_rows<typename decltype(decoder)::type, parts, bits>(args);
    };
    if (with_strided<B, Code>(args, strided)) return;
    if constexpr ((Code == kWindow7 || Code == kWindow11) && B::cuts_words) {
        using D = Decoder<B, Code, true, false>;
        if (WordCut<B>::is_for(args) && (Code == kWindow11 || !B::cuts_rows(args.matrix.half_bits)))
            return with_parts(args, [&](auto parts) { multiply_word_rows<D, parts>(args); });
    }
    with_decoder<B, Code, true>(args, [&](auto decoder, auto vectors, auto parts) {
        multiply_rows<typename decltype(decoder)::type, vectors, parts>(args);
    });
}

}  // namespace
