// The rows of one block as planes of Real, read from strided memory.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <vector>

namespace bitterfly {

// Rows (i, j, t) of the right part, i < a, j < b, t < d, as numbers at data + i*strides[0] + j*strides[1] +
// t*strides[2] + column*strides[3] (bytes), complex ones interleaved; times `scale`. The block (i, t, group) is the
// b x (columns / groups) matrix of the rows j = 0 .. b - 1 and one run of columns.
struct Blocks {
    const char* data;
    std::size_t a, b, d, columns, groups;
    std::ptrdiff_t strides[4];
    bool is_complex;
    double scale;
};

// The rows of one (i, t) as planes: row j, then, if complex, its imaginary part b rows further.
template <class Real>
class RowPlanes {
public:
    explicit RowPlanes(const Blocks& x) : x_(x), planes_(x.is_complex ? 2 : 1), data_(x.b * planes_ * x.columns) {}

    void read(std::size_t i, std::size_t t) {
        const char* from = x_.data + offset(i, 0) + offset(t, 2);
        const bool by_columns = std::abs(x_.strides[1]) < std::abs(x_.strides[3]);
        const std::size_t outer = by_columns ? x_.columns : x_.b, inner = by_columns ? x_.b : x_.columns;
        for (std::size_t o = 0; o < outer; ++o) {
            if (!by_columns && planes_ == 1 && x_.strides[3] == static_cast<std::ptrdiff_t>(sizeof(Real))) {
                copy_run(reinterpret_cast<const Real*>(from + offset(o, 1)), row(o));
                continue;
            }
            for (std::size_t c = 0; c < inner; ++c) copy(from, by_columns ? c : o, by_columns ? o : c);
        }
    }
    Real* row(std::size_t j) { return data_.data() + j * x_.columns; }
    std::size_t count() const { return x_.b * planes_; }
    std::size_t stride() const { return x_.columns; }

private:
    std::ptrdiff_t offset(std::size_t index, int axis) const {
        return static_cast<std::ptrdiff_t>(index) * x_.strides[axis];
    }
    void copy_run(const Real* from, Real* to) const {
        const Real scale = static_cast<Real>(x_.scale);
        for (std::size_t c = 0; c < x_.columns; ++c) to[c] = from[c] * scale;
    }
    void copy(const char* from, std::size_t j, std::size_t c) {
        const auto* p = reinterpret_cast<const Real*>(from + offset(j, 1) + offset(c, 3));
        const Real scale = static_cast<Real>(x_.scale);
        for (std::size_t plane = 0; plane < planes_; ++plane) row(j + plane * x_.b)[c] = p[plane] * scale;
    }

    const Blocks& x_;
    std::size_t planes_;
    std::vector<Real> data_;
};

// Rows of one block as planes.
template <class Real>
struct BlockRows {
    const Real* rows;
    std::size_t stride, count, length;  // count: planes of all rows
};

// Calls visit(i, t, group, rows of the block) for all blocks.
template <class Real, class Visit>
void for_blocks(const Blocks& x, Visit visit) {
    RowPlanes<Real> rows(x);
    const std::size_t length = x.columns / x.groups;
    for (std::size_t i = 0; i < x.a; ++i) {
        for (std::size_t t = 0; t < x.d; ++t) {
            rows.read(i, t);
            for (std::size_t g = 0; g < x.groups; ++g) {
                visit(i, t, g, BlockRows<Real>{rows.row(0) + g * length, rows.stride(), rows.count(), length});
            }
        }
    }
}

}  // namespace bitterfly
