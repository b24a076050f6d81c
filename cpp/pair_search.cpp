// The search for two-entry vectors, real and complex.
#include "pair_search.hpp"

#include <algorithm>

#include "candidates.hpp"

namespace bitterfly {
namespace {

using Complex = std::complex<double>;

Complex times(Complex a, Complex b) {
    return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}
double times(double a, double b) { return a * b; }

// sum over y of |y^ - mu y|^2, given up above `most`.
template <class T>
double missed_by_rounding(const Significand& round, T mu, const T* y, const double* weight, std::size_t size,
                          double most) {
    double sum = 0;
    for (std::size_t i = 0; i < size && sum < most; ++i) {
        const T scaled = times(mu, y[i]);
        sum += weight[i] * std::norm(round(scaled) - scaled);
    }
    return sum;
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
template <>
void PairSearch<double>::fill(const Pair<double>& x, std::size_t block, PairBlock<double>& out) const {
    const std::size_t first = block * out.kSize;
    out.count = std::min<std::size_t>(out.kSize, x_bits_.count() - first);
    const double unit = x_bits_.unit(), start = 1 + static_cast<double>(first) * unit;
    const Significand round = x_bits_;
    for (std::size_t i = 0; i < out.count; ++i) {
        const double lambda = start + (static_cast<double>(static_cast<int>(i)) + 0.5) * unit;
        const double p = lambda + unit / 2, q = round(x.ratio * lambda), gap = q - x.ratio * p;
        out.p[0][i] = p, out.q[0][i] = q;
        out.errors[i] = x.weight * x.other * gap * gap / (x.weight * p * p + x.other * q * q);
    }
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

template <>
template <class Visit>
void PairSearch<double>::neighbours(const Pair<double>&, std::size_t, double, double q, Visit visit) const {
    visit(q);
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

// Adds the error of y, of two entries, to those of a block. No branches: compilers make vectors of it.
static void add_rounding(const Significand& round, const Pair<double>& x, const double* y, const double* weight, double energy,
                  PairBlock<double>& block) {
    const double a = y[0], b = y[1], a_weight = weight[0], b_weight = weight[1];
    for (std::size_t i = 0; i < block.count; ++i) {
        const double p = block.p[0][i], q = block.q[0][i];
        const double norm = x.weight * p * p + x.other * q * q;
        const double mu = (x.weight * p + x.other * q * x.ratio) / norm;
        const double u = mu * a, v = mu * b, du = round(u) - u, dv = round(v) - v;
        block.errors[i] = block.errors[i] * energy + norm * (a_weight * du * du + b_weight * dv * dv);
    }
}

// Both sides real with two entries.
static bool both_of_two(const PairSearch<double>& search, const Significand& round, const Pair<double>& x, const double* y,
                 const double* weight, std::pair<double, double>& best, double& error) {
    PairBlock<double> block;
    const double energy = weight[0] * y[0] * y[0] + weight[1] * y[1] * y[1];
    bool found = false;
    for (std::size_t b = 0; b < search.blocks(); ++b) {
        search.fill(x, b, block);
        add_rounding(round, x, y, weight, energy, block);
        for (std::size_t i = 0; i < block.count; ++i) {
            if (block.errors[i] >= error) continue;
            error = block.errors[i], best = {block.p[0][i], block.q[0][i]}, found = true;
        }
    }
    return found;
}

template <class T>
bool PairSearch<T>::both(const Pair<T>& x, const T* y, const double* y_weight, std::size_t size, std::pair<T, T>& best,
                         double& error) const {
    if constexpr (sizeof(T) == sizeof(double)) {
        if (size == 2) return both_of_two(*this, y_bits_, x, y, y_weight, best, error);
    }
    PairBlock<T> block;
    double energy = 0;
    for (std::size_t i = 0; i < size; ++i) energy += y_weight[i] * std::norm(y[i]);
    // Neighbours of q are farther from the line than q, but for their length: at most two units more.
    const double slack = std::pow(1 + x_bits_.unit(), -4);
    bool found = false;
    for (std::size_t b = 0; b < blocks(); ++b) {
        fill(x, b, block);
        for (std::size_t i = 0; i < block.count; ++i) {
            if (slack * block.errors[i] * energy >= error) continue;
            const T p = block.p_at(i);
            neighbours(x, b * block.kSize + i, p, block.q_at(i), [&](T q) {
                const double norm = x.weight * std::norm(p) + x.other * std::norm(q);
                const double missed = x.weight * x.other * std::norm(q - times(x.ratio, p)) / norm * energy;
                if (missed >= error) return;
                T mu = x.weight * p;
                if constexpr (sizeof(T) == sizeof(double)) {
                    mu = (mu + x.other * q * x.ratio) / norm;
                } else {
                    mu = (std::conj(mu) + x.other * times(std::conj(q), x.ratio)) / norm;
                }
                const double most = (error - missed) / norm;
                const double rest = missed_by_rounding(y_bits_, mu, y, y_weight, size, most);
                if (rest >= most) return;
                error = missed + norm * rest, best = {p, q}, found = true;
            });
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
        for (std::size_t i = 0; i < block.count; ++i) {
            if (block.errors[i] >= error) continue;
            error = block.errors[i], best = {block.p_at(i), block.q_at(i)}, found = true;
        }
    }
    return found;
}

template class PairSearch<double>;
template class PairSearch<Complex>;

}  // namespace bitterfly
