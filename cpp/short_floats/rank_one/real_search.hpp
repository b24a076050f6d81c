// The search for real vectors with short significands: candidates of each pivot, a register of them at once.
#pragma once

#include <cstddef>

#include "kernels/search/args.hpp"
#include "short_floats/rank_one/significand.hpp"
#include "short_floats/rank_one/weighted.hpp"

namespace bitterfly {

// What x is multiplied with: y, rounded to nearest for each candidate of x, or `energy` = |y|^2 alone where `size` is
// 0.
struct RightSide {
    const double *at, *weight;
    std::size_t size;
    double energy;
};

class RealSearch {
public:
    RealSearch(const Significand& x_bits, const Significand& y_bits) : x_bits_(x_bits), y_bits_(y_bits) {}

    // The best rounded x, up to a scale. False where none has an error below `error`, which otherwise becomes the
    // least.
    bool best(const Weighted<double>& x, const RightSide& y, double* x_out, double& error) const;

private:
    bool best_pair(const Weighted<double>& x, const RightSide& y, double* x_out, double& error) const;
    bool best_cell(const Weighted<double>& x, std::size_t pivot, CellArgs& args, double* x_out, double& error) const;

    Significand x_bits_, y_bits_;
};

}  // namespace bitterfly
