// Bindings: NumPy arrays -> views of the core, the GIL released around one call, results -> NumPy arrays.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "dyadic.hpp"
#include "factorization/factorize.hpp"
#include "interruptible.hpp"
#include "kernels/dispatch.hpp"
#include "near_one.hpp"
#include "operators.hpp"
#include "parallel.hpp"
#include "products/apply.hpp"
#include "quantization/balance.hpp"
#include "quantization/lattice.hpp"
#include "quantization/lists.hpp"
#include "quantization/quantize.hpp"
#include "shortens.hpp"
#include "splits.hpp"
#include "stores/codes/directions.hpp"
#include "stores/codes/pack.hpp"

using namespace bitterfly;

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
    std::vector<Source> sources;
    for (const std::string& name : candidates) sources.push_back(source_of(name));
    const auto fits = [](int width) { return width >= 1 && width <= 32; };
    require(!sources.empty() && bits.size() == log2_of(n) && std::all_of(bits.begin(), bits.end(), fits),
            "bits: expected 1 to 32 per column, a width for each factor");
    Quantized result;
    by_dtype(values, [&](auto zero) {
        using Real = decltype(std::abs(zero));
        const auto* data = static_cast<const Real*>(values.data());
        const bool cplx = is_complex(values);
        const Interruptible interruptible;
        result = quantize<Real>(data, n, cplx, sources, bits, workers);
    });
    py::list codes;
    for (const Code& code : result.codes) codes.append(py::make_tuple(name_of(code.source), code.bits));
    auto words = aligned_array<std::uint32_t>({static_cast<py::ssize_t>(result.words.size())});
    std::copy(result.words.begin(), result.words.end(), words.mutable_data());
    double rounding = 0;
    py::array scale = by_dtype(values, [&](auto zero) { return scale_as<decltype(zero)>(result, rounding); });
    return py::make_tuple(words, codes, scale, result.losses, rounding);
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

// (tiles, count, 16) codes <-> (tiles, lines, 16) words of a factor in tiles.
IndexArray py_pack_lanes(const IndexArray& codes, int bits) {
    require(codes.ndim() == 3 && codes.shape(2) == static_cast<py::ssize_t>(kLanes) && bits >= 1 && bits <= 30,
            "codes: expected shape (tiles, count, 16) and 1 to 30 bits");
    const auto tiles = static_cast<std::size_t>(codes.shape(0)), count = static_cast<std::size_t>(codes.shape(1));
    const auto lines = static_cast<py::ssize_t>((count * static_cast<std::size_t>(bits) + 31) / 32);
    auto words = aligned_array<std::uint32_t>({codes.shape(0), lines, codes.shape(2)});
    pack_lanes(codes.data(), tiles, count, bits, words.mutable_data());
    return words;
}

IndexArray py_unpack_lanes(const IndexArray& words, std::size_t tiles, std::size_t count, int bits) {
    require(bits >= 1 && bits <= 30, "bits: expected 1 to 30");
    const std::size_t lines = (count * static_cast<std::size_t>(bits) + 31) / 32;
    require(static_cast<std::size_t>(words.size()) == tiles * lines * kLanes, "words: expected whole tiles");
    auto codes = aligned_array<std::uint32_t>(
        {static_cast<py::ssize_t>(tiles), static_cast<py::ssize_t>(count), static_cast<py::ssize_t>(kLanes)});
    unpack_lanes(words.data(), tiles, count, bits, codes.mutable_data());
    return codes;
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

py::list py_decode(const std::string& name, int bits, const std::vector<std::uint32_t>& codes) {
    const Code code = code_of(name, bits);
    py::list out;
    for (const std::uint32_t q : codes) {
        const Direction u = decode(code, q);
        out.append(py::make_tuple(u.first, u.second));
    }
    return out;
}

py::array py_aligned_empty(const std::vector<py::ssize_t>& shape, const py::dtype& dtype) {
    py::ssize_t bytes = dtype.itemsize();
    for (const py::ssize_t s : shape) bytes *= s;
    const auto memory = aligned_array<unsigned char>({bytes});
    return py::array(dtype, shape, memory.data(), memory);
}

bool py_near_one(const py::array& x, int exponent) {
    require_floating(x, "x");
    require(is_double(x) && exponent >= 1 && exponent <= 1000, "x: expected double precision, and 1 to 1000");
    const View view = const_view(x);
    py::gil_scoped_release release;
    return near_one(view, exponent);
}

// Additions of float32 numbers a second, in registers.
double py_add_peak(std::size_t rounds) {
    alignas(64) float out[128];
    py::gil_scoped_release release;
    const auto start = std::chrono::steady_clock::now();
    const auto count = static_cast<double>(kernels().single.add(rounds, out));
    return count / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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
          py::arg("columns") = py::none(), py::arg("workers") = 1);
    m.def("quantize", &py_quantize, py::arg("values").noconvert(), py::arg("candidates"), py::arg("bits"),
          py::arg("workers") = 1);
    m.def("pack_lanes", &py_pack_lanes, py::arg("codes").noconvert(), py::arg("bits"));
    m.def("unpack_lanes", &py_unpack_lanes, py::arg("words").noconvert(), py::arg("tiles"), py::arg("count"),
          py::arg("bits"));
    m.def("lattice_codes", &py_lattice_codes, py::arg("x").noconvert(), py::arg("bits"), py::arg("workers") = 1);
    m.def("alphabet_codes", &py_alphabet_codes, py::arg("x").noconvert(), py::arg("weights").noconvert(),
          py::arg("magnitudes"));
    m.def("pack", &py_pack, py::arg("codes").noconvert(), py::arg("bits"));
    m.def("unpack", &py_unpack, py::arg("words").noconvert(), py::arg("n"), py::arg("d"), py::arg("bits"));
    m.def("packed_words", &packed_words, py::arg("n"), py::arg("bits"));
    m.def("decode", &py_decode, py::arg("code"), py::arg("bits"), py::arg("codes"));
    m.def("aligned_empty", &py_aligned_empty, py::arg("shape"), py::arg("dtype"));
    m.def("near_one", &py_near_one, py::arg("x").noconvert(), py::arg("exponent"));
    m.def("available_isas", &available_isas);
    m.def("active_isa", [] { return std::string(kernels().name); });
    m.def("select_isa", &select_isa, py::arg("name"));
    m.def("config", &config);
    m.def("set_least_parallel_work", &set_least_parallel_work, py::arg("work"));
    py::class_<Core>(m, "Core")
        .def("apply", &Core::apply, py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("transposed"),
             py::arg("conjugated"), py::arg("workers") = 1)
        .def("seconds", &Core::seconds, py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("transposed"),
             py::arg("calls"), py::arg("workers") = 1);
    m.def("factors", &make_factors, py::arg("n"), py::arg("stream").noconvert(), py::arg("dtype"),
          py::arg("rows") = py::none(), py::arg("columns") = py::none());
    m.def("packed", &make_packed, py::arg("codes"), py::arg("stream").noconvert(), py::arg("dtype"),
          py::arg("scale").noconvert(), py::arg("rows") = py::none(), py::arg("columns") = py::none());
    m.def("add_peak", &py_add_peak, py::arg("rounds"));
    m.def("plan", &plan_of, py::arg("n"));
    m.def("hadamard", &make_hadamard, py::arg("n"), py::arg("dtype"));
    m.def("reordered", &reordered, py::arg("codes"), py::arg("words").noconvert(), py::arg("to_stream"));
    m.def("stream_of_values", &stream_of_values, py::arg("values").noconvert());
    m.def("values_of_stream", &values_of_stream, py::arg("n"), py::arg("stream").noconvert(), py::arg("dtype"));
    m.def("tiled", &make_tiled, py::arg("shape"), py::arg("factors"), py::arg("dtype"), py::arg("scale") = py::none(),
          py::arg("rows") = py::none(), py::arg("columns") = py::none());
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
    m.def("closest_codes", &py_closest_codes, py::arg("t").noconvert(), py::arg("metric").noconvert(), py::arg("step"),
          py::arg("most"), py::arg("floor"), py::arg("workers") = 1);
    m.def("shorten", &py_shorten, py::arg("factors"), py::arg("bits"), py::arg("driver"), py::arg("depth"),
          py::arg("weighted") = true, py::arg("workers") = 1);
    m.def("rank_one", &py_rank_one, py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("bits"),
          py::arg("depth"));
    m.def("rank_one_at_once", &py_rank_one_at_once, py::arg("x"), py::arg("y"), py::arg("significand"), py::pos_only());
    m.def("chain_error", &py_chain_error, py::arg("factors"), py::arg("rounded"));
    m.def("encode_floats", &py_encode_floats, py::arg("values").noconvert(), py::arg("bits"), py::arg("significand"));
    m.def("decode_floats", &py_decode_floats, py::arg("codes").noconvert(), py::arg("bits"), py::arg("significand"));
    m.def("tile_layout", &tile_layout, py::arg("pattern"), py::arg("rank"));
}
