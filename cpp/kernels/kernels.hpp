// The table of kernels: what a tier (scalar, avx2, avx512) supplies, and the one function that returns the tier in
// force.
#pragma once

#include <cstddef>

#include "kernels/cuts/args.hpp"
#include "kernels/dense/args.hpp"
#include "kernels/dyadic/args.hpp"
#include "kernels/search/args.hpp"
#include "kernels/splits/args.hpp"
#include "kernels/tiles/args.hpp"
#include "kernels/trellis/args.hpp"

namespace bitterfly {

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
    // The numbers of a factor in short floats, tile after tile.
    void (*floats)(const TileFactor&, std::size_t planes, Real* out);
    // For benchmarks: `rounds` times 64 independent additions of registers; returns the number of sums.
    std::size_t (*add)(std::size_t rounds, Real* out);
};

// What a tier knows to decode, by the places of CodedFactor::decoder and of Form.
struct Known {
    const char* const* directions;
    int direction_count;
    const FormFacts* forms;
    int form_count;
};

struct Kernels {
    const char* name;
    Known known;
    RealKernels<float> single;
    RealKernels<double> twice;
    SearchKernels search;
    DenseKernels dense;
    WindowKernels windows;
    CutKernels cuts;

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
