// NumPy arrays as the core sees them: dtype and shape checks, views, aligned results.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <bit>
#include <complex>
#include <optional>
#include <string>
#include <vector>

#include "buffer.hpp"
#include "matrix.hpp"
#include "require.hpp"

namespace bitterfly {

namespace py = pybind11;

using IndexArray = py::array_t<std::uint32_t, py::array::c_style>;
using OptionalIndex = std::optional<IndexArray>;

inline const std::uint32_t* data_of(const OptionalIndex& index) { return index ? index->data() : nullptr; }

inline bool is_complex(const py::array& a) { return a.dtype().kind() == 'c'; }
inline bool is_double(const py::array& a) { return a.itemsize() == (is_complex(a) ? 16 : 8); }

inline void require_floating(const py::array& a, const char* name) {
    const char kind = a.dtype().kind();
    const auto size = a.itemsize();
    const bool real = kind == 'f' && (size == 4 || size == 8), cplx = kind == 'c' && (size == 8 || size == 16);
    if (!real && !cplx) require(false, std::string(name) + ": expected float32, float64, complex64 or complex128");
}

inline void require_double(const py::array& a, bool cplx, const char* name) {
    require_floating(a, name);
    const bool good = is_double(a) && is_complex(a) == cplx && (a.flags() & py::array::c_style) != 0;
    require(good, std::string(name) + ": expected contiguous arrays, all float64 or all complex128");
}

// `x` is (count, b, s), contiguous.
inline void require_matrices(const py::array& x) {
    require_floating(x, "x");
    require(x.ndim() == 3 && x.shape(1) > 0 && x.shape(2) > 0 && (x.flags() & py::array::c_style) != 0,
            "x: expected contiguous matrices of shape (count, b, s)");
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

inline View const_view(const py::array& a) { return view_of<View>(a, static_cast<const char*>(a.data())); }
inline MutableView mutable_view(py::array& a) { return view_of<MutableView>(a, static_cast<char*>(a.mutable_data())); }

// A NumPy array that owns cache-line aligned memory, not initialised.
template <class T>
py::array_t<T> aligned_array(const std::vector<py::ssize_t>& shape) {
    std::size_t count = 1;
    for (const py::ssize_t s : shape) count *= static_cast<std::size_t>(s);
    using Memory = AlignedArray<T>;
    auto memory = std::make_unique<Memory>(make_aligned<T>(count));
    T* data = memory->get();
    py::capsule owner(memory.get(), [](void* p) { delete static_cast<Memory*>(p); });
    memory.release();
    return py::array_t<T>(shape, data, owner);
}

// Calls f with the interpreter's lock released; results are converted once it is held again.
template <class F>
void without_lock(F f) {
    const py::gil_scoped_release release;
    f();
}

inline std::size_t log2_of(std::size_t n) {
    require(n >= 2 && std::has_single_bit(n), "expected a power of two, at least 2, got " + std::to_string(n));
    return static_cast<std::size_t>(std::countr_zero(n));
}

inline void require_order(const OptionalIndex& index, std::size_t n, const char* name) {
    if (!index) return;
    require(index->ndim() == 1 && static_cast<std::size_t>(index->size()) == n,
            std::string(name) + ": expected " + std::to_string(n) + " indices");
    const bool inside = std::all_of(index->data(), index->data() + n, [n](std::uint32_t i) { return i < n; });
    require(inside, std::string(name) + ": index out of range");
}

template <class Visit>
auto by_dtype(const py::array& a, Visit visit) {
    if (is_complex(a)) return is_double(a) ? visit(std::complex<double>{}) : visit(std::complex<float>{});
    return is_double(a) ? visit(double{}) : visit(float{});
}

// The checked (p, 2n) buffer of float factors; returns n.
inline std::size_t size_of_values(const py::array& values) {
    require_floating(values, "values");
    require(values.ndim() == 2 && (values.flags() & py::array::c_style) != 0,
            "values: expected a C-contiguous (p, 2n) array");
    const auto n = static_cast<std::size_t>(values.shape(1)) / 2;
    require(log2_of(n) == static_cast<std::size_t>(values.shape(0)) && values.shape(1) % 2 == 0,
            "values: expected shape (log2 n, 2n)");
    return n;
}

}  // namespace bitterfly
