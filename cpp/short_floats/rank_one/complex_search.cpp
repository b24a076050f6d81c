// Candidates of complex vectors. The values p of the largest entry, the pivot, are listed, and the others rounded
// there. While lambda runs through the cell of p they take other values too: all are looked at for vectors of two
// entries.
#include "short_floats/rank_one/complex_search.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/kernels.hpp"
#include "short_floats/rank_one/candidates.hpp"

namespace bitterfly {
namespace {

using Complex = std::complex<double>;

// The largest entry, whose cells are the finest.
std::size_t pivot_of(const Weighted<Complex>& x) {
    std::size_t pivot = 0;
    double largest = -1;
    for (std::size_t m = 0; m < x.size; ++m) {
        const double size = x.weight[m] > 0 ? std::norm(x.at[m]) : 0;
        if (size > largest) largest = size, pivot = m;
    }
    return pivot;
}

// Real parts, imaginary parts and weights, each one behind the other.
class Parts {
public:
    explicit Parts(std::size_t most) : most_(most), numbers_(3 * most) {}
    void add(Complex z, double weight) {
        re()[size_] = z.real(), im()[size_] = z.imag(), numbers_[2 * most_ + size_] = weight;
        ++size_;
    }
    Complex operator[](std::size_t i) const { return {numbers_[i], numbers_[most_ + i]}; }
    double weight(std::size_t i) const { return numbers_[2 * most_ + i]; }
    double* re() { return numbers_.data(); }
    double* im() { return numbers_.data() + most_; }
    const double* weights() const { return numbers_.data() + 2 * most_; }
    std::size_t size() const { return size_; }

private:
    std::size_t most_, size_ = 0;
    std::vector<double> numbers_;
};

}  // namespace

// x in units of its pivot, (1, ratio, ...), and y in units of one over the pivot; the best candidate so far.
struct ComplexSearch::Problem {
    std::size_t pivot;
    Parts others, y, q;
    ComplexArgs args;

    Problem(const ComplexSearch& search, const Weighted<Complex>& x, const Weighted<Complex>& right, double whole,
            double error)
        : pivot(pivot_of(x)), others(x.size), y(right.size), q(x.size) {
        const Complex unit = x.at[pivot];
        for (std::size_t m = 0; m < x.size; ++m) {
            if (m != pivot) others.add(x.weight[m] > 0 ? x.at[m] / unit : 0, x.weight[m]);
        }
        for (const std::size_t i : largest_first(right)) y.add(times(unit, right.at[i]), right.weight[i]);
        const Sector& sector = *search.sector_;
        args.x_splitter = search.x_bits_.splitter(), args.y_splitter = search.y_bits_.splitter();
        args.p_re = sector.re.data(), args.p_im = sector.im.data(), args.count = sector.count;
        args.ratio_re = others.re(), args.ratio_im = others.im(), args.weight = others.weights();
        args.others = others.size(), args.pivot_weight = x.weight[pivot];
        args.y_re = y.re(), args.y_im = y.im(), args.y_weight = y.weights(), args.y_size = y.size();
        args.energy = whole * std::norm(unit), args.error = error;
        args.q_re = q.re(), args.q_im = q.im();
    }
    // False, and nothing stored, where no candidate is below `error`, else the least.
    bool store(Complex* x_out, double& error) const {
        if (!(args.error < error)) return false;
        error = args.error;
        for (std::size_t m = 0, other = 0; m <= args.others; ++m)
            x_out[m] = m == pivot ? Complex(args.best_re, args.best_im) : q[other++];
        return true;
    }
};

ComplexSearch::ComplexSearch(const Significand& x_bits, const Significand& y_bits, int depth)
    : x_bits_(x_bits), y_bits_(y_bits), depth_(depth), sector_(sector_of(listed(x_bits), depth)) {}

bool ComplexSearch::best(const Weighted<Complex>& x, const Weighted<Complex>& y, Complex* x_out, double& error) const {
    Problem problem(*this, x, y, energy(y), error);
    if (x.size == 2) {
        kernels().search.complex_pairs(problem.args, beside(problem.args));
    } else {
        kernels().search.complex_cells(problem.args);
    }
    return problem.store(x_out, error);
}

// Other values q are farther from the line than the nearest one, but for their length, at most two units more than
// that.
NearArgs ComplexSearch::beside(const ComplexArgs& args) const {
    const Complex ratio(*args.ratio_re, *args.ratio_im);
    const double largest = std::max(std::fabs(ratio.real()), std::fabs(ratio.imag())), longer = 1 + x_bits_.unit();
    if (largest == 0 || x_bits_.bits() > kListedBits) return {nullptr, 0, 0, 0};
    const double q = *args.weight * std::norm(ratio) * longer * longer, share = q / (args.pivot_weight + q);
    return {sector_->im_half.data(), x_bits_.unit() / 2, std::ldexp(power_below(largest), -depth_),
            1 / (1 + share * (longer * longer * longer * longer - 1))};
}

bool ComplexSearch::direction(const Weighted<Complex>& x, Complex* x_out, double& error) const {
    Problem problem(*this, x, {nullptr, nullptr, 0}, 1, error);
    kernels().search.complex_cells(problem.args);
    return problem.store(x_out, error);
}

}  // namespace bitterfly
