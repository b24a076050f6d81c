// One split of the left-to-right factorization on any chain: each block of rows -> orthonormal columns and what is
// left.
#pragma once

#include <cstddef>

#include "factorization/row_planes.hpp"

namespace bitterfly {

struct SplitEnergy {
    double total, discarded;
};

// Blocks t of `x` are blocks first + t of d_total. Writes, for the best rank-r approximation U (U^H block) of each,
// factor[i, j, group*r + k, first + t] = U[j, k] and right[i, group, k, first + t, :] = row k of U^H block, and returns
// the energies of the blocks. `factor` is (a, b, groups*r, d_total), `right` (a, groups, r, d_total, columns/groups).
template <class Real>
SplitEnergy split(const Blocks& x, std::size_t rank, std::size_t first, std::size_t d_total, Real* factor, Real* right);

// All squared singular values, in falling order, and left singular vectors: lambda (a, groups, d_total, b), u the same
// times b x b, row-major, of double or complex double. Values below `floor` times the energy of a block need not be
// accurate.
template <class Real>
double spectra(const Blocks& x, double floor, std::size_t first, std::size_t d_total, double* lambda, double* u);

// As split, with the first `rank` columns of each matrix of `u` for U.
template <class Real>
void project(const Blocks& x, const double* u, std::size_t rank, std::size_t first, std::size_t d_total, Real* factor,
             Real* right);

}  // namespace bitterfly
