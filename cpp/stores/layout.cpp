// The sizes of a factor in tiles that follow from its pattern and rank.
#include "stores/layout.hpp"

#include <algorithm>
#include <bit>

#include "kernels/kernels.hpp"
#include "lanes.hpp"
#include "require.hpp"

namespace bitterfly {

TileFactor layout_of(std::size_t a, std::size_t b, std::size_t c, std::size_t d, std::size_t rank) {
    require(a > 0 && b > 0 && c > 0 && d > 0, "pattern: expected positive numbers");
    require(rank == 0 || (c % rank == 0 && rank <= b), "rank: expected a divisor of c, at most b");
    TileFactor f{};
    f.a = a, f.b = b, f.c = c, f.d = d, f.split = 1, f.rank = rank, f.step = 1;
    if (rank == 0 && a * d < kLanes) f.split = std::min(b, (kLanes + a * d - 1) / (a * d));
    f.lanes = a * f.split * d;
    f.tiles = (f.lanes + kLanes - 1) / kLanes;
    f.group_rows = (b + f.split - 1) / f.split;
    f.mask_words = (b + 31) / 32;
    f.weights = rank == 0 ? f.group_rows * c : (b - rank) * c;
    f.route_rows = std::bit_ceil(b);
    f.switches = f.route_rows / 2 * static_cast<std::size_t>(std::countr_zero(f.route_rows));
    return f;
}

const FormFacts& set_form(TileFactor& f, const std::string& name, int bits, std::size_t planes) {
    const Known& known = kernels().known;
    const FormFacts* found = std::find_if(known.forms, known.forms + known.form_count,
                                          [&](const FormFacts& form) { return name == form.name; });
    require(found != known.forms + known.form_count, "form: unknown, got '" + name + "'");
    require(bits >= found->least_bits && bits <= found->most_bits,
            "bits: expected " + std::to_string(found->least_bits) + " to " + std::to_string(found->most_bits) +
                " for form '" + name + "'");
    f.form = static_cast<Form>(found - known.forms), f.bits = bits, f.is_joined = found->is_joined;
    f.lines = found->lines(bits, f.weights * planes * (f.is_joined ? f.tiles : 1));
    return *found;
}

std::size_t value_count(const TileFactor& f) { return kLanes * f.lines * (f.is_joined ? 1 : f.tiles); }

std::size_t pivot_words(const TileFactor& f) {
    return f.rank == 0 ? 0 : f.tiles * kLanes * (f.c / f.rank) * f.mask_words;
}

}  // namespace bitterfly
