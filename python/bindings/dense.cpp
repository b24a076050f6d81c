// Dense matrices in window codes: what Python holds of one, its arrays and the product that borrows them.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "dense/decode.hpp"
#include "dense/encode.hpp"
#include "dense/product.hpp"
#include "dense/rotation.hpp"
#include "interruptible.hpp"

namespace bitterfly {
namespace {

using Scales = py::array_t<std::uint16_t, py::array::c_style>;
using RowIndex = py::array_t<std::int64_t, py::array::c_style>;
using Shape = std::pair<std::size_t, std::size_t>;

constexpr std::size_t kBlockColumns = 32;
constexpr int kMostExponent = 2000;
constexpr std::size_t kMostSide = std::size_t{1} << 31;  // sizes in bytes fit 64 bits

// Calls run(from, to) for the real numbers of arrays, and for the imaginary ones.
template <class Run>
void for_each_plane(View from, MutableView to, Run run) {
    py::gil_scoped_release release;
    run(from, to);
    if (from.im == nullptr) return;
    from.re = from.im, to.re = to.im;
    run(from, to);
}

// As many columns as given, all of them real or all complex, in the precision of x or a wider one.
void require_like(const View& from, const MutableView& to, std::size_t from_rows, std::size_t to_rows) {
    require(from.rows == from_rows && to.rows == to_rows && from.columns == to.columns,
            "x, out: expected rows that fit the matrix, and equal numbers of columns");
    require((from.im == nullptr) == (to.im == nullptr), "out: expected a complex array exactly where x is complex");
    require(to.is_double || !from.is_double, "out: expected the precision of x, or double precision");
}

class RotationCore {
public:
    RotationCore(std::size_t n, std::uint64_t seed) : n_(n), rotation_(n, seed) {}

    void apply(const py::array& x, py::array& out, bool adjoint, std::size_t workers) const {
        require_floating(x, "x");
        require_floating(out, "out");
        const View from = const_view(x);
        const MutableView to = mutable_view(out);
        require_like(from, to, n_, n_);
        for_each_plane(from, to, [&](const View& some, const MutableView& result) {
            bitterfly::apply(rotation_, adjoint, some, result, workers);
        });
    }
    std::vector<std::array<std::size_t, 3>> sizes() const { return rotation_.sizes(); }

private:
    std::size_t n_;
    Rotation rotation_;
};

std::unique_ptr<RotationCore> make_rotation(std::size_t n, std::uint64_t seed) {
    require(n > 0 && n <= kMostSide, "n: expected 1 to 2^31");
    return std::make_unique<RotationCore>(n, seed);
}

class DenseCore {
public:
    DenseCore(DenseProduct product, std::optional<std::uint64_t> inputs, std::vector<py::object> keep)
        : product_(std::move(product)), inputs_(inputs), keep_(std::move(keep)) {}

    // Whether products take the same digits as those of another.
    bool is_beside(const DenseCore& other) const {
        const auto is_plain = [](const DenseProduct& p) { return p.pieces.size() == 1 && !p.outputs; };
        return is_plain(product_) && is_plain(other.product_) && product_.columns == other.product_.columns &&
               inputs_ == other.inputs_;
    }

    void apply(const py::array& x, py::array& out, bool transposed, std::size_t parts, std::size_t workers) const {
        require_floating(x, "x");
        require_floating(out, "out");
        require(parts <= kMostParts, "parts: expected 1, 2 or 3, or 0 for exact products");
        const View from = const_view(x);
        const MutableView to = mutable_view(out);
        const std::size_t rows = product_.rows, columns = product_.columns;
        require_like(from, to, transposed ? rows : columns, transposed ? columns : rows);
        for_each_plane(from, to, [&](const View& some, const MutableView& result) {
            bitterfly::apply(product_, transposed, parts, some, result, workers);
        });
    }

    // The product of real vectors, a new array of their precision.
    py::array product(const py::array& x, bool transposed, std::size_t parts, std::size_t workers) const {
        require_floating(x, "x");
        require(!is_complex(x) && (x.ndim() == 1 || x.ndim() == 2), "x: expected a real vector or matrix");
        std::vector<py::ssize_t> shape(x.shape(), x.shape() + x.ndim());
        shape[0] = static_cast<py::ssize_t>(transposed ? product_.columns : product_.rows);
        py::array out(x.dtype(), shape);
        apply(x, out, transposed, parts, workers);
        return out;
    }

    void rows(const RowIndex& index, py::array& out, std::size_t workers) const {
        require_floating(out, "out");
        require(!is_complex(out) && out.ndim() == 2, "out: expected a real matrix");
        const MutableView to = mutable_view(out);
        require(
            index.ndim() == 1 && static_cast<std::size_t>(index.size()) == to.rows && to.columns == product_.columns,
            "index, out: expected a row of the matrix for each index");
        const auto end = static_cast<std::int64_t>(product_.rows);
        require(std::all_of(index.data(), index.data() + to.rows, [end](auto i) { return i >= 0 && i < end; }),
                "index: expected rows of the matrix");
        without_lock([&] { decode_rows(product_, index.data(), to, workers); });
    }

    const DenseProduct& product_of_core() const { return product_; }

private:
    DenseProduct product_;
    std::optional<std::uint64_t> inputs_;
    std::vector<py::object> keep_;
};

// Products of several matrices with the same vectors.
void apply_beside(const std::vector<const DenseCore*>& cores, const py::array& x, std::vector<py::array> outs,
                  std::size_t parts, std::size_t workers) {
    require_floating(x, "x");
    require(parts >= 1 && parts <= kMostParts, "parts: expected 1, 2 or 3");
    require(!cores.empty() && cores.size() == outs.size(), "cores, outs: expected an array for each of some matrices");
    const View from = const_view(x);
    std::vector<DenseTarget> targets, imaginary;
    for (std::size_t t = 0; t < cores.size(); ++t) {
        require(cores[0]->is_beside(*cores[t]),
                "cores: expected one piece each, and the same rotation of inputs alone");
        require_floating(outs[t], "outs");
        const DenseProduct& product = cores[t]->product_of_core();
        targets.push_back({&product, mutable_view(outs[t])});
        require_like(from, targets[t].y, product.columns, product.rows);
        imaginary.push_back(targets[t]);
        imaginary[t].y.re = targets[t].y.im;
    }
    py::gil_scoped_release release;
    bitterfly::apply(targets, parts, from, workers);
    if (from.im == nullptr) return;
    View other = from;
    other.re = from.im;
    bitterfly::apply(imaginary, parts, other, workers);
}

using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;
using Entries = py::array_t<std::int8_t, py::array::c_style>;

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

// Columns in one code as Python describes them; its arrays are kept as long as the product.
struct PieceArrays {
    DenseCode code;
    int half_bits;
    ByteArray tiles;
    double step;
    DenseTable table;
    OptionalIndex blocks;  // of 32 columns; none: all of them

    PieceArrays(const std::string& name, int half_bits_, ByteArray tiles_, double step_,
                const std::optional<Entries>& entries, const std::optional<ByteArray>& masks, OptionalIndex blocks_)
        : code(code_named(name)),
          half_bits(half_bits_),
          tiles(std::move(tiles_)),
          step(step_),
          table{},
          blocks(std::move(blocks_)) {
        require(is_rate(code, half_bits),
                "half_bits: expected 2 to 8 or 10 for windows, 12 for scalar6, 16 for scalar8");
        require_tables(code, entries, masks);
        require(step >= 0x1p-100 && step <= 0x1p100, "step: expected a number from 2^-100 to 2^100");
        require(!blocks || (blocks->ndim() == 1 && blocks->size() > 0), "blocks: expected a vector of at least one");
        table = table_of(code, entries ? entries->data() : nullptr, masks ? masks->data() : nullptr);
    }
};

// Neighbours make one run. `is_taken`: the blocks that pieces before have.
std::vector<ColumnRun> runs_of(const OptionalIndex& blocks, std::size_t columns, std::vector<bool>& is_taken) {
    if (!blocks) {
        require(std::find(is_taken.begin(), is_taken.end(), true) == is_taken.end(),
                "blocks: expected one piece where it has all columns");
        std::fill(is_taken.begin(), is_taken.end(), true);
        return {{0, columns}};
    }
    const std::uint32_t* all = blocks->data();
    std::vector<ColumnRun> runs;
    for (std::size_t i = 0; i < static_cast<std::size_t>(blocks->size()); ++i) {
        const std::size_t block = all[i], first = block * kBlockColumns;
        require(block < is_taken.size() && (i == 0 || all[i - 1] < block),
                "blocks: expected numbers of blocks of 32 columns in increasing order");
        require(!is_taken[block], "blocks: expected each in one piece, got " + std::to_string(block) + " twice");
        is_taken[block] = true;
        if (runs.empty() || runs.back().first + runs.back().count != first) runs.push_back({first, 0});
        runs.back().count += std::min(kBlockColumns, columns - first);
    }
    return runs;
}

DensePiece piece_of(const PieceArrays& arrays, Shape shape, std::vector<bool>& is_taken) {
    DensePiece piece{arrays.code,
                     arrays.half_bits,
                     arrays.table,
                     arrays.tiles.data(),
                     arrays.step,
                     runs_of(arrays.blocks, shape.second, is_taken),
                     0};
    for (const ColumnRun& run : piece.runs) piece.columns += run.count;
    const std::size_t bytes = tiles_bytes(shape.first, piece.columns, piece.half_bits);
    require(static_cast<std::size_t>(arrays.tiles.size()) == bytes,
            "tiles: expected " + std::to_string(bytes) + " bytes, the last 64 of them unused");
    return piece;
}

std::optional<Rotation> rotation_of(std::size_t n, std::optional<std::uint64_t> seed) {
    return seed ? std::optional<Rotation>(std::in_place, n, *seed) : std::nullopt;
}

std::unique_ptr<DenseCore> make_dense(Shape shape, const std::vector<PieceArrays>& pieces, const Scales& scale,
                                      int exponent, std::optional<std::uint64_t> inputs,
                                      std::optional<std::uint64_t> outputs) {
    const auto [rows, columns] = shape;
    require(rows > 0 && columns > 0 && rows <= kMostSide && columns <= kMostSide,
            "shape: expected 1 to 2^31 rows and columns");
    require(!pieces.empty(), "pieces: expected at least one");
    require(scale.ndim() == 1 && static_cast<std::size_t>(scale.size()) == rows,
            "scale: expected a half float for each row");
    require(std::all_of(scale.data(), scale.data() + rows, [](unsigned h) { return (h & 0x7C00U) != 0x7C00U; }),
            "scale: expected finite half floats");
    require(exponent >= -kMostExponent && exponent <= kMostExponent, "exponent: expected at most 2000 in magnitude");
    DenseProduct product{.rows = rows,
                         .columns = columns,
                         .pieces = {},
                         .scale = scale.data(),
                         .exponent = exponent,
                         .inputs = rotation_of(columns, inputs),
                         .outputs = rotation_of(rows, outputs)};
    std::vector<py::object> keep{scale};
    std::vector<bool> is_taken((columns + kBlockColumns - 1) / kBlockColumns);
    for (const PieceArrays& arrays : pieces) {
        product.pieces.push_back(piece_of(arrays, shape, is_taken));
        keep.push_back(arrays.tiles);
    }
    require(std::find(is_taken.begin(), is_taken.end(), false) == is_taken.end(),
            "blocks: expected all blocks of 32 columns in the pieces together");
    return std::make_unique<DenseCore>(std::move(product), inputs, std::move(keep));
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

// Streams (count, T * half_bits / 16) -> their entries (count, T) in the order of rows.
py::array_t<std::int8_t> py_window_decode(const ByteArray& streams, const std::optional<Entries>& table,
                                          const std::optional<ByteArray>& masks, int half_bits, std::size_t workers) {
    const DenseCode code = half_bits == 12   ? DenseCode::kScalar6
                           : half_bits == 16 ? DenseCode::kScalar8
                           : masks           ? DenseCode::kWindow11
                                             : DenseCode::kWindow7;
    require(is_rate(code, half_bits), "half_bits: expected 2 to 8, 10, 12 or 16");
    require_tables(code, table, masks);
    const py::ssize_t unit = half_bits;  // bytes of 16 rows
    require(streams.ndim() == 2 && streams.shape(1) > 0 && streams.shape(1) % unit == 0,
            "streams: expected (count, T * half_bits / 16), T a multiple of 16");
    const auto count = static_cast<std::size_t>(streams.shape(0));
    const auto length = static_cast<std::size_t>(streams.shape(1) / unit * 16);
    const DenseTable loaded = table_of(code, table ? table->data() : nullptr, masks ? masks->data() : nullptr);
    auto entries = aligned_array<std::int8_t>({streams.shape(0), static_cast<py::ssize_t>(length)});
    auto* to = entries.mutable_data();
    without_lock([&] { window_entries(code, half_bits, loaded, streams.data(), count, length, to, workers); });
    return entries;
}

}  // namespace

void add_dense(py::module_& m) {
    py::class_<PieceArrays>(m, "DensePiece")
        .def(py::init<const std::string&, int, ByteArray, double, const std::optional<Entries>&,
                      const std::optional<ByteArray>&, OptionalIndex>(),
             py::arg("code"), py::arg("half_bits"), py::arg("tiles").noconvert(), py::arg("step"),
             py::arg("table").noconvert() = py::none(), py::arg("masks").noconvert() = py::none(),
             py::arg("blocks").noconvert() = py::none());
    py::class_<DenseCore>(m, "DenseCore")
        .def("apply", &DenseCore::apply, py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("transposed"),
             py::arg("parts"), py::arg("workers") = 1)
        .def("product", &DenseCore::product, py::arg("x").noconvert(), py::arg("transposed"), py::arg("parts"),
             py::arg("workers") = 1)
        .def("is_beside", &DenseCore::is_beside, py::arg("other"))
        .def("rows", &DenseCore::rows, py::arg("index").noconvert(), py::arg("out").noconvert(),
             py::arg("workers") = 1);
    m.def("dense_beside", &apply_beside, py::arg("cores"), py::arg("x").noconvert(), py::arg("outs").noconvert(),
          py::arg("parts"), py::arg("workers") = 1);
    py::class_<RotationCore>(m, "RotationCore")
        .def("sizes", &RotationCore::sizes)
        .def("apply", &RotationCore::apply, py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("adjoint"),
             py::arg("workers") = 1);
    m.def("rotation", &make_rotation, py::arg("n"), py::arg("seed"));
    m.def("dense", &make_dense, py::arg("shape"), py::arg("pieces"), py::arg("scale").noconvert(), py::arg("exponent"),
          py::arg("inputs") = py::none(), py::arg("outputs") = py::none());
    m.def("window_encode", &py_window_encode, py::arg("x").noconvert(), py::arg("table").noconvert(),
          py::arg("masks").noconvert(), py::arg("half_bits"), py::arg("rows_valid"), py::arg("workers") = 1,
          py::arg("around") = 0);
    m.def("window_decode", &py_window_decode, py::arg("streams").noconvert(), py::arg("table").noconvert(),
          py::arg("masks").noconvert(), py::arg("half_bits"), py::arg("workers") = 1);
}

}  // namespace bitterfly
