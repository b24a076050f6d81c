// A few vectors as planes of Real, padded apart, and the copies between them and the caller's arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lanes.hpp"
#include "matrix.hpp"

namespace bitterfly {

// `vectors` vectors of n entries, each as one plane (real) or two. Planes lie `stride` numbers apart; the padding keeps
// vectors of a power of two entries from falling into the same cache sets.
template <class Real>
struct Panel {
    Real* data;
    std::size_t n, planes, vectors, stride;

    Real* at(std::size_t vector, std::size_t plane) const { return data + (vector * planes + plane) * stride; }
};

// Numbers between the planes of a panel of several planes of n entries.
inline std::size_t padded(std::size_t n, std::size_t all_planes) { return all_planes == 1 ? n : n + kLanes; }

// The diagonal matrix diag(scale), n numbers, complex ones interleaved; the identity if null.
template <class Real>
struct Diagonal {
    const Real* scale;
    bool is_complex;
};

// Row j of a product is row index[j] of an array, or row j if null.
struct Order {
    const std::uint32_t* index;
    bool is_reversal;  // of the bits of j, see reversal.hpp

    // `rows` numbers, looked through; of none only the index is known.
    Order(const std::uint32_t* numbers = nullptr, std::size_t rows = 0);
    operator const std::uint32_t*() const { return index; }
};

// panel = diagonal * x[order, first : first + vectors], or its conjugate input. Rows
// beyond those of x are zero, rows beyond those of y are dropped: the padding of a matrix.
template <class Real>
void gather(const Panel<Real>& panel, const View& x, std::size_t first, Order order, Diagonal<Real> diagonal,
            bool conjugate);

// y[order, first : first + vectors] = diagonal * panel, conjugated if asked. Scales the panel in place.
template <class Real>
void scatter(const Panel<Real>& panel, const MutableView& y, std::size_t first, Order order, Diagonal<Real> diagonal,
             bool conjugate);

struct ColumnRange {
    std::size_t first, count;
};

// Panels of at most `together` columns, cut further where there are fewer than workers. Kernels take kTileVectors
// vectors at a time, and one alone in another way: cuts keep both, so that results do not depend on the workers.
std::vector<ColumnRange> panels_of(std::size_t columns, std::size_t together, std::size_t workers);

}  // namespace bitterfly
