// Products with many vectors: 16 columns side by side, so that each weight is decoded once for all of them.
#pragma once

#include <cstddef>

#include "apply.hpp"
#include "panel.hpp"

namespace bitterfly {

// How many of `columns` vectors are taken in blocks of 16, the last one perhaps not full; the others are faster one by
// one, of columns whose numbers lie side by side (`runs`) all that do not fill a block. The same for any number of
// workers.
template <class Real>
std::size_t columns_together(const Product<Real>& product, std::size_t columns, bool runs);

// Columns `first` to `end` of y = op(A) x; `scale` is the scale vector of the product.
template <class Real>
void apply_columns(const Product<Real>& product, Diagonal<Real> scale, Mode mode, const View& x, const MutableView& y,
                   std::size_t first, std::size_t end, std::size_t workers);

}  // namespace bitterfly
