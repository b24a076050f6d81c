// The search for two-entry vectors, complex.
#include "pair_search.hpp"

#include <algorithm>

#include "candidates.hpp"

namespace bitterfly {
namespace {

using Complex = std::complex<double>;

// sum over y of |y^ - mu y|^2, given up above `most`.
double missed_by_rounding(const Significand& round, Complex mu, const Weighted<Complex>& y, double most) {
    double sum = 0;
    for (std::size_t i = 0; i < y.size && sum < most; ++i) {
        const Complex scaled = times(mu, y.at[i]);
        sum += y.weight[i] * std::norm(round(scaled) - scaled);
    }
    return sum;
}

}  // namespace

PairSearch::PairSearch(const Significand& x_bits, const Significand& y_bits, int depth)
    : x_bits_(x_bits), y_bits_(y_bits), depth_(depth) {
    for_sector(listed(x_bits), depth, [&](Complex p, double /*re_half*/, double im_half) {
        re_.push_back(p.real()), im_.push_back(p.imag()), im_half_.push_back(im_half);
    });
}

std::size_t PairSearch::blocks() const { return (re_.size() + PairBlock::kSize - 1) / PairBlock::kSize; }

void PairSearch::fill(const Pair& x, std::size_t block, PairBlock& out) const {
    const std::size_t first = block * out.kSize;
    out.count = std::min<std::size_t>(out.kSize, re_.size() - first);
    const double a = x.ratio.real(), b = x.ratio.imag();
    const double *re = re_.data() + first, *im = im_.data() + first;
    const Significand round = x_bits_;
    for (std::size_t i = 0; i < out.count; ++i) {
        const double u = a * re[i] - b * im[i], v = a * im[i] + b * re[i], r = round(u), s = round(v);
        const double gap = (r - u) * (r - u) + (s - v) * (s - v);
        out.p_re[i] = re[i], out.p_im[i] = im[i], out.q_re[i] = r, out.q_im[i] = s;
        const double norm = x.weight * (re[i] * re[i] + im[i] * im[i]) + x.other * (r * r + s * s);
        out.errors[i] = x.weight * x.other * gap / norm;
    }
}

// While lambda runs through the cell of p, the other entry runs through a turned rectangle: all rounded values that it
// may meet, but those farther than `room` away.
template <class Visit>
void PairSearch::neighbours(const Pair& x, std::size_t index, Complex p, Complex q, double room, Visit visit) const {
    const double a = std::fabs(x.ratio.real()), b = std::fabs(x.ratio.imag());
    const double re_half = x_bits_.unit() / 2, im_half = im_half_[index];
    const double largest = std::max(a, b);
    if (largest == 0 || x_bits_.bits() > kListedBits) return visit(q);
    const double least = std::ldexp(1.0, std::ilogb(largest) - depth_);
    const Complex centre = times(x.ratio, p);
    const Reach reals(centre.real(), std::min(room, a * re_half + b * im_half), x_bits_, least);
    const Reach imags(centre.imag(), std::min(room, a * im_half + b * re_half), x_bits_, least);
    for (const double u : reals) {
        for (const double v : imags) visit(Complex(u, v));
    }
}

bool PairSearch::both(const Pair& x, const Weighted<Complex>& y, std::pair<Complex, Complex>& best,
                      double& error) const {
    PairBlock block;
    const double whole = energy(y);
    // Neighbours of q are farther from the line than q, but for their length: at most two units more.
    const double slack = std::pow(1 + x_bits_.unit(), -4) * whole;
    bool found = false;
    const auto look_closer = [&](Complex p, Complex q) {
        const double norm = x.weight * std::norm(p) + x.other * std::norm(q);
        const double missed = x.weight * x.other * std::norm(q - times(x.ratio, p)) / norm * whole;
        if (missed >= error) return;
        const Complex mu = (x.weight * std::conj(p) + x.other * times(std::conj(q), x.ratio)) / norm;
        const double most = (error - missed) / norm;
        const double rest = missed_by_rounding(y_bits_, mu, y, most);
        if (rest < most) error = missed + norm * rest, best = {p, q}, found = true;
    };
    const auto visit = [&](double scale, auto look) {
        for (std::size_t b = 0; b < blocks(); ++b) {
            fill(x, b, block);
            for (std::size_t i = 0; i < block.count; ++i) {
                if (scale * block.errors[i] < error) look(b * block.kSize + i, block.p(i), block.q(i));
            }
        }
    };
    // The nearest q of all first: then few neighbours are left to look at.
    visit(whole, [&](std::size_t, Complex p, Complex q) { look_closer(p, q); });
    visit(slack, [&](std::size_t index, Complex p, Complex nearest) {
        const double norm = x.weight * std::norm(p) + x.other * std::norm(nearest);
        const double farthest = std::sqrt(error * norm / (x.weight * x.other * slack));
        neighbours(x, index, p, nearest, farthest, [&](Complex q) { look_closer(p, q); });
    });
    return found;
}

bool PairSearch::direction(const Pair& x, std::pair<Complex, Complex>& best, double& error) const {
    PairBlock block;
    bool found = false;
    for (std::size_t b = 0; b < blocks(); ++b) {
        fill(x, b, block);
        for (std::size_t i = 0; i < block.count; ++i) {
            if (block.errors[i] < error) error = block.errors[i], best = {block.p(i), block.q(i)}, found = true;
        }
    }
    return found;
}

}  // namespace bitterfly
