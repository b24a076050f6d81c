// Sixteen columns side by side, and the copies between them and the caller's arrays.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/dyadic/args.hpp"
#include "lanes.hpp"
#include "matrix.hpp"
#include "products/panels/panel.hpp"

namespace bitterfly {

// Some columns of an array whose row order[r] is row r of a product (null: the identity), padded with zeros.
template <class ViewType>
struct ColumnBlock {
    ViewType view;
    std::size_t first, count;
    const std::uint32_t* order;
    bool conjugated;

    // Columns 16 b and on, kLanes or fewer, perhaps none.
    ColumnBlock block(std::size_t b) const {
        const std::size_t skipped = std::min(b * kLanes, count);
        return {view, first + skipped, std::min(kLanes, count - skipped), order, conjugated};
    }
};

// Row r of the panel: the real parts of 16 columns at at(r), then the imaginary ones; `blocks` such panels lie row
// beside row. Chunks of kChunkRows rows lie a few lines apart: a pass takes one row of each of sixteen chunks, and a
// power of two between them would be one cache set.
template <class Real>
struct ColumnPanel {
    Real* data;
    std::size_t planes, padding = kLanes, blocks = 1;

    std::size_t row() const { return planes * kLanes * blocks; }
    ColumnPanel block(std::size_t b) const { return {data + b * planes * kLanes, planes, padding, blocks}; }
    std::size_t chunk() const { return (kChunkRows + padding) * row(); }
    Real* at(std::size_t r) const { return data + r / kChunkRows * chunk() + r % kChunkRows * row(); }
    std::size_t numbers(std::size_t n) const { return n / kChunkRows * chunk(); }
};

// Of `columns` vectors, those that go in blocks of 16: fewer than `least` left over are faster as vectors.
inline std::size_t columns_in_blocks(std::size_t columns, std::size_t least) {
    return columns % kLanes < least ? columns / kLanes * kLanes : columns;
}

// The chunk of kChunkRows rows, or fewer, that begins at row `first`: panel = diagonal * x, and y = diagonal * panel.
// May scale the panel in place.
template <class Real>
void load_chunk(const ColumnPanel<Real>& panel, const ColumnBlock<View>& x, std::size_t first, std::size_t rows,
                Diagonal<Real> diagonal);
template <class Real>
void store_chunk(const ColumnPanel<Real>& panel, const ColumnBlock<MutableView>& y, std::size_t first, std::size_t rows,
                 Diagonal<Real> diagonal);

}  // namespace bitterfly
