// y = op(W) x for a dense matrix in window codes: x in signed digits of base 256, integer sums, one scale for each row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dense/args.hpp"
#include "matrix.hpp"

namespace bitterfly {

// Twice the bits of a weight, 2 to 8 or 10; 12 and 16 for the scalar codes.
bool is_rate(DenseCode code, int half_bits);

// Rows of a panel, the last one of which may have 16, 32 or 48.
std::size_t panel_rows(std::size_t rows, std::size_t panel);

// Bytes of the tiles of a matrix, and of what kernels may read behind them.
std::size_t tiles_bytes(std::size_t rows, std::size_t columns, int half_bits);

// Borrows the tiles, kTilePadding bytes behind them, and the scales of the rows.
struct DenseProduct {
    std::size_t rows, columns;
    DenseCode code;
    int half_bits;
    DenseTable table;
    const std::uint8_t* tiles;
    const float* scale;
};

// Tables as kernels load them: 128, 64 or no entries; 16 masks of 7 bits or none.
DenseTable table_of(DenseCode code, const std::int8_t* entries, const std::uint8_t* masks);

// Real vectors only. x is rounded to 1, 2 or 3 digits, its largest number of magnitude 127, 32511 or 8323071; what
// follows is exact but for the last four multiplications and the rounding to the type of y, so that y depends neither
// on tiers nor on workers, nor on other vectors. A vector with a number that is not finite gives NaN everywhere.
void apply(const DenseProduct& product, bool transposed, std::size_t parts, const View& x, const MutableView& y,
           std::size_t workers);

}  // namespace bitterfly
