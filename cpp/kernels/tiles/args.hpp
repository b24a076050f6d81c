// What the kernels of factors of any pattern, in tiles, read and write.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitterfly {

inline constexpr int kListed = 16;

// How the numbers of a factor are given: a place in the list of forms at the end of kernels/tiles/codes.inl, where each
// has its name, its facts and its decoder. stores/layout.hpp finds them by name.
enum class Form : std::uint8_t {};

struct FormFacts {
    const char* name;
    int least_bits = 0, most_bits = 0;                  // of a code; 0: numbers of the operator's precision
    bool is_joined = false;                             // whether the streams of lanes go on from tile to tile
    bool has_significand = false, has_list = false;     // what a factor has to say beside
    std::size_t (*lines)(int bits, std::size_t count);  // lines of 16 that `count` numbers of each lane take
};

// A factor of any pattern (a, b, c, d), in tiles: the blocks (i, t) are lanes q = (i*split + g)*d + t, where `split` >
// 1 cuts the rows of a block into groups g of group_rows, so that narrow factors fill the lanes too. 16 consecutive
// lanes are one tile: all their weights, row by row, one number of each lane beside the other (a complex weight: 16
// real parts, 16 imaginary ones). Codes: one 32-bit bit stream for each lane, LSB first, padded to whole words in each
// tile, or in the factor where streams are joined. In skeleton form (rank r > 0) the columns come in c / r groups of r,
// each P [I; T]: `pivots` holds, for each tile and group, ceil(b / 32) words for each lane whose bit j says that row j
// is the next row of I; the values are those of T.
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
    Form form;
    int bits;         // of a code; 0: weights of the operator's precision
    int significand;  // of short floats
    List list;        // of codes that each stand for one number
    double step;
    const std::uint32_t* pivots;
    const std::uint16_t* routes;  // P of each tile and group as a network of switches, see stores/routes.hpp
    // What follows from the above, see layout_of() in stores/layout.hpp: a * split * d lanes, lanes / 16 tiles, the
    // rows of a lane, words of one mask, numbers of one lane, rows and switches of a network.
    std::size_t lanes, tiles, group_rows, mask_words, weights, route_rows, switches;
    // What follows from the form, see set_form(): whether the streams of lanes go on from tile to tile, and the lines
    // of a tile, or then of the factor.
    bool is_joined;
    std::size_t lines;
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

}  // namespace bitterfly
