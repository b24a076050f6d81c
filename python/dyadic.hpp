// Operators of the square dyadic chain: their codes and weights between files and the streams of the kernels.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "arrays.hpp"
#include "operators.hpp"
#include "products/apply.hpp"
#include "stores/codes/directions.hpp"
#include "stores/codes/pack.hpp"
#include "stores/stream.hpp"

namespace bitterfly {

inline const char* name_of(Source source) {
    switch (source) {
        case Source::kAngle: return "angle";
        case Source::kPhase: return "phase";
        case Source::kSphere: return "sphere";
        default: return "weights";
    }
}

inline Source source_of(const std::string& name) {
    for (const Source s : {Source::kAngle, Source::kPhase, Source::kSphere}) {
        if (name == name_of(s)) return s;
    }
    require(false, "code: expected 'angle', 'phase' or 'sphere', got '" + name + "'");
    return Source::kAngle;
}

inline Code code_of(const std::string& name, int bits) {
    const Code code{source_of(name), bits};
    require(bits >= 1 && bits <= max_bits(code.source), "bits: expected 1 to " + std::to_string(max_bits(code.source)) +
                                                            " for code '" + name + "', got " + std::to_string(bits));
    return code;
}

// (factors, stride) of each pass, in the order of the forward product.
inline std::vector<std::pair<int, std::size_t>> plan_of(std::size_t n) {
    log2_of(n);
    std::vector<std::pair<int, std::size_t>> out;
    for (const PassPlan& pass : Plan(n).passes) out.emplace_back(pass.factors, pass.stride);
    return out;
}

// `stream` is what weights_to_stream makes of (p, 2n) values.
inline std::unique_ptr<Core> make_factors(std::size_t n, const py::array& stream, const py::dtype& dtype,
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

using NamedCodes = std::vector<std::pair<std::string, int>>;

inline std::vector<Code> codes_of(const NamedCodes& named) {
    std::vector<Code> out;
    for (const auto& [name, bits] : named) out.push_back(code_of(name, bits));
    return out;
}

inline std::vector<int> bits_of(const std::vector<Code>& codes) {
    std::vector<int> out;
    for (const Code& code : codes) out.push_back(code.bits);
    return out;
}

inline void require_words(const IndexArray& words, const std::vector<Code>& codes) {
    require(!codes.empty() && codes.size() < 32, "codes: expected log2(n) of them");
    std::size_t count = 0;
    for (const Code& code : codes) count += packed_words(std::size_t{1} << codes.size(), code.bits);
    require(static_cast<std::size_t>(words.size()) == count,
            "words: expected " + std::to_string(count) + " words, got " + std::to_string(words.size()));
}

// Words of a file to the stream of the kernels, or back.
inline IndexArray reordered(const NamedCodes& named, const IndexArray& words, bool to_stream) {
    const std::vector<Code> codes = codes_of(named);
    require_words(words, codes);
    auto out = aligned_array<std::uint32_t>({words.size()});
    const std::uint32_t* from = words.data();
    std::uint32_t* to = out.mutable_data();
    py::gil_scoped_release release;
    const Plan plan(std::size_t{1} << codes.size());
    (to_stream ? codes_to_stream : codes_from_stream)(plan, bits_of(codes), from, to);
    return out;
}

// (p, 2n) values to the stream of the kernels.
inline py::array stream_of_values(const py::array& values) {
    const std::size_t n = size_of_values(values), planes = is_complex(values) ? 2 : 1;
    return by_dtype(values, [&](auto zero) -> py::array {
        using Real = decltype(std::abs(zero));
        const Plan plan(n);
        auto out = aligned_array<Real>({static_cast<py::ssize_t>(weight_count(plan, planes))});
        const auto* from = static_cast<const Real*>(values.data());
        Real* to = out.mutable_data();
        py::gil_scoped_release release;
        weights_to_stream(plan, planes, from, to);
        return out;
    });
}

inline py::array values_of_stream(std::size_t n, const py::array& stream, const py::dtype& dtype) {
    const auto p = static_cast<py::ssize_t>(log2_of(n));
    return by_dtype(py::array(dtype, std::vector<py::ssize_t>{0}), [&](auto zero) -> py::array {
        using Real = decltype(std::abs(zero));
        const std::size_t planes = dtype.kind() == 'c' ? 2 : 1;
        const Plan plan(n);
        require(py::isinstance<py::array_t<Real>>(stream) &&
                    static_cast<std::size_t>(stream.size()) == weight_count(plan, planes),
                "stream: expected what stream_of_values returns");
        auto out = aligned_array<decltype(zero)>({p, static_cast<py::ssize_t>(2 * n)});
        const auto* from = static_cast<const Real*>(stream.data());
        auto* to = reinterpret_cast<Real*>(out.mutable_data());
        py::gil_scoped_release release;
        weights_from_stream(plan, planes, from, to);
        return out;
    });
}

// A vector of numbers, or diag(scale) as a factor in floats.
using ScaleArrays = std::variant<py::array, FactorArrays>;

inline void require_scale(const py::array& scale, std::size_t n, const py::dtype& dtype) {
    require(scale.dtype().equal(dtype), "scale: expected the operator's precision");
    require(
        scale.ndim() == 1 && (scale.flags() & py::array::c_style) != 0 && static_cast<std::size_t>(scale.size()) == n,
        "scale: expected a contiguous vector of n numbers");
}

inline TileFactor short_scale(const FactorArrays& arrays, std::size_t n, const py::dtype& dtype) {
    const TileFactor f = tile_factor(arrays, dtype);
    require(f.significand > 0 && f.a * f.b * f.c == 1 && f.d == n, "scale: expected floats, a factor (1, 1, 1, n)");
    return f;
}

inline std::unique_ptr<Core> make_packed(const NamedCodes& named, const IndexArray& stream, const py::dtype& dtype,
                                         const ScaleArrays& scale, const OptionalIndex& rows,
                                         const OptionalIndex& columns) {
    const py::array none(dtype, std::vector<py::ssize_t>{0});
    require_floating(none, "dtype");
    const std::vector<Code> codes = codes_of(named);
    require_words(stream, codes);
    const std::size_t n = std::size_t{1} << codes.size();
    require_order(rows, n, "rows");
    require_order(columns, n, "columns");
    for (const Code& code : codes) {
        require(is_complex(none) || code.source == Source::kAngle,
                std::string("codes: '") + name_of(code.source) + "' needs a complex operator");
    }
    const bool coded = std::holds_alternative<FactorArrays>(scale);
    const py::array buffer = coded ? std::get<5>(std::get<FactorArrays>(scale)) : std::get<py::array>(scale);
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

inline std::unique_ptr<Core> make_hadamard(std::size_t n, const py::dtype& dtype) {
    log2_of(n);
    require(dtype.kind() == 'f', "dtype: expected float32 or float64");
    if (dtype.itemsize() == sizeof(float))
        return std::make_unique<TypedCore<float, Product>>(product_of_signs<float>(n), n, n, std::vector<py::object>{});
    return std::make_unique<TypedCore<double, Product>>(product_of_signs<double>(n), n, n, std::vector<py::object>{});
}

}  // namespace bitterfly
