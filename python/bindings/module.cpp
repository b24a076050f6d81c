// The module: NumPy arrays -> views of the core, the GIL released around one call, results -> NumPy arrays.
#include <pybind11/pybind11.h>

namespace bitterfly {

void add_cuts(pybind11::module_& m);
void add_dense(pybind11::module_& m);
void add_factorization(pybind11::module_& m);
void add_machine(pybind11::module_& m);
void add_products(pybind11::module_& m);
void add_quantization(pybind11::module_& m);
void add_short_floats(pybind11::module_& m);
void add_stores(pybind11::module_& m);

}  // namespace bitterfly

PYBIND11_MODULE(_core, m) {
    m.doc() = "The compiled core of bitterfly.";
    bitterfly::add_cuts(m);
    bitterfly::add_dense(m);
    bitterfly::add_factorization(m);
    bitterfly::add_machine(m);
    bitterfly::add_products(m);
    bitterfly::add_quantization(m);
    bitterfly::add_short_floats(m);
    bitterfly::add_stores(m);
}
