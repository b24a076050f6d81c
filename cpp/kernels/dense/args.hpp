// What the kernels of dense matrices in window codes read and write.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace bitterfly {

inline constexpr std::size_t kPanelRows = 64, kChunkPositions = 16, kTileColumns = 4;
inline constexpr std::size_t kMostParts = 3, kMostTogether = 32;
// Vectors up to which columns are formed for a few of them: 1, 2 or 4. Kernels of more form so many sums side by side.
inline constexpr std::size_t kFewVectors = 4, kSumsBeside = 6;
// What kernels may read behind the last tile, without its having an influence.
inline constexpr std::size_t kTilePadding = 64;
// Sums of so many products of two bytes fit 32 bits: 255 * 128 * 2^16 < 2^31.
inline constexpr std::size_t kSafeProducts = std::size_t{1} << 16;

// A weight is the entry of a table (none: the byte itself) that a window of 7 bits points to, or of 7 bits and 4 more
// that choose a mask to flip them by, or of 6.
enum class DenseCode : int { kWindow7, kWindow11, kScalar6, kScalar8 };
inline constexpr int kDenseCodes = 4;

constexpr int bias_of(DenseCode code) { return code == DenseCode::kWindow7 || code == DenseCode::kWindow11 ? 64 : 128; }

// Panels of 16 * chunks rows of a matrix, one behind the other, each `groups` tiles of four columns. A column of a
// panel is a cyclic stream of bits, LSB first, its byte b at byte 4 b + j of the tile (j = column in the tile).
// Position p of the stream is row 16 chunks - 1 - p; its window begins at bit floor(p half_bits / 2).
struct DenseTiles {
    const std::uint8_t* tiles;
    std::size_t panels, groups, chunks;
    int half_bits;

    std::size_t tile_bytes() const { return chunks * static_cast<std::size_t>(half_bits) * kTileColumns; }
    std::size_t panel_bytes() const { return groups * tile_bytes(); }
};

// Tables as kernels load them: entries + bias, of window codes 128, else 64; masks over and over.
struct DenseTable {
    std::uint8_t entries[128];
    std::uint8_t masks[64];
};

// Sums of (weight + bias) times the digits of a vector, sum_q 256^(parts - 1 - q) of those with digit q. Digits are
// signed bytes, four of them a word: those of four columns, or of four positions of a panel.
//
// The digits v * parts + q of all vectors stand in blocks of kSumsBeside, the last one of what is left: of word f the
// digits of the block are side by side, then those of word f + 1.
//
// Rows: a word for each group; the sum of position p of panel i is sums[(i * vectors + v) * 64 + p].
//
// Columns: groups first, ..., first + count - 1 of each panel. More than kFewVectors vectors: words of all panels, one
// behind the other; `first` is a multiple of 16, and the sum of column c, counted from there, is added to
// sums[(c / 64 * vectors + v) * 64 + c % 64], others up to the next 64 columns are any. Up to kFewVectors: 1, 2 or 4
// vectors; digit q of vector v and the positions p of panel i at digits + ((i * vectors + v) * parts + q) * 64 + p, and
// the sum of column j of group g is added to sums[((g - first) * vectors + v) * 4 + j].
struct DenseArgs {
    DenseTiles matrix;
    const DenseTable* table;
    std::size_t vectors, parts;
    const std::int8_t* digits;
    std::int64_t* sums;
    std::size_t first, count;  // columns only; for a few vectors at most groups_at_once
};

// Groups of one call of the kernels of columns for a few vectors: their sums stay in the cache.
inline constexpr std::size_t kMostGroups = 512;
inline std::size_t groups_at_once(std::size_t vectors, std::size_t parts) { return kMostGroups / (vectors * parts); }

// 2^exponent in two factors, so that neither is out of range where a product with both is not.
struct PowerOfTwo {
    double first, second;
};

// The nearest integer to a number below 2^31, ties to even: adding 1.5 * 2^52 rounds it, and the low half of the sum
// holds it.
[[gnu::always_inline]] inline std::int32_t nearest(double x) {
    return static_cast<std::int32_t>(std::bit_cast<std::int64_t>(x + 6755399441055744.0));
}

// Signed digits of four values at a time, `fours` times; those beyond the last value are there, to whole 16 values.
// Digit q of values 4 f, ... goes to out + f * four_stride + q * part_stride, the most significant one first.
struct SplitArgs {
    const std::int32_t* value;
    std::size_t fours, parts;
    std::size_t four_stride, part_stride;
    std::int8_t* out;
};

// Sums less a bias, from the last one to the first if they are reversed, times numbers.
struct SumsArgs {
    const std::int64_t* sums;
    std::size_t count;
    bool is_reversed;
    std::int64_t bias;
    double unit;
    const double* scale;  // null: ones
    double* out;
};

// Rows of `width` numbers, a multiple of 16: row i of the result is the sum of the first ones[i] of those that row i of
// `at` names, less the others; the rows of `at` are row_stride apart.
template <class Real>
struct MixArgs {
    const std::uint8_t* at;
    const std::uint8_t* ones;
    std::size_t row_stride, order, width;
    const Real* from;
    Real* to;
};

template <class Real>
struct RotationKernels {
    void (*times_power)(const double* z, std::size_t count, PowerOfTwo power, Real* out);
    // x times +-factor, - where bit i % 16 of word i / 16 is set; `out` may be x.
    void (*signs)(const Real* x, const std::uint16_t* signs, Real factor, std::size_t count, Real* out);
    // Hadamard transforms of rows of 32, 64 or 128 numbers.
    void (*transform)(const Real* from, std::size_t width, std::size_t rows, Real* to);
    void (*mix)(const MixArgs<Real>&);
};

// Before and after products. Results are the same on all tiers.
struct VectorKernels {
    double (*largest)(const double* z, std::size_t count);  // magnitude; infinite where a number is not finite
    void (*widen)(const float* x, std::size_t count, double* out);
    // Values z * power * factor, to the nearest, below 2^23; returns their sum.
    std::int64_t (*round)(const double* z, std::size_t count, PowerOfTwo power, double factor, std::int32_t* value);
    void (*split)(const SplitArgs&);
    void (*scale_sums)(const SumsArgs&);  // out = (scale * unit) * sums
    void (*add_sums)(const SumsArgs&);    // out += unit * sums
    RotationKernels<float> single;
    RotationKernels<double> twice;

    template <class Real>
    const RotationKernels<Real>& of() const {
        if constexpr (sizeof(Real) == sizeof(float)) {
            return single;
        } else {
            return twice;
        }
    }
};

struct DenseKernels {
    using Kernel = void (*)(const DenseArgs&);
    Kernel rows[kDenseCodes], columns[kDenseCodes];
    std::size_t together;  // the most vectors of a call
    VectorKernels vectors;
};

}  // namespace bitterfly
