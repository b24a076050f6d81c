// The table of kernels: what a tier (scalar, avx2, avx512) supplies, and the one function that returns the tier in
// force.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/search/args.hpp"

namespace bitterfly {

// One block is a 2 x 2 matrix of a factor (2^(l-1), 2, 2, d). Sixteen blocks, one a lane, are a block-vector; kernels
// read the codes or weights of whole groups of 256 blocks, see plan.hpp and docs/performance.md.
inline constexpr std::size_t kLanes = 16;
inline constexpr std::size_t kGroupBlocks = 256;
inline constexpr std::size_t kCodesPerLane = 2 * kGroupBlocks / kLanes;

// How the columns of one factor are given.
enum class Source { kRealWeights, kComplexWeights, kAngle, kPhase, kSphere };

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
    Source source;
    int bits;
    const RotationTables<Real>* rotation;  // for kAngle and kPhase: kLevelBits tables, by `first` - 1
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

inline constexpr int kListed = 16;

// A factor of any pattern (a, b, c, d), in tiles: the blocks (i, t) are lanes q = (i*split + g)*d + t, where `split` >
// 1 cuts the rows of a block into groups g of group_rows, so that narrow factors fill the lanes too. 16 consecutive
// lanes are one tile: all their weights, row by row, one number of each lane beside the other (a complex weight: 16
// real parts, 16 imaginary ones). Codes: one 32-bit bit stream for each lane, LSB first, padded to whole words in each
// tile (floats, lists: in the factor); the weight is step * (code - 2^(bits-1)), or step times a short float, or the
// number of the code in a list. In skeleton form
// (rank r > 0) the columns come in c / r groups of r, each P [I; T]: `pivots` holds, for each tile and group, ceil(b /
// 32) words for each lane whose bit j says that row j is the next row of I; the values are those of T.
struct TileFactor {
    struct List {  // step times the number of each code, over and over where there are fewer than 16
        float single[kListed];
        double twice[kListed];
        template <class Real>
        const Real* of() const {
            if constexpr (sizeof(Real) == sizeof(float)) {
                return single;
            } else {
                return twice;
            }
        }
    };
    std::size_t a, b, c, d, split, rank;
    const void* values;
    int bits;         // of a code; 0: weights of the operator's precision
    int significand;  // 0: integer codes, otherwise floats with so many significand bits
    bool is_listed;   // codes of up to 4 bits, each standing for one number of `list`
    List list;
    double step;
    const std::uint32_t* pivots;
    const std::uint16_t* routes;  // P of each tile and group as a network of switches, see routes.hpp
    // What follows from the above, see layout_of() in tiled.hpp: a * split * d lanes, lanes / 16 tiles, the rows of a
    // lane, words of one mask, numbers of one lane, rows and switches of a network.
    std::size_t lanes, tiles, group_rows, mask_words, weights, route_rows, switches;

    // Whether the streams of lanes go on from tile to tile.
    bool is_joined() const { return significand > 0 || is_listed; }
};

// The plane p of vector v starts at data + v*vector + p*plane, its row r lies r*row further; rows may run backwards.
template <class Real>
struct Rows {
    Real* data;
    std::ptrdiff_t row, plane, vector;
};

// y = factor x, or its transpose, for the tiles from `first` to `end` and all vectors of a panel. Nothing but the rows
// of these tiles is written. `scratch` has room for the weights of a tile and, for kTileVectors vectors, for
// scratch_rows() rows.
template <class Real>
struct TileArgs {
    const TileFactor* factor;
    Rows<const Real> x;
    Rows<Real> y;
    std::size_t vectors, planes, first, end;
    bool transposed;
    Real* scratch;
};

// y = factor x, or its transpose, for the tiles from `first` to `end` and 16 columns side by side: element e is the row
// at x + e * planes * 16 (y + ...), real and imaginary parts. `scratch` has room as in TileArgs.
template <class Real>
struct TileColumnsArgs {
    const TileFactor* factor;
    const Real* x;
    Real* y;
    std::size_t planes, first, end;
    bool transposed;
    Real* scratch;
};

inline constexpr std::size_t kTileVectors = 4;  // vectors that share one load of a weight

// Rows of 16 lanes that the product of a tile needs beside x and y: those of x and y, gathered, and before P.
constexpr std::size_t scratch_rows(const TileFactor& f) {
    return f.b + f.c + (f.rank == 0 ? f.c : f.c / f.rank * f.route_rows);
}

// Two rows of a block, real and imaginary planes; the imaginary ones are null for real data.
template <class Real>
struct RowPair {
    const Real *a, *a_imag, *b, *b_imag;
    std::size_t length;
};

// out[i, j] = <row i, row j> for j <= i, `out` being count x count; entries above the diagonal may be written too.
template <class Real>
struct GramArgs {
    const Real* rows;
    std::size_t stride, count, length;
    double* out;
};

// y = matrix x, matrix out_rows x in_rows; x and y are rows of `length` numbers and do not overlap.
template <class Real>
struct CombineArgs {
    const Real* matrix;
    std::size_t out_rows, in_rows;
    const Real* x;
    std::size_t x_stride, length;
    Real* y;
    std::size_t y_stride;
};

// Each of `columns` columns x, `planes` * `plane` numbers apart, becomes x - tau <v, x> v, real and imaginary parts in
// planes. All have `rows` rows, and zeros behind them up to a multiple of kLanes. The numbers of the last row are moved
// to `last`, complex ones interleaved; `squares` gets the squared norms of what is left.
template <class Real>
struct ReflectArgs {
    const Real* v;
    Real* x;
    std::size_t plane, planes, columns, rows;
    Real tau;
    Real *last, *squares;
};

template <class Real>
struct RealKernels {
    using Pass = void (*)(const PassArgs<Real>&);
    Pass fused[kWeights][kFused];  // null where there is none
    // For many vectors, by Weights; decoded codes or weights only. Real ones: 16 columns a row, or 32.
    void (*columns[kWeights])(const ColumnsArgs<Real>&);
    std::size_t most_columns;
    void (*copy_rows)(const RowsArgs<Real>&);
    // Tiles of 16 x 16, `rows` of them: tile t is read 16 t numbers on in rows from_row apart, and transposed to rows
    // 16 t, ... ; and the other way round.
    void (*rows_of_columns)(const RowsArgs<Real>&);
    void (*columns_of_rows)(const RowsArgs<Real>&);
    // out = |a|^2, |b|^2, Re <a, b>, Im <a, b> with <a, b> = sum a conj(b)
    void (*gram)(const RowPair<Real>&, double* out);
    // out = u0 a + conj(u1) b (u0 real; out may be row a); returns |u0 b - u1 a|^2
    double (*project)(const RowPair<Real>&, const double* u, Real* out, Real* out_imag);
    void (*tiles)(const TileArgs<Real>&);
    void (*tile_columns)(const TileColumnsArgs<Real>&);
    void (*gram_rows)(const GramArgs<Real>&);
    void (*combine_rows)(const CombineArgs<Real>&);
    void (*reflect)(const ReflectArgs<Real>&);
    // The numbers of a factor in floats, tile after tile.
    void (*floats)(const TileFactor&, std::size_t planes, Real* out);
    // For benchmarks: `rounds` times 64 independent additions of registers; returns the number of sums.
    std::size_t (*add)(std::size_t rounds, Real* out);
};

struct Kernels {
    const char* name;
    RealKernels<float> single;
    RealKernels<double> twice;
    SearchKernels search;

    template <class Real>
    const RealKernels<Real>& of() const {
        if constexpr (sizeof(Real) == sizeof(float)) {
            return single;
        } else {
            return twice;
        }
    }
};

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

// The tier in force: BITTERFLY_ISA if set, else the best this CPU has.
const Kernels& kernels();

}  // namespace bitterfly
