// Copies between panels and strided arrays: plain loops, with unit strides where the caller's memory has them.
#include "products/panels/panel.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

#include "kernels/tiles/args.hpp"
#include "products/panels/reversal.hpp"

namespace bitterfly {
namespace {

// Rows of one or two planes of a strided array, from column `first` on.
template <class Byte>
struct Strided {
    Byte* plane[2];
    std::size_t rows;
    std::ptrdiff_t row_stride, column_stride;

    Strided(const BasicView<Byte>& view, std::size_t first)
        : rows(view.rows), row_stride(view.row_stride), column_stride(view.column_stride) {
        const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(first) * view.column_stride;
        plane[0] = view.re + offset, plane[1] = view.im == nullptr ? nullptr : view.im + offset;
    }
};

// Calls visit(j, order[j]) for all j < n. Large orders by the low bits of j within the high ones: where they reverse
// digits, lines are then used soon again on both sides.
template <class Visit>
void for_each_row(std::size_t n, const std::uint32_t* order, Visit visit) {
    constexpr std::size_t run = kRun, least = kLeastReversed;
    if (order == nullptr || n < least || n % (run * run) != 0) {
        for (std::size_t j = 0; j < n; ++j) visit(j, order == nullptr ? j : order[j]);
        return;
    }
    for (std::size_t middle = 0; middle < n / run; middle += run) {
        for (std::size_t first = middle; first < n; first += n / run) {
            for (std::size_t j = first; j < first + run; ++j) visit(j, order[j]);
        }
    }
}

template <int Planes, class Real>
std::array<Real*, Planes> planes_of(Real* re, [[maybe_unused]] Real* im) {
    if constexpr (Planes == 2) return {re, im};
    if constexpr (Planes == 1) return {re};
}

// One vector, its elements Step numbers apart, complex ones interleaved: loops that compilers vectorize.
template <int Planes, int Step, class Element, class Real>
void copy_run_in(const Element* in, Order order, Real* re, Real* im, std::size_t n, Real sign) {
    const auto copy = [=](std::size_t j, std::size_t source) {
        re[j] = static_cast<Real>(in[Step * source]);
        if constexpr (Planes == 2) im[j] = sign * static_cast<Real>(in[Step * source + 1]);
    };
    if (order.is_reversal) return copy_reversed<Planes, Step, false>(in, planes_of<Planes>(re, im), n, sign);
    if (order.index != nullptr) return for_each_row(n, order, copy);
    for (std::size_t j = 0; j < n; ++j) copy(j, j);
}

template <int Planes, int Step, class Element, class Real>
void copy_run_out(Real* re, Real* im, Element* out, Order order, std::size_t n, Real sign) {
    const auto copy = [=](std::size_t j, std::size_t target) {
        out[Step * target] = static_cast<Element>(re[j]);
        if constexpr (Planes == 2) out[Step * target + 1] = static_cast<Element>(sign * im[j]);
    };
    if (order.is_reversal) return copy_reversed<Planes, Step, true>(out, planes_of<Planes>(re, im), n, sign);
    if (order.index != nullptr) return for_each_row(n, order, copy);
    for (std::size_t j = 0; j < n; ++j) copy(j, j);
}

// Calls run(step) with the step 1 or 2 as a constant where one vector of n entries lies at that step, imaginary parts
// behind real ones; else returns false.
template <class Element, int Planes, class Byte, class Run>
bool as_run(std::size_t vectors, std::size_t n, const Strided<Byte>& a, Run run) {
    constexpr auto size = static_cast<std::ptrdiff_t>(sizeof(Element));
    if (vectors != 1 || a.rows != n || (Planes == 2 && a.plane[1] - a.plane[0] != size)) return false;
    if (Planes == 1 && a.row_stride == size) return run(std::integral_constant<int, 1>{}), true;
    if (a.row_stride == 2 * size) return run(std::integral_constant<int, 2>{}), true;
    return false;
}

// Imaginary parts times `sign`. Planes is the number of planes that x has.
template <class Element, int Planes, class Real>
void copy_in(const Panel<Real>& panel, const Strided<const char>& x, Order order, Real sign) {
    const bool done = as_run<Element, Planes>(panel.vectors, panel.n, x, [&](auto step) {
        const auto* in = reinterpret_cast<const Element*>(x.plane[0]);
        copy_run_in<Planes, step()>(in, order, panel.at(0, 0), panel.at(0, Planes - 1), panel.n, sign);
    });
    if (done) return;
    for_each_row(panel.n, order, [&](std::size_t j, std::size_t source) {
        const bool inside = source < x.rows;
        std::ptrdiff_t at = static_cast<std::ptrdiff_t>(source) * x.row_stride;
        for (std::size_t v = 0; v < panel.vectors; ++v, at += x.column_stride) {
            for (std::size_t p = 0; p < Planes; ++p) {
                const auto* in = reinterpret_cast<const Element*>(x.plane[p] + at);
                const Real value = inside ? static_cast<Real>(*in) : Real(0);
                panel.at(v, p)[j] = p == 0 ? value : sign * value;
            }
        }
    });
}

template <class Element, int Planes, class Real>
void copy_out(const Panel<Real>& panel, const Strided<char>& y, Order order, Real sign) {
    const bool done = as_run<Element, Planes>(panel.vectors, panel.n, y, [&](auto step) {
        auto* out = reinterpret_cast<Element*>(y.plane[0]);
        copy_run_out<Planes, step()>(panel.at(0, 0), panel.at(0, Planes - 1), out, order, panel.n, sign);
    });
    if (done) return;
    for_each_row(panel.n, order, [&](std::size_t j, std::size_t target) {
        if (target >= y.rows) return;
        std::ptrdiff_t at = static_cast<std::ptrdiff_t>(target) * y.row_stride;
        for (std::size_t v = 0; v < panel.vectors; ++v, at += y.column_stride) {
            for (std::size_t p = 0; p < Planes; ++p) {
                const Real value = panel.at(v, p)[j];
                *reinterpret_cast<Element*>(y.plane[p] + at) = static_cast<Element>(p == 0 ? value : sign * value);
            }
        }
    });
}

template <class Real>
void clear_imaginary(const Panel<Real>& panel) {
    for (std::size_t v = 0; v < panel.vectors; ++v) std::fill_n(panel.at(v, 1), panel.n, Real(0));
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

Order::Order(const std::uint32_t* numbers, std::size_t rows)
    : index(numbers), is_reversal(reverses_bits(numbers, rows)) {}

template <class Real>
void gather(const Panel<Real>& panel, const View& x, std::size_t first, Order order, Diagonal<Real> diagonal,
            bool conjugate) {
    const Strided<const char> from(x, first);
    const Real sign = conjugate ? Real(-1) : Real(1);
    if (x.im == nullptr) {
        (x.is_double ? copy_in<double, 1, Real> : copy_in<float, 1, Real>)(panel, from, order, sign);
        if (panel.planes == 2) clear_imaginary(panel);
    } else {
        (x.is_double ? copy_in<double, 2, Real> : copy_in<float, 2, Real>)(panel, from, order, sign);
    }
    multiply(panel, diagonal);
}

template <class Real>
void scatter(const Panel<Real>& panel, const MutableView& y, std::size_t first, Order order, Diagonal<Real> diagonal,
             bool conjugate) {
    const Strided<char> to(y, first);
    const Real sign = conjugate ? Real(-1) : Real(1);
    multiply(panel, diagonal);
    if (panel.planes == 1) {
        (y.is_double ? copy_out<double, 1, Real> : copy_out<float, 1, Real>)(panel, to, order, sign);
    } else {
        (y.is_double ? copy_out<double, 2, Real> : copy_out<float, 2, Real>)(panel, to, order, sign);
    }
}

#define BITTERFLY_INSTANTIATE(Real)                                                                  \
    template void gather(const Panel<Real>&, const View&, std::size_t, Order, Diagonal<Real>, bool); \
    template void scatter(const Panel<Real>&, const MutableView&, std::size_t, Order, Diagonal<Real>, bool);
BITTERFLY_INSTANTIATE(float)
BITTERFLY_INSTANTIATE(double)
#undef BITTERFLY_INSTANTIATE

std::vector<ColumnRange> panels_of(std::size_t columns, std::size_t together, std::size_t workers) {
    const std::size_t blocks = (columns + together - 1) / together;
    std::size_t most = together;
    if (blocks > 0 && blocks < workers) {
        const std::size_t parts = (workers + blocks - 1) / blocks, share = (std::min(together, columns) + parts - 1);
        most = (share / parts + kTileVectors - 1) / kTileVectors * kTileVectors;
    }
    std::vector<ColumnRange> out;
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
