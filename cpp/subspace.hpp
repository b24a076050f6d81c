// Leading eigenvectors of small Hermitian matrices: Eigen's solver, and a Lanczos iteration for a single one.
#pragma once

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <complex>

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

// Only the lower triangle of `g` is read.
template <class Scalar>
Eigenpairs<Scalar> eigenpairs(const Matrix<Scalar>& g) {
    if (g.rows() == 1) return {g.real().diagonal().cwiseMax(0.0), Matrix<Scalar>::Identity(1, 1)};
    const Eigen::SelfAdjointEigenSolver<Matrix<Scalar>> solver(g);
    return {solver.eigenvalues().reverse().cwiseMax(0.0), solver.eigenvectors().rowwise().reverse()};
}

// The leading eigenpair of a full Hermitian matrix by Lanczos with full reorthogonalization, which ends after n steps
// with the exact Krylov space; it stops once the residual costs less than 1e-6 of the energy that rank one discards.
// Only one vector is sought, so a repeated eigenvalue does no harm. Golub and Van Loan, Matrix Computations, 10.3.
template <class Scalar>
class LeadingVector {
public:
    Eigenpairs<Scalar> operator()(const Matrix<Scalar>& g) {
        const Eigen::Index n = g.rows();
        const double trace = g.diagonal().real().sum();
        basis_.resize(n, n), alpha_.resize(n), beta_.resize(n);
        basis_.col(0) = start(n);
        Eigen::Index steps = 0;
        for (double residual = 1; residual > 0 && steps < n;) {
            residual = step(g, steps++, trace);
            if (steps % 4 != 0 && steps < n && residual > 0) continue;
            solve(steps);
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
    // A fixed vector without structure: no invariant subspace that a user's matrix has is orthogonal to it.
    static Vector<Scalar> start(Eigen::Index n) {
        Vector<Scalar> v(n);
        for (Eigen::Index i = 0; i < n; ++i) v(i) = 1 + std::fmod(0.6180339887498949 * static_cast<double>(i + 1), 1.0);
        return v.normalized();
    }
    // Extends the basis; returns the length of what is new (zero: the Krylov space is complete).
    double step(const Matrix<Scalar>& g, Eigen::Index k, double trace) {
        Vector<Scalar> w = g * basis_.col(k);
        alpha_(k) = std::real(basis_.col(k).dot(w));
        for (int twice = 0; twice < 2; ++twice) w -= basis_.leftCols(k + 1) * (basis_.leftCols(k + 1).adjoint() * w);
        const double length = w.norm();
        if (k + 1 == g.rows() || length <= 1e-16 * trace) return beta_(k) = 0;
        basis_.col(k + 1) = w / length;
        return beta_(k) = length;
    }
    void solve(Eigen::Index steps) {
        Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver;
        solver.computeFromTridiagonal(alpha_.head(steps), beta_.head(steps - 1));
        theta_ = solver.eigenvalues()(steps - 1);
        ritz_ = solver.eigenvectors().col(steps - 1);
    }

    Matrix<Scalar> basis_;
    Eigen::VectorXd alpha_, beta_, ritz_;
    double theta_ = 0;
};

}  // namespace bitterfly
