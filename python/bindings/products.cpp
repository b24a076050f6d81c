// Products: what Python holds of an operator, its arrays and the product that borrows them.
#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "arrays.hpp"
#include "codes.hpp"
#include "lanes.hpp"
#include "products/apply.hpp"
#include "products/tiled.hpp"
#include "stores/codes/float_codes.hpp"
#include "stores/layout.hpp"
#include "stores/stream.hpp"

namespace bitterfly {
namespace {

void set_zero_imaginary(const MutableView& to) {
    for (std::size_t i = 0; i < to.rows; ++i) {
        for (std::size_t j = 0; j < to.columns; ++j) {
            char* at = to.im + static_cast<std::ptrdiff_t>(i) * to.row_stride +
                       static_cast<std::ptrdiff_t>(j) * to.column_stride;
            std::memset(at, 0, to.is_double ? sizeof(double) : sizeof(float));
        }
    }
}

class Core {
public:
    virtual ~Core() = default;
    virtual void apply(const py::array& x, py::array& out, bool transposed, bool conjugated,
                       std::size_t workers) const = 0;
    // The product of an aligned vector of the operator's precision, a new array.
    virtual py::array product(const py::array& x, bool transposed, bool conjugated, std::size_t workers) const = 0;
    // For benchmarks: seconds of one product, the mean of `calls` without Python between them.
    virtual double seconds(const py::array& x, py::array& out, bool transposed, int calls,
                           std::size_t workers) const = 0;
};

// `Kind` is Product or TiledProduct.
template <class Real, template <class> class Kind>
class TypedCore : public Core {
public:
    // `widens`: the operator is complex whatever its factors are.
    TypedCore(Kind<Real> product, std::size_t rows, std::size_t columns, std::vector<py::object> keep,
              bool widens = false)
        : product_(std::move(product)),
          is_complex_(widens || product_.is_complex),
          rows_(rows),
          columns_(columns),
          keep_(std::move(keep)) {}

    void apply(const py::array& x, py::array& out, bool transposed, bool conjugated,
               std::size_t workers) const override {
        const auto [from, to] = views(x, out, transposed);
        py::gil_scoped_release release;
        run({transposed, conjugated}, from, to, workers);
    }

    py::array product(const py::array& x, bool transposed, bool conjugated, std::size_t workers) const override {
        py::array out(x.dtype(), transposed ? columns_ : rows_);
        apply(x, out, transposed, conjugated, workers);
        return out;
    }

    double seconds(const py::array& x, py::array& out, bool transposed, int calls, std::size_t workers) const override {
        const auto [from, to] = views(x, out, transposed);
        py::gil_scoped_release release;
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < calls; ++i) run({transposed, false}, from, to, workers);
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
    }

private:
    std::pair<View, MutableView> views(const py::array& x, py::array& out, bool transposed) const {
        require_floating(x, "x");
        require_floating(out, "out");
        const View from = const_view(x);
        const MutableView to = mutable_view(out);
        require(from.rows == (transposed ? rows_ : columns_) && to.rows == (transposed ? columns_ : rows_) &&
                    from.columns == to.columns,
                "x, out: expected rows that fit the operator, and equal numbers of columns");
        require((to.im != nullptr) == (is_complex_ || from.im != nullptr),
                "out: expected a complex array exactly where the result is complex");
        return {from, to};
    }
    void run(Mode mode, const View& from, const MutableView& to, std::size_t workers) const {
        if (product_.is_complex || to.im == nullptr) return bitterfly::apply<Real>(product_, mode, from, to, workers);
        apply_plane(mode.transposed, from, to, from.re, to.re, workers);
        if (from.im != nullptr) return apply_plane(mode.transposed, from, to, from.im, to.im, workers);
        set_zero_imaginary(to);
    }
    void apply_plane(bool transposed, View from, MutableView to, const char* x, char* y, std::size_t workers) const {
        from.re = x, to.re = y, from.im = nullptr, to.im = nullptr;
        bitterfly::apply<Real>(product_, {transposed, false}, from, to, workers);
    }

    Kind<Real> product_;
    bool is_complex_;
    std::size_t rows_, columns_;
    std::vector<py::object> keep_;
};

// A factor in tiles as Python describes it; its arrays are kept as long as the product.
struct FactorArrays {
    std::array<std::size_t, 4> pattern;
    std::size_t rank;  // of its junction; 0: dense
    py::array values;
    OptionalIndex pivots;
    std::string form;  // see kernels/tiles/codes.inl
    int bits;
    double step;
    int significand;             // of short floats
    std::vector<double> levels;  // of a list: the number of each code
};

TileFactor::List list_of(const FactorArrays& arrays) {
    require(arrays.levels.size() == std::size_t{1} << arrays.bits, "levels: expected a number for each code");
    TileFactor::List list{};
    for (std::size_t i = 0; i < kListed; ++i) {
        list.twice[i] = arrays.step * arrays.levels[i % arrays.levels.size()];
        list.single[i] = static_cast<float>(list.twice[i]);
    }
    return list;
}

TileFactor tile_factor(const FactorArrays& arrays, const py::dtype& dtype) {
    const auto& [a, b, c, d] = arrays.pattern;
    TileFactor f = layout_of(a, b, c, d, arrays.rank);
    const bool cplx = dtype.kind() == 'c';
    const FormFacts& form = set_form(f, arrays.form, arrays.bits, cplx ? 2 : 1);
    require(form.has_significand == (arrays.significand > 0) && form.has_list == !arrays.levels.empty(),
            "significand, levels: expected where the form has them");
    if (form.has_significand) require_float_code(arrays.bits, arrays.significand);
    if (form.has_list) f.list = list_of(arrays);
    f.significand = arrays.significand, f.step = arrays.step;
    const py::array& values = arrays.values;
    const auto item = dtype.itemsize() / (cplx ? 2 : 1);
    const char kind = values.dtype().kind();
    require(f.bits == 0 ? kind == 'f' && values.itemsize() == item : kind == 'u' && values.itemsize() == 4,
            "values: expected floats of the operator's precision, or uint32 code words");
    const std::size_t count = value_count(f), got = static_cast<std::size_t>(values.size());
    if (got != count || (values.flags() & py::array::c_style) == 0)
        require(false, "values: expected " + std::to_string(count) + " contiguous numbers, got " + std::to_string(got));
    const OptionalIndex& pivots = arrays.pivots;
    const std::size_t words = pivots ? static_cast<std::size_t>(pivots->size()) : 0;
    require(words == pivot_words(f), "pivots: expected as many words as the layout has");
    f.values = values.data(), f.pivots = data_of(pivots);
    return f;
}

// Every mask of a lane in use has exactly `rank` bits below b: kernels rely on it.
void require_pivots(const TileFactor& f) {
    if (f.rank == 0) return;
    const std::size_t masks = f.c / f.rank;
    for (std::size_t lane = 0; lane < f.lanes; ++lane) {
        for (std::size_t m = 0; m < masks; ++m) {
            const std::uint32_t* words =
                f.pivots + ((lane / kLanes * masks + m) * f.mask_words) * kLanes + lane % kLanes;
            std::size_t ones = 0;
            for (std::size_t w = 0; w < f.mask_words; ++w)
                ones += static_cast<std::size_t>(std::popcount(words[w * kLanes]));
            const std::size_t rest = f.b % 32;
            const bool inside = rest == 0 || (words[(f.mask_words - 1) * kLanes] >> rest) == 0;
            require(ones == f.rank && inside, "pivots: expected as many rows of each group as the junction has ranks");
        }
    }
}

std::unique_ptr<Core> make_tiled(std::pair<std::size_t, std::size_t> shape, const std::vector<FactorArrays>& arrays,
                                 const py::dtype& dtype, const std::optional<py::array>& scale,
                                 const OptionalIndex& rows, const OptionalIndex& columns) {
    require(!arrays.empty(), "factors: expected at least one");
    std::vector<TileFactor> factors;
    std::vector<py::object> keep{py::cast(rows), py::cast(columns), py::cast(scale)};
    for (const FactorArrays& f : arrays) {
        factors.push_back(tile_factor(f, dtype));
        require_pivots(factors.back());
        keep.push_back(f.values);
        keep.push_back(py::cast(f.pivots));
    }
    for (std::size_t l = 1; l < factors.size(); ++l) {
        const TileFactor &left = factors[l - 1], &right = factors[l];
        require(left.a * left.c * left.d == right.a * right.b * right.d, "factors: expected shapes that multiply");
    }
    const TileFactor &first = factors.front(), &last = factors.back();
    const std::size_t row_count = first.a * first.b * first.d, column_count = last.a * last.c * last.d;
    require(shape.first <= row_count && shape.second <= column_count, "shape: larger than that of the product");
    require_order(rows, row_count, "rows");
    require_order(columns, column_count, "columns");
    if (scale) {
        require(scale->dtype().is(dtype) || scale->dtype().equal(dtype), "scale: expected the operator's dtype");
        require(static_cast<std::size_t>(scale->size()) == column_count && (scale->flags() & py::array::c_style) != 0,
                "scale: expected a contiguous vector, a number for each column");
    }
    return by_dtype(py::array(dtype, std::vector<py::ssize_t>{0}), [&](auto zero) -> std::unique_ptr<Core> {
        using Real = decltype(std::abs(zero));
        TiledProduct<Real> product{.row_count = row_count,
                                   .column_count = column_count,
                                   .is_complex = dtype.kind() == 'c',
                                   .factors = factors,
                                   .scale = scale ? static_cast<const Real*>(scale->data()) : nullptr,
                                   .rows = data_of(rows),
                                   .columns = data_of(columns)};
        without_lock([&] { add_routes(product); });
        return std::make_unique<TypedCore<Real, TiledProduct>>(std::move(product), shape.first, shape.second,
                                                               std::move(keep));
    });
}

// `stream` is what weights_to_stream makes of (p, 2n) values.
std::unique_ptr<Core> make_factors(std::size_t n, const py::array& stream, const py::dtype& dtype,
                                   const OptionalIndex& rows, const OptionalIndex& columns) {
    log2_of(n);
    require_order(rows, n, "rows");
    require_order(columns, n, "columns");
    return by_dtype(py::array(dtype, std::vector<py::ssize_t>{0}), [&](auto zero) -> std::unique_ptr<Core> {
        using Real = decltype(std::abs(zero));
        const bool cplx = dtype.kind() == 'c';
        require(py::isinstance<py::array_t<Real>>(stream), "stream: expected the operator's precision");
        require(static_cast<std::size_t>(stream.size()) == weight_count(Plan(n), cplx ? 2 : 1),
                "stream: expected as many numbers as the plan has");
        auto product = product_of_weights<Real>(n, cplx, static_cast<const Real*>(stream.data()));
        product.rows = Order(data_of(rows), n), product.columns = Order(data_of(columns), n);
        return std::make_unique<TypedCore<Real, Product>>(
            std::move(product), n, n, std::vector<py::object>{stream, py::cast(rows), py::cast(columns)});
    });
}

// A vector of numbers, or diag(scale) as a factor in floats.
using ScaleArrays = std::variant<py::array, FactorArrays>;

void require_scale(const py::array& scale, std::size_t n, const py::dtype& dtype) {
    require(scale.dtype().equal(dtype), "scale: expected the operator's precision");
    require(
        scale.ndim() == 1 && (scale.flags() & py::array::c_style) != 0 && static_cast<std::size_t>(scale.size()) == n,
        "scale: expected a contiguous vector of n numbers");
}

TileFactor short_scale(const FactorArrays& arrays, std::size_t n, const py::dtype& dtype) {
    const TileFactor f = tile_factor(arrays, dtype);
    require(f.significand > 0 && f.a * f.b * f.c == 1 && f.d == n, "scale: expected floats, a factor (1, 1, 1, n)");
    return f;
}

std::unique_ptr<Core> make_packed(const NamedCodes& named, const IndexArray& stream, const py::dtype& dtype,
                                  const ScaleArrays& scale, const OptionalIndex& rows, const OptionalIndex& columns) {
    const py::array none(dtype, std::vector<py::ssize_t>{0});
    require_floating(none, "dtype");
    const std::vector<Code> codes = codes_of(named);
    require_words(stream, codes);
    const std::size_t n = std::size_t{1} << codes.size();
    require_order(rows, n, "rows");
    require_order(columns, n, "columns");
    for (const Code& code : codes) {
        require(is_complex(none) || !code.kind->is_complex,
                std::string("codes: '") + code.kind->name + "' needs a complex operator");
    }
    const bool coded = std::holds_alternative<FactorArrays>(scale);
    const py::array buffer = coded ? std::get<FactorArrays>(scale).values : std::get<py::array>(scale);
    if (!coded) require_scale(buffer, n, dtype);
    return by_dtype(none, [&](auto zero) -> std::unique_ptr<Core> {
        using Real = decltype(std::abs(zero));
        const auto* numbers = coded ? nullptr : static_cast<const Real*>(buffer.data());
        auto product = product_of_codes<Real>(codes, is_complex(none), stream.data(), numbers);
        if (coded) product.short_scale = short_scale(std::get<FactorArrays>(scale), n, dtype);
        product.rows = Order(data_of(rows), n), product.columns = Order(data_of(columns), n);
        return std::make_unique<TypedCore<Real, Product>>(
            std::move(product), n, n, std::vector<py::object>{stream, buffer, py::cast(rows), py::cast(columns)});
    });
}

std::unique_ptr<Core> make_hadamard(std::size_t n, const py::dtype& dtype, const OptionalIndex& rows,
                                    const OptionalIndex& columns) {
    const py::array none(dtype, std::vector<py::ssize_t>{0});
    require_floating(none, "dtype");
    log2_of(n);
    require_order(rows, n, "rows");
    require_order(columns, n, "columns");
    return by_dtype(none, [&](auto zero) -> std::unique_ptr<Core> {
        using Real = decltype(std::abs(zero));
        auto product = product_of_signs<Real>(n);
        product.rows = Order(data_of(rows), n), product.columns = Order(data_of(columns), n);
        return std::make_unique<TypedCore<Real, Product>>(
            std::move(product), n, n, std::vector<py::object>{py::cast(rows), py::cast(columns)}, is_complex(none));
    });
}

}  // namespace

void add_products(py::module_& m) {
    py::class_<FactorArrays>(m, "Factor")
        .def(py::init([](const std::array<std::size_t, 4>& pattern, std::size_t rank, const py::array& values,
                         const OptionalIndex& pivots, const std::string& form, int bits, double step, int significand,
                         const std::vector<double>& levels) {
                 return FactorArrays{.pattern = pattern,
                                     .rank = rank,
                                     .values = values,
                                     .pivots = pivots,
                                     .form = form,
                                     .bits = bits,
                                     .step = step,
                                     .significand = significand,
                                     .levels = levels};
             }),
             py::kw_only(), py::arg("pattern"), py::arg("rank"), py::arg("values").noconvert(),
             py::arg("pivots").noconvert(), py::arg("form") = "plain", py::arg("bits") = 0, py::arg("step") = 1.0,
             py::arg("significand") = 0, py::arg("levels") = py::tuple());
    py::class_<Core>(m, "Core")
        .def("apply", &Core::apply, py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("transposed"),
             py::arg("conjugated"), py::arg("workers") = 1)
        .def("product", &Core::product, py::arg("x").noconvert(), py::arg("transposed"), py::arg("conjugated"),
             py::arg("workers") = 1)
        .def("seconds", &Core::seconds, py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("transposed"),
             py::arg("calls"), py::arg("workers") = 1);
    m.def("factors", &make_factors, py::arg("n"), py::arg("stream").noconvert(), py::arg("dtype"),
          py::arg("rows") = py::none(), py::arg("columns") = py::none());
    m.def("packed", &make_packed, py::arg("codes"), py::arg("stream").noconvert(), py::arg("dtype"),
          py::arg("scale").noconvert(), py::arg("rows") = py::none(), py::arg("columns") = py::none());
    m.def("tiled", &make_tiled, py::arg("shape"), py::arg("factors"), py::arg("dtype"), py::arg("scale") = py::none(),
          py::arg("rows") = py::none(), py::arg("columns") = py::none());
    m.def("hadamard", &make_hadamard, py::arg("n"), py::arg("dtype"), py::arg("rows") = py::none(),
          py::arg("columns") = py::none());
}

}  // namespace bitterfly
