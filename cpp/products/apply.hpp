// y = op(A) x for the square dyadic chain, on one vector or many.
#pragma once

#include <cstddef>

#include "matrix.hpp"
#include "products/product.hpp"

namespace bitterfly {

// x and y have n rows and the same number of columns; they may not overlap. A real product takes real x and y;
// a complex one takes complex y, and real or complex x. Results do not depend on the number of workers.
template <class Real>
void apply(const Product<Real>& product, Mode mode, const View& x, const MutableView& y, std::size_t workers);

}  // namespace bitterfly
