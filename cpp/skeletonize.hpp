// Interpolative decompositions of many small matrices: which rows stand for the others, and how.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitterfly {

// `x` holds `count` matrices of b rows and s columns, row-major, complex ones interleaved. tails[q*(b+1) + k] is the
// energy of matrix q that its first k pivot rows leave (column-pivoted QR of the transpose, Golub and Van Loan 5.4).
template <class Real>
void pivot_tails(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, double* tails);

// pivots[q*b + j]: whether row j of matrix q is one of its `rank` pivot rows; t: the other rows, in order, as
// combinations of the pivot rows, in order: count x (b - rank) x rank. Returns the energy left in all matrices.
template <class Real>
double skeletonize(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, std::size_t rank,
                   std::uint8_t* pivots, Real* t, std::size_t workers);

}  // namespace bitterfly
