// The search for two-entry vectors, real and complex.
#include "pair_search.hpp"

#include <algorithm>

#include "candidates.hpp"
#include "kernels/kernels.hpp"

namespace bitterfly {
namespace {

using Complex = std::complex<double>;

Complex times(Complex a, Complex b) {
    return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

// sum over y of |y^ - mu y|^2, given up above `most`.
double missed_by_rounding(const Significand& round, Complex mu, const Complex* y, const double* weight,
                          std::size_t size, double most) {
    double sum = 0;
    for (std::size_t i = 0; i < size && sum < most; ++i) {
        const Complex scaled = times(mu, y[i]);
        sum += weight[i] * std::norm(round(scaled) - scaled);
    }
    return sum;
}

template <class T>
double energy_of(const T* y, const double* weight, std::size_t size) {
    double sum = 0;
    for (std::size_t i = 0; i < size; ++i) sum += weight[i] * std::norm(y[i]);
    return sum;
}

// The best of a block, if it is better than `error`.
template <class T>
bool take_best(const PairBlock<T>& block, std::pair<T, T>& best, double& error) {
    std::size_t at = block.count;
    for (std::size_t i = 0; i < block.count; ++i) {
        if (block.errors[i] < error) error = block.errors[i], at = i;
    }
    if (at == block.count) return false;
    best = {block.p_at(at), block.q_at(at)};
    return true;
}

}  // namespace

template <>
PairSearch<double>::PairSearch(const Significand& x_bits, const Significand& y_bits, int depth)
    : x_bits_(x_bits), y_bits_(y_bits), depth_(depth) {}

template <>
PairSearch<Complex>::PairSearch(const Significand& x_bits, const Significand& y_bits, int depth)
    : x_bits_(x_bits), y_bits_(y_bits), depth_(depth) {
    for_sector(listed(x_bits), depth, [&](Complex p, double /*re_half*/, double im_half) {
        re_.push_back(p.real()), im_.push_back(p.imag()), im_half_.push_back(im_half);
    });
}

template <>
std::size_t PairSearch<double>::blocks() const {
    return (x_bits_.count() + PairBlock<double>::kSize - 1) / PairBlock<double>::kSize;
}

template <>
std::size_t PairSearch<Complex>::blocks() const {
    return (re_.size() + PairBlock<Complex>::kSize - 1) / PairBlock<Complex>::kSize;
}

// Where lambda passes the middle between two numbers, the pivot takes the upper one: a cell begins.
static void fill_real(const Significand& x_bits, const Significand& y_bits, const Pair<double>& x, const double* y,
                      const double* y_weight, std::size_t size, double energy, std::size_t block,
                      PairBlock<double>& out) {
    const std::size_t first = block * out.kSize;
    out.count = std::min<std::size_t>(out.kSize, x_bits.count() - first);
    const double unit = x_bits.unit(), start = 1 + (static_cast<double>(first) + 0.5) * unit;
    kernels().pairs({x.ratio, x.weight, x.other, start, unit, x_bits.splitter(), y_bits.splitter(), energy, out.count,
                     y, y_weight, size, out.p[0].data(), out.q[0].data(), out.errors.data()});
}

template <>
void PairSearch<double>::fill(const Pair<double>& x, std::size_t block, PairBlock<double>& out) const {
    fill_real(x_bits_, y_bits_, x, nullptr, nullptr, 0, 1, block, out);
}

template <>
void PairSearch<Complex>::fill(const Pair<Complex>& x, std::size_t block, PairBlock<Complex>& out) const {
    const std::size_t first = block * out.kSize;
    out.count = std::min<std::size_t>(out.kSize, re_.size() - first);
    const double a = x.ratio.real(), b = x.ratio.imag();
    const double *re = re_.data() + first, *im = im_.data() + first;
    const Significand round = x_bits_;
    for (std::size_t i = 0; i < out.count; ++i) {
        const double u = a * re[i] - b * im[i], v = a * im[i] + b * re[i], r = round(u), s = round(v);
        const double gap = (r - u) * (r - u) + (s - v) * (s - v);
        out.p[0][i] = re[i], out.p[1][i] = im[i], out.q[0][i] = r, out.q[1][i] = s;
        const double norm = x.weight * (re[i] * re[i] + im[i] * im[i]) + x.other * (r * r + s * s);
        out.errors[i] = x.weight * x.other * gap / norm;
    }
}

// While lambda runs through the cell of p, the other entry runs through a turned rectangle: all rounded values that it
// may meet.
template <>
template <class Visit>
void PairSearch<Complex>::neighbours(const Pair<Complex>& x, std::size_t index, Complex p, Complex q,
                                     Visit visit) const {
    const double a = std::fabs(x.ratio.real()), b = std::fabs(x.ratio.imag());
    const double re_half = x_bits_.unit() / 2, im_half = im_half_[index];
    const double largest = std::max(a, b);
    if (largest == 0 || x_bits_.bits() > kListedBits) return visit(q);
    const double least = std::ldexp(1.0, std::ilogb(largest) - depth_);
    const Complex centre = times(x.ratio, p);
    const Reach reals(centre.real(), a * re_half + b * im_half, x_bits_, least);
    const Reach imags(centre.imag(), a * im_half + b * re_half, x_bits_, least);
    for (const double u : reals) {
        for (const double v : imags) visit(Complex(u, v));
    }
}

template <>
bool PairSearch<double>::both(const Pair<double>& x, const double* y, const double* y_weight, std::size_t size,
                              std::pair<double, double>& best, double& error) const {
    PairBlock<double> block;
    const double energy = energy_of(y, y_weight, size);
    bool found = false;
    for (std::size_t b = 0; b < blocks(); ++b) {
        fill_real(x_bits_, y_bits_, x, y, y_weight, size, energy, b, block);
        found |= take_best(block, best, error);
    }
    return found;
}

template <>
bool PairSearch<Complex>::both(const Pair<Complex>& x, const Complex* y, const double* y_weight, std::size_t size,
                               std::pair<Complex, Complex>& best, double& error) const {
    PairBlock<Complex> block;
    const double energy = energy_of(y, y_weight, size);
    // Neighbours of q are farther from the line than q, but for their length: at most two units more.
    const double slack = std::pow(1 + x_bits_.unit(), -4) * energy;
    bool found = false;
    const auto look_closer = [&](Complex p, Complex q) {
        const double norm = x.weight * std::norm(p) + x.other * std::norm(q);
        const double missed = x.weight * x.other * std::norm(q - times(x.ratio, p)) / norm * energy;
        if (missed >= error) return;
        const Complex mu = (x.weight * std::conj(p) + x.other * times(std::conj(q), x.ratio)) / norm;
        const double most = (error - missed) / norm;
        const double rest = missed_by_rounding(y_bits_, mu, y, y_weight, size, most);
        if (rest < most) error = missed + norm * rest, best = {p, q}, found = true;
    };
    for (std::size_t b = 0; b < blocks(); ++b) {
        fill(x, b, block);
        for (std::size_t i = 0; i < block.count; ++i) {
            if (slack * block.errors[i] >= error) continue;
            const Complex p = block.p_at(i);
            neighbours(x, b * block.kSize + i, p, block.q_at(i), [&](Complex q) { look_closer(p, q); });
        }
    }
    return found;
}

template <class T>
bool PairSearch<T>::direction(const Pair<T>& x, std::pair<T, T>& best, double& error) const {
    PairBlock<T> block;
    bool found = false;
    for (std::size_t b = 0; b < blocks(); ++b) {
        fill(x, b, block);
        found |= take_best(block, best, error);
    }
    return found;
}

template class PairSearch<double>;
template class PairSearch<Complex>;

}  // namespace bitterfly
