// Sixteen columns side by side, and the copies between them and the caller's arrays.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.hpp"
#include "matrix.hpp"
#include "panel.hpp"

namespace bitterfly {

// Some columns of an array whose row order[r] is row r of a product (null: the identity), padded with zeros.
template <class ViewType>
struct ColumnBlock {
    ViewType view;
    std::size_t first, count;  // count <= kLanes
    const std::uint32_t* order;
    bool conjugated;
};

// Row r of the panel: the real parts of 16 columns at data + r * planes * kLanes, then the imaginary ones.
template <class Real>
struct ColumnPanel {
    Real* data;
    std::size_t planes;

    std::ptrdiff_t step() const { return static_cast<std::ptrdiff_t>(planes * kLanes); }
    Real* at(std::size_t row) const { return data + row * planes * kLanes; }
};

// Rows first to first + rows: panel = diagonal * x, and y = diagonal * panel. May scale the panel in place.
template <class Real>
void load_rows(const ColumnPanel<Real>& panel, const ColumnBlock<View>& x, std::size_t first, std::size_t rows,
               Diagonal<Real> diagonal);
template <class Real>
void store_rows(const ColumnPanel<Real>& panel, const ColumnBlock<MutableView>& y, std::size_t first, std::size_t rows,
                Diagonal<Real> diagonal);

// Rows of 16 real numbers of type Real that a kernel can read or write where they are; null data if they are not.
template <class Real, class Number>
struct PlainRows {
    Number* data;
    std::ptrdiff_t step;
};
template <class Real>
PlainRows<Real, const Real> plain_rows(const ColumnBlock<View>& x, std::size_t planes, std::size_t n);
template <class Real>
PlainRows<Real, Real> plain_rows(const ColumnBlock<MutableView>& y, std::size_t planes, std::size_t n);

}  // namespace bitterfly
