// What the kernels of signed cuts read and write.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitterfly {

inline constexpr std::size_t kSignLanes = 16, kSignChunks = 4, kSignPanel = kSignLanes * kSignChunks;
inline constexpr std::size_t kSignTerms = 32, kSignBytes = 64;
// Of the tables of 16 numbers.
inline constexpr std::size_t kTableNumbers = 16, kTableBytes = 256;
// Sums of four of them fit 32 bits.
inline constexpr std::int32_t kMostValue = (1 << 29) - 1;

// A matrix of signs, -1 where a bit is set: panels of 16 * chunks rows, one behind the other, each `blocks` times 32
// columns; of these each chunk of 16 rows is a tile of 64 bytes. Byte 4 l + b of a tile is row l, its bit 4 h + k
// column 16 h + 4 b + k.
struct SignTiles {
    const std::uint8_t* tiles;
    std::size_t panels, blocks, chunks;

    std::size_t block_bytes() const { return chunks * kSignBytes; }
    std::size_t panel_bytes() const { return blocks * block_bytes(); }
};

// Signed sums of integers up to kMostValue, by tables of all sums of four of them as the kernel `tables` writes them.
//
// Rows: tables of the columns; sums[64 p + r] is that of row r of panel p.
//
// Columns: tables of the rows of all panels; the sum of column c of block first + b is added to sums[32 b + c].
struct SignArgs {
    SignTiles matrix;
    const std::uint8_t* tables;
    std::int64_t* sums;
    std::size_t first, count;  // blocks, of the kernel of columns
};

// out += sum_k factors[k] * (row rows[k] of a matrix), of `columns` numbers, a multiple of 16. Factors are powers of
// two, so that products are exact.
struct RowSumArgs {
    const float* matrix;
    std::size_t stride;
    const std::uint32_t* rows;
    const float* factors;
    std::size_t count;
    float* out;
    std::size_t columns;
};

// A row of a matrix after the other loses factors[i] * signs, signs being 1 and -1 (or 0).
struct SubtractArgs {
    float* matrix;
    std::size_t stride;
    const float* factors;
    std::size_t rows;
    const float* signs;
    std::size_t columns;  // a multiple of 16
};

// One side of a matrix sum_j c_j s_j t_j^T: rows of `width` signs, the residual R there, and the slopes of each sign,
// sum_k R_rk c_j t_jk. Signs are flipped where that makes the error smaller, one after the other.
struct FlipArgs {
    float* signs;
    float* slopes;
    std::size_t rows, stride;  // of signs and slopes, a multiple of 16
    const float* gram;         // c_i c_j <t_i, t_j>, rows `stride` numbers apart, zeros behind `width`
    std::size_t width;
    float* residual;
    const float* weighted;  // c_j t_j
    std::size_t columns;    // of both
};

struct CutKernels {
    void (*rows)(const SignArgs&);
    void (*columns)(const SignArgs&);
    // Tables of 16 numbers after the other.
    void (*tables)(const std::int32_t* values, std::size_t groups, std::uint8_t* out);
    void (*add_rows)(const RowSumArgs&);
    void (*subtract)(const SubtractArgs&);
    std::size_t (*flip)(const FlipArgs&);  // returns how many
};

}  // namespace bitterfly
