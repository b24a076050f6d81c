// Factorizations of arrays, and the splits of one level: checks, views, results.
#include <algorithm>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "factorization/factorize.hpp"
#include "factorization/skeletonize.hpp"
#include "factorization/split.hpp"
#include "interruptible.hpp"

namespace bitterfly {
namespace {

template <class T>
py::tuple factorize_as(const py::array& a, const OptionalIndex& rows, const OptionalIndex& columns,
                       std::size_t workers) {
    const auto n = static_cast<std::size_t>(a.shape(0));
    const auto p = static_cast<py::ssize_t>(log2_of(n));
    auto values = aligned_array<T>({p, static_cast<py::ssize_t>(2 * n)});
    const View view = const_view(a);
    using Real = decltype(std::abs(T{}));
    auto* out = reinterpret_cast<Real*>(values.mutable_data());
    double error = 0;
    {
        const Interruptible interruptible;
        error = factorize<Real>(view, data_of(rows), data_of(columns), out, workers);
    }
    return py::make_tuple(values, error);
}

py::tuple py_factorize(const py::array& a, const OptionalIndex& rows, const OptionalIndex& columns,
                       std::size_t workers) {
    require_floating(a, "a");
    require(a.ndim() == 2 && a.shape(0) == a.shape(1), "a: expected a square matrix");
    require_order(rows, static_cast<std::size_t>(a.shape(0)), "rows");
    require_order(columns, static_cast<std::size_t>(a.shape(0)), "columns");
    return by_dtype(a, [&](auto zero) { return factorize_as<decltype(zero)>(a, rows, columns, workers); });
}

// `x` has shape (a, b, t, columns), any strides.
Blocks blocks_of(const py::array& x, std::size_t groups, double scale) {
    require_floating(x, "x");
    require(x.ndim() == 4 && x.size() > 0, "x: expected shape (a, b, d, columns)");
    const auto shape = [&](int axis) { return static_cast<std::size_t>(x.shape(axis)); };
    require(groups > 0 && shape(3) % groups == 0, "groups: expected a divisor of the columns");
    return {.data = static_cast<const char*>(x.data()),
            .a = shape(0),
            .b = shape(1),
            .d = shape(2),
            .columns = shape(3),
            .groups = groups,
            .strides = {x.strides(0), x.strides(1), x.strides(2), x.strides(3)},
            .is_complex = is_complex(x),
            .scale = scale};
}

void require_shape(const py::array& a, const std::vector<std::size_t>& shape, const char* name) {
    bool fits = a.ndim() == static_cast<py::ssize_t>(shape.size()) && (a.flags() & py::array::c_style) != 0;
    for (std::size_t k = 0; fits && k < shape.size(); ++k)
        fits = a.shape(static_cast<py::ssize_t>(k)) == static_cast<py::ssize_t>(shape[k]);
    require(fits && a.writeable(), std::string(name) + ": expected a contiguous, writable array that fits the blocks");
}

void require_results(const py::array& x, const Blocks& blocks, std::size_t rank, std::size_t first,
                     const py::array& factor, const py::array& right) {
    require(rank > 0 && rank <= blocks.b, "rank: expected at least 1, at most the rows of a block");
    require(factor.dtype().equal(x.dtype()) && right.dtype().equal(x.dtype()),
            "factor, right: expected the dtype of x");
    const auto d = static_cast<std::size_t>(factor.shape(factor.ndim() - 1));
    require(first + blocks.d <= d, "first: expected the blocks to fit the factor");
    require_shape(factor, {blocks.a, blocks.b, blocks.groups * rank, d}, "factor");
    require_shape(right, {blocks.a, blocks.groups, rank, d, blocks.columns / blocks.groups}, "right");
}

py::tuple py_split(const py::array& x, std::size_t groups, std::size_t rank, std::size_t first, py::array factor,
                   py::array right, double scale) {
    const Blocks blocks = blocks_of(x, groups, scale);
    require_results(x, blocks, rank, first, factor, right);
    const auto d = static_cast<std::size_t>(factor.shape(3));
    const SplitEnergy sums = by_dtype(x, [&](auto zero) {
        using Real = decltype(std::abs(zero));
        auto *f = static_cast<Real*>(factor.mutable_data()), *r = static_cast<Real*>(right.mutable_data());
        const Interruptible interruptible;
        return split<Real>(blocks, rank, first, d, f, r);
    });
    return py::make_tuple(sums.total, sums.discarded);
}

// `values` (a, groups, d, b) doubles; `vectors` (a, groups, d, b, b) doubles or complex doubles.
double py_spectra(const py::array& x, std::size_t groups, double floor, std::size_t first, py::array values,
                  py::array vectors, double scale) {
    const Blocks blocks = blocks_of(x, groups, scale);
    const auto d = static_cast<std::size_t>(values.shape(2));
    require(first + blocks.d <= d, "first: expected the blocks to fit");
    require_shape(values, {blocks.a, groups, d, blocks.b}, "values");
    require_shape(vectors, {blocks.a, groups, d, blocks.b, blocks.b}, "vectors");
    require(!is_complex(values) && is_double(values) && is_double(vectors) && is_complex(vectors) == is_complex(x),
            "values, vectors: expected double precision, vectors complex exactly where x is");
    auto *lambda = static_cast<double*>(values.mutable_data()), *u = static_cast<double*>(vectors.mutable_data());
    return by_dtype(x, [&](auto zero) {
        using Real = decltype(std::abs(zero));
        const Interruptible interruptible;
        return spectra<Real>(blocks, floor, first, d, lambda, u);
    });
}

void py_project(const py::array& x, std::size_t groups, const py::array& vectors, std::size_t rank, std::size_t first,
                py::array factor, py::array right, double scale) {
    const Blocks blocks = blocks_of(x, groups, scale);
    require_results(x, blocks, rank, first, factor, right);
    const auto d = static_cast<std::size_t>(factor.shape(3));
    require_shape(vectors, {blocks.a, groups, d, blocks.b, blocks.b}, "vectors");
    require(is_double(vectors) && is_complex(vectors) == is_complex(x), "vectors: expected those of spectra");
    const auto* u = static_cast<const double*>(vectors.data());
    by_dtype(x, [&](auto zero) {
        using Real = decltype(std::abs(zero));
        auto *f = static_cast<Real*>(factor.mutable_data()), *r = static_cast<Real*>(right.mutable_data());
        const Interruptible interruptible;
        project<Real>(blocks, u, rank, first, d, f, r);
    });
}

// Returns (count, b + 1).
py::array py_pivot_tails(const py::array& x, double enough, bool of_any, std::size_t workers) {
    require_matrices(x);
    auto tails = aligned_array<double>({x.shape(0), x.shape(1) + 1});
    const auto shape = [&](int axis) { return static_cast<std::size_t>(x.shape(axis)); };
    const std::size_t count = shape(0), b = shape(1), s = shape(2);
    double* out = tails.mutable_data();
    by_dtype(x, [&](auto zero) {
        using Real = decltype(std::abs(zero));
        const auto* data = static_cast<const Real*>(x.data());
        const bool cplx = is_complex(x);
        const Interruptible interruptible;
        pivot_tails<Real>(data, count, b, s, cplx, enough, of_any, out, workers);
    });
    return tails;
}

// Returns the flags of `known`, (count, b) of uint8, and those of the rows that join them.
py::array py_pivot_rows(const py::array& x, const py::array& known, std::size_t rank, std::size_t workers) {
    require_matrices(x);
    require(py::isinstance<py::array_t<std::uint8_t>>(known) && known.ndim() == 2 && known.shape(0) == x.shape(0) &&
                known.shape(1) == x.shape(1) && (known.flags() & py::array::c_style) != 0,
            "known: expected uint8 of shape (count, b)");
    auto pivots = aligned_array<std::uint8_t>({x.shape(0), x.shape(1)});
    std::copy_n(static_cast<const std::uint8_t*>(known.data()), known.size(), pivots.mutable_data());
    const auto shape = [&](int axis) { return static_cast<std::size_t>(x.shape(axis)); };
    const std::size_t count = shape(0), b = shape(1), s = shape(2);
    std::uint8_t* flags = pivots.mutable_data();
    by_dtype(x, [&](auto zero) {
        using Real = decltype(std::abs(zero));
        const auto* data = static_cast<const Real*>(x.data());
        const bool cplx = is_complex(x);
        const Interruptible interruptible;
        pivot_rows<Real>(data, count, b, s, cplx, rank, flags, workers);
    });
    return pivots;
}

// Returns pivots (count, b) of uint8, combinations (count, b - rank, rank), and the energy left.
py::tuple py_skeletonize(const py::array& x, std::size_t rank, std::size_t workers) {
    require_matrices(x);
    const auto shape = [&](int axis) { return static_cast<std::size_t>(x.shape(axis)); };
    const std::size_t count = shape(0), b = shape(1), s = shape(2);
    require(rank > 0 && rank <= b, "rank: expected at least 1, at most the rows");
    auto pivots = aligned_array<std::uint8_t>({x.shape(0), x.shape(1)});
    std::uint8_t* flags = pivots.mutable_data();
    return by_dtype(x, [&](auto zero) -> py::tuple {
        using Scalar = decltype(zero);
        using Real = decltype(std::abs(zero));
        auto t =
            aligned_array<Scalar>({x.shape(0), static_cast<py::ssize_t>(b - rank), static_cast<py::ssize_t>(rank)});
        const auto* data = static_cast<const Real*>(x.data());
        auto* out = reinterpret_cast<Real*>(t.mutable_data());
        const bool cplx = is_complex(x);
        double left = 0;
        {
            const Interruptible interruptible;
            left = skeletonize<Real>(data, count, b, s, cplx, rank, flags, out, workers);
        }
        return py::make_tuple(pivots, t, left);
    });
}

}  // namespace

void add_factorization(py::module_& m) {
    m.def("factorize", &py_factorize, py::arg("a").noconvert(), py::arg("rows") = py::none(),
          py::arg("columns") = py::none(), py::arg("workers") = 1);
    m.def("split", &py_split, py::arg("x").noconvert(), py::arg("groups"), py::arg("rank"), py::arg("first"),
          py::arg("factor").noconvert(), py::arg("right").noconvert(), py::arg("scale") = 1.0);
    m.def("spectra", &py_spectra, py::arg("x").noconvert(), py::arg("groups"), py::arg("floor"), py::arg("first"),
          py::arg("values").noconvert(), py::arg("vectors").noconvert(), py::arg("scale") = 1.0);
    m.def("project", &py_project, py::arg("x").noconvert(), py::arg("groups"), py::arg("vectors").noconvert(),
          py::arg("rank"), py::arg("first"), py::arg("factor").noconvert(), py::arg("right").noconvert(),
          py::arg("scale") = 1.0);
    m.def("pivot_tails", &py_pivot_tails, py::arg("x").noconvert(), py::arg("enough") = 0.0, py::arg("of_any") = false,
          py::arg("workers") = 1);
    m.def("pivot_rows", &py_pivot_rows, py::arg("x").noconvert(), py::arg("known").noconvert(), py::arg("rank"),
          py::arg("workers") = 1);
    m.def("skeletonize", &py_skeletonize, py::arg("x").noconvert(), py::arg("rank"), py::arg("workers") = 1);
}

}  // namespace bitterfly
