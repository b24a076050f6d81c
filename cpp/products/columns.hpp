// Products with many vectors: 16 columns side by side, so that each weight is decoded once for all of them.
#pragma once

#include <cstddef>

#include "products/panels/panel.hpp"
#include "products/product.hpp"

namespace bitterfly {

// How the columns of x and y are taken: the first ones in blocks of 16 side by side, the last block perhaps not full;
// the others as vectors, `most_vectors` of at most `vector_bytes` at a time. The same for any number of workers.
struct ColumnsPlan {
    std::size_t side_by_side, most_vectors, vector_bytes;
};
template <class Real>
ColumnsPlan columns_plan(const Product<Real>& product, const View& x, const MutableView& y);

// Columns `first` to `end` of y = op(A) x; `scale` is the scale vector of the product.
template <class Real>
void apply_columns(const Product<Real>& product, Diagonal<Real> scale, Mode mode, const View& x, const MutableView& y,
                   std::size_t first, std::size_t end, std::size_t workers);

}  // namespace bitterfly
