// The search for two-entry vectors, which square dyadic factors have: the errors of directions a block at a time, then
// a closer look at those candidates whose direction alone is good enough.
#pragma once

#include <array>
#include <complex>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "significand.hpp"

namespace bitterfly {

// x in units of one of its entries, the pivot: (1, ratio). Weights in the norm, of the pivot and of the other.
template <class T>
struct Pair {
    T ratio;
    double weight, other;
};

// Candidates (p, q) for (1, ratio), up to a scale, and the squared distances of (1, ratio) from their lines.
template <class T>
struct PairBlock {
    static constexpr std::size_t kSize = 64;
    // Real numbers use the first plane only.
    std::array<std::array<double, kSize>, 2> p, q;
    std::array<double, kSize> errors;
    std::size_t count;

    T p_at(std::size_t i) const { return number(p, i); }
    T q_at(std::size_t i) const { return number(q, i); }

private:
    static T number(const std::array<std::array<double, kSize>, 2>& planes, std::size_t i) {
        if constexpr (sizeof(T) == sizeof(double)) {
            return planes[0][i];
        } else {
            return {planes[0][i], planes[1][i]};
        }
    }
};

// The numbers p that the pivot takes: of [1, 2), or of the sector |Im p| <= Re p (complex).
template <class T>
class PairSearch {
public:
    PairSearch(const Significand& x_bits, const Significand& y_bits, int depth);

    std::size_t blocks() const;
    void fill(const Pair<T>& x, std::size_t block, PairBlock<T>& out) const;

    // The best (p, q) with y rounded to nearest; y in units of one over the pivot. False where none has an error below
    // `error`, which otherwise becomes the least.
    bool both(const Pair<T>& x, const T* y, const double* y_weight, std::size_t size, std::pair<T, T>& best,
              double& error) const;
    // The best direction (p, q), below `error`.
    bool direction(const Pair<T>& x, std::pair<T, T>& best, double& error) const;

private:
    template <class Visit>
    void neighbours(const Pair<T>& x, std::size_t index, T p, T q, Visit visit) const;

    Significand x_bits_, y_bits_;
    int depth_;
    std::vector<double> re_, im_, im_half_;  // of the sector
};

}  // namespace bitterfly
