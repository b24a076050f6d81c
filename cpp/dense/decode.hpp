// Window codes to the entries that they stand for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dense/product.hpp"
#include "kernels/dense/args.hpp"
#include "matrix.hpp"

namespace bitterfly {

// The window of one position of a cyclic stream of bits, LSB first in bytes.
struct Window {
    std::size_t bytes[3];  // that hold it, and what follows it
    int shift;             // bits of the first byte below it
};

Window window_at(std::size_t position, std::size_t length, int half_bits);

// The entry of a window of a stream whose bytes are `step` apart.
int entry_of(DenseCode code, const DenseTable& table, const Window& window, const std::uint8_t* stream,
             std::size_t step);

// Each of `count` streams of `length` positions becomes its entries in the order of rows.
void window_entries(DenseCode code, int half_bits, const DenseTable& table, const std::uint8_t* streams,
                    std::size_t count, std::size_t length, std::int8_t* out, std::size_t workers);

// Rows index[0], index[1], ... of the coded matrix, scales included and rotations not, to the rows of `out`, real
// numbers.
void decode_rows(const DenseProduct& product, const std::int64_t* index, const MutableView& out, std::size_t workers);

}  // namespace bitterfly
