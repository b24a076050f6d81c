// Candidates of real vectors. While lambda grows, round(lambda x) changes where one entry, the pivot, goes up to its
// next value p: a cell begins, one for each p of an octave.
#include "real_search.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/kernels.hpp"

namespace bitterfly {
namespace {

constexpr double kBeyond = 0x1p-48;  // just beyond the beginning of a cell: no other entry is at a tie there

// From p, in units of the pivot, back to where its cell begins.
double cell_shift(const Significand& bits) { return kBeyond - bits.unit() / 2; }

SearchArgs search_args(const Significand& x_bits, const Significand& y_bits, double shift, const RightSide& y,
                       double error) {
    return {shift,  x_bits.unit(), x_bits.splitter(), y_bits.splitter(), y.energy, x_bits.count(), y.at, y.weight,
            y.size, error};
}

// The least error of pairs (p, q) but those whose q is the nearest one to `ratio` p: q is off by half a unit or more.
double least_of_others(const PairArgs& args) {
    const double ratio = std::fabs(args.ratio), gap = args.unit / 2 * power_below(ratio), far = 2 * ratio + gap;
    const double missed = args.weight * args.other * gap * gap / (4 * args.weight + args.other * far * far);
    return missed * args.pivot * args.pivot * args.energy * (1 - 0x1p-40);
}

// y with its largest entries, which miss most, in front: poor candidates are given up early.
struct Sorted {
    std::vector<double> at, weight;

    explicit Sorted(const RightSide& y) : at(y.size), weight(y.size) {
        std::vector<std::size_t> order(y.size);
        std::iota(order.begin(), order.end(), std::size_t{0});
        const auto size = [&](std::size_t i) { return y.weight[i] * y.at[i] * y.at[i]; };
        std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return size(i) > size(j); });
        for (std::size_t i = 0; i < y.size; ++i) at[i] = y.at[order[i]], weight[i] = y.weight[order[i]];
    }
};

}  // namespace

bool RealSearch::best(const Weighted<double>& x, const RightSide& y, double* x_out, double& error) const {
    if (x.size == 2) return best_pair(x, y, x_out, error);
    const Sorted sorted(y);
    const RightSide right{sorted.at.data(), sorted.weight.data(), y.size, y.energy};
    bool found = false;
    for (std::size_t j = 0; j < x.size; ++j) {
        if (x.at[j] != 0 && x.weight[j] > 0) found |= best_cell(x, j, right, x_out, error);
    }
    return found;
}

// All pairs of p and the q nearest to it on the line of x; where others may be better, the cells of both entries.
bool RealSearch::best_pair(const Weighted<double>& x, const RightSide& y, double* x_out, double& error) const {
    PairArgs args{search_args(x_bits_, y_bits_, 0, y, error), 0, 0, 0, 0, 0, 0};
    bool found = false;
    const auto search = [&](std::size_t j, double shift) {
        args.pivot = std::fabs(x.at[j]), args.ratio = x.weight[1 - j] > 0 ? x.at[1 - j] / x.at[j] : 0;
        args.weight = x.weight[j], args.other = x.weight[1 - j], args.shift = shift;
        kernels().pairs(args);
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

bool RealSearch::best_cell(const Weighted<double>& x, std::size_t pivot, const RightSide& y, double* x_out,
                           double& error) const {
    std::vector<double> ratio, weight;
    for (std::size_t m = 0; m < x.size; ++m) {
        if (m != pivot) ratio.push_back(x.at[m] / x.at[pivot]), weight.push_back(x.weight[m]);
    }
    CellArgs args{search_args(x_bits_, y_bits_, cell_shift(x_bits_), y, error),
                  ratio.data(),
                  weight.data(),
                  ratio.size(),
                  std::fabs(x.at[pivot]),
                  x.weight[pivot],
                  0};
    kernels().cells(args);
    if (!(args.error < error)) return false;
    error = args.error;
    const double p = 1 + x_bits_.unit() * static_cast<double>(std::min(args.index + 1, args.count));
    for (std::size_t m = 0, other = 0; m < x.size; ++m) {
        const double q = m == pivot ? p : x_bits_(ratio[other++] * (p + args.shift));
        x_out[m] = std::copysign(q, x.at[m]);
    }
    return true;
}

}  // namespace bitterfly
