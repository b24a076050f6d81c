// Dense matrices in window codes: what Python holds of one, its arrays and the product that borrows them.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "dense/encode.hpp"
#include "dense/product.hpp"
#include "interruptible.hpp"

namespace bitterfly {
namespace {

class DenseCore {
public:
    DenseCore(DenseProduct product, std::vector<py::object> keep) : product_(product), keep_(std::move(keep)) {}

    void apply(const py::array& x, py::array& out, bool transposed, std::size_t parts, std::size_t workers) const {
        require_floating(x, "x");
        require_floating(out, "out");
        require(parts >= 1 && parts <= kMostParts, "parts: expected 1, 2 or 3");
        View from = const_view(x);
        MutableView to = mutable_view(out);
        const std::size_t rows = product_.rows, columns = product_.columns;
        require(from.rows == (transposed ? rows : columns) && to.rows == (transposed ? columns : rows) &&
                    from.columns == to.columns,
                "x, out: expected rows that fit the matrix, and equal numbers of columns");
        require((from.im == nullptr) == (to.im == nullptr), "out: expected a complex array exactly where x is complex");
        py::gil_scoped_release release;
        bitterfly::apply(product_, transposed, parts, from, to, workers);
        if (from.im == nullptr) return;
        from.re = from.im, to.re = to.im;
        bitterfly::apply(product_, transposed, parts, from, to, workers);
    }

private:
    DenseProduct product_;
    std::vector<py::object> keep_;
};

using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;
using Entries = py::array_t<std::int8_t, py::array::c_style>;
using Scales = py::array_t<float, py::array::c_style>;

DenseCode code_named(const std::string& name) {
    for (const auto& [known, code] : {std::pair{"window7", DenseCode::kWindow7},
                                      {"window11", DenseCode::kWindow11},
                                      {"scalar6", DenseCode::kScalar6},
                                      {"scalar8", DenseCode::kScalar8}}) {
        if (name == known) return code;
    }
    require(false, "code: expected window7, window11, scalar6 or scalar8, got '" + name + "'");
    return {};
}

// Kernels rely on the ranges.
void require_tables(DenseCode code, const std::optional<Entries>& table, const std::optional<ByteArray>& masks) {
    const bool is_window = bias_of(code) == 64, is_long = code == DenseCode::kWindow11;
    const py::ssize_t count = code == DenseCode::kScalar8 ? 0 : is_window ? 128 : 64;
    require((table ? table->size() : 0) == count,
            "table: expected 128 entries of window codes, 64 of 6 bits, else none");
    require((masks ? masks->size() : 0) == (is_long ? 16 : 0), "masks: expected 16 for window11, else none");
    require(!is_window || std::all_of(table->data(), table->data() + count, [](int x) { return x >= -64 && x < 64; }),
            "table: expected entries from -64 to 63");
    require(!is_long || std::all_of(masks->data(), masks->data() + 16, [](int x) { return x < 128; }),
            "masks: expected 7 bits");
}

std::unique_ptr<DenseCore> make_dense(std::pair<std::size_t, std::size_t> shape, const std::string& name, int half_bits,
                                      const ByteArray& tiles, const Scales& scale, const std::optional<Entries>& table,
                                      const std::optional<ByteArray>& masks) {
    const auto [rows, columns] = shape;
    const DenseCode code = code_named(name);
    require(rows > 0 && columns > 0, "shape: expected at least one row and one column");
    require(is_rate(code, half_bits), "half_bits: expected 2 to 8 or 10 for windows, 12 for scalar6, 16 for scalar8");
    require_tables(code, table, masks);
    const std::size_t bytes = tiles_bytes(rows, columns, half_bits);
    require(static_cast<std::size_t>(tiles.size()) == bytes,
            "tiles: expected " + std::to_string(bytes) + " bytes, the last 64 of them unused");
    require(static_cast<std::size_t>(scale.size()) == rows, "scale: expected a number for each row");
    const DenseProduct product{rows,
                               columns,
                               code,
                               half_bits,
                               table_of(code, table ? table->data() : nullptr, masks ? masks->data() : nullptr),
                               tiles.data(),
                               scale.data()};
    return std::make_unique<DenseCore>(product, std::vector<py::object>{tiles, scale});
}

using WindowTable = py::array_t<std::int8_t, py::array::c_style>;
using Masks = std::optional<py::array_t<std::uint8_t, py::array::c_style>>;

// Sequences (count, T) in the order of rows -> streams (count, T * half_bits / 16). `around`: see encode.hpp; 0:
// enough.
py::array_t<std::uint8_t> py_window_encode(const py::array& x, const WindowTable& table, const Masks& masks,
                                           int half_bits, std::size_t rows_valid, std::size_t workers,
                                           std::size_t around) {
    const bool contiguous = (x.flags() & py::array::c_style) != 0;
    require(x.dtype().is(py::dtype::of<float>()) && x.ndim() == 2 && contiguous,
            "x: expected contiguous sequences (count, T) in float32");
    const auto count = static_cast<std::size_t>(x.shape(0)), length = static_cast<std::size_t>(x.shape(1));
    require(length > 0 && length <= kMostLength && length % 16 == 0, "x: expected T = 16, 32, 48 or 64");
    require(half_bits >= 2 && (half_bits <= 8 || half_bits == 10), "half_bits: expected 2 to 8 or 10");
    require(rows_valid <= length, "rows_valid: expected at most T");
    require(around <= length, "around: expected at most T");
    const auto fits = [](int entry) { return entry >= -kMostEntry && entry <= kMostEntry; };
    require(table.ndim() == 1 && table.size() == 128 && std::all_of(table.data(), table.data() + 128, fits),
            "table: expected 128 entries from -63 to 63");
    require(!masks || (masks->ndim() == 1 && masks->size() == 16 &&
                       std::all_of(masks->data(), masks->data() + 16, [](int mask) { return mask < 128; })),
            "masks: expected 16 masks of 7 bits");
    const WindowCode code{{masks ? 11 : 7, half_bits}, table.data(), masks ? masks->data() : nullptr};
    auto streams = aligned_array<std::uint8_t>({x.shape(0), x.shape(1) * half_bits / 16});
    const std::size_t rows = around > 0 ? around : enough_around(code.trellis, length);
    const auto* from = static_cast<const float*>(x.data());
    auto* to = streams.mutable_data();
    {
        const Interruptible interruptible;
        window_codes(from, count, length, rows_valid, code, rows, to, workers);
    }
    return streams;
}

}  // namespace

void add_dense(py::module_& m) {
    py::class_<DenseCore>(m, "DenseCore")
        .def("apply", &DenseCore::apply, py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("transposed"),
             py::arg("parts"), py::arg("workers") = 1);
    m.def("dense", &make_dense, py::arg("shape"), py::arg("code"), py::arg("half_bits"), py::arg("tiles").noconvert(),
          py::arg("scale").noconvert(), py::arg("table").noconvert() = py::none(),
          py::arg("masks").noconvert() = py::none());
    m.def("window_encode", &py_window_encode, py::arg("x").noconvert(), py::arg("table").noconvert(),
          py::arg("masks").noconvert(), py::arg("half_bits"), py::arg("rows_valid"), py::arg("workers") = 1,
          py::arg("around") = 0);
}

}  // namespace bitterfly
