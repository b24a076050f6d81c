// What the kernels of splits and pivoted factorizations read and write.
#pragma once

#include <cstddef>

namespace bitterfly {

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

}  // namespace bitterfly
