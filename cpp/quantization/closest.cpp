// Lattice reduction of each metric, then one plane after the other.
#include "quantization/closest.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Jacobi>
#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>
#include <vector>

#include "parallel.hpp"

namespace bitterfly {
namespace {

double nearest(double x) { return std::nearbyint(x); }
std::complex<double> nearest(const std::complex<double>& z) {
    return {std::nearbyint(z.real()), std::nearbyint(z.imag())};
}
double largest_part(double x) { return std::fabs(x); }
double largest_part(const std::complex<double>& z) { return std::max(std::fabs(z.real()), std::fabs(z.imag())); }
double cut(double x, double most) { return std::clamp(x, -most, most); }
std::complex<double> cut(const std::complex<double>& z, double most) {
    return {cut(z.real(), most), cut(z.imag(), most)};
}

// Integers z next to x in the length |R (x - z)|, R upper triangular, from the last to the first: what is wrong with
// one is made up for by those before. `off` is x, then x - z.
template <class Matrix, class Vector, class Rounding>
void round_planes(const Matrix& r, Vector& off, Vector& z, Rounding rounded) {
    z.resize(off.size());
    for (Eigen::Index k = off.size(); k-- > 0;) {
        const Eigen::Index after = off.size() - k - 1;
        const auto carried = r.row(k).tail(after).transpose().cwiseProduct(off.tail(after)).sum() / r(k, k);
        z(k) = rounded(off(k) + carried);
        off(k) -= z(k);
    }
}

// The lattice of integer vectors x with the length |R x|: a reduced basis `back_`, the columns of R in that basis.
template <class Scalar>
class ReducedLattice {
public:
    using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
    using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

    void reduce(const Matrix& metric) {
        const Eigen::Index n = metric.rows();
        r_ = Eigen::LLT<Matrix, Eigen::Upper>(metric).matrixU();
        back_.setIdentity(n, n), forth_.setIdentity(n, n);
        Eigen::Index k = 1;
        for (Eigen::Index steps = 0; k < n && steps < kSteps * n; ++steps) {
            for (Eigen::Index j = k; j-- > 0;) shorten(k, j);
            if (std::norm(r_(k, k)) + std::norm(r_(k - 1, k)) < kLovasz * std::norm(r_(k - 1, k - 1))) {
                exchange(k);
                k = std::max<Eigen::Index>(k - 1, 1);
            } else {
                ++k;
            }
        }
    }

    // The integer vector near x, by the planes of the reduced basis.
    const Vector& round(const Vector& x) {
        off_.noalias() = forth_ * x;
        round_planes(r_, off_, z_, [](const Scalar& at) { return nearest(at); });
        x_.noalias() = back_ * z_;
        return x_;
    }

private:
    static constexpr double kLovasz = 0.75;
    static constexpr Eigen::Index kSteps = 100;  // a row; more would gain little

    // b_k -= mu b_j
    void shorten(Eigen::Index k, Eigen::Index j) {
        const Scalar mu = nearest(r_(j, k) / r_(j, j));
        if (mu == Scalar(0)) return;
        r_.col(k).head(j + 1) -= mu * r_.col(j).head(j + 1);
        back_.col(k) -= mu * back_.col(j);
        forth_.row(j) += mu * forth_.row(k);
    }
    // Exchanges b_k and b_{k-1}; a rotation makes R triangular again.
    void exchange(Eigen::Index k) {
        r_.col(k).swap(r_.col(k - 1));
        back_.col(k).swap(back_.col(k - 1));
        forth_.row(k).swap(forth_.row(k - 1));
        Eigen::JacobiRotation<Scalar> rotation;
        rotation.makeGivens(r_(k - 1, k - 1), r_(k, k - 1));
        r_.rightCols(r_.cols() - k + 1).applyOnTheLeft(k - 1, k, rotation.adjoint());
        r_(k, k - 1) = 0;
    }

    Matrix r_, back_, forth_;
    Vector off_, x_, z_;
};

// Integer vectors within a range, next to given ones in a metric.
template <class Scalar>
class BoundedLattice {
public:
    using Matrix = typename ReducedLattice<Scalar>::Matrix;
    using Vector = typename ReducedLattice<Scalar>::Vector;

    // Takes the metric over the power of two that makes its mean eigenvalue about 1, and adds `floor`.
    void set(const Matrix& metric, const CodeRange& range) {
        const double mean = metric.diagonal().real().mean();
        most_ = range.most, has_held_ = false;
        metric_.setIdentity(metric.rows(), metric.rows());
        if (mean > 0) {
            const int exponent = -std::ilogb(mean), half = exponent / 2;  // 2^exponent may overflow
            metric_ *= std::max(range.floor, kLeastFloor);
            metric_ += metric * std::ldexp(1.0, half) * std::ldexp(1.0, exponent - half);
        }
        lattice_.reduce(metric_);
    }

    // What lies beyond the range is held at its end, and the others are chosen anew to make up for that; where this is
    // worse than plain rounding, that is taken.
    const Vector& round(const Vector& x) {
        z_ = lattice_.round(x);
        if (is_within()) return z_;
        has_held_ = true;
        hold(x);
        plain_ = plain(x);
        if (cost(x - plain_) < cost(x - z_)) z_ = plain_;
        return z_;
    }
    Vector plain(const Vector& x) const {
        return x.unaryExpr([this](const Scalar& at) { return cut(nearest(at), most_); });
    }
    double cost(const Vector& off) const { return std::real(off.dot(metric_ * off)); }
    // Whether a vector since `set` had numbers beyond the range.
    bool has_held() const { return has_held_; }

private:
    static constexpr double kLeastFloor = 1e-13;
    static constexpr int kReductions = 3;  // of the lattice of those not held, a row; then planes without reduction

    bool is_within() const {
        return std::all_of(z_.begin(), z_.end(), [this](const Scalar& at) { return largest_part(at) <= most_; });
    }

    void hold(const Vector& x) {
        free_.resize(static_cast<std::size_t>(x.size())), held_.clear();
        std::iota(free_.begin(), free_.end(), Eigen::Index{0});
        for (int trial = 0; !is_within(); ++trial) {
            const auto beyond = std::stable_partition(free_.begin(), free_.end(),
                                                      [this](Eigen::Index k) { return largest_part(z_(k)) <= most_; });
            held_.insert(held_.end(), beyond, free_.end());
            free_.erase(beyond, free_.end());
            for (const Eigen::Index k : held_) z_(k) = cut(z_(k), most_);
            if (free_.empty()) return;
            const Matrix inner = metric_(free_, free_);
            const Eigen::LLT<Matrix, Eigen::Upper> root(inner);
            Vector target = x(free_) + root.solve(metric_(free_, held_) * (x(held_) - z_(held_)));
            if (trial < kReductions) {
                rest_.reduce(inner);
                z_(free_) = rest_.round(target);
            } else {
                const Matrix r = root.matrixU();
                round_planes(r, target, plain_, [this](const Scalar& at) { return cut(nearest(at), most_); });
                z_(free_) = plain_;
            }
        }
    }

    Matrix metric_;
    double most_ = 0;
    bool has_held_ = false;
    ReducedLattice<Scalar> lattice_, rest_;
    std::vector<Eigen::Index> free_, held_;
    Vector z_, plain_;
};

// What an error of row j of T costs once the r x r matrix at its right is chosen anew: the metric of the columns of an
// error is (I + T T^H)^-1. So errors cost as the parts of Gaussian vectors of covariance I + T T^H that those before do
// not predict: t_j z with z estimated row by row (Kalman).
template <class Scalar>
class RowErrors {
public:
    using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
    using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;

    void clear(Eigen::Index r) {
        estimate_.setZero(r, r);
        covariance_.setIdentity(r, r);
    }
    // What a row t should make up for, given the errors of the rows before.
    Row carried(const Row& t) const { return -t * estimate_; }
    // Adds the error of row t; returns the variance of its numbers that those before leave.
    double add(const Row& t, const Row& error) {
        gain_.noalias() = covariance_ * t.adjoint();
        const double variance = 1 + std::real((t * gain_).value());
        const Row part = gain_.adjoint() / variance;
        estimate_.noalias() += part.adjoint() * (error - t * estimate_);
        covariance_.noalias() -= gain_ * part;
        return variance;
    }

private:
    Matrix estimate_, covariance_;
    Eigen::Matrix<Scalar, Eigen::Dynamic, 1> gain_;
};

// One matrix T after the other.
template <class Scalar>
class ClosestMatrix {
public:
    ClosestMatrix(const CodeRange& range, Eigen::Index m, Eigen::Index r) : range_(range), m_(m), r_(r) {}

    void run(const Scalar* t, const Scalar* metric, Scalar* codes) {
        // A row d costs d G d^H = x^H conj(G) x with the column x = d^T; conj(G) = G^T, row-major as column-major.
        lattice_.set(Eigen::Map<const Matrix>(metric, r_, r_), range_);
        const double cost = walk(t, [&](Eigen::Index i, const Row&, const Row& target) {
            return Row(at(codes, i) = lattice_.round(target.transpose()).transpose());
        });
        if (!lattice_.has_held()) return;
        // Rows may have nobody left to make up for them: then plain rounding is better.
        const auto plain = [&](const Row& units) { return Row(lattice_.plain(units.transpose()).transpose()); };
        if (walk(t, [&](Eigen::Index, const Row& units, const Row&) { return plain(units); }) < cost) {
            for (Eigen::Index i = 0; i < m_; ++i) at(codes, i) = plain(at(t, i) / range_.step);
        }
    }

private:
    using Matrix = typename RowErrors<Scalar>::Matrix;
    using Row = typename RowErrors<Scalar>::Row;

    auto at(const Scalar* x, Eigen::Index i) const { return Eigen::Map<const Row>(x + i * r_, r_); }
    auto at(Scalar* x, Eigen::Index i) const { return Eigen::Map<Row>(x + i * r_, r_); }

    // Calls codes_of(i, row in units, the same with what it should make up for); returns what all rows cost.
    template <class Codes>
    double walk(const Scalar* t, Codes codes_of) {
        errors_.clear(r_);
        double cost = 0;
        for (Eigen::Index i = 0; i < m_; ++i) {
            const Row row = at(t, i), units = row / range_.step, target = units + errors_.carried(row);
            const Row z = codes_of(i, units, target);
            cost += lattice_.cost((target - z).transpose()) / errors_.add(row, units - z);
        }
        return cost;
    }

    CodeRange range_;
    Eigen::Index m_, r_;
    BoundedLattice<Scalar> lattice_;
    RowErrors<Scalar> errors_;
};

}  // namespace

void closest_codes(const double* t, const double* metric, std::size_t count, std::size_t m, std::size_t r,
                   bool is_complex, const CodeRange& range, double* codes, std::size_t workers) {
    const auto others = static_cast<Eigen::Index>(m), rank = static_cast<Eigen::Index>(r);
    constexpr std::size_t kPart = 8;  // matrices that one worker takes at a time
    parallel_ranges(count, kPart, workers, [&](std::size_t first, std::size_t end) {
        const auto closest_of = [&](auto scalar) {
            using Scalar = decltype(scalar);
            const auto* matrices = reinterpret_cast<const Scalar*>(t) + first * m * r;
            const auto* metrics = reinterpret_cast<const Scalar*>(metric) + first * r * r;
            auto* out = reinterpret_cast<Scalar*>(codes) + first * m * r;
            ClosestMatrix<Scalar> closest(range, others, rank);
            for (std::size_t q = 0; q < end - first; ++q) {
                closest.run(matrices + q * m * r, metrics + q * r * r, out + q * m * r);
            }
        };
        is_complex ? closest_of(std::complex<double>{}) : closest_of(double{});
    });
}

}  // namespace bitterfly
