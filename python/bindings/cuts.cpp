// Signed cuts: what Python holds of a sum of them, and the ascent that finds them.
#include <cmath>
#include <memory>
#include <utility>

#include "arrays.hpp"
#include "cuts/ascent.hpp"
#include "cuts/product.hpp"
#include "interruptible.hpp"

namespace bitterfly {
namespace {

using SignBits = py::array_t<std::uint8_t, py::array::c_style>;
using Doubles = py::array_t<double, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;
using Seeds = py::array_t<std::uint64_t, py::array::c_style>;

constexpr std::size_t kLongestSide = std::size_t{1} << 31;  // sizes in bytes fit 64 bits

class CutCore {
public:
    explicit CutCore(CutProduct product) : product_(std::move(product)) {}

    void apply(const py::array& x, py::array& out, bool transposed, int rounds, std::size_t workers) const {
        require_floating(x, "x");
        require_floating(out, "out");
        require(rounds == 1 || rounds == 2, "rounds: expected 1 or 2");
        View from = const_view(x);
        MutableView to = mutable_view(out);
        const std::size_t rows = product_.left.rows(), columns = product_.right.columns();
        require(from.rows == (transposed ? rows : columns) && to.rows == (transposed ? columns : rows) &&
                    from.columns == to.columns,
                "x, out: expected rows that fit the matrix, and equal numbers of columns");
        require((from.im == nullptr) == (to.im == nullptr), "out: expected a complex array exactly where x is complex");
        const py::gil_scoped_release release;
        bitterfly::apply(product_, transposed, rounds, from, to, workers);
        if (from.im == nullptr) return;
        from.re = from.im, to.re = to.im;
        bitterfly::apply(product_, transposed, rounds, from, to, workers);
    }

    // The signs of the rows, or of the columns: a row of bytes for each cut.
    SignBits signs(bool of_rows) const {
        const SignMatrix& side = of_rows ? product_.left : product_.right;
        const std::size_t count = of_rows ? side.rows() : side.columns(), width = product_.coefficients.size();
        SignBits bits({static_cast<py::ssize_t>(width), static_cast<py::ssize_t>(sign_bytes(count))});
        std::uint8_t* to = bits.mutable_data();
        without_lock([&] { side.write(to, of_rows); });
        return bits;
    }

private:
    CutProduct product_;
};

const std::uint8_t* checked_bits(const SignBits& bits, std::size_t width, std::size_t count, const char* name) {
    require(bits.ndim() == 2 && static_cast<std::size_t>(bits.shape(0)) == width &&
                static_cast<std::size_t>(bits.shape(1)) == sign_bytes(count),
            std::string(name) + ": expected a row of bytes for each cut, a bit for each sign");
    return bits.data();
}

std::unique_ptr<CutCore> make_cuts(std::pair<std::size_t, std::size_t> shape, const Doubles& coefficients,
                                   const SignBits& left, const SignBits& right) {
    const auto [rows, columns] = shape;
    require(rows > 0 && columns > 0 && rows <= kLongestSide && columns <= kLongestSide,
            "shape: expected 1 to 2^31 rows and columns");
    require(coefficients.ndim() == 1 && coefficients.size() > 0 &&
                static_cast<std::size_t>(coefficients.size()) <= kLongestSide,
            "coefficients: expected a vector of at least one");
    const auto width = static_cast<std::size_t>(coefficients.size());
    std::vector<double> near_one(coefficients.data(), coefficients.data() + width);
    double most = 0;
    for (const double c : near_one) {
        require(std::isfinite(c), "coefficients: expected finite numbers");
        most = std::max(most, std::fabs(c));
    }
    int exponent = 0;
    std::frexp(most, &exponent);
    for (double& c : near_one) c = std::ldexp(c, -exponent);
    const std::uint8_t* left_bits = checked_bits(left, width, rows, "left");
    const std::uint8_t* right_bits = checked_bits(right, width, columns, "right");
    const py::gil_scoped_release release;
    return std::make_unique<CutCore>(CutProduct{SignMatrix(left_bits, rows, width, true),
                                                SignMatrix(right_bits, width, columns, false), std::move(near_one),
                                                exponent});
}

class AscentCore {
public:
    explicit AscentCore(const Floats& a)
        : rows_(a.ndim() == 2 ? static_cast<std::size_t>(a.shape(0)) : 0),
          columns_(a.ndim() == 2 ? static_cast<std::size_t>(a.shape(1)) : 0),
          ascent_((require(rows_ > 0 && columns_ > 0, "a: expected a matrix"), a.data()), rows_, columns_) {}

    // As many cuts as seeds: signs of rows and columns as 1 and -1, and their coefficients.
    py::tuple cuts(const Seeds& seeds, std::size_t starts, std::size_t workers) {
        require(seeds.ndim() == 1, "seeds: expected a vector");
        require(starts > 0, "starts: expected at least one");
        const py::ssize_t count = seeds.size();
        Floats s({count, static_cast<py::ssize_t>(rows_)}), t({count, static_cast<py::ssize_t>(columns_)});
        Doubles c(count);
        float *to_s = s.mutable_data(), *to_t = t.mutable_data();
        double* to_c = c.mutable_data();
        {
            const Interruptible interruptible;
            for (py::ssize_t i = 0; i < count; ++i) {
                checkpoint();
                to_c[i] = ascent_.cut(seeds.data()[i], starts, to_s + static_cast<std::size_t>(i) * rows_,
                                      to_t + static_cast<std::size_t>(i) * columns_, workers);
            }
        }
        return py::make_tuple(c, s, t);
    }

private:
    std::size_t rows_, columns_;
    Ascent ascent_;
};

bool has_shape(const py::array& a, py::ssize_t rows, py::ssize_t columns) {
    return a.ndim() == 2 && a.shape(0) == rows && a.shape(1) == columns;
}

std::size_t py_flip_signs(Floats& signs, Floats& slopes, const Floats& gram, Floats& residual, const Floats& weighted,
                          std::size_t times, std::size_t workers) {
    require(signs.ndim() == 2 && signs.shape(1) % 16 == 0, "signs: expected shape (rows, a multiple of 16)");
    require(residual.ndim() == 2 && weighted.ndim() == 2, "residual, weighted: expected matrices");
    const py::ssize_t rows = signs.shape(0), stride = signs.shape(1), width = weighted.shape(0);
    require(width <= stride && has_shape(slopes, rows, stride) && has_shape(gram, width, stride),
            "slopes, gram: expected as many columns as signs, a row for each row of these, or for each cut");
    require(has_shape(residual, rows, weighted.shape(1)), "residual: expected a row for each row of signs");
    const auto size = [](py::ssize_t n) { return static_cast<std::size_t>(n); };
    const FlipArgs args{
        signs.mutable_data(), slopes.mutable_data(),   size(rows),      size(stride),           gram.data(),
        size(width),          residual.mutable_data(), weighted.data(), size(weighted.shape(1))};
    const Interruptible interruptible;
    return flip_signs(args, times, workers);
}

}  // namespace

void add_cuts(py::module_& m) {
    py::class_<CutCore>(m, "CutCore")
        .def("apply", &CutCore::apply, py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("transposed"),
             py::arg("rounds"), py::arg("workers") = 1)
        .def("signs", &CutCore::signs, py::arg("of_rows"));
    py::class_<AscentCore>(m, "Ascent")
        .def(py::init<const Floats&>(), py::arg("a").noconvert())
        .def("cuts", &AscentCore::cuts, py::arg("seeds").noconvert(), py::arg("starts"), py::arg("workers") = 1);
    m.def("cuts", &make_cuts, py::arg("shape"), py::arg("coefficients").noconvert(), py::arg("left").noconvert(),
          py::arg("right").noconvert());
    m.def("flip_signs", &py_flip_signs, py::arg("signs").noconvert(), py::arg("slopes").noconvert(),
          py::arg("gram").noconvert(), py::arg("residual").noconvert(), py::arg("weighted").noconvert(),
          py::arg("times") = 1, py::arg("workers") = 1);
}

}  // namespace bitterfly
