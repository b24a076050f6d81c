// Bindings of short significands: factors in double precision to rounded ones, numbers to codes.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "rank_ones.hpp"
#include "short_floats/chain_error.hpp"
#include "short_floats/drivers.hpp"
#include "stores/codes/float_codes.hpp"

namespace bitterfly {

inline Driver driver_of(const std::string& name) {
    if (name == "pairwise") return Driver::kPairwise;
    if (name == "left_to_right") return Driver::kLeftToRight;
    if (name == "right_to_left") return Driver::kRightToLeft;
    require(name == "refined",
            "driver: expected pairwise, left_to_right, right_to_left or refined, got '" + name + "'");
    return Driver::kRefined;
}

template <class T>
std::vector<ShortFactor<T>> short_factors(const std::vector<py::array>& values, std::vector<py::array>& rounded,
                                          const std::vector<int>& bits) {
    std::vector<ShortFactor<T>> factors;
    for (std::size_t l = 0; l < values.size(); ++l) {
        const py::array &f = values[l], &out = rounded[l];
        require(f.ndim() == 4 && f.size() > 0, "factors: expected arrays of shape (a, b, c, d)");
        const bool equal = out.ndim() == 4 && std::equal(f.shape(), f.shape() + 4, out.shape());
        require(equal, "rounded: expected arrays of equal shapes");
        const auto side = [&](int axis) { return static_cast<std::size_t>(f.shape(axis)); };
        auto* to = static_cast<T*>(const_cast<void*>(out.data()));
        factors.push_back({side(0), side(1), side(2), side(3), static_cast<const T*>(f.data()), to, bits[l]});
    }
    for (std::size_t l = 1; l < factors.size(); ++l) {
        const auto &left = factors[l - 1], &right = factors[l];
        require(left.a * left.c * left.d == right.a * right.b * right.d, "factors: expected shapes that multiply");
        require(right.a == left.a * left.c && left.d == right.b * right.d, "factors: expected junctions of rank one");
    }
    return factors;
}

template <class T>
py::tuple shorten_as(const std::vector<py::array>& values, const std::vector<int>& bits, Driver driver, int depth,
                     bool weighted, std::size_t workers) {
    std::vector<py::array> rounded;
    for (const py::array& f : values) {
        rounded.push_back(aligned_array<T>({f.shape(), f.shape() + f.ndim()}));
    }
    const std::vector<ShortFactor<T>> factors = short_factors<T>(values, rounded, bits);
    ShortReport report{};
    {
        const Interruptible interruptible;
        report = shorten<T>(factors, driver, depth, weighted, workers);
    }
    return py::make_tuple(rounded, report.relative_error, report.sweeps);
}

inline double py_chain_error(const std::vector<py::array>& values, std::vector<py::array> rounded) {
    require(!values.empty() && values.size() == rounded.size(), "rounded: expected as many factors");
    const bool cplx = is_complex(values.front());
    for (const py::array& f : values) require_double(f, cplx, "factors");
    for (const py::array& f : rounded) require_double(f, cplx, "rounded");
    const std::vector<int> bits(values.size(), 1);
    return cplx ? chain_error(short_factors<std::complex<double>>(values, rounded, bits))
                : chain_error(short_factors<double>(values, rounded, bits));
}

inline py::tuple py_shorten(const std::vector<py::array>& values, const std::vector<int>& bits,
                            const std::string& driver, int depth, bool weighted, std::size_t workers) {
    require(!values.empty() && values.size() == bits.size(), "bits: expected a number for each factor");
    for (const int b : bits) require(b >= 1 && b <= 24, "bits: expected 1 to 24");
    require(depth >= 0 && depth <= 64, "depth: expected 0 to 64");
    const bool cplx = is_complex(values.front());
    for (const py::array& f : values) require_double(f, cplx, "factors");
    const Driver which = driver_of(driver);
    return cplx ? shorten_as<std::complex<double>>(values, bits, which, depth, weighted, workers)
                : shorten_as<double>(values, bits, which, depth, weighted, workers);
}

// Any shape of float64 -> codes of that shape, and back.
inline IndexArray py_encode_floats(const py::array& values, int bits, int significand) {
    require_double(values, false, "values");
    require_float_code(bits, significand);
    auto codes = aligned_array<std::uint32_t>({values.shape(), values.shape() + values.ndim()});
    encode_floats(static_cast<const double*>(values.data()), static_cast<std::size_t>(values.size()), bits, significand,
                  codes.mutable_data());
    return codes;
}

inline py::array py_decode_floats(const IndexArray& codes, int bits, int significand) {
    require_float_code(bits, significand);
    auto values = aligned_array<double>({codes.shape(), codes.shape() + codes.ndim()});
    decode_floats(codes.data(), static_cast<std::size_t>(codes.size()), bits, significand, values.mutable_data());
    return values;
}

}  // namespace bitterfly
