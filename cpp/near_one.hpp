// Are all columns of a matrix in double precision near one?
#pragma once

#include "matrix.hpp"

namespace bitterfly {

// Whether the largest part of every column lies in [2^-exponent, 2^exponent). Columns with infinity, NaN, or nothing
// but zeros do not.
bool near_one(const View& x, int exponent);

}  // namespace bitterfly
