// Copies between panels and strided arrays: plain loops, with unit strides where the caller's memory has them.
#include "panel.hpp"

#include <algorithm>
#include <type_traits>

namespace bitterfly {
namespace {

template <class Byte>
struct Strided {
    Byte* base;
    std::size_t rows;
    std::ptrdiff_t row_stride, column_stride;
};

template <class Byte>
Strided<Byte> plane_of(const BasicView<Byte>& view, std::size_t plane, std::size_t first) {
    Byte* base = plane == 0 ? view.re : view.im;
    return {base + static_cast<std::ptrdiff_t>(first) * view.column_stride, view.rows, view.row_stride,
            view.column_stride};
}

std::size_t source_row(const std::uint32_t* order, std::size_t j) { return order ? order[j] : j; }

// One vector with a constant stride of Step elements and no reordering: a loop that compilers vectorize.
template <int Step, class Element, class Real>
void copy_run_in(Real* out, const Element* in, std::size_t n) {
    for (std::size_t j = 0; j < n; ++j) out[j] = static_cast<Real>(in[Step * j]);
}

template <int Step, class Element, class Real>
void copy_run_out(const Real* in, Element* out, std::size_t n) {
    for (std::size_t j = 0; j < n; ++j) out[Step * j] = static_cast<Element>(in[j]);
}

// Calls run(step) with the step 1 or 2 as a constant where one vector of n entries lies at that step; else returns
// false.
template <class Element, class Byte, class Run>
bool as_run(std::size_t vectors, std::size_t n, const Strided<Byte>& a, const std::uint32_t* order, Run run) {
    if (vectors != 1 || order != nullptr || a.rows != n) return false;
    constexpr auto size = static_cast<std::ptrdiff_t>(sizeof(Element));
    if (a.row_stride == size) return run(std::integral_constant<int, 1>{}), true;
    if (a.row_stride == 2 * size) return run(std::integral_constant<int, 2>{}), true;
    return false;
}

template <class Element, class Real>
void copy_in(const Panel<Real>& panel, std::size_t plane, Strided<const char> x, const std::uint32_t* order) {
    Real* out = panel.at(0, plane);
    const std::size_t between = panel.planes * panel.stride;
    const bool done = as_run<Element>(panel.vectors, panel.n, x, order, [&](auto step) {
        copy_run_in<step()>(out, reinterpret_cast<const Element*>(x.base), panel.n);
    });
    for (std::size_t j = 0; !done && j < panel.n; ++j) {
        const std::size_t source = source_row(order, j);
        const bool inside = source < x.rows;
        const char* row = x.base + (inside ? static_cast<std::ptrdiff_t>(source) * x.row_stride : 0);
        for (std::size_t v = 0; v < panel.vectors; ++v, row += x.column_stride) {
            out[v * between + j] = !inside ? Real(0) : static_cast<Real>(*reinterpret_cast<const Element*>(row));
        }
    }
}

template <class Element, class Real>
void copy_out(const Panel<Real>& panel, std::size_t plane, Strided<char> y, const std::uint32_t* order) {
    const Real* in = panel.at(0, plane);
    const std::size_t between = panel.planes * panel.stride;
    const bool done = as_run<Element>(panel.vectors, panel.n, y, order, [&](auto step) {
        copy_run_out<step()>(in, reinterpret_cast<Element*>(y.base), panel.n);
    });
    for (std::size_t j = 0; !done && j < panel.n; ++j) {
        const std::size_t target = source_row(order, j);
        if (target >= y.rows) continue;
        char* row = y.base + static_cast<std::ptrdiff_t>(target) * y.row_stride;
        for (std::size_t v = 0; v < panel.vectors; ++v, row += y.column_stride) {
            *reinterpret_cast<Element*>(row) = static_cast<Element>(in[v * between + j]);
        }
    }
}

template <class Real>
void fill_zero(const Panel<Real>& panel, std::size_t plane) {
    for (std::size_t v = 0; v < panel.vectors; ++v) {
        Real* out = panel.at(v, plane);
        for (std::size_t j = 0; j < panel.n; ++j) out[j] = 0;
    }
}

template <class Real>
void negate(const Panel<Real>& panel, std::size_t plane) {
    for (std::size_t v = 0; v < panel.vectors; ++v) {
        Real* out = panel.at(v, plane);
        for (std::size_t j = 0; j < panel.n; ++j) out[j] = -out[j];
    }
}

template <class Real>
void scale_real(Real* x, const Real* scale, std::size_t n) {
    for (std::size_t j = 0; j < n; ++j) x[j] *= scale[j];
}

template <class Real>
void scale_complex(Real* re, Real* im, const Real* scale, std::size_t n) {
    for (std::size_t j = 0; j < n; ++j) {
        const Real a = scale[2 * j], b = scale[2 * j + 1], x = re[j], y = im[j];
        re[j] = a * x - b * y;
        im[j] = a * y + b * x;
    }
}

template <class Real>
void multiply(const Panel<Real>& panel, Diagonal<Real> diagonal) {
    if (diagonal.scale == nullptr) return;
    for (std::size_t v = 0; v < panel.vectors; ++v) {
        if (diagonal.is_complex) {
            scale_complex(panel.at(v, 0), panel.at(v, 1), diagonal.scale, panel.n);
        } else {
            scale_real(panel.at(v, 0), diagonal.scale, panel.n);
        }
    }
}

}  // namespace

template <class Real>
void gather(const Panel<Real>& panel, const View& x, std::size_t first, const std::uint32_t* order,
            Diagonal<Real> diagonal, bool conjugate) {
    for (std::size_t plane = 0; plane < panel.planes; ++plane) {
        if (plane == 1 && x.im == nullptr) {
            fill_zero(panel, plane);
        } else {
            (x.is_double ? copy_in<double, Real> : copy_in<float, Real>)(panel, plane, plane_of(x, plane, first),
                                                                         order);
        }
    }
    if (conjugate && panel.planes == 2) negate(panel, 1);
    multiply(panel, diagonal);
}

template <class Real>
void scatter(const Panel<Real>& panel, const MutableView& y, std::size_t first, const std::uint32_t* order,
             Diagonal<Real> diagonal, bool conjugate) {
    multiply(panel, diagonal);
    if (conjugate && panel.planes == 2) negate(panel, 1);
    for (std::size_t plane = 0; plane < panel.planes; ++plane) {
        (y.is_double ? copy_out<double, Real> : copy_out<float, Real>)(panel, plane, plane_of(y, plane, first), order);
    }
}

#define BITTERFLY_INSTANTIATE(Real)                                                                                  \
    template void gather(const Panel<Real>&, const View&, std::size_t, const std::uint32_t*, Diagonal<Real>, bool);  \
    template void scatter(const Panel<Real>&, const MutableView&, std::size_t, const std::uint32_t*, Diagonal<Real>, \
                          bool);
BITTERFLY_INSTANTIATE(float)
BITTERFLY_INSTANTIATE(double)
#undef BITTERFLY_INSTANTIATE

std::vector<Columns> panels_of(std::size_t columns, std::size_t together, std::size_t workers) {
    const std::size_t blocks = (columns + together - 1) / together;
    std::size_t most = together;
    if (blocks > 0 && blocks < workers) {
        const std::size_t parts = (workers + blocks - 1) / blocks, share = (std::min(together, columns) + parts - 1);
        most = (share / parts + kTileVectors - 1) / kTileVectors * kTileVectors;
    }
    std::vector<Columns> out;
    for (std::size_t first = 0; first < columns;) {
        const std::size_t end = std::min(first / together * together + together, columns);
        std::size_t count = std::min(most, end - first);
        if (end - first == count + 1) ++count;
        out.push_back({first, count});
        first += count;
    }
    return out;
}

}  // namespace bitterfly
