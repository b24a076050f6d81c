// y = op(W) x for a dense matrix in window codes, pieces of one rate each: x in signed digits of base 256, integer
// sums, one scale for each row; between random rotations, if any.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "dense/rotation.hpp"
#include "kernels/dense/args.hpp"
#include "matrix.hpp"

namespace bitterfly {

// Twice the bits of a weight, 2 to 8 or 10; 12 and 16 for the scalar codes.
bool is_rate(DenseCode code, int half_bits);

// Rows of a panel, the last one of which may have 16, 32 or 48.
std::size_t panel_rows(std::size_t rows, std::size_t panel);

// Bytes of the tiles of a matrix, and of what kernels may read behind them.
std::size_t tiles_bytes(std::size_t rows, std::size_t columns, int half_bits);

// Columns first, ..., first + count - 1 of a matrix.
struct ColumnRun {
    std::size_t first, count;
};

// Some columns of a matrix in one code: those of its runs, one behind the other. Borrows the tiles and kTilePadding
// bytes behind them.
struct DensePiece {
    DenseCode code;
    int half_bits;
    DenseTable table;
    const std::uint8_t* tiles;
    double step;  // what an entry of 1 stands for, before scales
    std::vector<ColumnRun> runs;
    std::size_t columns;
};

// W = R_outputs^T C R_inputs; C[r, c] = scale[r] 2^exponent step e for the entry e of a piece. Borrows the scales, IEEE
// half floats.
struct DenseProduct {
    std::size_t rows, columns;
    std::vector<DensePiece> pieces;
    const std::uint16_t* scale;
    int exponent;
    std::optional<Rotation> inputs, outputs;
};

// Tables as kernels load them: 128, 64 or no entries; 16 masks of 7 bits or none.
DenseTable table_of(DenseCode code, const std::int8_t* entries, const std::uint8_t* masks);

// A finite half float.
inline double number_of_half(std::uint16_t half) {
    const float magnitude = std::bit_cast<float>((half & 0x7FFFU) << 13) * 0x1p112F;
    return (half & 0x8000U) != 0 ? -magnitude : magnitude;
}

// Real vectors only. What a piece multiplies is rounded to 1, 2 or 3 digits, its largest number of magnitude 127, 32511
// or 8323071; parts = kExact: to three digits up to three times, each time what the time before has left. Sums are
// exact; they are scaled and added in double precision, always in one order, and rotated in that of x, or in double
// precision where products are exact: y depends neither on tiers nor on workers, nor on other vectors. A vector with a
// number that is not finite gives NaN everywhere.
inline constexpr std::size_t kExact = 0;
void apply(const DenseProduct& product, bool transposed, std::size_t parts, const View& x, const MutableView& y,
           std::size_t workers);

// A matrix, and where its product goes.
struct DenseTarget {
    const DenseProduct* product;
    MutableView y;
};

// The same y_t = W_t x for all targets: digits are formed once. Matrices of one piece, all of the same rotation of
// their inputs or none, none of outputs; parts is not kExact, and there is a target.
void apply(const std::vector<DenseTarget>& targets, std::size_t parts, const View& x, std::size_t workers);

}  // namespace bitterfly
