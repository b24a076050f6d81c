// Matrices of signs in the tiles that kernels read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "buffer.hpp"
#include "kernels/cuts/args.hpp"

namespace bitterfly {

// Bytes of a row of signs, one bit each, the first one the lowest of the first byte; a bit that is set is -1.
inline std::size_t sign_bytes(std::size_t count) { return (count + 7) / 8; }

class SignMatrix {
public:
    // From the rows of the matrix, or from those of its transpose.
    SignMatrix(const std::uint8_t* bits, std::size_t rows, std::size_t columns, bool of_transpose);

    // Writes them back; bits behind the last sign are zero.
    void write(std::uint8_t* bits, bool of_transpose) const;

    std::size_t rows() const { return rows_; }
    std::size_t columns() const { return columns_; }

    // out[i] = sum_k signs[i][k] value[k], or of the transpose; values up to kMostValue.
    void multiply(bool transposed, const std::int32_t* value, std::int64_t* out, std::size_t workers) const;

    // How many numbers of `value` and of `out` are read and written: whole tiles; those that have no sign are zero.
    std::size_t values(bool transposed) const;
    std::size_t sums(bool transposed) const { return values(!transposed); }

private:
    SignTiles whole() const;
    SignTiles last() const;  // of fewer chunks; no panel where there is none
    template <class Visit>
    void for_each_four(Visit visit) const;

    std::size_t rows_, columns_;
    AlignedArray<std::uint8_t> tiles_;
};

}  // namespace bitterfly
