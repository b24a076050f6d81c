// The leading directions of one block of rows: Gram matrix in the SIMD kernels, a small eigenproblem, projection.
//
// A Gram matrix squares the condition number: eigenvalues below sqrt(eps) of the largest are noise. Where they matter,
// the rows are rotated by the eigenvectors found and the Gram matrix of the small ones is taken again from the rows
// themselves, which recovers them down to eps.
#pragma once

#include <limits>
#include <type_traits>
#include <vector>

#include "factorization/row_planes.hpp"
#include "factorization/subspace.hpp"
#include "kernels/kernels.hpp"

namespace bitterfly {

template <class Real, class Scalar>
class BlockSolver {
public:
    static constexpr bool kComplex = !std::is_same_v<Scalar, double>;
    static constexpr std::size_t kPlanes = kComplex ? 2 : 1;

    Matrix<Scalar> gram(const BlockRows<Real>& x) {
        sums_.resize(x.count * x.count);
        kernels().of<Real>().gram_rows({x.rows, x.stride, x.count, x.length, sums_.data()});
        const std::size_t b = x.count / kPlanes;
        Matrix<Scalar> g(b, b);
        for (std::size_t i = 0; i < b; ++i) {
            for (std::size_t j = 0; j <= i; ++j) {
                if constexpr (kComplex) {
                    g(i, j) = {sum(x, i, j) + sum(x, b + i, b + j), sum(x, b + i, j) - sum(x, b + j, i)};
                    g(j, i) = std::conj(g(i, j));
                } else {
                    g(i, j) = g(j, i) = sum(x, i, j);
                }
            }
        }
        return g;
    }
    // The energy of the block whose leading directions were last asked for.
    double last_trace() const { return trace_; }

    // y = u^H x, planes of the rows of y one after the other.
    BlockRows<Real> combine(const Matrix<Scalar>& u, const BlockRows<Real>& x, std::vector<Real>& y) {
        const auto b = static_cast<std::size_t>(u.rows()), r = static_cast<std::size_t>(u.cols());
        weights_.assign(r * kPlanes * b * kPlanes, Real(0));
        for (std::size_t k = 0; k < r; ++k) {
            for (std::size_t j = 0; j < b; ++j) put_weight(u(j, k), k, j, r, b);
        }
        y.resize(r * kPlanes * x.length);
        kernels().of<Real>().combine_rows(
            {weights_.data(), r * kPlanes, b * kPlanes, x.rows, x.stride, x.length, y.data(), x.length});
        return {y.data(), x.length, r * kPlanes, x.length};
    }

    // All eigenpairs of the Gram matrix, small ones from the rows again and again while they are above `floor`.
    Eigenpairs<Scalar> all(const BlockRows<Real>& x, double floor) {
        const Matrix<Scalar> g = gram(x);
        trace_ = std::real(g.trace());
        Eigenpairs<Scalar> out = eigenpairs(g);
        const double end = std::max(floor * out.values.sum(), out.values(0) * 1e-2 * kEps * kEps);
        Eigen::Index start = 0;
        for (int stage = 0; stage < 8; ++stage) {
            Eigen::Index next = start;
            while (next < out.values.size() && out.values(next) > kGap * out.values(start)) ++next;
            if (next == out.values.size() || next == start || !(out.values(start) > end)) break;
            refine(x, next, out);
            start = next;
        }
        return out;
    }

    // The best rank-r directions.
    Eigenpairs<Scalar> leading(const BlockRows<Real>& x, std::size_t rank) {
        Eigenpairs<Scalar> out;
        if (x.count >= 2 * kPlanes * x.length && x.length > 4 && leading_of_tall(x, rank, out)) return out;
        const Matrix<Scalar> g = gram(x);
        trace_ = std::real(g.trace());
        if (rank == 1 && x.count > 4 * kPlanes) return lanczos_(g);
        out = eigenpairs(g);
        const auto r = static_cast<Eigen::Index>(rank);
        if (r > 1 && out.values(r - 1) < kGap * out.values(0)) out = all(x, 0);
        return {out.values.head(r), out.vectors.leftCols(r)};
    }

    // |x - u y|^2 from the rows.
    double residual(const BlockRows<Real>& x, const Matrix<Scalar>& u, const BlockRows<Real>& y) const {
        const auto b = static_cast<std::size_t>(u.rows()), r = static_cast<std::size_t>(u.cols());
        double sum = 0;
        for (std::size_t j = 0; j < b; ++j) {
            for (std::size_t c = 0; c < x.length; ++c) {
                Scalar rest = at(x, j, b, c);
                for (std::size_t k = 0; k < r; ++k) rest -= u(j, k) * at(y, k, r, c);
                sum += std::norm(rest);
            }
        }
        return sum;
    }

    // Below this share of the energy, what is discarded is taken from the rows, not by subtraction.
    static constexpr double kCancels = sizeof(Real) == sizeof(float) ? 1e-3 : 1e-6;
    // An eigenvalue is off by rounding errors of the largest one of its stage, at most 1 / kGap times as large.
    static constexpr double kDoubt =
        8 * std::numeric_limits<Real>::epsilon() / (sizeof(Real) == sizeof(float) ? 1e-3 : 1e-8);
    // Of the energies that are subtracted: partial sums in Real, thousands of which average out.
    static constexpr double kRounding = 8 * std::numeric_limits<Real>::epsilon();

private:
    static constexpr double kEps = std::numeric_limits<Real>::epsilon();
    static constexpr double kGap = sizeof(Real) == sizeof(float) ? 1e-3 : 1e-8;
    static constexpr double kTallGap = sizeof(Real) == sizeof(float) ? 1e-3 : 0.1;

    // With fewer columns than rows: w leads x^T conj(x), u = x conj(w). Returns false where vectors of small values
    // would not be orthogonal to rounding.
    bool leading_of_tall(const BlockRows<Real>& x, std::size_t rank, Eigenpairs<Scalar>& out) {
        const auto r = static_cast<Eigen::Index>(rank);
        const std::size_t b = x.count / kPlanes;
        const Matrix<Scalar> g = gram(transposed(x));
        trace_ = std::real(g.trace());
        const Eigenpairs<Scalar> columns = rank == 1 ? lanczos_(g) : eigenpairs(g);
        if (r > 1 && (r > columns.values.size() || !(columns.values(r - 1) > kTallGap * columns.values(0))))
            return false;
        out = {columns.values.head(r), Matrix<Scalar>::Zero(static_cast<Eigen::Index>(b), r)};
        for (Eigen::Index k = 0; k < r; ++k) {
            combine_columns(x, columns.vectors.col(k), out.vectors.col(k));
            const double length = out.vectors.col(k).norm();
            if (length > 0) {
                out.vectors.col(k) /= length;
            } else {
                out.vectors(0, k) = 1;
            }
        }
        return true;
    }
    // The columns of x as rows, in rotated_.
    BlockRows<Real> transposed(const BlockRows<Real>& x) {
        const std::size_t b = x.count / kPlanes;
        rotated_.resize(x.length * kPlanes * b);
        for (std::size_t p = 0; p < kPlanes; ++p) {
            for (std::size_t c = 0; c < x.length; ++c) {
                Real* to = rotated_.data() + (p * x.length + c) * b;
                for (std::size_t j = 0; j < b; ++j) to[j] = x.rows[(p * b + j) * x.stride + c];
            }
        }
        return {rotated_.data(), b, x.length * kPlanes, b};
    }
    // u += x conj(w), from the columns of x in rotated_.
    template <class In, class Out>
    void combine_columns(const BlockRows<Real>& x, const In& w, Out u) const {
        const std::size_t b = x.count / kPlanes;
        for (std::size_t c = 0; c < x.length; ++c) {
            const Scalar weight = conjugate(w(static_cast<Eigen::Index>(c)));
            for (std::size_t j = 0; j < b; ++j) {
                const Real* at = rotated_.data() + c * b + j;
                if constexpr (kComplex) {
                    u(static_cast<Eigen::Index>(j)) += weight * Scalar(at[0], at[x.length * b]);
                } else {
                    u(static_cast<Eigen::Index>(j)) += weight * at[0];
                }
            }
        }
    }
    static Scalar conjugate(const Scalar& z) {
        if constexpr (kComplex) {
            return std::conj(z);
        } else {
            return z;
        }
    }
    double sum(const BlockRows<Real>& x, std::size_t i, std::size_t j) const {
        return i >= j ? sums_[i * x.count + j] : sums_[j * x.count + i];
    }
    static Scalar at(const BlockRows<Real>& x, std::size_t j, std::size_t rows, std::size_t c) {
        if constexpr (kComplex) {
            return {x.rows[j * x.stride + c], x.rows[(rows + j) * x.stride + c]};
        } else {
            return x.rows[j * x.stride + c];
        }
    }
    void put_weight(Scalar u, std::size_t k, std::size_t j, std::size_t r, std::size_t b) {
        if constexpr (kComplex) {
            Real *upper = weights_.data() + k * 2 * b, *lower = upper + r * 2 * b;
            const auto re = static_cast<Real>(u.real()), im = static_cast<Real>(u.imag());
            upper[j] = re, upper[b + j] = im, lower[j] = -im, lower[b + j] = re;
        } else {
            weights_[k * b + j] = static_cast<Real>(u);
        }
    }
    void refine(const BlockRows<Real>& x, Eigen::Index first, Eigenpairs<Scalar>& pairs) {
        const Eigen::Index count = pairs.values.size() - first;
        const Matrix<Scalar> u = pairs.vectors.rightCols(count);
        const Eigenpairs<Scalar> again = eigenpairs(gram(combine(u, x, rotated_)));
        pairs.vectors.rightCols(count) = u * again.vectors;
        pairs.values.tail(count) = again.values;
    }

    double trace_ = 0;
    std::vector<double> sums_;
    std::vector<Real> weights_, rotated_;
    LeadingVector<Scalar> lanczos_;
};

}  // namespace bitterfly
