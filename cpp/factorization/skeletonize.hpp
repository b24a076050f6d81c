// Interpolative decompositions of many small matrices: which rows stand for the others, and how.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitterfly {

// `x` holds `count` matrices of b rows and s columns, row-major, complex ones interleaved. tails[q*(b+1) + k] is the
// energy of matrix q that its first k pivot rows leave (column-pivoted QR of the transpose), or, `of_any`, what an
// approximation of rank k leaves, by pivoted QR of the rows of R, seldom twice the least (Stewart, SIAM
// J. Sci. Comput. 20, 1999). All in units of 4^e, where 2^e is next above the largest number. Rows beyond those that
// leave `enough` of a matrix's energy are not looked for.
template <class Real>
void pivot_tails(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, double enough,
                 bool of_any, double* tails, std::size_t workers);

// pivots[q*b + j]: whether row j of matrix q is chosen; on entry, rows that are in any case. Others join by pivoted QR
// until there are `rank`, fewer where those leave nothing.
template <class Real>
void pivot_rows(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, std::size_t rank,
                std::uint8_t* pivots, std::size_t workers);

// pivots[q*b + j]: whether row j of matrix q is one of its `rank` pivot rows; t: the other rows, in order, as
// combinations of the pivot rows, in order: count x (b - rank) x rank. Returns the energy left in all matrices.
template <class Real>
double skeletonize(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, std::size_t rank,
                   std::uint8_t* pivots, Real* t, std::size_t workers);

}  // namespace bitterfly
