// y = op(A) x for A = P_rows^T F_1 ... F_p diag(scale) P_columns, the factors given as weights or as packed codes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/kernels.hpp"
#include "matrix.hpp"

namespace bitterfly {

struct FactorData {
    Source source;
    int bits;          // of a code
    const void* data;  // weights of the operator's precision, or code words
};

// Borrows all memory. A[rows[i], columns[j]] = (F_1 ... F_p diag(scale))[i, j]; null pointers mean the identity.
template <class Real>
struct Product {
    std::size_t n;
    bool is_complex;
    std::vector<FactorData> factors;
    const Real* scale;  // n numbers, complex ones interleaved
    const std::uint32_t *rows, *columns;
};

struct Mode {
    bool transposed, conjugated;
};

// x and y have n rows and the same number of columns; they may not overlap. A real product takes real x and y;
// a complex one takes complex y, and real or complex x.
template <class Real>
void apply(const Product<Real>& product, Mode mode, const View& x, const MutableView& y);

}  // namespace bitterfly
