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
        typename B::Line line = B::whole_line(tile, chunks[0].place);
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
            if constexpr (!IsOneLine) {
                line = c + 1 < Chunks ? B::whole_line(tile, chunks[c].place) : B::line(tile, chunks[c].place);
            }
            weights[c] = weights_of(line, cuts[IsOneLine ? static_cast<int>(c) : 0]);
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

// Of 16 sums, those with equal last two bits of their numbers belong to one column.
template <int Vectors, int Parts>
void add_columns(const std::int32_t* sums, std::size_t groups, std::int64_t* out) {
    for (std::size_t g = 0; g < groups * Vectors; ++g, sums += 16 * Parts, out += 4) {
        std::int64_t of_column[4] = {};
        for (std::size_t q = 0; q < Parts; ++q) {
            for (std::size_t j = 0; j < 4; ++j) {
                const std::int32_t* s = sums + 16 * q + j;
                of_column[j] = of_column[j] * 256 + (std::int64_t{s[0]} + s[4] + s[8] + s[12]);
            }
        }
        for (std::size_t j = 0; j < 4; ++j) out[j] += of_column[j];
    }
}

template <class D, int Vectors, int Parts>
void multiply_columns(const bitterfly::DenseArgs& args) {
    using B = typename D::Bytes;
    constexpr int kChunks = B::chunks_at_once, kSums = Vectors * Parts;
    constexpr std::size_t kTiles = B::is_direct ? bitterfly::kMostGroups : 64;
    // A column has four sums, each of a quarter of its rows.
    constexpr std::size_t kSafePanels = 4 * bitterfly::kSafeProducts / bitterfly::kPanelRows;
    const bitterfly::DenseTiles& matrix = args.matrix;
    const D weights_of(*args.table);
    Chunk<B> chunks[4];
    D::set_chunks(matrix, chunks);
    TileReader<B, kTiles> reader(matrix.tile_bytes());
    alignas(64) std::int32_t sums[bitterfly::kMostGroups * 16];
    alignas(64) std::uint8_t digits[4 * kSums * 64];
    for (std::size_t i = 0; i < matrix.panels; ++i) {
        if (i % kSafePanels == 0) {
            if (i > 0) add_columns<Vectors, Parts>(sums, args.count, args.sums);
            for (std::size_t j = 0; j < args.count * 16 * kSums; ++j) sums[j] = 0;
        }
        for (std::size_t c = 0; c < matrix.chunks; ++c) {
            for (std::size_t s = 0; s < kSums; ++s) {
                const std::int8_t* from = args.digits + (i * kSums + s) * bitterfly::kPanelRows + 16 * c;
                B::store(digits + (c * kSums + s) * 64, B::repeat_fours(from));
            }
        }
        const std::uint8_t* tiles = matrix.tiles + i * matrix.panel_bytes() + args.first * matrix.tile_bytes();
        for (std::size_t g = 0; g < args.count; g += kTiles) {
            const std::size_t count = args.count - g < kTiles ? args.count - g : kTiles;
            const std::uint8_t* from = reader.read(tiles + g * matrix.tile_bytes(), count);
            const auto run = [&](auto sum, std::size_t c) {
                sum(weights_of, chunks + c, from, reader.stride(), count, digits + c * kSums * 64,
                    sums + g * 16 * kSums);
            };
            if (kChunks == 1 || matrix.chunks != kChunks) {
                for (std::size_t c = 0; c < matrix.chunks; ++c) run(column_sums<D, 1, Vectors, Parts, false>, c);
            } else if (B::is_one_line(kChunks, matrix.half_bits)) {
                run(column_sums<D, kChunks, Vectors, Parts, true>, 0);
            } else {
                run(column_sums<D, kChunks, Vectors, Parts, false>, 0);
            }
        }
    }
    if (matrix.panels > 0) add_columns<Vectors, Parts>(sums, args.count, args.sums);
}

template <class B, bitterfly::DenseCode Code>
void dense_columns(const bitterfly::DenseArgs& args) {
    with_decoder<B, Code, false>(args, [&](auto decoder, auto vectors, auto parts) {
        multiply_columns<typename decltype(decoder)::type, vectors, parts>(args);
    });
}

}  // namespace
