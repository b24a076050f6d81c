// Blocks of real terms: gathered, searched, rounded, stored.
#include "terms.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.hpp"

namespace bitterfly {
namespace {

constexpr double kUnlike = 0x1p-100, kLargest = 0x1p600;

// Entries of x alike in size, and all products and squares far from overflow and underflow.
bool is_plain(const Weighted<double>& x, const Weighted<double>& y) {
    const double a = std::fabs(x.at[0]), b = std::fabs(x.at[1]), least = std::min(a, b), most = std::max(a, b);
    const double heavy = std::max(x.weight[0], x.weight[1]), light = std::min(x.weight[0], x.weight[1]);
    const double energy = y.weight[0] * y.at[0] * y.at[0] + y.weight[1] * y.at[1] * y.at[1];
    const double largest = most * most * energy, smallest = least * least * energy;
    return least > kUnlike * most && light > kUnlike * heavy && heavy < kLargest && light > 1 / kLargest &&
           largest < kLargest && smallest > 1 / kLargest && energy < kLargest && energy > 1 / kLargest;
}

}  // namespace

bool TermBlock<double>::take(const Line& line, const Line& next, const Weighted<double>& x, const Weighted<double>& y) {
    if (x.size != 2 || y.size != 2 || !is_plain(x, y)) return false;
    for (std::size_t e = 0; e < 2; ++e) {
        x_[e][count_] = x.at[e], x_weight_[e][count_] = x.weight[e];
        y_[e][count_] = y.at[e], y_weight_[e][count_] = y.weight[e];
    }
    lines_[count_] = line, next_[count_] = next;
    if (++count_ == kSize) round();
    return true;
}

void TermBlock<double>::round() {
    const std::size_t whole = (count_ + 7) / 8 * 8;
    for (std::size_t e = 0; e < 2; ++e) {
        for (auto* array : {x_[e], x_weight_[e], y_[e], y_weight_[e]}) std::fill(array + count_, array + whole, 1.0);
    }
    kernels().terms({{x_[0], x_[1]},
                     {x_weight_[0], x_weight_[1]},
                     {y_[0], y_[1]},
                     {y_weight_[0], y_weight_[1]},
                     {best_[0], best_[1]},
                     x_bits_.unit(),
                     x_bits_.splitter(),
                     y_bits_.splitter(),
                     x_bits_.count(),
                     count_});
    for (std::size_t i = 0; i < count_; ++i) {
        const double larger = std::max(std::fabs(best_[0][i]), std::fabs(best_[1][i])), unit = 1 / power_below(larger);
        const double rounded[2] = {best_[0][i] * unit, best_[1][i] * unit};
        double norm = 0, mu = 0;
        for (std::size_t e = 0; e < 2; ++e) {
            norm += x_weight_[e][i] * rounded[e] * rounded[e], mu += x_weight_[e][i] * rounded[e] * x_[e][i];
        }
        mu /= norm;
        const double rest[2] = {y_bits_(mu * y_[0][i]), y_bits_(mu * y_[1][i])};
        store(left_, lines_[i], rounded);
        store(right_, next_[i], rest);
    }
    count_ = 0;
}

}  // namespace bitterfly
