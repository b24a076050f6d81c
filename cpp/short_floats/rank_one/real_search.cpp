// Candidates of real vectors. While lambda grows, round(lambda x) changes where one entry, the pivot, goes up to its
// next value p: a cell begins, one for each p of an octave.
#include "short_floats/rank_one/real_search.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/kernels.hpp"

namespace bitterfly {
namespace {

constexpr double kBeyond = 0x1p-48;  // just beyond the beginning of a cell: no other entry is at a tie there

// From p, in units of the pivot, back to where its cell begins.
double cell_shift(const Significand& bits) { return kBeyond - bits.unit() / 2; }

SearchArgs search_args(const Significand& x_bits, const Significand& y_bits, double shift, const RightSide& y,
                       double error) {
    return {.shift = shift,
            .unit = x_bits.unit(),
            .x_splitter = x_bits.splitter(),
            .y_splitter = y_bits.splitter(),
            .energy = y.energy,
            .count = x_bits.count(),
            .y = y.at,
            .y_weight = y.weight,
            .y_size = y.size,
            .error = error,
            .p = 1};
}

// The least error of pairs (p, q) but those whose q is the nearest one to `ratio` p: q is off by half a unit or more.
double least_of_others(const PairArgs& args) {
    const double ratio = std::fabs(args.ratio), gap = args.unit / 2 * power_below(ratio), far = 2 * ratio + gap;
    const double missed = args.weight * args.other * gap * gap / (4 * args.weight + args.other * far * far);
    return missed * args.pivot * args.pivot * args.energy * (1 - 0x1p-40);
}

// y with its largest entries, which miss most, in front: poor candidates are given up early; and room for the entries
// of x beside the pivot.
class Scratch {
public:
    Scratch(const RightSide& y, std::size_t x_size)
        : y_size_(y.size), x_size_(x_size), numbers_(2 * y.size + 2 * x_size) {
        std::size_t to = 0;
        for (const std::size_t i : largest_first(Weighted<double>{y.at, y.weight, y.size})) {
            numbers_[to] = y.at[i], numbers_[y_size_ + to++] = y.weight[i];
        }
    }
    const double* y() const { return numbers_.data(); }
    const double* y_weight() const { return numbers_.data() + y_size_; }
    double* ratio() { return numbers_.data() + 2 * y_size_; }
    double* weight() { return ratio() + x_size_; }

private:
    std::size_t y_size_, x_size_;
    std::vector<double> numbers_;
};

}  // namespace

bool RealSearch::best(const Weighted<double>& x, const RightSide& y, double* x_out, double& error) const {
    if (x.size == 2) return best_pair(x, y, x_out, error);
    Scratch scratch(y, x.size);
    CellArgs args{
        search_args(x_bits_, y_bits_, cell_shift(x_bits_), y, error), scratch.ratio(), scratch.weight(), 0, 0, 0};
    args.y = scratch.y(), args.y_weight = scratch.y_weight();
    bool found = false;
    for (std::size_t j = 0; j < x.size; ++j) {
        if (x.at[j] == 0 || x.weight[j] == 0) continue;
        args.others = 0, args.pivot = std::fabs(x.at[j]), args.pivot_weight = x.weight[j];
        for (std::size_t m = 0; m < x.size; ++m) {
            if (m != j) scratch.ratio()[args.others] = x.at[m] / x.at[j], scratch.weight()[args.others++] = x.weight[m];
        }
        found |= best_cell(x, j, args, x_out, error);
    }
    return found;
}

// All pairs of p and the q nearest to it on the line of x; where others may be better, the cells of both entries.
bool RealSearch::best_pair(const Weighted<double>& x, const RightSide& y, double* x_out, double& error) const {
    PairArgs args{search_args(x_bits_, y_bits_, 0, y, error), 0, 0, 0, 0, 0};
    bool found = false;
    const auto search = [&](std::size_t j, double shift) {
        args.pivot = std::fabs(x.at[j]), args.ratio = x.weight[1 - j] > 0 ? x.at[1 - j] / x.at[j] : 0;
        args.weight = x.weight[j], args.other = x.weight[1 - j], args.shift = shift;
        kernels().search.pairs(args);
        if (!(args.error < error)) return;
        found = true, error = args.error, x_out[j] = args.p, x_out[1 - j] = args.q;
    };
    const double size[2] = {x.weight[0] * x.at[0] * x.at[0], x.weight[1] * x.at[1] * x.at[1]};
    const std::size_t larger = size[1] > size[0] ? 1 : 0;
    search(larger, 0);
    if (args.ratio == 0 || least_of_others(args) >= error) return found;
    search(larger, cell_shift(x_bits_));
    search(1 - larger, cell_shift(x_bits_));
    return found;
}

bool RealSearch::best_cell(const Weighted<double>& x, std::size_t pivot, CellArgs& args, double* x_out,
                           double& error) const {
    kernels().search.cells(args);
    if (!(args.error < error)) return false;
    error = args.error;
    for (std::size_t m = 0, other = 0; m < x.size; ++m) {
        const double q = m == pivot ? args.p : x_bits_(args.ratio[other++] * (args.p + args.shift));
        x_out[m] = std::copysign(q, x.at[m]);
    }
    return true;
}

}  // namespace bitterfly
