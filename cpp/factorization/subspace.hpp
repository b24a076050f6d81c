// Leading eigenvectors of small Hermitian matrices: Eigen's solver, and a Lanczos iteration for a single one.
#pragma once

#include <Eigen/Eigenvalues>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>

namespace bitterfly {

template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
template <class Scalar>
using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

// Eigenvalues in falling order, negative ones (rounding) as zero, and eigenvectors.
template <class Scalar>
struct Eigenpairs {
    Eigen::VectorXd values;
    Matrix<Scalar> vectors;
};

// Only the lower triangle of `g` is read. The QR iteration of Eigen may not converge where much of the spectrum is zero
// (its test for small off-diagonal entries is not relative): a shift by the mean eigenvalue cures that, and moves small
// eigenvalues by no more than the rounding errors of the largest. Jacobi rotations converge always.
template <class Scalar>
Eigenpairs<Scalar> eigenpairs(const Matrix<Scalar>& g) {
    const Eigen::Index n = g.rows();
    if (!g.allFinite()) {  // of NaN or overflow: no solver is defined there
        return {Eigen::VectorXd::Constant(n, std::numeric_limits<double>::quiet_NaN()), Matrix<Scalar>::Identity(n, n)};
    }
    if (n == 1) return {g.real().diagonal().cwiseMax(0.0), Matrix<Scalar>::Identity(1, 1)};
    Eigen::SelfAdjointEigenSolver<Matrix<Scalar>> solver(g);
    double shift = 0;
    if (solver.info() != Eigen::Success) {
        shift = g.diagonal().real().mean();
        solver.compute(g + Matrix<Scalar>::Identity(n, n) * shift);
    }
    if (solver.info() != Eigen::Success) {
        const Matrix<Scalar> whole = g.template selfadjointView<Eigen::Lower>();
        const Eigen::JacobiSVD<Matrix<Scalar>, Eigen::NoQRPreconditioner> svd(whole, Eigen::ComputeFullU);
        return {svd.singularValues(), svd.matrixU()};
    }
    return {(solver.eigenvalues().array() - shift).reverse().cwiseMax(0.0), solver.eigenvectors().rowwise().reverse()};
}

// The largest eigenpair of a symmetric tridiagonal matrix with positive off-diagonal entries `beta` and entries of
// order one. Laguerre's iteration comes down to the largest root from above, cubically; the vector is read off a
// twisted factorization. Parlett, The Symmetric Eigenvalue Problem; Dhillon and Parlett, Linear Algebra Appl. 387
// (2004).
class TridiagonalLargest {
public:
    double operator()(const Eigen::VectorXd& alpha, const Eigen::VectorXd& beta, Eigen::Index n, Eigen::VectorXd& v) {
        double x = bound(alpha, beta, n);
        const double least = 1e-15 * std::fabs(x);
        for (int iteration = 0; iteration < 60; ++iteration) {
            double q = alpha(0) - x, q1 = -1, q2 = 0;  // of the factorization of T - x, and its derivatives in x
            double g = q1 / q, h = g * g;
            bool above = q < 0;
            for (Eigen::Index i = 1; i < n && above; ++i) {
                const double r = 1 / q, c = beta(i - 1) * beta(i - 1) * r * r;
                const double next1 = -1 + c * q1, next2 = c * (q2 - 2 * q1 * q1 * r);
                q = alpha(i) - x - c * q, q1 = next1, q2 = next2;
                above = q < 0;
                const double ratio = q1 / q;
                g += ratio, h += ratio * ratio - q2 / q;
            }
            if (!above) break;
            const auto size = static_cast<double>(n);
            const double step = size / (g + std::sqrt(std::max((size - 1) * (size * h - g * g), 0.0)));
            if (!(step > least)) break;
            x -= step;
        }
        vector(alpha, beta, n, x, v);
        return x;
    }

private:
    static double bound(const Eigen::VectorXd& alpha, const Eigen::VectorXd& beta, Eigen::Index n) {
        double most = alpha(0) + (n > 1 ? beta(0) : 0);
        for (Eigen::Index i = 1; i < n; ++i) most = std::max(most, alpha(i) + beta(i - 1) + (i + 1 < n ? beta(i) : 0));
        return most * (1 + 1e-15) + 1e-300;
    }
    void vector(const Eigen::VectorXd& alpha, const Eigen::VectorXd& beta, Eigen::Index n, double x,
                Eigen::VectorXd& v) {
        const auto apart = [](double q) { return std::fabs(q) < 1e-290 ? -1e-290 : q; };
        down_.resize(n), up_.resize(n), v.resize(n);
        down_(0) = apart(alpha(0) - x), up_(n - 1) = apart(alpha(n - 1) - x);
        for (Eigen::Index i = 1; i < n; ++i) {
            const Eigen::Index j = n - 1 - i;
            down_(i) = apart(alpha(i) - x - beta(i - 1) * beta(i - 1) / down_(i - 1));
            up_(j) = apart(alpha(j) - x - beta(j) * beta(j) / up_(j + 1));
        }
        Eigen::Index twist = 0;
        double least = std::numeric_limits<double>::infinity();
        for (Eigen::Index i = 0; i < n; ++i) {
            const double gamma = std::fabs(down_(i) + up_(i) - (alpha(i) - x));
            if (gamma < least) least = gamma, twist = i;
        }
        v(twist) = 1;
        for (Eigen::Index i = twist; i > 0; --i) v(i - 1) = -beta(i - 1) * v(i) / down_(i - 1);
        for (Eigen::Index i = twist; i + 1 < n; ++i) v(i + 1) = -beta(i) * v(i) / up_(i + 1);
        v /= v.norm();
    }

    Eigen::VectorXd down_, up_;
};

// The leading eigenpair of a full Hermitian matrix by Lanczos with full reorthogonalization, which ends after n steps
// with the exact Krylov space; it stops once the residual costs less than 1e-6 of the energy that rank one discards.
// Only one vector is sought, so a repeated eigenvalue does no harm. Golub and Van Loan, Matrix Computations, 10.3.
template <class Scalar>
class LeadingVector {
public:
    Eigenpairs<Scalar> operator()(const Matrix<Scalar>& g) {
        const Eigen::Index n = g.rows();
        const double trace = g.diagonal().real().sum();
        if (!(trace > 0)) return {Eigen::VectorXd::Zero(1), Matrix<Scalar>::Identity(n, 1)};
        basis_.resize(n, n), alpha_.resize(n), beta_.resize(n);
        basis_.col(0) = start(n);
        Eigen::Index steps = 0;
        for (double residual = 1; residual > 0 && steps < n;) {
            residual = step(g, steps++, trace);
            if (steps % 4 != 0 && steps < n && residual > 0) continue;
            solve(steps, trace);
            const double discarded = std::max(trace - theta_, 0.0);
            const double missed = residual * std::fabs(ritz_(steps - 1));
            const double allowed = discarded > 1e-9 * trace ? 1e-6 * discarded * theta_ : 0;
            if (missed * missed <= std::max(allowed, 1e-30 * theta_ * theta_)) break;
        }
        Eigenpairs<Scalar> out{Eigen::VectorXd::Constant(1, std::max(theta_, 0.0)), Matrix<Scalar>(n, 1)};
        out.vectors.col(0) = basis_.leftCols(steps) * ritz_.template cast<Scalar>();
        out.vectors.col(0).normalize();
        return out;
    }

private:
    // A fixed vector that no vector of rational numbers is orthogonal to, signs of a Hadamard matrix among them: 1.5
    // and the sines of different integers are linearly independent over them (Lindemann and Weierstrass).
    static Vector<Scalar> start(Eigen::Index n) {
        Vector<Scalar> v(n);
        for (Eigen::Index i = 0; i < n; ++i) v(i) = 1.5 + 0.5 * std::sin(static_cast<double>(i + 1));
        return v.normalized();
    }
    // Extends the basis; returns the length of what is new (zero: the Krylov space is complete).
    double step(const Matrix<Scalar>& g, Eigen::Index k, double trace) {
        w_.noalias() = g * basis_.col(k);
        alpha_(k) = std::real(basis_.col(k).dot(w_));
        const double before = w_.squaredNorm();
        for (int pass = 0; pass < 2; ++pass) {
            along_.noalias() = basis_.leftCols(k + 1).adjoint() * w_;
            w_.noalias() -= basis_.leftCols(k + 1) * along_;
            if (w_.squaredNorm() > 0.01 * before) break;  // nothing cancelled: orthogonal to rounding
        }
        const double length = w_.norm();
        if (k + 1 == g.rows() || length <= 1e-16 * trace) return beta_(k) = 0;
        basis_.col(k + 1) = w_ / length;
        return beta_(k) = length;
    }
    void solve(Eigen::Index steps, double trace) {
        scaled_alpha_ = alpha_.head(steps) / trace, scaled_beta_ = beta_.head(steps) / trace;
        theta_ = trace * largest_(scaled_alpha_, scaled_beta_, steps, ritz_);
    }

    Matrix<Scalar> basis_;
    Vector<Scalar> w_, along_;
    Eigen::VectorXd alpha_, beta_, ritz_, scaled_alpha_, scaled_beta_;
    TridiagonalLargest largest_;
    double theta_ = 0;
};

}  // namespace bitterfly
