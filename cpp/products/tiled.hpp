// y = op(A) x for a chain of factors of any patterns, the weights in tiles: floats or packed integers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/tiles/args.hpp"
#include "matrix.hpp"
#include "products/panels/panel.hpp"
#include "products/product.hpp"
#include "stores/routes.hpp"

namespace bitterfly {

// Borrows all memory. The product of the factors, times diag(scale), is a chain_rows x chain_columns matrix B with
// B[i, j] = A[rows[i], columns[j]], where A is padded with zeros from rows x columns. Null pointers mean the identity.
template <class Real>
struct TiledProduct {
    std::size_t row_count, column_count;
    bool is_complex;
    std::vector<TileFactor> factors;
    const Real* scale;
    const std::uint32_t *rows, *columns;
    std::vector<std::vector<std::uint16_t>> routes{};  // what the factors in skeleton form point to
};

// Works out the routes of all factors in skeleton form.
template <class Real>
void add_routes(TiledProduct<Real>& product) {
    product.routes.resize(product.factors.size());
    for (std::size_t l = 0; l < product.factors.size(); ++l) {
        product.routes[l] = routes_of(product.factors[l]);
        product.factors[l].routes = product.routes[l].data();
    }
}

template <class Real>
void apply(const TiledProduct<Real>& product, Mode mode, const View& x, const MutableView& y, std::size_t workers);

}  // namespace bitterfly
