// Bindings: NumPy arrays -> views of the core, the GIL released around one call, results -> NumPy arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apply.hpp"
#include "balance.hpp"
#include "buffer.hpp"
#include "codes.hpp"
#include "factorize.hpp"
#include "kernels/dispatch.hpp"
#include "pack.hpp"
#include "quantize.hpp"
#include "require.hpp"

namespace py = pybind11;
using namespace bitterfly;

namespace {

using IndexArray = py::array_t<std::uint32_t, py::array::c_style>;
using OptionalIndex = std::optional<IndexArray>;

const std::uint32_t* data_of(const OptionalIndex& index) { return index ? index->data() : nullptr; }

bool is_complex(const py::array& a) { return a.dtype().kind() == 'c'; }
bool is_double(const py::array& a) { return a.itemsize() == (is_complex(a) ? 16 : 8); }

void require_floating(const py::array& a, const char* name) {
    const char kind = a.dtype().kind();
    const auto size = a.itemsize();
    const bool real = kind == 'f' && (size == 4 || size == 8), cplx = kind == 'c' && (size == 8 || size == 16);
    require(real || cplx, std::string(name) + ": expected float32, float64, complex64 or complex128");
}

// A vector counts as one column.
template <class ViewType, class Pointer>
ViewType view_of(const py::array& a, Pointer data) {
    require(a.ndim() == 1 || a.ndim() == 2, "expected one or two dimensions");
    const bool matrix = a.ndim() == 2;
    const auto half = static_cast<std::ptrdiff_t>(a.itemsize() / 2);
    return {data,
            is_complex(a) ? data + half : nullptr,
            static_cast<std::size_t>(a.shape(0)),
            matrix ? static_cast<std::size_t>(a.shape(1)) : 1,
            a.strides(0),
            matrix ? a.strides(1) : 0,
            is_double(a)};
}

View const_view(const py::array& a) { return view_of<View>(a, static_cast<const char*>(a.data())); }
MutableView mutable_view(py::array& a) { return view_of<MutableView>(a, static_cast<char*>(a.mutable_data())); }

// A NumPy array that owns cache-line aligned memory, not initialised.
template <class T>
py::array_t<T> aligned_array(const std::vector<py::ssize_t>& shape) {
    std::size_t count = 1;
    for (const py::ssize_t s : shape) count *= static_cast<std::size_t>(s);
    T* data = make_aligned<T>(count).release();
    py::capsule owner(data, [](void* p) { AlignedDelete{}(p); });
    return py::array_t<T>(shape, data, owner);
}

std::size_t log2_of(std::size_t n) {
    std::size_t p = 0;
    while ((std::size_t{1} << p) < n) ++p;
    require(n >= 2 && n == std::size_t{1} << p, "expected a power of two, at least 2, got " + std::to_string(n));
    return p;
}

void require_order(const OptionalIndex& index, std::size_t n, const char* name) {
    if (!index) return;
    require(index->ndim() == 1 && static_cast<std::size_t>(index->size()) == n,
            std::string(name) + ": expected " + std::to_string(n) + " indices");
    for (std::size_t i = 0; i < n; ++i) require(index->data()[i] < n, std::string(name) + ": index out of range");
}

template <class T>
py::tuple factorize_as(const py::array& a, const OptionalIndex& rows, const OptionalIndex& columns) {
    const auto n = static_cast<std::size_t>(a.shape(0));
    const auto p = static_cast<py::ssize_t>(log2_of(n));
    auto values = aligned_array<T>({p, static_cast<py::ssize_t>(2 * n)});
    const View view = const_view(a);
    using Real = decltype(std::abs(T{}));
    auto* out = reinterpret_cast<Real*>(values.mutable_data());
    FactorizeResult result{};
    {
        py::gil_scoped_release release;
        result = factorize<Real>(view, data_of(rows), data_of(columns), out);
    }
    return py::make_tuple(values, result.relative_error, result.norm);
}

template <class Visit>
auto by_dtype(const py::array& a, Visit visit) {
    if (is_complex(a)) return is_double(a) ? visit(std::complex<double>{}) : visit(std::complex<float>{});
    return is_double(a) ? visit(double{}) : visit(float{});
}

py::tuple py_factorize(const py::array& a, const OptionalIndex& rows, const OptionalIndex& columns) {
    require_floating(a, "a");
    require(a.ndim() == 2 && a.shape(0) == a.shape(1), "a: expected a square matrix");
    require_order(rows, static_cast<std::size_t>(a.shape(0)), "rows");
    require_order(columns, static_cast<std::size_t>(a.shape(0)), "columns");
    return by_dtype(a, [&](auto zero) { return factorize_as<decltype(zero)>(a, rows, columns); });
}

const char* name_of(Source source) {
    switch (source) {
        case Source::kAngle: return "angle";
        case Source::kPhase: return "phase";
        case Source::kSphere: return "sphere";
        default: return "weights";
    }
}

Source source_of(const std::string& name) {
    for (const Source s : {Source::kAngle, Source::kPhase, Source::kSphere}) {
        if (name == name_of(s)) return s;
    }
    require(false, "code: expected 'angle', 'phase' or 'sphere', got '" + name + "'");
    return Source::kAngle;
}

Code code_of(const std::string& name, int bits) {
    const Code code{source_of(name), bits};
    require(bits >= 1 && bits <= max_bits(code.source), "bits: expected 1 to " + std::to_string(max_bits(code.source)) +
                                                            " for code '" + name + "', got " + std::to_string(bits));
    return code;
}

// The checked (p, 2n) buffer of float factors; returns n.
std::size_t size_of_values(const py::array& values) {
    require_floating(values, "values");
    require(values.ndim() == 2 && (values.flags() & py::array::c_style) != 0,
            "values: expected a C-contiguous (p, 2n) array");
    const auto n = static_cast<std::size_t>(values.shape(1)) / 2;
    require(log2_of(n) == static_cast<std::size_t>(values.shape(0)) && values.shape(1) % 2 == 0,
            "values: expected shape (log2 n, 2n)");
    return n;
}

Value times_power(Value x, int exponent) { return {std::ldexp(x.real(), exponent), std::ldexp(x.imag(), exponent)}; }

// The scale vector in the operator's precision, and the relative error of that rounding: the coded factors have
// orthonormal columns, so it is the relative error of the product.
template <class T>
py::array scale_as(const Quantized& result, double& rounding) {
    const std::vector<Value>& scale = result.scale;
    auto out = aligned_array<T>({static_cast<py::ssize_t>(scale.size())});
    double error = 0, energy = 0;
    for (std::size_t i = 0; i < scale.size(); ++i) {
        const Value x = times_power(scale[i], result.exponent);
        if constexpr (std::is_floating_point_v<T>) {
            out.mutable_data()[i] = static_cast<T>(x.real());
        } else {
            using Real = typename T::value_type;
            out.mutable_data()[i] = T(static_cast<Real>(x.real()), static_cast<Real>(x.imag()));
        }
        error = std::hypot(error, std::abs(times_power(Value(out.data()[i]), -result.exponent) - scale[i]));
        energy = std::hypot(energy, std::abs(scale[i]));
    }
    rounding = energy > 0 ? error / energy : 0;
    return out;
}

py::tuple py_quantize(const py::array& values, const std::vector<std::string>& candidates, int bits) {
    const std::size_t n = size_of_values(values);
    std::vector<Source> sources;
    for (const std::string& name : candidates) sources.push_back(source_of(name));
    require(!sources.empty() && bits >= 1 && bits <= 32, "bits: expected 1 to 32 per column");
    Quantized result;
    by_dtype(values, [&](auto zero) {
        using Real = decltype(std::abs(zero));
        const auto* data = static_cast<const Real*>(values.data());
        const bool cplx = is_complex(values);
        py::gil_scoped_release release;
        result = quantize<Real>(data, n, cplx, sources, bits);
    });
    py::list codes;
    for (const Code& code : result.codes) codes.append(py::make_tuple(name_of(code.source), code.bits));
    auto words = aligned_array<std::uint32_t>({static_cast<py::ssize_t>(result.words.size())});
    std::copy(result.words.begin(), result.words.end(), words.mutable_data());
    double rounding = 0;
    py::array scale = by_dtype(values, [&](auto zero) { return scale_as<decltype(zero)>(result, rounding); });
    return py::make_tuple(words, codes, scale, result.relative_error + rounding);
}

double py_single_rounding(const py::array& values) {
    const std::size_t n = size_of_values(values);
    require(is_double(values), "values: expected float64 or complex128");
    const auto* data = static_cast<const double*>(values.data());
    const bool cplx = is_complex(values);
    py::gil_scoped_release release;
    return single_rounding(data, n, cplx);
}

IndexArray py_pack(const IndexArray& codes, int bits) {
    require(codes.ndim() == 3 && codes.shape(1) == 2 && bits >= 1 && bits <= 32,
            "codes: expected shape (a, 2, d) and 1 to 32 bits");
    const auto n = static_cast<std::size_t>(codes.size()), d = static_cast<std::size_t>(codes.shape(2));
    log2_of(n);
    auto words = aligned_array<std::uint32_t>({static_cast<py::ssize_t>(packed_words(n, bits))});
    pack(codes.data(), n, d, bits, words.mutable_data());
    return words;
}

IndexArray py_unpack(const IndexArray& words, std::size_t n, std::size_t d, int bits) {
    require(bits >= 1 && bits <= 32 && log2_of(n) > 0 && d >= 1 && n % (2 * d) == 0,
            "unpack: expected 1 to 32 bits and 2 d to divide n");
    require(static_cast<std::size_t>(words.size()) == packed_words(n, bits),
            "words: expected " + std::to_string(packed_words(n, bits)) + " words");
    auto codes = aligned_array<std::uint32_t>({static_cast<py::ssize_t>(n / (2 * d)), 2, static_cast<py::ssize_t>(d)});
    unpack(words.data(), n, d, bits, codes.mutable_data());
    return codes;
}

py::list py_decode(const std::string& name, int bits, const std::vector<std::uint32_t>& codes) {
    const Code code = code_of(name, bits);
    py::list out;
    for (const std::uint32_t q : codes) {
        const Direction u = decode(code, q);
        out.append(py::make_tuple(u.first, u.second));
    }
    return out;
}

// What Python holds of an operator: its arrays, and the product that borrows them.
class Core {
public:
    virtual ~Core() = default;
    virtual void apply(const py::array& x, py::array& out, bool transposed, bool conjugated) const = 0;
};

template <class Real>
class TypedCore : public Core {
public:
    TypedCore(Product<Real> product, std::vector<py::object> keep)
        : product_(std::move(product)), keep_(std::move(keep)) {}

    void apply(const py::array& x, py::array& out, bool transposed, bool conjugated) const override {
        require_floating(x, "x");
        require_floating(out, "out");
        const View from = const_view(x);
        const MutableView to = mutable_view(out);
        require(from.rows == product_.n && to.rows == product_.n && from.columns == to.columns,
                "x, out: expected " + std::to_string(product_.n) + " rows and equal numbers of columns");
        require((to.im != nullptr) == (product_.is_complex || from.im != nullptr),
                "out: expected a complex array exactly where the result is complex");
        py::gil_scoped_release release;
        if (product_.is_complex || from.im == nullptr)
            return bitterfly::apply<Real>(product_, {transposed, conjugated}, from, to);
        apply_plane(transposed, from, to, from.re, to.re);
        apply_plane(transposed, from, to, from.im, to.im);
    }

private:
    void apply_plane(bool transposed, View from, MutableView to, const char* x, char* y) const {
        from.re = x, to.re = y, from.im = nullptr, to.im = nullptr;
        bitterfly::apply<Real>(product_, {transposed, false}, from, to);
    }

    Product<Real> product_;
    std::vector<py::object> keep_;
};

std::unique_ptr<Core> make_factors(const py::array& values, const OptionalIndex& rows, const OptionalIndex& columns) {
    const std::size_t n = size_of_values(values);
    require_order(rows, n, "rows");
    require_order(columns, n, "columns");
    return by_dtype(values, [&](auto zero) -> std::unique_ptr<Core> {
        using Real = decltype(std::abs(zero));
        const bool cplx = is_complex(values);
        Product<Real> product{n, cplx, {}, nullptr, data_of(rows), data_of(columns)};
        for (py::ssize_t l = 0; l < values.shape(0); ++l) {
            product.factors.push_back({cplx ? Source::kComplexWeights : Source::kRealWeights, 0, values.data(l, 0)});
        }
        return std::make_unique<TypedCore<Real>>(std::move(product),
                                                 std::vector<py::object>{values, py::cast(rows), py::cast(columns)});
    });
}

std::unique_ptr<Core> make_packed(const std::vector<std::pair<std::string, int>>& codes, const IndexArray& words,
                                  const py::array& scale, const OptionalIndex& rows, const OptionalIndex& columns) {
    require_floating(scale, "scale");
    require(scale.ndim() == 1 && (scale.flags() & py::array::c_style) != 0, "scale: expected a contiguous vector");
    const auto n = static_cast<std::size_t>(scale.size());
    require(log2_of(n) == codes.size(), "codes: expected log2(n) of them");
    require_order(rows, n, "rows");
    require_order(columns, n, "columns");
    std::vector<FactorData> factors;
    std::size_t offset = 0;
    for (const auto& [name, bits] : codes) {
        const Code code = code_of(name, bits);
        require(is_complex(scale) || code.source == Source::kAngle, "codes: '" + name + "' needs a complex operator");
        factors.push_back({code.source, bits, words.data() + offset});
        offset += packed_words(n, bits);
    }
    require(static_cast<std::size_t>(words.size()) == offset,
            "words: expected " + std::to_string(offset) + " words, got " + std::to_string(words.size()));
    return by_dtype(scale, [&](auto zero) -> std::unique_ptr<Core> {
        using Real = decltype(std::abs(zero));
        Product<Real> product{
            n, is_complex(scale), factors, static_cast<const Real*>(scale.data()), data_of(rows), data_of(columns)};
        return std::make_unique<TypedCore<Real>>(
            std::move(product), std::vector<py::object>{words, scale, py::cast(rows), py::cast(columns)});
    });
}

py::array py_aligned_empty(const std::vector<py::ssize_t>& shape, const py::dtype& dtype) {
    py::ssize_t bytes = dtype.itemsize();
    for (const py::ssize_t s : shape) bytes *= s;
    const auto memory = aligned_array<unsigned char>({bytes});
    return py::array(dtype, shape, memory.data(), memory);
}

py::dict config() {
    py::dict out;
    out["compiler"] = __VERSION__;
    out["available_isas"] = available_isas();
#ifdef BITTERFLY_X86
    out["x86_tiers"] = true;
#else
    out["x86_tiers"] = false;
#endif
    return out;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "The compiled core of bitterfly.";
    m.def("factorize", &py_factorize, py::arg("a").noconvert(), py::arg("rows") = py::none(),
          py::arg("columns") = py::none());
    m.def("quantize", &py_quantize, py::arg("values").noconvert(), py::arg("candidates"), py::arg("bits"));
    m.def("single_rounding", &py_single_rounding, py::arg("values").noconvert());
    m.def("pack", &py_pack, py::arg("codes").noconvert(), py::arg("bits"));
    m.def("unpack", &py_unpack, py::arg("words").noconvert(), py::arg("n"), py::arg("d"), py::arg("bits"));
    m.def("packed_words", &packed_words, py::arg("n"), py::arg("bits"));
    m.def("decode", &py_decode, py::arg("code"), py::arg("bits"), py::arg("codes"));
    m.def("aligned_empty", &py_aligned_empty, py::arg("shape"), py::arg("dtype"));
    m.def("available_isas", &available_isas);
    m.def("active_isa", [] { return std::string(kernels().name); });
    m.def("select_isa", &select_isa, py::arg("name"));
    m.def("config", &config);
    py::class_<Core>(m, "Core").def("apply", &Core::apply, py::arg("x").noconvert(), py::arg("out").noconvert(),
                                    py::arg("transposed"), py::arg("conjugated"));
    m.def("factors", &make_factors, py::arg("values").noconvert(), py::arg("rows") = py::none(),
          py::arg("columns") = py::none());
    m.def("packed", &make_packed, py::arg("codes"), py::arg("words").noconvert(), py::arg("scale").noconvert(),
          py::arg("rows") = py::none(), py::arg("columns") = py::none());
}
