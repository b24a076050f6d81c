// Left-to-right rank-one factorization on the square dyadic chain (design of Zheng, Riccietti, Gribonval 2023).
//
// Invariant: after l levels the right part is a matrix of n / 2^l rows and n columns, cut into 2^l column segments; the
// segment s of row t is the row t of block s. One level joins the rows t and t + rows/2 of each half segment into one
// row, in place. The discarded energies of all levels add up to the squared error of the product.
//
// Levels run depth first. A row t of the right part depends on a tree of rows of the input, those equal to t modulo its
// number of rows: the trees of the last kRoots rows are independent, and take one row of memory a level; every entry
// of the input is read from memory once. The block of a segment of these rows, kRoots x kRoots, is then factorized on
// its own, in the cache. Trees, then blocks, are shared by workers.
#include "factorization/factorize.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <limits>
#include <vector>

#include "factorization/row_reader.hpp"
#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "require.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kRoots = 64;

// 2^-e for the exponent e of x > 0, as near as it is a normal number.
double inverse_power(double x) {
    constexpr std::uint64_t kMost = 2046;
    const std::uint64_t exponent = std::bit_cast<std::uint64_t>(x) >> 52;
    return std::bit_cast<double>(std::max<std::uint64_t>(kMost - exponent, 1) << 52);
}

// Leading eigenvector (u0 real and >= 0, u1) of [[aa, g], [conj g, bb]], rounded to Real. The matrix is scaled to have
// a diagonal near one; an inner product that is still tiny then has no digits to give a phase, and no weight: it counts
// as zero, and the squares of others do not vanish.
template <class Real>
void leading_direction(const double* gram, double* u) {
    constexpr double kNoWeight = 1e-150;
    u[0] = 1, u[1] = u[2] = 0;
    const double largest = std::max(gram[0], gram[1]);
    if (!(largest > 0) || !std::isfinite(largest)) return;
    const double scale = inverse_power(largest);
    const double re = gram[2] * scale, im = gram[3] * scale, delta = (gram[0] * scale - gram[1] * scale) / 2;
    double modulus = im == 0 ? std::fabs(re) : std::sqrt(re * re + im * im);
    if (modulus < kNoWeight) modulus = 0;
    const double h = std::sqrt(delta * delta + modulus * modulus) + std::fabs(delta);
    const double first = delta >= 0 ? h : modulus, second = delta >= 0 ? modulus : h;
    const double norm = std::sqrt(first * first + second * second);
    if (norm == 0) return;
    u[0] = static_cast<Real>(first / norm);
    if (im == 0 || modulus == 0) {
        u[1] = static_cast<Real>(std::copysign(second / norm, modulus == 0 ? 1.0 : re));
        return;
    }
    u[1] = static_cast<Real>(second / norm * (re / modulus));
    u[2] = static_cast<Real>(-(second / norm) * (im / modulus));
}

// Tasks that run at the same time write far from each other: the factors hold neighbouring rows in one cache line.
std::size_t spread(std::size_t task, std::size_t count) {
    constexpr std::size_t kParts = 4;
    return count < kParts ? task : task % kParts * (count / kParts) + task / kParts;
}

struct Energies {
    double all = 0, discarded = 0;
};

struct Range {
    std::size_t first, end;
};

template <class Real>
class LeftToRight {
public:
    LeftToRight(std::size_t n, bool is_complex, Real* values, std::size_t workers)
        : n_(n),
          complex_(is_complex),
          values_(values),
          workers_(workers),
          kernels_(kernels().of<Real>()),
          roots_(std::min(kRoots, n / 2)),
          stride_(row_numbers(n, is_complex)),
          right_(make_aligned<Real>(roots_ * stride_)) {}

    // Runs all levels; the last factor takes what is left. The energies are added up in an order of their own.
    Energies run(const Permuted& matrix) {
        const std::size_t tile = std::min(RowReader<Real>::tile(matrix), roots_), trees = roots_ / tile;
        const std::size_t blocks = roots_ == 1 ? 0 : n_ / roots_;
        std::vector<Energies> energies(trees + blocks);
        std::vector<Tree> work;
        for (std::size_t w = 0; w < std::min(workers_, trees); ++w) work.emplace_back(matrix, tile, depth() * stride_);
        parallel_for(trees, work.size(), [&](std::size_t worker, std::size_t task) {
            checkpoint();
            const std::size_t i = spread(task, trees);
            grow(depth(), i * tile, row(i * tile), work[worker], energies[i]);
        });
        parallel_for(blocks, workers_, [&](std::size_t, std::size_t i) {
            checkpoint();
            split_block(i, energies[trees + i]);
        });
        Energies sum;
        for (const Energies& e : energies) sum.all += e.all, sum.discarded += e.discarded;
        return sum;
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

private:
    // What a worker needs for one tree of a tile of rows: the rows that wait for their partners, one tile a level.
    struct Tree {
        Tree(const Permuted& matrix, std::size_t rows, std::size_t numbers)
            : reader(matrix), tile(rows), waiting(make_aligned<Real>(rows * numbers)) {}
        RowReader<Real> reader;
        std::size_t tile;
        AlignedArray<Real> waiting;
    };

    std::size_t width() const { return complex_ ? 2 : 1; }
    Real* row(std::size_t t) const { return right_.get() + t * stride_; }
    const Real* imag(const Real* p) const { return complex_ ? p + n_ : nullptr; }
    std::size_t levels() const { return static_cast<std::size_t>(std::countr_zero(n_)); }
    // Rows of the right part after a level, and the length of its segments then.
    std::size_t rows_after(std::size_t level) const { return n_ >> (level + 1); }
    std::size_t depth() const { return static_cast<std::size_t>(std::countr_zero(n_ / roots_)) - 1; }
    RowPair<Real> pair_of(const Real* a, const Real* b) const { return {a, imag(a), b, imag(b), n_}; }

    // A tile of rows of the right part after `level`, from row `first` on.
    void grow(std::size_t level, std::size_t first, Real* out, Tree& work, Energies& sum) const {
        const Range all{0, std::size_t{2} << level};
        const std::size_t distance = rows_after(level);
        if (level == 0) {
            work.reader.open(first, work.tile, distance);
            for (std::size_t r = 0; r < work.tile; ++r) {
                split_rows(0, first + r, work.reader.pair(first + r), out + r * stride_, all, sum);
            }
            return;
        }
        Real* partner = work.waiting.get() + (level - 1) * work.tile * stride_;
        grow(level - 1, first, out, work, sum);
        grow(level - 1, first + distance, partner, work, sum);
        for (std::size_t r = 0; r < work.tile; ++r) {
            Real* upper = out + r * stride_;
            split_rows(level, first + r, pair_of(upper, partner + r * stride_), upper, all, sum);
        }
    }

    // All levels behind the trees for segment `block` of the root rows.
    void split_block(std::size_t block, Energies& sum) const {
        for (std::size_t level = depth() + 1, segments = 2; level < levels(); ++level, segments *= 2) {
            for (std::size_t t = 0; t < rows_after(level); ++t) {
                split_rows(level, t, pair_of(row(t), row(t + rows_after(level))), row(t),
                           {block * segments, (block + 1) * segments}, sum);
            }
        }
    }

    // A pair of rows -> row t of the right part after `level`, one direction for each of some segments.
    void split_rows(std::size_t level, std::size_t t, const RowPair<Real>& rows, Real* out, Range segments,
                    Energies& sum) const {
        const std::size_t length = rows_after(level);
        for (std::size_t s = segments.first; s < segments.end; ++s) {
            const std::size_t at = s * length;
            const RowPair<Real> part{rows.a + at, complex_ ? rows.a_imag + at : nullptr, rows.b + at,
                                     complex_ ? rows.b_imag + at : nullptr, length};
            double gram[4], u[3];
            kernels_.gram(part, gram);
            leading_direction<Real>(gram, u);
            sum.discarded += kernels_.project(part, u, out + at, complex_ ? out + n_ + at : nullptr);
            if (level == 0) sum.all += gram[0] + gram[1];
            put(level, s, t, u);
        }
    }
    void put(std::size_t level, std::size_t s, std::size_t t, const double* u) const {
        const std::size_t d = rows_after(level);
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
    std::size_t workers_;
    const RealKernels<Real>& kernels_;
    std::size_t roots_, stride_;
    AlignedArray<Real> right_;
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

// Squares of entries of this size neither overflow nor vanish in Real, even summed over a chunk of rows, nor do
// products of two such sums in double precision, which decide on the leading direction.
template <class Real>
bool well_scaled(double energy, std::size_t n) {
    const double mean = energy / (static_cast<double>(n) * static_cast<double>(n));
    const double tiny = std::numeric_limits<Real>::min(), least = 1e-140;
    return std::isfinite(energy) && mean > std::max(tiny * 1e12, least) && mean < std::min(1e-12 / tiny, 1 / least);
}

template <class Real>
void require_finite(const Real* values, std::size_t count) {
    require(std::all_of(values, values + count, [](Real x) { return std::isfinite(x); }),
            "a: the factors overflow the range of the dtype; scale the matrix down");
}

}  // namespace

template <class Real>
double factorize(const View& a, const std::uint32_t* rows, const std::uint32_t* columns, Real* values,
                 std::size_t workers) {
    const std::size_t n = a.rows;
    if (n * n < least_parallel_work()) workers = 1;
    LeftToRight<Real> work(n, a.im != nullptr, values, workers);
    double scale = 1;
    Energies energies = work.run({a, rows, columns, scale});
    if (!well_scaled<Real>(energies.all, n)) {  // NaN, infinity, zero, or squares out of range: look and rescale
        const double largest = largest_entry<Real>(a);
        // Subnormal maxima are brought up as far as one exact multiplication in Real can.
        if (largest > 0)
            scale = std::ldexp(1.0, std::min(-std::ilogb(largest), std::numeric_limits<Real>::max_exponent - 1));
        energies = work.run({a, rows, columns, scale});
    }
    work.finish(1 / scale);
    if (scale != 1) require_finite(values, work.count());
    if (energies.all == 0) return 0;
    const double norm = std::sqrt(energies.all) / scale;
    // The 2n entries of the last factor are rounded to multiples of the smallest subnormal at worst.
    const double underflow = std::sqrt(2.0 * static_cast<double>(n)) * std::numeric_limits<Real>::denorm_min() / norm;
    return std::sqrt(energies.discarded / energies.all) + underflow;
}

template double factorize<float>(const View&, const std::uint32_t*, const std::uint32_t*, float*, std::size_t);
template double factorize<double>(const View&, const std::uint32_t*, const std::uint32_t*, double*, std::size_t);

}  // namespace bitterfly
