// Chains and rank-one matrices in double precision to short significands.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "short_floats/chain_error.hpp"
#include "short_floats/drivers.hpp"
#include "short_floats/rank_one/rank_one.hpp"

namespace bitterfly {
namespace {

template <class T>
struct RankOneResult {
    py::array_t<T> x, y;
    double relative_error;
};

// Longer searches than that, in rounded numbers, let other threads run.
constexpr double kShortSearch = 1 << 16;

template <class T>
RankOneResult<T> rank_one_of(const Weighted<T>& u, const Weighted<T>& v, int bits, int depth) {
    const auto length = [](const Weighted<T>& z) { return static_cast<py::ssize_t>(z.size); };
    RankOneResult<T> out{py::array_t<T>(length(u)), py::array_t<T>(length(v)), 0};
    T *u_out = out.x.mutable_data(), *v_out = out.y.mutable_data();
    const auto shorter = static_cast<double>(std::min(u.size, v.size)), both = static_cast<double>(u.size + v.size);
    std::optional<py::gil_scoped_release> release;
    if (std::ldexp(shorter * both, bits) > kShortSearch) release.emplace();
    RankOne<T> search(bits, bits, depth);
    const double none = std::numeric_limits<double>::infinity();
    const double error =
        u.size <= v.size ? search.both(u, v, u_out, v_out, none) : search.both(v, u, v_out, u_out, none);
    const double norm = std::sqrt(energy(u)) * std::sqrt(energy(v));
    out.relative_error = norm > 0 ? std::sqrt(error) / norm : 0;
    return out;
}

// Ones for the weights of two vectors.
std::vector<double> ones(py::ssize_t a, py::ssize_t b) {
    return std::vector<double>(static_cast<std::size_t>(std::max(a, b)), 1.0);
}

template <class T>
py::tuple rank_one_as(const py::array& x, const py::array& y, int bits, int depth) {
    const std::vector<double> weight = ones(x.size(), y.size());
    const auto view = [&](const py::array& a) {
        return Weighted<T>{static_cast<const T*>(a.data()), weight.data(), static_cast<std::size_t>(a.size())};
    };
    const auto out = rank_one_of<T>(view(x), view(y), bits, depth);
    return py::make_tuple(out.x, out.y, out.relative_error);
}

py::tuple py_rank_one(const py::array& x, const py::array& y, int bits, int depth) {
    require(x.ndim() == 1 && y.ndim() == 1, "x, y: expected vectors");
    require_double(x, is_complex(x), "x");
    require_double(y, is_complex(x), "y");
    require(depth >= 0 && depth <= 64, "depth: expected 0 to 64");
    return is_complex(x) ? rank_one_as<std::complex<double>>(x, y, bits, depth)
                         : rank_one_as<double>(x, y, bits, depth);
}

// A plain vector of float64 or complex128 whose numbers, or their parts, are 0 or of a size whose squares and fourth
// powers are far from overflow and underflow; not all are 0.
struct PlainVector {
    const double* at = nullptr;
    py::ssize_t size = 0;
    bool is_complex = false;
    int exponent = 0;  // of the largest part, 2^(exponent - 1) <= |x| < 2^exponent

    // False for anything else.
    bool read(py::handle object) {
        constexpr int kPlain = int{py::array::c_style} | int{py::detail::npy_api::NPY_ARRAY_ALIGNED_};
        if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_) return false;
        const auto array = py::reinterpret_borrow<py::array>(object);
        const auto* dtype = py::detail::array_descriptor_proxy(py::detail::array_proxy(object.ptr())->descr);
        is_complex = dtype->type_num == py::detail::npy_api::NPY_CDOUBLE_;
        if (dtype->type_num != py::detail::npy_api::NPY_DOUBLE_ && !is_complex) return false;
        if (dtype->byteorder != '=') return false;
        if (array.ndim() != 1 || array.size() == 0 || (array.flags() & kPlain) != kPlain) return false;
        at = static_cast<const double*>(array.data()), size = array.size();
        return is_moderate(is_complex ? 2 * size : size);
    }

private:
    bool is_moderate(py::ssize_t parts) {
        double largest = 0;
        for (py::ssize_t i = 0; i < parts; ++i) {
            const double part = std::fabs(at[i]);
            if (!(part == 0 || (part > 0x1p-100 && part < 0x1p100))) return false;
            largest = std::max(largest, part);
        }
        std::frexp(largest, &exponent);
        return largest > 0;
    }
};

// y is conjugated on the way in and on the way out.
template <class T>
py::tuple plain_rank_one(const PlainVector& x, const PlainVector& y, int bits) {
    const std::vector<double> weight = ones(x.size, y.size);
    const auto of = [](const PlainVector& z) { return reinterpret_cast<const T*>(z.at); };
    std::vector<T> right;
    if constexpr (sizeof(T) > sizeof(double)) {
        right.resize(static_cast<std::size_t>(y.size));
        std::transform(of(y), of(y) + y.size, right.begin(), [](T z) { return conjugate(z); });
    }
    const T* y_at = right.empty() ? of(y) : right.data();
    auto out = rank_one_of<T>({of(x), weight.data(), static_cast<std::size_t>(x.size)},
                              {y_at, weight.data(), static_cast<std::size_t>(y.size)}, bits, bits + 6);
    const double scale = std::ldexp(1.0, x.size <= y.size ? x.exponent : -y.exponent), inverse = 1 / scale;
    T *x_out = out.x.mutable_data(), *y_out = out.y.mutable_data();
    std::transform(x_out, x_out + x.size, x_out, [scale](T q) { return q * scale; });
    std::transform(y_out, y_out + y.size, y_out, [inverse](T q) { return conjugate(q) * inverse; });
    return py::make_tuple(std::move(out.x), std::move(out.y), out.relative_error);
}

// The best rounded vectors of plain ones of one dtype and a plain int from 1 to 24, else None: in one call, nothing
// scaled.
py::object py_rank_one_at_once(py::handle x, py::handle y, py::handle significand) {
    PlainVector u, v;
    if (!PyLong_CheckExact(significand.ptr()) || !u.read(x) || !v.read(y) || u.is_complex != v.is_complex)
        return py::none();
    int overflow = 0;
    const long bits = PyLong_AsLongAndOverflow(significand.ptr(), &overflow);
    if (overflow != 0 || bits < 1 || bits > 24) return py::none();
    return u.is_complex ? plain_rank_one<std::complex<double>>(u, v, static_cast<int>(bits))
                        : plain_rank_one<double>(u, v, static_cast<int>(bits));
}

Driver driver_of(const std::string& name) {
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

template <class T>
double chain_error_as(const std::vector<py::array>& values, std::vector<py::array>& rounded) {
    const auto factors = short_factors<T>(values, rounded, std::vector<int>(values.size(), 1));
    const py::gil_scoped_release release;
    return chain_error(factors);
}

double py_chain_error(const std::vector<py::array>& values, std::vector<py::array> rounded) {
    require(!values.empty() && values.size() == rounded.size(), "rounded: expected as many factors");
    const bool cplx = is_complex(values.front());
    for (const py::array& f : values) require_double(f, cplx, "factors");
    for (const py::array& f : rounded) require_double(f, cplx, "rounded");
    return cplx ? chain_error_as<std::complex<double>>(values, rounded) : chain_error_as<double>(values, rounded);
}

py::tuple py_shorten(const std::vector<py::array>& values, const std::vector<int>& bits, const std::string& driver,
                     int depth, bool weighted, std::size_t workers) {
    require(!values.empty() && values.size() == bits.size(), "bits: expected a number for each factor");
    for (const int b : bits) require(b >= 1 && b <= 24, "bits: expected 1 to 24");
    require(depth >= 0 && depth <= 64, "depth: expected 0 to 64");
    const bool cplx = is_complex(values.front());
    for (const py::array& f : values) require_double(f, cplx, "factors");
    const Driver which = driver_of(driver);
    return cplx ? shorten_as<std::complex<double>>(values, bits, which, depth, weighted, workers)
                : shorten_as<double>(values, bits, which, depth, weighted, workers);
}

}  // namespace

void add_short_floats(py::module_& m) {
    m.def("shorten", &py_shorten, py::arg("factors"), py::arg("bits"), py::arg("driver"), py::arg("depth"),
          py::arg("weighted") = true, py::arg("workers") = 1);
    m.def("rank_one", &py_rank_one, py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("bits"),
          py::arg("depth"));
    m.def("rank_one_at_once", &py_rank_one_at_once, py::arg("x"), py::arg("y"), py::arg("significand"), py::pos_only());
    m.def("chain_error", &py_chain_error, py::arg("factors"), py::arg("rounded"));
}

}  // namespace bitterfly
