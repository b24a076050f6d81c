// Bindings of short significands: factors and vectors in double precision to rounded ones.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "drivers.hpp"
#include "rank_one.hpp"

namespace bitterfly {

inline Driver driver_of(const std::string& name) {
    if (name == "pairwise") return Driver::kPairwise;
    if (name == "left_to_right") return Driver::kLeftToRight;
    if (name == "right_to_left") return Driver::kRightToLeft;
    require(name == "refined", "driver: expected pairwise, left_to_right, right_to_left or refined, got '" + name + "'");
    return Driver::kRefined;
}

inline void require_double(const py::array& a, bool cplx, const char* name) {
    require_floating(a, name);
    const bool good = is_double(a) && is_complex(a) == cplx && (a.flags() & py::array::c_style) != 0;
    require(good, std::string(name) + ": expected contiguous arrays, all float64 or all complex128");
}

template <class T>
py::tuple shorten_as(const std::vector<py::array>& values, const std::vector<int>& bits, Driver driver, int depth,
                     bool weighted) {
    std::vector<ShortFactor<T>> factors;
    py::list out;
    for (std::size_t l = 0; l < values.size(); ++l) {
        const py::array& f = values[l];
        require(f.ndim() == 4 && f.size() > 0, "factors: expected arrays of shape (a, b, c, d)");
        auto rounded = aligned_array<T>({f.shape(0), f.shape(1), f.shape(2), f.shape(3)});
        const auto side = [&](int axis) { return static_cast<std::size_t>(f.shape(axis)); };
        factors.push_back({side(0), side(1), side(2), side(3), static_cast<const T*>(f.data()), rounded.mutable_data(),
                           bits[l]});
        out.append(rounded);
    }
    for (std::size_t l = 1; l < factors.size(); ++l) {
        const auto &left = factors[l - 1], &right = factors[l];
        require(left.a * left.c * left.d == right.a * right.b * right.d, "factors: expected shapes that multiply");
        require(right.a == left.a * left.c && left.d == right.b * right.d, "factors: expected junctions of rank one");
    }
    ShortReport report{};
    {
        py::gil_scoped_release release;
        report = shorten<T>(factors, driver, depth, weighted);
    }
    return py::make_tuple(out, report.relative_error, report.sweeps);
}

inline py::tuple py_shorten(const std::vector<py::array>& values, const std::vector<int>& bits,
                            const std::string& driver, int depth, bool weighted) {
    require(!values.empty() && values.size() == bits.size(), "bits: expected a number for each factor");
    for (const int b : bits) require(b >= 1 && b <= 24, "bits: expected 1 to 24");
    require(depth >= 0 && depth <= 64, "depth: expected 0 to 64");
    const bool cplx = is_complex(values.front());
    for (const py::array& f : values) require_double(f, cplx, "factors");
    const Driver which = driver_of(driver);
    return cplx ? shorten_as<std::complex<double>>(values, bits, which, depth, weighted)
                : shorten_as<double>(values, bits, which, depth, weighted);
}

template <class T>
py::tuple rank_one_as(const py::array& x, const py::array& y, int bits, int depth) {
    auto left = aligned_array<T>({x.size()}), right = aligned_array<T>({y.size()});
    const std::vector<double> ones(static_cast<std::size_t>(std::max(x.size(), y.size())), 1.0);
    const Weighted<T> u{static_cast<const T*>(x.data()), ones.data(), static_cast<std::size_t>(x.size())};
    const Weighted<T> v{static_cast<const T*>(y.data()), ones.data(), static_cast<std::size_t>(y.size())};
    T *u_out = left.mutable_data(), *v_out = right.mutable_data();
    double error = 0;
    {
        py::gil_scoped_release release;
        const RankOne<T> search(bits, bits, depth);
        const double none = std::numeric_limits<double>::infinity();
        error = u.size <= v.size ? search.both(u, v, u_out, v_out, none) : search.both(v, u, v_out, u_out, none);
    }
    return py::make_tuple(left, right, error);
}

inline py::tuple py_rank_one(const py::array& x, const py::array& y, int bits, int depth) {
    require(x.ndim() == 1 && y.ndim() == 1, "x, y: expected vectors");
    require_double(x, is_complex(x), "x");
    require_double(y, is_complex(x), "y");
    require(depth >= 0 && depth <= 64, "depth: expected 0 to 64");
    return is_complex(x) ? rank_one_as<std::complex<double>>(x, y, bits, depth)
                         : rank_one_as<double>(x, y, bits, depth);
}

}  // namespace bitterfly
