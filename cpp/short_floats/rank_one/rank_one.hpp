// The rank-one matrix x y^T -> the nearest product of vectors whose entries have short significands.
#pragma once

#include <complex>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "short_floats/rank_one/complex_search.hpp"
#include "short_floats/rank_one/real_search.hpp"
#include "short_floats/rank_one/significand.hpp"
#include "short_floats/rank_one/weighted.hpp"

namespace bitterfly {

// Candidates are the vectors round(lambda x), up to powers of two and quarter turns; for each, mu = <x^, x> / <x^, x^>
// is the least-squares scale and y^ = round(mu y). The squared error, without cancellation, is
//     |x - mu x^|^2 |y|^2 + |x^|^2 |y^ - mu y|^2.
// Real: a candidate in each cell of lambda, so the least error of all. Complex: likewise for two entries (parts down to
// 2^-depth times the largest, significands up to 8 bits), else one lambda for each of many values of the largest entry.
template <class T>
class RankOne {
public:
    RankOne(int x_bits, int y_bits, int depth);

    // Both rounded; x is the side whose candidates are taken. Infinite where no squared error is below `bound`.
    double both(const Weighted<T>& x, const Weighted<T>& y, T* x_out, T* y_out, double bound);
    // x rounded, y free: the direction nearest to that of x.
    double direction(const Weighted<T>& x, T* x_out) const;
    // The `most` directions of least error, or fewer, best first; `size` numbers each.
    std::vector<T> directions(const Weighted<T>& x, std::size_t most) const;

private:
    // The candidates of x_out, not yet scaled; their error, or `bound` where none is below.
    double search(const Weighted<T>& x, const Weighted<T>& y, T* x_out, double bound);
    double search_direction(const Weighted<T>& x, T* x_out) const;
    void finish(const Weighted<T>& x, const Weighted<T>& y, T* x_out, T* y_out) const;
    // Each rounded to nearest, which candidates of more than two complex entries may miss; infinite and nothing written
    // where the error is not below `bound`.
    double round_both(const Weighted<T>& x, const Weighted<T>& y, T* x_out, T* y_out, double bound);

    Significand x_bits_, y_bits_;
    int depth_;
    std::vector<T> rounded_;  // scratch memory of round_both()
    static constexpr bool kReal = sizeof(T) == sizeof(double);
    std::conditional_t<kReal, RealSearch, ComplexSearch> candidates_;
};

// The squared error of x_out y_out^T.
template <class T>
double error_of(const Weighted<T>& x, const Weighted<T>& y, const T* x_out, const T* y_out);

// The least-squares scale mu = <x_out, x> / <x_out, x_out>, zero for a zero vector.
template <class T>
T scale_of(const Weighted<T>& x, const T* x_out);

}  // namespace bitterfly
