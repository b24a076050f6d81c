// Copies of rows of 16 columns: by the kernels where numbers lie side by side in either direction, else one by one.
#include "products/panels/column_panel.hpp"

#include <algorithm>

#include "kernels/kernels.hpp"

namespace bitterfly {
namespace {

// The first number of a plane of a block of columns.
template <class ViewType>
auto plane_of(const ColumnBlock<ViewType>& block, std::size_t plane) {
    return (plane == 0 ? block.view.re : block.view.im) +
           static_cast<std::ptrdiff_t>(block.first) * block.view.column_stride;
}

// Rows of real numbers in the precision of the product, in order; `step` bytes apart, a multiple of a number.
template <class Real, class ViewType>
bool is_plain(const ColumnBlock<ViewType>& block, std::size_t planes, std::size_t first, std::size_t rows,
              std::ptrdiff_t step) {
    const ViewType& v = block.view;
    return planes == 1 && block.order == nullptr && first + rows <= v.rows &&
           v.is_double == (sizeof(Real) == sizeof(double)) && step % static_cast<std::ptrdiff_t>(sizeof(Real)) == 0;
}

// Where a kernel reads or writes the rows of a plain block from `first` on.
template <class Real, class Byte>
auto plain_at(const ColumnBlock<BasicView<Byte>>& block, std::size_t first) {
    using Number = std::conditional_t<std::is_const_v<Byte>, const Real, Real>;
    return reinterpret_cast<Number*>(plane_of(block, 0) + static_cast<std::ptrdiff_t>(first) * block.view.row_stride);
}
template <class Real>
std::ptrdiff_t numbers(std::ptrdiff_t bytes) {
    return bytes / static_cast<std::ptrdiff_t>(sizeof(Real));
}

template <class Real>
const Real* scale_from(Diagonal<Real> diagonal, std::size_t first) {
    return diagonal.scale == nullptr ? nullptr : diagonal.scale + first;
}

// True if it could be done by a kernel.
template <class Real>
bool load_plain(const ColumnPanel<Real>& panel, const ColumnBlock<View>& x, std::size_t first, std::size_t rows,
                Diagonal<Real> diagonal) {
    const auto& table = kernels().template of<Real>();
    const std::ptrdiff_t size = sizeof(Real), across = x.view.column_stride, down = x.view.row_stride;
    const auto row = static_cast<std::ptrdiff_t>(panel.row());
    const Real* scale = scale_from(diagonal, first);
    if (across == size && is_plain<Real>(x, panel.planes, first, rows, down)) {
        table.copy_rows({plain_at<Real>(x, first), numbers<Real>(down), panel.at(first), row, rows, scale, x.count});
    } else if (down == size && x.count == kLanes && rows % kLanes == 0 &&
               is_plain<Real>(x, panel.planes, first, rows, across)) {
        table.rows_of_columns({plain_at<Real>(x, first), numbers<Real>(across), panel.at(first), row, rows, scale});
    } else {
        return false;
    }
    return true;
}

template <class Real>
bool store_plain(const ColumnPanel<Real>& panel, const ColumnBlock<MutableView>& y, std::size_t first, std::size_t rows,
                 Diagonal<Real> diagonal) {
    const auto& table = kernels().template of<Real>();
    const std::ptrdiff_t size = sizeof(Real), across = y.view.column_stride, down = y.view.row_stride;
    const auto row = static_cast<std::ptrdiff_t>(panel.row());
    const Real* scale = scale_from(diagonal, first);
    if (across == size && is_plain<Real>(y, panel.planes, first, rows, down)) {
        table.copy_rows(
            {panel.at(first), row, plain_at<Real>(y, first), numbers<Real>(down), rows, scale, kLanes, y.count});
    } else if (down == size && y.count == kLanes && rows % kLanes == 0 &&
               is_plain<Real>(y, panel.planes, first, rows, across)) {
        table.columns_of_rows({panel.at(first), row, plain_at<Real>(y, first), numbers<Real>(across), rows, scale});
    } else {
        return false;
    }
    return true;
}

// Sixteen numbers `Step` elements apart: loops that compilers vectorize.
template <int Step, class Element, class Real>
void load_run(Real* out, const Element* in) {
    for (std::size_t c = 0; c < kLanes; ++c) out[c] = static_cast<Real>(in[Step * c]);
}
template <int Step, class Element, class Real>
void store_run(const Real* in, Element* out) {
    for (std::size_t c = 0; c < kLanes; ++c) out[Step * c] = static_cast<Element>(in[c]);
}

template <class Element, class Real>
void load_line(Real* out, const char* in, std::ptrdiff_t across, std::size_t count) {
    constexpr auto size = static_cast<std::ptrdiff_t>(sizeof(Element));
    const auto* numbers = reinterpret_cast<const Element*>(in);
    if (count == kLanes && across == size) return load_run<1>(out, numbers);
    if (count == kLanes && across == 2 * size) return load_run<2>(out, numbers);
    for (std::size_t c = 0; c < count; ++c, in += across) {
        out[c] = static_cast<Real>(*reinterpret_cast<const Element*>(in));
    }
    std::fill_n(out + count, kLanes - count, Real(0));
}

template <class Element, class Real>
void store_line(const Real* in, char* out, std::ptrdiff_t across, std::size_t count) {
    constexpr auto size = static_cast<std::ptrdiff_t>(sizeof(Element));
    auto* numbers = reinterpret_cast<Element*>(out);
    if (count == kLanes && across == size) return store_run<1>(in, numbers);
    if (count == kLanes && across == 2 * size) return store_run<2>(in, numbers);
    for (std::size_t c = 0; c < count; ++c, out += across)
        *reinterpret_cast<Element*>(out) = static_cast<Element>(in[c]);
}

// Calls visit(line of the panel, row of the array, plane) for all rows and planes; a row of the array may lie outside.
template <class Real, class ViewType, class Visit>
void for_each_line(const ColumnPanel<Real>& panel, const ColumnBlock<ViewType>& block, std::size_t first,
                   std::size_t rows, Visit visit) {
    for (std::size_t plane = 0; plane < panel.planes; ++plane) {
        for (std::size_t r = first; r < first + rows; ++r) {
            visit(panel.at(r) + plane * kLanes, block.order == nullptr ? r : block.order[r], plane);
        }
    }
}

template <class Element, class Real>
void load_lines(const ColumnPanel<Real>& panel, const ColumnBlock<View>& x, std::size_t first, std::size_t rows) {
    for_each_line(panel, x, first, rows, [&](Real* out, std::size_t row, std::size_t plane) {
        if (row >= x.view.rows || (plane == 1 && x.view.im == nullptr)) {
            std::fill_n(out, kLanes, Real(0));
        } else {
            load_line<Element>(out, plane_of(x, plane) + static_cast<std::ptrdiff_t>(row) * x.view.row_stride,
                               x.view.column_stride, x.count);
        }
    });
}

template <class Element, class Real>
void store_lines(const ColumnPanel<Real>& panel, const ColumnBlock<MutableView>& y, std::size_t first,
                 std::size_t rows) {
    for_each_line(panel, y, first, rows, [&](const Real* in, std::size_t row, std::size_t plane) {
        if (row >= y.view.rows) return;
        store_line<Element>(in, plane_of(y, plane) + static_cast<std::ptrdiff_t>(row) * y.view.row_stride,
                            y.view.column_stride, y.count);
    });
}

template <class Real>
void multiply_complex(Real* line, Real re, Real im) {
    for (std::size_t c = 0; c < kLanes; ++c) {
        const Real x = line[c], y = line[kLanes + c];
        line[c] = re * x - im * y;
        line[kLanes + c] = re * y + im * x;
    }
}

template <class Real>
void multiply(const ColumnPanel<Real>& panel, std::size_t first, std::size_t rows, Diagonal<Real> diagonal) {
    if (diagonal.scale == nullptr) return;
    for (std::size_t r = first; r < first + rows; ++r) {
        if (panel.planes == 2) {
            multiply_complex(panel.at(r), diagonal.scale[2 * r], diagonal.scale[2 * r + 1]);
        } else {
            for (std::size_t c = 0; c < kLanes; ++c) panel.at(r)[c] *= diagonal.scale[r];
        }
    }
}

template <class Real>
void conjugate(const ColumnPanel<Real>& panel, std::size_t first, std::size_t rows) {
    for (std::size_t r = first; panel.planes == 2 && r < first + rows; ++r) {
        for (std::size_t c = 0; c < kLanes; ++c) panel.at(r)[kLanes + c] = -panel.at(r)[kLanes + c];
    }
}

}  // namespace

template <class Real>
void load_chunk(const ColumnPanel<Real>& panel, const ColumnBlock<View>& x, std::size_t first, std::size_t rows,
                Diagonal<Real> diagonal) {
    if (load_plain(panel, x, first, rows, diagonal)) return;
    (x.view.is_double ? load_lines<double, Real> : load_lines<float, Real>)(panel, x, first, rows);
    if (x.conjugated) conjugate(panel, first, rows);
    multiply(panel, first, rows, diagonal);
}

template <class Real>
void store_chunk(const ColumnPanel<Real>& panel, const ColumnBlock<MutableView>& y, std::size_t first, std::size_t rows,
                 Diagonal<Real> diagonal) {
    if (store_plain(panel, y, first, rows, diagonal)) return;
    multiply(panel, first, rows, diagonal);
    if (y.conjugated) conjugate(panel, first, rows);
    (y.view.is_double ? store_lines<double, Real> : store_lines<float, Real>)(panel, y, first, rows);
}

#define BITTERFLY_INSTANTIATE(Real)                                                                                \
    template void load_chunk(const ColumnPanel<Real>&, const ColumnBlock<View>&, std::size_t, std::size_t,         \
                             Diagonal<Real>);                                                                      \
    template void store_chunk(const ColumnPanel<Real>&, const ColumnBlock<MutableView>&, std::size_t, std::size_t, \
                              Diagonal<Real>);
BITTERFLY_INSTANTIATE(float)
BITTERFLY_INSTANTIATE(double)
#undef BITTERFLY_INSTANTIATE

}  // namespace bitterfly
