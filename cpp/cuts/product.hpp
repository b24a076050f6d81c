// y = op(A) x for a sum of signed cuts, A = sum_j c_j s_j t_j^T: x in integers, exact sums, twice.
#pragma once

#include <cstddef>
#include <vector>

#include "cuts/signs.hpp"
#include "matrix.hpp"

namespace bitterfly {

struct CutProduct {
    SignMatrix left;                   // rows x cuts
    SignMatrix right;                  // cuts x columns
    std::vector<double> coefficients;  // times 2^exponent, the largest between 1/2 and 1
    int exponent;
};

// Real vectors only. Numbers are rounded to multiples of 2^-28 of the least power of two that the largest reaches, or,
// `rounds` being 2, what is left likewise once more; so are the sums of the cuts times coefficients. All else is exact
// but for products in double precision: y depends neither on tiers nor on workers, nor on other vectors. A vector with
// a number that is not finite gives NaN everywhere.
void apply(const CutProduct& product, bool transposed, int rounds, const View& x, const MutableView& y,
           std::size_t workers);

}  // namespace bitterfly
