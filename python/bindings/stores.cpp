// Codes and weights between arrays, files and the order in which kernels read them.
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "codes.hpp"
#include "lanes.hpp"
#include "stores/codes/float_codes.hpp"
#include "stores/codes/pack.hpp"
#include "stores/layout.hpp"
#include "stores/stream.hpp"

namespace bitterfly {
namespace {

// (factors, stride) of each pass, in the order of the forward product.
std::vector<std::pair<int, std::size_t>> plan_of(std::size_t n) {
    log2_of(n);
    std::vector<std::pair<int, std::size_t>> out;
    for (const PassPlan& pass : Plan(n).passes) out.emplace_back(pass.factors, pass.stride);
    return out;
}

std::vector<int> bits_of(const std::vector<Code>& codes) {
    std::vector<int> out;
    for (const Code& code : codes) out.push_back(code.bits);
    return out;
}

// Words of a file to the stream of the kernels, or back.
IndexArray reordered(const NamedCodes& named, const IndexArray& words, bool to_stream) {
    const std::vector<Code> codes = codes_of(named);
    require_words(words, codes);
    auto out = aligned_array<std::uint32_t>({words.size()});
    without_lock([&] {
        const Plan plan(std::size_t{1} << codes.size());
        (to_stream ? codes_to_stream : codes_from_stream)(plan, bits_of(codes), words.data(), out.mutable_data());
    });
    return out;
}

// (p, 2n) values to the stream of the kernels.
py::array stream_of_values(const py::array& values) {
    const std::size_t n = size_of_values(values), planes = is_complex(values) ? 2 : 1;
    return by_dtype(values, [&](auto zero) -> py::array {
        using Real = decltype(std::abs(zero));
        const Plan plan(n);
        auto out = aligned_array<Real>({static_cast<py::ssize_t>(weight_count(plan, planes))});
        const auto* from = static_cast<const Real*>(values.data());
        without_lock([&] { weights_to_stream(plan, planes, from, out.mutable_data()); });
        return out;
    });
}

py::array values_of_stream(std::size_t n, const py::array& stream, const py::dtype& dtype) {
    const auto p = static_cast<py::ssize_t>(log2_of(n));
    return by_dtype(py::array(dtype, std::vector<py::ssize_t>{0}), [&](auto zero) -> py::array {
        using Real = decltype(std::abs(zero));
        const std::size_t planes = dtype.kind() == 'c' ? 2 : 1;
        const Plan plan(n);
        require(py::isinstance<py::array_t<Real>>(stream) &&
                    static_cast<std::size_t>(stream.size()) == weight_count(plan, planes),
                "stream: expected what stream_of_values returns");
        auto out = aligned_array<decltype(zero)>({p, static_cast<py::ssize_t>(2 * n)});
        const auto* from = static_cast<const Real*>(stream.data());
        auto* to = reinterpret_cast<Real*>(out.mutable_data());
        without_lock([&] { weights_from_stream(plan, planes, from, to); });
        return out;
    });
}

// How the values of one factor are laid out: (split, tiles, rows of a lane, words of a mask).
py::tuple tile_layout(const std::array<std::size_t, 4>& p, std::size_t rank) {
    const TileFactor f = layout_of(p[0], p[1], p[2], p[3], rank);
    return py::make_tuple(f.split, f.tiles, f.group_rows, f.mask_words);
}

IndexArray py_pack(const IndexArray& codes, int bits) {
    require(codes.ndim() == 3 && codes.shape(1) == 2 && bits >= 1 && bits <= 32,
            "codes: expected shape (a, 2, d) and 1 to 32 bits");
    const auto n = static_cast<std::size_t>(codes.size()), d = static_cast<std::size_t>(codes.shape(2));
    log2_of(n);
    auto words = aligned_array<std::uint32_t>({static_cast<py::ssize_t>(packed_words(n, bits))});
    without_lock([&] { pack(codes.data(), n, d, bits, words.mutable_data()); });
    return words;
}

IndexArray py_unpack(const IndexArray& words, std::size_t n, std::size_t d, int bits) {
    require(bits >= 1 && bits <= 32 && log2_of(n) > 0 && d >= 1 && n % (2 * d) == 0,
            "unpack: expected 1 to 32 bits and 2 d to divide n");
    require(static_cast<std::size_t>(words.size()) == packed_words(n, bits),
            "words: expected " + std::to_string(packed_words(n, bits)) + " words");
    auto codes = aligned_array<std::uint32_t>({static_cast<py::ssize_t>(n / (2 * d)), 2, static_cast<py::ssize_t>(d)});
    without_lock([&] { unpack(words.data(), n, d, bits, codes.mutable_data()); });
    return codes;
}

// (tiles, count, 16) codes <-> (tiles, lines, 16) words of a factor in tiles.
IndexArray py_pack_lanes(const IndexArray& codes, int bits) {
    require(codes.ndim() == 3 && codes.shape(2) == static_cast<py::ssize_t>(kLanes) && bits >= 1 && bits <= 30,
            "codes: expected shape (tiles, count, 16) and 1 to 30 bits");
    const auto tiles = static_cast<std::size_t>(codes.shape(0)), count = static_cast<std::size_t>(codes.shape(1));
    const auto lines = static_cast<py::ssize_t>((count * static_cast<std::size_t>(bits) + 31) / 32);
    auto words = aligned_array<std::uint32_t>({codes.shape(0), lines, codes.shape(2)});
    without_lock([&] { pack_lanes(codes.data(), tiles, count, bits, words.mutable_data()); });
    return words;
}

IndexArray py_unpack_lanes(const IndexArray& words, std::size_t tiles, std::size_t count, int bits) {
    require(bits >= 1 && bits <= 30, "bits: expected 1 to 30");
    const std::size_t lines = (count * static_cast<std::size_t>(bits) + 31) / 32;
    require(static_cast<std::size_t>(words.size()) == tiles * lines * kLanes, "words: expected whole tiles");
    auto codes = aligned_array<std::uint32_t>(
        {static_cast<py::ssize_t>(tiles), static_cast<py::ssize_t>(count), static_cast<py::ssize_t>(kLanes)});
    without_lock([&] { unpack_lanes(words.data(), tiles, count, bits, codes.mutable_data()); });
    return codes;
}

py::list py_decode(const std::string& name, int bits, const std::vector<std::uint32_t>& codes) {
    const Code code = code_of(name, bits);
    py::list out;
    for (const std::uint32_t q : codes) {
        const Direction u = decode(code, q);
        out.append(py::make_tuple(u.first, u.second));
    }
    return out;
}

// Any shape of float64 -> codes of that shape, and back.
IndexArray py_encode_floats(const py::array& values, int bits, int significand) {
    require_double(values, false, "values");
    require_float_code(bits, significand);
    auto codes = aligned_array<std::uint32_t>({values.shape(), values.shape() + values.ndim()});
    const auto* from = static_cast<const double*>(values.data());
    const auto count = static_cast<std::size_t>(values.size());
    without_lock([&] { encode_floats(from, count, bits, significand, codes.mutable_data()); });
    return codes;
}

py::array py_decode_floats(const IndexArray& codes, int bits, int significand) {
    require_float_code(bits, significand);
    auto values = aligned_array<double>({codes.shape(), codes.shape() + codes.ndim()});
    const auto count = static_cast<std::size_t>(codes.size());
    without_lock([&] { decode_floats(codes.data(), count, bits, significand, values.mutable_data()); });
    return values;
}

}  // namespace

void add_stores(py::module_& m) {
    m.def("plan", &plan_of, py::arg("n"));
    m.def("reordered", &reordered, py::arg("codes"), py::arg("words").noconvert(), py::arg("to_stream"));
    m.def("stream_of_values", &stream_of_values, py::arg("values").noconvert());
    m.def("values_of_stream", &values_of_stream, py::arg("n"), py::arg("stream").noconvert(), py::arg("dtype"));
    m.def("tile_layout", &tile_layout, py::arg("pattern"), py::arg("rank"));
    m.def("pack", &py_pack, py::arg("codes").noconvert(), py::arg("bits"));
    m.def("unpack", &py_unpack, py::arg("words").noconvert(), py::arg("n"), py::arg("d"), py::arg("bits"));
    m.def("packed_words", &packed_words, py::arg("n"), py::arg("bits"));
    m.def("pack_lanes", &py_pack_lanes, py::arg("codes").noconvert(), py::arg("bits"));
    m.def("unpack_lanes", &py_unpack_lanes, py::arg("words").noconvert(), py::arg("tiles"), py::arg("count"),
          py::arg("bits"));
    m.def("decode", &py_decode, py::arg("code"), py::arg("bits"), py::arg("codes"));
    m.def("encode_floats", &py_encode_floats, py::arg("values").noconvert(), py::arg("bits"), py::arg("significand"));
    m.def("decode_floats", &py_decode_floats, py::arg("codes").noconvert(), py::arg("bits"), py::arg("significand"));
}

}  // namespace bitterfly
