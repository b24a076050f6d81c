// Lattice reduction of each metric, then one plane after the other.
#include "closest.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Jacobi>
#include <algorithm>
#include <cmath>
#include <complex>
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

// The lattice of integer vectors x with the length |R x|: a reduced basis `back_`, the columns of R in that basis.
template <class Scalar>
class ReducedLattice {
public:
    using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
    using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

    void reduce(const Matrix& metric, double floor) {
        const Eigen::Index n = metric.rows();
        const double mean = metric.diagonal().real().mean();
        const double added = mean > 0 ? mean * std::max(floor, 1e-13) : 1;
        r_ = Eigen::LLT<Matrix, Eigen::Upper>(metric + Matrix::Identity(n, n) * added).matrixU();
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

    // The integer vector near x, plane by plane: what is wrong along one basis vector is made up for by those before.
    const Vector& round(const Vector& x) {
        off_.noalias() = forth_ * x;
        z_.resize(off_.size());
        for (Eigen::Index k = off_.size(); k-- > 0;) {
            const Eigen::Index after = off_.size() - k - 1;
            const Scalar carried = r_.row(k).tail(after).transpose().cwiseProduct(off_.tail(after)).sum() / r_(k, k);
            z_(k) = nearest(off_(k) + carried);
            off_(k) -= z_(k);
        }
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

// What an error of row j of T costs once the r x r matrix at its right is chosen anew: the metric of the columns of an
// error is (I + T T^H)^-1 = C^H C with C lower triangular.
template <class Scalar>
class RowWeights {
public:
    using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;

    void set(const Matrix& t) {
        const Eigen::Index m = t.rows();
        c_.setIdentity(m, m);
        const Eigen::LLT<Matrix> root(c_ + t * t.adjoint());
        root.matrixL().solveInPlace(c_);
    }
    // What row i should make up for, given the errors of the rows before.
    auto carried(Eigen::Index i, const Matrix& off) const { return c_.row(i).head(i) * off.topRows(i) / c_(i, i); }

private:
    Matrix c_;
};

template <class Scalar>
double closest(const Scalar* t, const Scalar* metric, std::size_t count, const CodeRange& range, Eigen::Index m,
               Eigen::Index r, Scalar* codes) {
    using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
    using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    ReducedLattice<Scalar> lattice;
    RowWeights<Scalar> weights;
    double largest = 0;
    for (std::size_t q = 0; q < count; ++q, metric += r * r, t += m * r) {
        Matrix off = Eigen::Map<const RowMajor>(t, m, r);
        weights.set(off);
        off /= range.step;
        // A row d costs d G d^H = x^H conj(G) x with the column x = d^T; conj(G) = G^T, row-major as column-major.
        lattice.reduce(Eigen::Map<const Matrix>(metric, r, r), range.floor);
        for (Eigen::Index i = 0; i < m; ++i, codes += r) {
            const auto& z = lattice.round((off.row(i) + weights.carried(i, off)).transpose());
            for (Eigen::Index k = 0; k < r; ++k) {
                largest = std::max(largest, largest_part(z(k)));
                codes[k] = cut(z(k), range.most);
                off(i, k) -= codes[k];
            }
        }
    }
    return largest;
}

}  // namespace

double closest_codes(const double* t, const double* metric, std::size_t count, std::size_t m, std::size_t r,
                     bool is_complex, const CodeRange& range, double* codes, std::size_t workers) {
    const auto rows = static_cast<Eigen::Index>(m), rank = static_cast<Eigen::Index>(r);
    constexpr std::size_t kPart = 8;  // matrices that one worker takes at a time
    std::vector<double> largest((count + kPart - 1) / kPart);
    parallel_ranges(count, kPart, workers, [&](std::size_t first, std::size_t end) {
        const auto closest_of = [&](auto scalar) {
            using Scalar = decltype(scalar);
            const auto* matrices = reinterpret_cast<const Scalar*>(t) + first * m * r;
            const auto* metrics = reinterpret_cast<const Scalar*>(metric) + first * r * r;
            auto* out = reinterpret_cast<Scalar*>(codes) + first * m * r;
            return closest(matrices, metrics, end - first, range, rows, rank, out);
        };
        largest[first / kPart] = is_complex ? closest_of(std::complex<double>{}) : closest_of(double{});
    });
    return largest.empty() ? 0 : *std::max_element(largest.begin(), largest.end());
}

}  // namespace bitterfly
