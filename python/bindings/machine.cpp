// Tiers, threads and memory of the machine, and what only benchmarks measure.
#include <chrono>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "kernels/dispatch.hpp"
#include "near_one.hpp"
#include "parallel.hpp"

namespace bitterfly {
namespace {

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

void add_machine(py::module_& m) {
    m.def("aligned_empty", &py_aligned_empty, py::arg("shape"), py::arg("dtype"));
    m.def("near_one", &py_near_one, py::arg("x").noconvert(), py::arg("exponent"));
    m.def("available_isas", &available_isas);
    m.def("active_isa", [] { return std::string(kernels().name); });
    m.def("select_isa", &select_isa, py::arg("name"));
    m.def("config", &config);
    m.def("set_least_parallel_work", &set_least_parallel_work, py::arg("work"));
    m.def("add_peak", &py_add_peak, py::arg("rounds"));
}

}  // namespace bitterfly
