// The search for complex two-entry vectors, which square dyadic factors have: the errors of directions a block at a
// time, then a closer look at those candidates whose direction alone is good enough.
#pragma once

#include <array>
#include <complex>
#include <cstddef>
#include <utility>
#include <vector>

#include "significand.hpp"
#include "weighted.hpp"

namespace bitterfly {

// x in units of one of its entries, the pivot: (1, ratio). Weights in the norm, of the pivot and of the other.
struct Pair {
    std::complex<double> ratio;
    double weight, other;
};

// Candidates (p, q) for (1, ratio), up to a scale, and the squared distances of (1, ratio) from their lines.
struct PairBlock {
    static constexpr std::size_t kSize = 64;
    std::array<double, kSize> p_re, p_im, q_re, q_im, errors;
    std::size_t count;

    std::complex<double> p(std::size_t i) const { return {p_re[i], p_im[i]}; }
    std::complex<double> q(std::size_t i) const { return {q_re[i], q_im[i]}; }
};

// The numbers p that the pivot takes: of the sector |Im p| <= Re p.
class PairSearch {
public:
    using Complex = std::complex<double>;
    PairSearch(const Significand& x_bits, const Significand& y_bits, int depth);

    // The best (p, q) with y rounded to nearest; y in units of one over the pivot. False where none has an error below
    // `error`, which otherwise becomes the least.
    bool both(const Pair& x, const Weighted<Complex>& y, std::pair<Complex, Complex>& best, double& error) const;
    // The best direction (p, q), below `error`.
    bool direction(const Pair& x, std::pair<Complex, Complex>& best, double& error) const;

private:
    std::size_t blocks() const;
    void fill(const Pair& x, std::size_t block, PairBlock& out) const;
    template <class Visit>
    void neighbours(const Pair& x, std::size_t index, Complex p, Complex q, double room, Visit visit) const;

    Significand x_bits_, y_bits_;
    int depth_;
    std::vector<double> re_, im_, im_half_;  // of the sector
};

}  // namespace bitterfly
