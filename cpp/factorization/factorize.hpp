// A dense matrix -> the float factors of a square dyadic butterfly, left to right, with the energy that was discarded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "matrix.hpp"

namespace bitterfly {

// Factors `a[rows, columns]`, n x n with n = 2^p, p >= 1. Index arrays of n entries, or null for the identity.
// `values` takes p * 2n numbers (complex ones interleaved): factor l + 1 in C order (2^l, 2, 2, n / 2^(l+1)).
// Results do not depend on `workers`.
// Returns sqrt(discarded energy / energy) plus what underflow may add; 0 for the zero matrix.
template <class Real>
double factorize(const View& a, const std::uint32_t* rows, const std::uint32_t* columns, Real* values,
                 std::size_t workers);

}  // namespace bitterfly
