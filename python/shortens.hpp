// Bindings of short significands: factors and vectors in double precision to rounded ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "chain_error.hpp"
#include "drivers.hpp"
#include "float_codes.hpp"
#include "rank_one.hpp"

namespace bitterfly {

inline Driver driver_of(const std::string& name) {
    if (name == "pairwise") return Driver::kPairwise;
    if (name == "left_to_right") return Driver::kLeftToRight;
    if (name == "right_to_left") return Driver::kRightToLeft;
    require(name == "refined",
            "driver: expected pairwise, left_to_right, right_to_left or refined, got '" + name + "'");
    return Driver::kRefined;
}

inline void require_double(const py::array& a, bool cplx, const char* name) {
    require_floating(a, name);
    const bool good = is_double(a) && is_complex(a) == cplx && (a.flags() & py::array::c_style) != 0;
    require(good, std::string(name) + ": expected contiguous arrays, all float64 or all complex128");
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
        py::gil_scoped_release release;
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

// The rounded vectors times powers of two that make up for x and y times powers of two, and the relative error.
template <class T>
struct RankOneResult {
    py::array_t<T> x, y;
    double relative_error;
};

template <class T>
RankOneResult<T> rank_one_of(const py::array& x, const py::array& y, int bits, int depth) {
    const std::vector<double> ones(static_cast<std::size_t>(std::max(x.size(), y.size())), 1.0);
    const Weighted<T> u{static_cast<const T*>(x.data()), ones.data(), static_cast<std::size_t>(x.size())};
    const Weighted<T> v{static_cast<const T*>(y.data()), ones.data(), static_cast<std::size_t>(y.size())};
    RankOneResult<T> out{py::array_t<T>(x.size()), py::array_t<T>(y.size()), 0};
    T *u_out = out.x.mutable_data(), *v_out = out.y.mutable_data();
    py::gil_scoped_release release;
    RankOne<T> search(bits, bits, depth);
    const double none = std::numeric_limits<double>::infinity();
    const double error =
        u.size <= v.size ? search.both(u, v, u_out, v_out, none) : search.both(v, u, v_out, u_out, none);
    const double norm = std::sqrt(energy(u)) * std::sqrt(energy(v));
    out.relative_error = norm > 0 ? std::sqrt(error) / norm : 0;
    return out;
}

inline py::tuple py_rank_one(const py::array& x, const py::array& y, int bits, int depth) {
    require(x.ndim() == 1 && y.ndim() == 1, "x, y: expected vectors");
    require_double(x, is_complex(x), "x");
    require_double(y, is_complex(x), "y");
    require(depth >= 0 && depth <= 64, "depth: expected 0 to 64");
    if (is_complex(x)) {
        const auto out = rank_one_of<std::complex<double>>(x, y, bits, depth);
        return py::make_tuple(out.x, out.y, out.relative_error);
    }
    const auto out = rank_one_of<double>(x, y, bits, depth);
    return py::make_tuple(out.x, out.y, out.relative_error);
}

// Whether all numbers are 0 or of a size whose squares and fourth powers are far from overflow and underflow; the
// exponent e of the largest one, 2^(e - 1) <= |x| < 2^e.
inline bool is_moderate(const py::array& x, int& exponent) {
    const auto* at = static_cast<const double*>(x.data());
    double largest = 0;
    for (py::ssize_t i = 0; i < x.size(); ++i) {
        const double size = std::fabs(at[i]);
        if (!(size == 0 || (size > 0x1p-100 && size < 0x1p100))) return false;
        largest = std::max(largest, size);
    }
    std::frexp(largest, &exponent);
    return largest > 0;
}

// The same for contiguous vectors of float64 of moderate size, else None: in one call, nothing copied or scaled.
inline py::object py_rank_one_at_once(const py::array& x, const py::array& y, int bits) {
    constexpr int kPlain = int{py::array::c_style} | int{py::detail::npy_api::NPY_ARRAY_ALIGNED_};
    const auto plain = [](const py::array& a) {
        return a.ndim() == 1 && a.size() > 0 && (a.flags() & kPlain) == kPlain;
    };
    int x_exponent = 0, y_exponent = 0;
    if (!plain(x) || !plain(y)) return py::none();
    require_double(x, false, "x");
    require_double(y, false, "y");
    if (!is_moderate(x, x_exponent) || !is_moderate(y, y_exponent)) return py::none();
    auto out = rank_one_of<double>(x, y, bits, 0);
    const double scale = std::ldexp(1.0, x.size() <= y.size() ? x_exponent : -y_exponent), inverse = 1 / scale;
    double *x_out = out.x.mutable_data(), *y_out = out.y.mutable_data();
    std::transform(x_out, x_out + x.size(), x_out, [scale](double q) { return q * scale; });
    std::transform(y_out, y_out + y.size(), y_out, [inverse](double q) { return q * inverse; });
    return py::make_tuple(out.x, out.y, out.relative_error);
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
