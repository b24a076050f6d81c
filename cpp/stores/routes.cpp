// The switches of a network that partitions rows: those of I in order, those of T backwards.
//
// Why one butterfly network is enough (two are needed if both parts keep their order: Hilewitz and Lee, 2006, "Fast bit
// compression and expansion with parallel extract and parallel deposit instructions"): read a node's n rows as a
// circle. Its rows of I in order and its rows of T backwards are, on the circle, an arc of n/2 rows from the left half
// and one from the right half, each again of this form. An arc of n/2 covers every position modulo n/2 once, so that
// each half, rotated suitably, needs one stage of switches, and by induction log2(n) of them.
#include "stores/routes.hpp"

#include <array>

#include "lanes.hpp"

namespace bitterfly {
namespace {

using Lanes = std::array<std::uint32_t, kLanes>;

// Number of pivots among rows 0 .. j - 1, for j = 0 .. n; rows beyond the masks are none.
std::vector<Lanes> pivots_before(const TileFactor& f, const std::uint32_t* masks) {
    std::vector<Lanes> count(f.route_rows + 1);
    for (std::size_t j = 0; j < f.route_rows; ++j) {
        for (std::size_t q = 0; q < kLanes; ++q) {
            const std::uint32_t pivot = j < f.b ? masks[j / 32 * kLanes + q] >> (j % 32) & 1 : 0;
            count[j + 1][q] = count[j][q] + pivot;
        }
    }
    return count;
}

// Bits of the lanes whose row `i` of the left half belongs to the right half: the left arc starts at `first`.
std::uint16_t switch_at(std::uint32_t i, const Lanes& first, std::uint32_t half) {
    std::uint32_t bits = 0;
    for (std::size_t q = 0; q < kLanes; ++q) bits |= ((i - first[q]) & half ? std::uint32_t{1} : 0) << q;
    return static_cast<std::uint16_t>(bits);
}

// Writes the stages of one network. `start` is where the first row of I of each node lies on the node's circle.
void route(const TileFactor& f, const std::vector<Lanes>& before, std::uint16_t* out) {
    std::vector<Lanes> start(f.route_rows);
    for (std::size_t half = f.route_rows / 2; half > 0; half /= 2) {
        for (std::size_t row = 0; row < f.route_rows; row += 2 * half) {
            Lanes first, &left = start[row], &right = start[row + half];
            for (std::size_t q = 0; q < kLanes; ++q) {
                const auto size = static_cast<std::uint32_t>(half);
                const std::uint32_t ones = before[row + half][q] - before[row][q];
                first[q] = left[q] - (size - ones);
                right[q] = (left[q] + ones) % size;
                left[q] %= size;
            }
            for (std::size_t i = 0; i < half; ++i) {
                *out++ = switch_at(static_cast<std::uint32_t>(i), first, static_cast<std::uint32_t>(half));
            }
        }
    }
}

}  // namespace

std::vector<std::uint16_t> routes_of(const TileFactor& f) {
    if (f.rank == 0) return {};
    const std::size_t networks = f.tiles * (f.c / f.rank);
    std::vector<std::uint16_t> out(networks * f.switches);
    for (std::size_t k = 0; k < networks; ++k) {
        route(f, pivots_before(f, f.pivots + k * f.mask_words * kLanes), out.data() + k * f.switches);
    }
    return out;
}

}  // namespace bitterfly
