// Float factors, or columns of them, to codes.
#include <algorithm>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "codes.hpp"
#include "interruptible.hpp"
#include "quantization/closest.hpp"
#include "quantization/lattice.hpp"
#include "quantization/lists.hpp"
#include "quantization/quantize.hpp"

namespace bitterfly {
namespace {

// The scale vector as an array of T; `rounding` is the relative error of the product that this rounding makes.
template <class T>
py::array scale_as(const Quantized& result, double& rounding) {
    auto out = aligned_array<T>({static_cast<py::ssize_t>(result.scale.size())});
    using Real = decltype(std::abs(T{}));
    rounding = round_scale(result, is_complex(out), reinterpret_cast<Real*>(out.mutable_data()));
    return out;
}

py::tuple py_quantize(const py::array& values, const std::vector<std::string>& candidates, const std::vector<int>& bits,
                      std::size_t workers) {
    const std::size_t n = size_of_values(values);
    std::vector<const DirectionKind*> kinds;
    for (const std::string& name : candidates) kinds.push_back(&kind_of(name));
    const auto fits = [](int width) { return width >= 1 && width <= 32; };
    require(!kinds.empty() && bits.size() == log2_of(n) && std::all_of(bits.begin(), bits.end(), fits),
            "bits: expected 1 to 32 per column, a width for each factor");
    Quantized result;
    by_dtype(values, [&](auto zero) {
        using Real = decltype(std::abs(zero));
        const auto* data = static_cast<const Real*>(values.data());
        const bool cplx = is_complex(values);
        const Interruptible interruptible;
        result = quantize<Real>(data, n, cplx, kinds, bits, workers);
    });
    py::list codes;
    for (const Code& code : result.codes) codes.append(py::make_tuple(code.kind->name, code.bits));
    auto words = aligned_array<std::uint32_t>({static_cast<py::ssize_t>(result.words.size())});
    std::copy(result.words.begin(), result.words.end(), words.mutable_data());
    double rounding = 0;
    py::array scale = by_dtype(values, [&](auto zero) { return scale_as<decltype(zero)>(result, rounding); });
    return py::make_tuple(words, codes, scale, result.losses, rounding);
}

// Columns (count, b) in double precision -> codes (count, b, planes) and lengths (count, planes).
py::tuple py_lattice_codes(const py::array& x, int bits, std::size_t workers) {
    require_floating(x, "x");
    require(x.ndim() == 2 && is_double(x) && (x.flags() & py::array::c_style) != 0 && bits >= 2 && bits <= 16,
            "x: expected contiguous columns (count, b) in double precision, and 2 to 16 bits");
    const bool cplx = is_complex(x);
    const py::ssize_t planes = cplx ? 2 : 1;
    auto codes = aligned_array<std::uint32_t>({x.shape(0), x.shape(1), planes});
    auto lengths = aligned_array<double>({x.shape(0), planes});
    const auto* data = static_cast<const double*>(x.data());
    auto* q = codes.mutable_data();
    auto* mu = lengths.mutable_data();
    const auto count = static_cast<std::size_t>(x.shape(0)), b = static_cast<std::size_t>(x.shape(1));
    {
        const Interruptible interruptible;
        lattice_codes(data, count, b, cplx, bits, q, mu, workers);
    }
    return py::make_tuple(codes, lengths);
}

// Columns (count, b) in double precision and the weights of their numbers -> codes (count, b, planes).
IndexArray py_alphabet_codes(const py::array& x, const py::array& weights, const std::vector<double>& magnitudes) {
    require_floating(x, "x");
    const bool contiguous = (x.flags() & weights.flags() & py::array::c_style) != 0;
    require(x.ndim() == 2 && is_double(x) && weights.dtype().is(py::dtype::of<double>()) && contiguous &&
                weights.ndim() == 2 && weights.shape(0) == x.shape(0) && weights.shape(1) == x.shape(1),
            "x, weights: expected contiguous columns (count, b) in double precision");
    const bool ascend = !magnitudes.empty() && std::is_sorted(magnitudes.begin(), magnitudes.end());
    require(ascend && magnitudes.front() >= 0, "magnitudes: expected numbers that ascend from zero or more");
    const bool cplx = is_complex(x);
    auto codes = aligned_array<std::uint32_t>({x.shape(0), x.shape(1), cplx ? 2 : 1});
    const auto *data = static_cast<const double*>(x.data()), *w = static_cast<const double*>(weights.data());
    auto* q = codes.mutable_data();
    const auto count = static_cast<std::size_t>(x.shape(0)), b = static_cast<std::size_t>(x.shape(1));
    {
        const Interruptible interruptible;
        alphabet_codes(data, w, count, b, cplx, magnitudes, q);
    }
    return codes;
}

// Returns integers (count, m, r) of the dtype of t.
py::array py_closest_codes(const py::array& t, const py::array& metric, double step, double most, double floor,
                           std::size_t workers) {
    require_matrices(t), require_matrices(metric);
    require(metric.shape(0) == t.shape(0) && metric.shape(1) == t.shape(2) && metric.shape(2) == t.shape(2),
            "metric: expected an r x r matrix for each matrix of t");
    const bool cplx = is_complex(t);
    require(is_double(t) && is_double(metric) && is_complex(metric) == cplx, "t, metric: expected double precision");
    const auto shape = [&](int axis) { return static_cast<std::size_t>(t.shape(axis)); };
    const std::size_t count = shape(0), m = shape(1), r = shape(2);
    py::array codes = cplx ? py::array(aligned_array<std::complex<double>>({t.shape(0), t.shape(1), t.shape(2)}))
                           : py::array(aligned_array<double>({t.shape(0), t.shape(1), t.shape(2)}));
    const auto* from = static_cast<const double*>(t.data());
    const auto* weights = static_cast<const double*>(metric.data());
    auto* to = static_cast<double*>(codes.mutable_data());
    {
        const Interruptible interruptible;
        closest_codes(from, weights, count, m, r, cplx, {step, most, floor}, to, workers);
    }
    return codes;
}

}  // namespace

void add_quantization(py::module_& m) {
    m.def("quantize", &py_quantize, py::arg("values").noconvert(), py::arg("candidates"), py::arg("bits"),
          py::arg("workers") = 1);
    m.def("lattice_codes", &py_lattice_codes, py::arg("x").noconvert(), py::arg("bits"), py::arg("workers") = 1);
    m.def("alphabet_codes", &py_alphabet_codes, py::arg("x").noconvert(), py::arg("weights").noconvert(),
          py::arg("magnitudes"));
    m.def("closest_codes", &py_closest_codes, py::arg("t").noconvert(), py::arg("metric").noconvert(), py::arg("step"),
          py::arg("most"), py::arg("floor"), py::arg("workers") = 1);
}

}  // namespace bitterfly
