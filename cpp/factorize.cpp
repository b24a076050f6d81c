// Left-to-right rank-one factorization on the square dyadic chain (design of Zheng, Riccietti, Gribonval 2023).
//
// Invariant: after l levels the right part is a matrix of n / 2^l rows and n columns, cut into 2^l column segments; the
// segment s of row t is the row t of block s. One level joins the rows t and t + rows/2 of each half segment into one
// row, in place. The discarded energies of all levels add up to the squared error of the product.
#include "factorize.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <limits>
#include <vector>

#include "kernels/kernels.hpp"
#include "require.hpp"

namespace bitterfly {
namespace {

// Rows of the permuted input as planes of Real: pointers into the input where that is possible, else a copied tile.
template <class Real>
class RowReader {
public:
    RowReader(const View& a, const std::uint32_t* rows, const std::uint32_t* columns, double scale)
        : a_(a), rows_(rows), columns_(columns), scale_(static_cast<Real>(scale)) {
        direct_ = a.im == nullptr && columns == nullptr && scale == 1 &&
                  a.column_stride == static_cast<std::ptrdiff_t>(sizeof(Real));
        if (!direct_) tile_.resize(2 * kTile * row_size());
    }

    // Makes rows [first, first + count) and their partners `distance` further available; count <= kTile.
    void open(std::size_t first, std::size_t count, std::size_t distance) {
        first_ = first, distance_ = distance;
        if (direct_) return;
        copy(first, count, tile_.data());
        copy(first + distance, count, tile_.data() + kTile * row_size());
    }
    RowPair<Real> pair(std::size_t t) const {
        const std::size_t n = a_.columns;
        if (direct_) return {direct(t), nullptr, direct(t + distance_), nullptr, n};
        const Real* upper = tile_.data() + (t - first_) * row_size();
        const Real* lower = upper + kTile * row_size();
        return {upper, a_.im ? upper + n : nullptr, lower, a_.im ? lower + n : nullptr, n};
    }
    static constexpr std::size_t kTile = 16;

private:
    std::size_t row_size() const { return a_.columns * (a_.im != nullptr ? 2 : 1); }
    std::ptrdiff_t row_offset(std::size_t i) const {
        return static_cast<std::ptrdiff_t>(rows_ ? rows_[i] : i) * a_.row_stride;
    }
    const Real* direct(std::size_t i) const { return reinterpret_cast<const Real*>(a_.re + row_offset(i)); }

    void copy(std::size_t first, std::size_t count, Real* out) const {
        const bool by_columns = std::abs(a_.row_stride) < std::abs(a_.column_stride);
        const std::size_t outer = by_columns ? a_.columns : count, inner = by_columns ? count : a_.columns;
        for (std::size_t o = 0; o < outer; ++o) {
            for (std::size_t i = 0; i < inner; ++i) {
                const std::size_t r = by_columns ? i : o, c = by_columns ? o : i;
                copy_entry(row_offset(first + r), c, out + r * row_size());
            }
        }
    }
    void copy_entry(std::ptrdiff_t row, std::size_t c, Real* out) const {
        const std::ptrdiff_t offset = row + static_cast<std::ptrdiff_t>(columns_ ? columns_[c] : c) * a_.column_stride;
        out[c] = *reinterpret_cast<const Real*>(a_.re + offset) * scale_;
        if (a_.im) out[a_.columns + c] = *reinterpret_cast<const Real*>(a_.im + offset) * scale_;
    }

    View a_;
    const std::uint32_t *rows_, *columns_;
    Real scale_;
    bool direct_;
    std::vector<Real> tile_;
    std::size_t first_ = 0, distance_ = 0;
};

// Leading eigenvector (u0 real and >= 0, u1) of [[aa, g], [conj g, bb]], rounded to Real. The matrix is scaled to have
// a diagonal near one; an inner product that is still tiny then has no digits to give a phase, and no weight: it counts
// as zero.
template <class Real>
void leading_direction(const double* gram, double* u) {
    constexpr double kNoWeight = 1e-150;
    u[0] = 1, u[1] = u[2] = 0;
    const double largest = std::max(gram[0], gram[1]);
    if (!(largest > 0) || !std::isfinite(largest)) return;
    const int e = -std::ilogb(largest);
    const double re = std::ldexp(gram[2], e), im = std::ldexp(gram[3], e);
    const double delta = (std::ldexp(gram[0], e) - std::ldexp(gram[1], e)) / 2;
    double modulus = std::hypot(re, im);
    if (modulus < kNoWeight) modulus = 0;
    const double h = std::hypot(delta, modulus) + std::fabs(delta);
    const double first = delta >= 0 ? h : modulus, second = delta >= 0 ? modulus : h, norm = std::hypot(first, second);
    if (norm == 0) return;
    u[0] = static_cast<Real>(first / norm);
    u[1] = static_cast<Real>(second / norm * (modulus == 0 ? 1 : re / modulus));
    u[2] = static_cast<Real>(modulus == 0 ? 0 : -(second / norm) * (im / modulus));
}

template <class Real>
class LeftToRight {
public:
    LeftToRight(const View& a, Real* values)
        : n_(a.columns),
          complex_(a.im != nullptr),
          values_(values),
          kernels_(kernels().of<Real>()),
          right_(n_ / 2 * row_size()) {}

    // Runs all levels on the scaled input; the last factor takes what is left.
    void run(RowReader<Real>& reader) {
        energy = discarded = 0;
        for (std::size_t t = 0; t < n_ / 2; t += RowReader<Real>::kTile) {
            const std::size_t count = std::min(RowReader<Real>::kTile, n_ / 2 - t);
            reader.open(t, count, n_ / 2);
            for (std::size_t r = t; r < t + count; ++r) split_rows(0, n_ / 2, r, reader.pair(r));
        }
        for (std::size_t level = 1, d = n_ / 4; d > 0; ++level, d /= 2) {
            for (std::size_t t = 0; t < d; ++t)
                split_rows(level, d, t, {row(t), imag(row(t)), row(t + d), imag(row(t + d)), n_});
        }
    }

    // Multiplies the last factor by what is left of the right part, and by `scale`.
    void finish(double scale) {
        Real* last = values_ + (levels() - 1) * 2 * n_ * width();
        for (std::size_t s = 0; s < n_; ++s) {
            const std::complex<double> x(right_[s], complex_ ? right_[n_ + s] : Real(0));
            for (std::size_t j = 0; j < 2; ++j) multiply(last + ((s / 2 * 2 + j) * 2 + s % 2) * width(), x, scale);
        }
    }

    std::size_t count() const { return levels() * 2 * n_ * width(); }  // numbers in the factors

    double energy = 0, discarded = 0;

private:
    std::size_t width() const { return complex_ ? 2 : 1; }
    std::size_t row_size() const { return n_ * width(); }
    Real* row(std::size_t t) { return right_.data() + t * row_size(); }
    Real* imag(Real* p) const { return complex_ ? p + n_ : nullptr; }
    std::size_t levels() const { return static_cast<std::size_t>(std::countr_zero(n_)); }

    // Rows t and t + d of level `level` -> row t of the right part, one direction for each of its segments.
    void split_rows(std::size_t level, std::size_t d, std::size_t t, const RowPair<Real>& rows) {
        const std::size_t segments = std::size_t{2} << level, length = n_ / segments;
        for (std::size_t s = 0; s < segments; ++s) {
            const std::size_t at = s * length;
            const RowPair<Real> part{rows.a + at, complex_ ? rows.a_imag + at : nullptr, rows.b + at,
                                     complex_ ? rows.b_imag + at : nullptr, length};
            double gram[4], u[3];
            kernels_.gram(part, gram);
            leading_direction<Real>(gram, u);
            discarded += kernels_.project(part, u, row(t) + at, complex_ ? row(t) + n_ + at : nullptr);
            if (level == 0) energy += gram[0] + gram[1];
            put(level, d, s, t, u);
        }
    }
    void put(std::size_t level, std::size_t d, std::size_t s, std::size_t t, const double* u) {
        Real* factor = values_ + level * 2 * n_ * width();
        Real* upper = factor + ((s / 2 * 4 + s % 2) * d + t) * width();
        Real* lower = factor + ((s / 2 * 4 + 2 + s % 2) * d + t) * width();
        upper[0] = static_cast<Real>(u[0]), lower[0] = static_cast<Real>(u[1]);
        if (complex_) upper[1] = 0, lower[1] = static_cast<Real>(u[2]);
    }
    void multiply(Real* v, std::complex<double> x, double scale) const {
        const std::complex<double> product = std::complex<double>(v[0], complex_ ? v[1] : Real(0)) * x * scale;
        v[0] = static_cast<Real>(product.real());
        if (complex_) v[1] = static_cast<Real>(product.imag());
    }

    std::size_t n_;
    bool complex_;
    Real* values_;
    const RealKernels<Real>& kernels_;
    std::vector<Real> right_;
};

[[noreturn]] void refuse_entry(std::size_t i, std::size_t j) {
    throw std::invalid_argument("a: expected finite entries, got NaN or infinity at (" + std::to_string(i) + ", " +
                                std::to_string(j) + ")");
}

// Largest modulus of a component; throws where an entry is not finite.
template <class Real>
double largest_entry(const View& a) {
    double largest = 0;
    for (std::size_t i = 0; i < a.rows; ++i) {
        for (std::size_t j = 0; j < a.columns; ++j) {
            const std::ptrdiff_t offset =
                static_cast<std::ptrdiff_t>(i) * a.row_stride + static_cast<std::ptrdiff_t>(j) * a.column_stride;
            for (const char* plane : {a.re, a.im}) {
                if (plane == nullptr) continue;
                const double x = std::fabs(static_cast<double>(*reinterpret_cast<const Real*>(plane + offset)));
                if (!std::isfinite(x)) refuse_entry(i, j);
                largest = std::max(largest, x);
            }
        }
    }
    return largest;
}

// Squares of entries of this size neither overflow nor vanish in Real, even summed over a chunk of rows.
template <class Real>
bool well_scaled(double energy, std::size_t n) {
    const double mean = energy / (static_cast<double>(n) * static_cast<double>(n));
    const double tiny = std::numeric_limits<Real>::min();
    return std::isfinite(energy) && mean > tiny * 1e12 && mean < 1e-12 / tiny;
}

template <class Real>
void require_finite(const Real* values, std::size_t count) {
    require(std::all_of(values, values + count, [](Real x) { return std::isfinite(x); }),
            "a: the factors overflow the range of the dtype; scale the matrix down");
}

}  // namespace

template <class Real>
double factorize(const View& a, const std::uint32_t* rows, const std::uint32_t* columns, Real* values) {
    LeftToRight<Real> work(a, values);
    double scale = 1;
    RowReader<Real> reader(a, rows, columns, scale);
    work.run(reader);
    if (!well_scaled<Real>(work.energy, a.rows)) {  // NaN, infinity, zero, or squares out of range: look and rescale
        const double largest = largest_entry<Real>(a);
        // Subnormal maxima are brought up as far as one exact multiplication in Real can.
        if (largest > 0)
            scale = std::ldexp(1.0, std::min(-std::ilogb(largest), std::numeric_limits<Real>::max_exponent - 1));
        RowReader<Real> scaled(a, rows, columns, scale);
        work.run(scaled);
    }
    work.finish(1 / scale);
    if (scale != 1) require_finite(values, work.count());
    if (work.energy == 0) return 0;
    const double norm = std::sqrt(work.energy) / scale;
    // The 2n entries of the last factor are rounded to multiples of the smallest subnormal at worst.
    const double underflow =
        std::sqrt(2.0 * static_cast<double>(a.rows)) * std::numeric_limits<Real>::denorm_min() / norm;
    return std::sqrt(work.discarded / work.energy) + underflow;
}

template double factorize<float>(const View&, const std::uint32_t*, const std::uint32_t*, float*);
template double factorize<double>(const View&, const std::uint32_t*, const std::uint32_t*, double*);

}  // namespace bitterfly
