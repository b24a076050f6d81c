// Products of many vectors with dense matrices in window codes: weights of 64 rows or columns decoded once, a block
// that stays in the cache, and multiplied by the digits of all vectors, several at once.
#pragma once

#include "kernels/dense/decoders.inl"

namespace {

// A block: what multiplies one word after the other of the digits of a vector. For each, the weights of 16 sums are
// side by side, up to four times.
constexpr std::size_t kBlockWords = 64, kBlockBytes = kBlockWords * 256;

// Adds the products of `Chunks` times 16 weights of `words` words with `Sums` digits; those of digit i from to + 64 i
// on.
template <class B, bool IsWide, int Chunks, int Sums>
void multiply_block(const std::uint8_t* weights, std::size_t stride, std::size_t words, const std::int8_t* digits,
                    std::int32_t* to) {
    typename B::Sums sums[Chunks][Sums];
    const auto for_each_sum = [&](auto use) __attribute__((always_inline)) {
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
            unroll<Sums>([&](auto i) __attribute__((always_inline)) { use(sums[c][i], to + 64 * i + 16 * c); });
        });
    };
    for_each_sum([](auto& sum, const std::int32_t* from) __attribute__((always_inline)) { sum = B::load(from); });
    for (std::size_t w = 0; w < words; ++w, weights += stride, digits += 4 * Sums) {
        typename B::Vec of_chunk[Chunks];
        unroll<Chunks>([&](auto c) __attribute__((always_inline)) { of_chunk[c] = B::load(weights + 64 * c); });
        unroll<Sums>([&](auto i) __attribute__((always_inline)) {
            const typename B::Vec digit = B::broadcast(digits + 4 * i);
            unroll<Chunks>([&](auto c) __attribute__((always_inline)) {
                sums[c][i] = B::template add_products<IsWide>(sums[c][i], of_chunk[c], digit);
            });
        });
    }
    for_each_sum([](const auto& sum, std::int32_t* out) __attribute__((always_inline)) { B::store(out, sum); });
}

// Sums of up to 64 rows or columns with all digits of all vectors.
template <class D>
class BlockSums {
    using B = typename D::Bytes;

public:
    // `words`: how many a digit of a vector has.
    BlockSums(const bitterfly::DenseArgs& args, std::size_t words)
        : digits_(args.digits), count_(args.vectors * args.parts), words_(words) {
        clear();
    }
    // Adds the products of `words` words from `first` on; 16 * chunks sums.
    void add(const std::uint8_t* weights, std::size_t chunks, std::size_t first, std::size_t words) {
        constexpr int kChunks = B::chunks_at_once;
        for (std::size_t s = 0; s < count_; s += bitterfly::kSumsBeside) {
            with_count(count_ - s, [&](auto beside) __attribute__((always_inline)) {
                const std::int8_t* digits = digits_ + 4 * (s * words_ + first * beside);
                if (chunks == kChunks) {
                    multiply_block<B, D::is_wide, kChunks, beside>(weights, 64 * kChunks, words, digits,
                                                                   sums_ + 64 * s);
                    return;
                }
                for (std::size_t c = 0; c < chunks; ++c) {
                    multiply_block<B, D::is_wide, 1, beside>(weights + 64 * c, 64 * chunks, words, digits,
                                                             sums_ + 64 * s + 16 * c);
                }
            });
        }
    }
    // Adds them to those of whole numbers, 64 of each vector, and clears them.
    void flush(std::size_t parts, std::int64_t* out) {
        if (parts == 1) add_whole<1>(out);
        if (parts == 2) add_whole<2>(out);
        if (parts == 3) add_whole<3>(out);
        clear();
    }

private:
    void clear() {
        for (std::size_t j = 0; j < 64 * count_; ++j) sums_[j] = 0;
    }
    template <class Run>
    static void with_count(std::size_t left, Run run) {
        switch (left) {
            case 1: return run(std::integral_constant<int, 1>{});
            case 2: return run(std::integral_constant<int, 2>{});
            case 3: return run(std::integral_constant<int, 3>{});
            case 4: return run(std::integral_constant<int, 4>{});
            case 5: return run(std::integral_constant<int, 5>{});
            default: return run(std::integral_constant<int, bitterfly::kSumsBeside>{});
        }
    }
    template <int Parts>
    void add_whole(std::int64_t* out) const {
        for (std::size_t s = 0; s < count_; s += Parts, out += 64) add_digits<Parts, 64>(sums_ + 64 * s, out);
    }
    const std::int8_t* digits_;
    std::size_t count_, words_;
    alignas(64) std::int32_t sums_[bitterfly::kMostTogether * bitterfly::kMostParts * 64];
};

// Calls run with what reads the line of chunk c of a tile.
template <class B, class Run>
void with_line(const bitterfly::DenseTiles& matrix, const Chunk<B>* chunks, std::size_t c, Run run) {
    const typename B::Place place = chunks[c].place;
    if (c + 1 < matrix.chunks || B::is_one_line(matrix.chunks, matrix.half_bits)) {
        run([&](const std::uint8_t* tile) __attribute__((always_inline)) { return B::whole_line(tile, place); });
    } else {
        run([&](const std::uint8_t* tile) __attribute__((always_inline)) { return B::line(tile, place); });
    }
}

// Weights of `count` tiles as a block: words are groups, sums are rows.
template <class D>
void decode_rows(const D& weights_of, const bitterfly::DenseTiles& matrix, const Chunk<typename D::Bytes>* chunks,
                 const std::uint8_t* tiles, std::size_t stride, std::size_t count, std::uint8_t* block) {
    using B = typename D::Bytes;
    for (std::size_t c = 0; c < matrix.chunks; ++c) {
        with_line<B>(matrix, chunks, c, [&](auto line_of) __attribute__((always_inline)) {
            const std::uint8_t* tile = tiles;
            std::uint8_t* to = block + 64 * c;
            for (std::size_t g = 0; g < count; ++g, tile += stride, to += 64 * matrix.chunks)
                B::store(to, weights_of(line_of(tile), chunks[c].cut));
        });
    }
}

// The same for the adjoint: words are positions, sums are columns. What stands for groups behind the last is any.
template <class D>
void decode_columns(const D& weights_of, const bitterfly::DenseTiles& matrix, const Chunk<typename D::Bytes>* chunks,
                    const std::uint8_t* tiles, std::size_t stride, std::size_t count, std::uint8_t* block) {
    using B = typename D::Bytes;
    const std::size_t word_bytes = (count + 3) / 4 * 64;
    for (std::size_t c = 0; c < matrix.chunks; ++c) {
        with_line<B>(matrix, chunks, c, [&](auto line_of) __attribute__((always_inline)) {
            for (std::size_t g = 0; g < count; g += 4) {
                typename B::Vec weights[4];
                unroll<4>([&](auto j) __attribute__((always_inline)) {
                    const std::size_t at = g + j < count ? g + j : g;
                    weights[j] = weights_of(line_of(tiles + at * stride), chunks[c].cut);
                });
                B::transpose_quarters(weights);
                std::uint8_t* to = block + 4 * c * word_bytes + g * 16;
                unroll<4>([&](auto k) __attribute__((always_inline)) { B::store(to + k * word_bytes, weights[k]); });
            }
        });
    }
}

// Brings the tiles that are decoded next while products are formed.
inline void prefetch_tiles(const std::uint8_t* tiles, std::size_t bytes) {
    for (std::size_t b = 0; b < bytes; b += 64) __builtin_prefetch(tiles + b);
}

template <class D>
void multiply_many_rows(const bitterfly::DenseArgs& args) {
    using B = typename D::Bytes;
    constexpr std::size_t kSafeGroups = bitterfly::kSafeProducts / bitterfly::kTileColumns;
    const bitterfly::DenseTiles& matrix = args.matrix;
    const D weights_of(*args.table);
    Chunk<B> chunks[4];
    D::set_chunks(matrix, chunks);
    TileReader<B, kBlockWords> reader(matrix.tile_bytes());
    BlockSums<D> sums(args, matrix.groups);
    alignas(64) std::uint8_t block[kBlockBytes];
    for (std::size_t i = 0; i < matrix.panels; ++i) {
        const std::uint8_t* tiles = matrix.tiles + i * matrix.panel_bytes();
        std::int64_t* out = args.sums + i * args.vectors * bitterfly::kPanelRows;
        for (std::size_t j = 0; j < args.vectors * bitterfly::kPanelRows; ++j) out[j] = 0;
        for (std::size_t g = 0; g < matrix.groups; g += kBlockWords) {
            const std::size_t count = matrix.groups - g < kBlockWords ? matrix.groups - g : kBlockWords;
            const std::uint8_t* from = reader.read(tiles + g * matrix.tile_bytes(), count);
            decode_rows(weights_of, matrix, chunks, from, reader.stride(), count, block);
            prefetch_tiles(tiles + (g + count) * matrix.tile_bytes(), count * matrix.tile_bytes());
            if (g > 0 && g % kSafeGroups == 0) sums.flush(args.parts, out);
            sums.add(block, matrix.chunks, g, count);
        }
        sums.flush(args.parts, out);
    }
}

template <class D>
void multiply_many_columns(const bitterfly::DenseArgs& args) {
    using B = typename D::Bytes;
    constexpr std::size_t kGroups = bitterfly::kPanelRows / bitterfly::kTileColumns, kPanels = kBlockWords / 16,
                          kSafePanels = bitterfly::kSafeProducts / bitterfly::kPanelRows;
    const bitterfly::DenseTiles& matrix = args.matrix;
    const D weights_of(*args.table);
    Chunk<B> chunks[4];
    D::set_chunks(matrix, chunks);
    TileReader<B, kGroups> reader(matrix.tile_bytes());
    const std::size_t panel_words = 4 * matrix.chunks;
    BlockSums<D> sums(args, matrix.panels * panel_words);
    alignas(64) std::uint8_t block[kBlockBytes];
    for (std::size_t g = 0; g < args.count; g += kGroups) {
        const std::size_t groups = args.count - g < kGroups ? args.count - g : kGroups, wide = (groups + 3) / 4;
        const std::uint8_t* tiles = matrix.tiles + (args.first + g) * matrix.tile_bytes();
        std::int64_t* out = args.sums + g * bitterfly::kTileColumns * args.vectors;
        for (std::size_t i = 0; i < matrix.panels; i += kPanels) {
            const std::size_t count = matrix.panels - i < kPanels ? matrix.panels - i : kPanels;
            for (std::size_t p = 0; p < count; ++p) {
                const std::uint8_t* from = reader.read(tiles + (i + p) * matrix.panel_bytes(), groups);
                decode_columns(weights_of, matrix, chunks, from, reader.stride(), groups,
                               block + p * panel_words * wide * 64);
                prefetch_tiles(tiles + (i + p + kPanels) * matrix.panel_bytes(), groups * matrix.tile_bytes());
            }
            if (i > 0 && i % kSafePanels == 0) sums.flush(args.parts, out);
            sums.add(block, wide, i * panel_words, count * panel_words);
        }
        sums.flush(args.parts, out);
    }
}

template <class B, bitterfly::DenseCode Code>
void many_rows(const bitterfly::DenseArgs& args) {
    with_decoder_of<B, Code, true>(args,
                                   [&](auto decoder) { multiply_many_rows<typename decltype(decoder)::type>(args); });
}

template <class B, bitterfly::DenseCode Code>
void many_columns(const bitterfly::DenseArgs& args) {
    with_decoder_of<B, Code, false>(
        args, [&](auto decoder) { multiply_many_columns<typename decltype(decoder)::type>(args); });
}

}  // namespace
