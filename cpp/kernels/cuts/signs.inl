// Sums by matrices of signs: four signs are the place of their sum in a table of sixteen.
#pragma once

#include "kernels/cuts/args.hpp"
#include "kernels/lanes/unroll.inl"

namespace {

// Of `Chunks` tiles of a panel.
template <class V, int Chunks>
void sign_rows(const std::uint8_t* tile, std::size_t stride, std::size_t blocks, const std::uint8_t* tables,
               std::int64_t* out) {
    for (std::size_t first = 0; first < blocks; first += V::most_tiles) {
        const std::size_t last = blocks - first < V::most_tiles ? blocks : first + V::most_tiles;
        typename V::Sums sums[Chunks];
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) { sums[c] = V::zero(); });
        for (std::size_t k = first; k < last; ++k) {
            const std::uint8_t* table = tables + 2 * k * bitterfly::kTableBytes;
            typename V::Vec signs[Chunks];
            unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
                signs[c] = V::signs(tile + k * stride + c * bitterfly::kSignBytes);
            });
            V::template add<0>(sums, signs, table);
            V::template add<1>(sums, signs, table + bitterfly::kTableBytes);
        }
        unroll<Chunks>([&](auto c)
                           __attribute__((always_inline)) { V::add_to(out + 16 * c, sums[c], 2 * (last - first)); });
    }
}

template <class V>
void multiply_signs(const bitterfly::SignArgs& args) {
    const bitterfly::SignTiles& matrix = args.matrix;
    for (std::size_t p = 0; p < matrix.panels; ++p) {
        const std::uint8_t* tile = matrix.tiles + p * matrix.panel_bytes();
        std::int64_t* out = args.sums + p * bitterfly::kSignPanel;
        for (std::size_t i = 0; i < matrix.chunks * 16; ++i) out[i] = 0;
        std::size_t c = 0;
        for (; c + V::chunks <= matrix.chunks; c += V::chunks) {
            sign_rows<V, V::chunks>(tile + c * bitterfly::kSignBytes, matrix.block_bytes(), matrix.blocks, args.tables,
                                    out + 16 * c);
        }
        for (; c < matrix.chunks; ++c) {
            sign_rows<V, 1>(tile + c * bitterfly::kSignBytes, matrix.block_bytes(), matrix.blocks, args.tables,
                            out + 16 * c);
        }
    }
}

// Columns of `Blocks` blocks.
template <class V, int Blocks>
void sign_columns(const bitterfly::SignTiles& matrix, const std::uint8_t* tile, const std::uint8_t* table,
                  std::int64_t* out) {
    const std::size_t panels_at_once = V::most_tiles / (matrix.chunks > 0 ? matrix.chunks : 1);
    for (std::size_t first = 0; first < matrix.panels; first += panels_at_once) {
        const std::size_t left = matrix.panels - first, count = left < panels_at_once ? left : panels_at_once;
        typename V::Sums sums[2 * Blocks];
        unroll<2 * Blocks>([&](auto i) __attribute__((always_inline)) { sums[i] = V::zero(); });
        for (std::size_t p = 0; p < count; ++p, tile += matrix.panel_bytes()) {
            for (std::size_t at = 0; at < Blocks * matrix.block_bytes(); at += 64) {
                __builtin_prefetch(tile + matrix.panel_bytes() + at);
            }
            for (std::size_t c = 0; c < matrix.chunks; ++c, table += bitterfly::kTableBytes) {
                typename V::Vec turned[Blocks];
                unroll<Blocks>([&](auto b) __attribute__((always_inline)) {
                    turned[b] = V::turned(tile + b * matrix.block_bytes() + c * bitterfly::kSignBytes);
                });
                V::template add_halves<Blocks>(sums, turned, table);
            }
        }
        unroll<2 * Blocks>(
            [&](auto i) __attribute__((always_inline)) { V::add_to(out + 16 * i, sums[i], count * matrix.chunks); });
    }
}

template <class V>
void multiply_turned_signs(const bitterfly::SignArgs& args) {
    const bitterfly::SignTiles& matrix = args.matrix;
    constexpr std::size_t kBlocks = V::chunks > 1 ? V::chunks / 2 : 1;
    const std::uint8_t* tile = matrix.tiles + args.first * matrix.block_bytes();
    std::size_t b = 0;
    for (; b + kBlocks <= args.count; b += kBlocks) {
        sign_columns<V, kBlocks>(matrix, tile + b * matrix.block_bytes(), args.tables,
                                 args.sums + b * bitterfly::kSignTerms);
    }
    for (; b < args.count; ++b) {
        sign_columns<V, 1>(matrix, tile + b * matrix.block_bytes(), args.tables, args.sums + b * bitterfly::kSignTerms);
    }
}

template <class V>
void sign_tables(const std::int32_t* values, std::size_t groups, std::uint8_t* out) {
    for (std::size_t g = 0; g < groups; ++g) {
        V::tables(values + g * bitterfly::kTableNumbers, out + g * bitterfly::kTableBytes);
    }
}

}  // namespace
