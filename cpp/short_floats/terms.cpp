// Blocks of real terms: gathered, searched, rounded, stored.
#include "short_floats/terms.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/kernels.hpp"

namespace bitterfly {
namespace {

constexpr std::uint32_t kMostCells = 64;  // beyond, a search that leaves poor candidates early is faster
constexpr double kUnlike = 0x1p-100, kLargest = 0x1p600;

}  // namespace

void TermBlock<double>::gather(const TermSide<double>& side, const Line& line, Entries& out) const {
    for (std::size_t e = 0; e < 2; ++e) {
        const Part<double>& part = side.behind[line.cross + e * line.cross_stride];
        out.at[e][count_] = side.factor.values[line.first + e * line.stride] * part.kappa;
        out.weight[e][count_] = weighted_ ? part.norm : 1;
    }
}

// Entries of x alike in size, and all products and squares far from overflow and underflow.
bool TermBlock<double>::is_plain(std::size_t i) const {
    const double a = std::fabs(x_.at[0][i]), b = std::fabs(x_.at[1][i]), least = std::min(a, b), most = std::max(a, b);
    const double heavy = std::max(x_.weight[0][i], x_.weight[1][i]), light = std::min(x_.weight[0][i], x_.weight[1][i]);
    const double energy = y_.weight[0][i] * y_.at[0][i] * y_.at[0][i] + y_.weight[1][i] * y_.at[1][i] * y_.at[1][i];
    const double largest = most * most * energy, smallest = least * least * energy;
    return least > kUnlike * most && light > kUnlike * heavy && heavy < kLargest && light > 1 / kLargest &&
           largest < kLargest && smallest > 1 / kLargest && energy < kLargest && energy > 1 / kLargest;
}

bool TermBlock<double>::take(const Line& line, const Line& next) {
    if (line.size != 2 || next.size != 2 || x_bits_.count() > kMostCells) return false;
    gather(left_, line, x_);
    gather(right_, next, y_);
    if (!is_plain(count_)) return false;
    lines_[count_] = line, next_[count_] = next;
    if (++count_ == kSize) round();
    return true;
}

void TermBlock<double>::round() {
    const std::size_t whole = (count_ + 7) / 8 * 8;
    for (std::size_t e = 0; e < 2; ++e) {
        for (auto* array : {x_.at[e], x_.weight[e], y_.at[e], y_.weight[e]})
            std::fill(array + count_, array + whole, 1.0);
    }
    kernels().search.terms({.x = {x_.at[0], x_.at[1]},
                            .x_weight = {x_.weight[0], x_.weight[1]},
                            .y = {y_.at[0], y_.at[1]},
                            .y_weight = {y_.weight[0], y_.weight[1]},
                            .best = {best_[0], best_[1]},
                            .unit = x_bits_.unit(),
                            .x_splitter = x_bits_.splitter(),
                            .y_splitter = y_bits_.splitter(),
                            .cells = x_bits_.count(),
                            .count = count_});
    for (std::size_t i = 0; i < count_; ++i) {
        const double larger = std::max(std::fabs(best_[0][i]), std::fabs(best_[1][i])), unit = 1 / power_below(larger);
        const double rounded[2] = {best_[0][i] * unit, best_[1][i] * unit};
        double norm = 0, mu = 0;
        for (std::size_t e = 0; e < 2; ++e) {
            norm += x_.weight[e][i] * rounded[e] * rounded[e];
            mu += x_.weight[e][i] * rounded[e] * x_.at[e][i];
        }
        mu /= norm;
        const double rest[2] = {y_bits_(mu * y_.at[0][i]), y_bits_(mu * y_.at[1][i])};
        store(left_.factor, lines_[i], rounded);
        store(right_.factor, next_[i], rest);
    }
    count_ = 0;
}

}  // namespace bitterfly
