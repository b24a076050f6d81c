// What the passes of square dyadic chains read and write, for a few vectors or for columns side by side.
#pragma once

#include <cstddef>

#include "lanes.hpp"

namespace bitterfly {

// What a fused pass reads: nothing (Hadamard, real blocks (1, 1; 1, -1)), float weights, columns with a real first
// entry (decoded codes of complex operators), or angle codes of some width straight from their lines.
enum class Weights { kNone, kReal, kComplex, kColumns, kAngle };
inline constexpr int kMostAngleBits = 16;
inline constexpr int kWeights = static_cast<int>(Weights::kAngle) + kMostAngleBits;
constexpr Weights angle_weights(int bits) { return static_cast<Weights>(static_cast<int>(Weights::kAngle) + bits - 1); }

// Fused kernels by the number of factors, 1 to 4; the innermost eight factors; up to seven factors of a small vector.
enum Fused { kBaseFused = 4, kSmallFused = 5 };
inline constexpr int kFused = 6;

// A code of B bits is a turn in levels: its upper first_bits(B) bits, then four bits at a time.
inline constexpr int kLevelBits = 4;
inline constexpr int kShears = kMostAngleBits / kLevelBits - 1;
constexpr int first_bits(int bits) { return (bits - 1) % kLevelBits + 1; }

// For turns whose first level has `first` bits: cos and sin of its angles, over and over, times `amplitude`. Each
// further level is a rotation in three shears by tan(angle / 2) and sin(angle). `near` are cos and sin for the first
// two levels at once, as far as the tables go. `step` is the angle of one unit of a 32-bit turn.
template <class Real>
struct RotationTables {
    struct Shear {
        alignas(64) Real half_tangent[16];
        alignas(64) Real sine[16];
    };
    alignas(64) Real cosine[16];
    alignas(64) Real sine[16];
    alignas(64) Real near_cosine[32];
    alignas(64) Real near_sine[32];
    Shear shear[kShears];
    Real step;
    Real amplitude;
};

// The codes of one factor in a group: its lines begin `offset` words behind those of the group.
template <class Real>
struct CodedFactor {
    int decoder;  // a place in the list of codes at the end of decode.inl
    int bits;
    const RotationTables<Real>* rotation;  // of angles and phases: kLevelBits tables, by `first` - 1
    std::size_t offset;
};

// One pass over a part of `size` elements, or of the whole vector if it has fewer than 512.
// Vector v starts at from + v * vector_stride (to + ...); an imaginary plane stands plane_stride behind.
template <class Real>
struct PassArgs {
    const void* stream;                // codes or weights of the first group
    const CodedFactor<Real>* factors;  // how they are coded; null for weights
    std::size_t factor_count, group_words;
    std::size_t stride, size;
    const Real* from;
    Real* to;
    std::size_t vectors, vector_stride, plane_stride;
    Real* scratch;      // decoded weights of one step: kScratchNumbers
    const Real* scale;  // factors of the inputs, or outputs if transposed, complex ones interleaved; null for ones
    bool transposed;
    bool is_far;  // elements and scales are worth a prefetch
};

// One pass over steps `first` to `end` of a part, in place, for 16 columns side by side: element e is the row at data +
// e / kChunkRows * chunk + e % kChunkRows * row, 16 numbers, and behind them the 16 imaginary parts, if any; or 32 real
// columns where the tier can. A step
// takes one chunk in the innermost pass, and as many blocks as the step of a fused pass in others. The decoded weights
// of step s lie at weights + (s - first) * weights_step, kScratchNumbers of them at most; `decoded`: they are there.
template <class Real>
struct ColumnsArgs {
    const void* stream;                // codes or weights of the first group of the part
    const CodedFactor<Real>* factors;  // how they are coded; null for weights
    std::size_t factor_count, group_words, group_vectors;
    std::size_t stride, first, end;
    std::size_t columns;
    Real* data;
    std::ptrdiff_t row, chunk;
    Real* weights;
    std::size_t weights_step;
    bool decoded;
    bool transposed;
};
inline constexpr std::size_t kChunkRows = 256;

// Rows of 16 numbers: row r at from + r * from_row goes to to + r * to_row, times scale[r] unless that is null. Copies
// of rows may have fewer on one side: others are read as zeros, and not written.
template <class Real>
struct RowsArgs {
    const Real* from;
    std::ptrdiff_t from_row;
    Real* to;
    std::ptrdiff_t to_row;
    std::size_t rows;
    const Real* scale;
    std::size_t from_columns = kLanes, to_columns = kLanes;
};

// 8 factors, 8 block-vectors, 6 numbers a block.
inline constexpr std::size_t kScratchNumbers = 8 * 8 * 6 * kLanes;

}  // namespace bitterfly
