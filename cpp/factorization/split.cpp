// Splits of all blocks: rows to planes, the directions of each block, projection, results to their places.
#include "factorization/split.hpp"

#include <vector>

#include "factorization/block_solver.hpp"
#include "factorization/row_planes.hpp"

namespace bitterfly {
namespace {

// Calls action(Scalar{}) with double or complex double.
template <class Action>
auto by_scalar(bool is_complex, Action action) {
    return is_complex ? action(std::complex<double>{}) : action(double{});
}

// Where the results of a block go.
template <class Real, class Scalar>
class Output {
public:
    Output(const Blocks& x, std::size_t rank, std::size_t first, std::size_t d_total, Real* factor, Real* right)
        : x_(x), rank_(rank), first_(first), d_(d_total), factor_(factor), right_(right) {}

    void put(std::size_t i, std::size_t t, std::size_t g, const Matrix<Scalar>& u, const BlockRows<Real>& y) const {
        constexpr std::size_t planes = BlockSolver<Real, Scalar>::kPlanes;
        for (std::size_t j = 0; j < x_.b; ++j) {
            for (std::size_t k = 0; k < rank_; ++k) {
                Real* to =
                    factor_ + (((i * x_.b + j) * x_.groups + g) * rank_ + k) * d_ * planes + (first_ + t) * planes;
                const Scalar z = u(static_cast<Eigen::Index>(j), static_cast<Eigen::Index>(k));
                to[0] = static_cast<Real>(std::real(z));
                if constexpr (planes == 2) to[1] = static_cast<Real>(std::imag(z));
            }
        }
        for (std::size_t k = 0; k < rank_; ++k) {
            Real* to = right_ + (((i * x_.groups + g) * rank_ + k) * d_ + first_ + t) * y.length * planes;
            for (std::size_t p = 0; p < planes; ++p) {
                const Real* from = y.rows + (p * rank_ + k) * y.stride;
                for (std::size_t c = 0; c < y.length; ++c) to[planes * c + p] = from[c];
            }
        }
    }

private:
    const Blocks& x_;
    std::size_t rank_, first_, d_;
    Real *factor_, *right_;
};

}  // namespace

template <class Real>
SplitEnergy split(const Blocks& x, std::size_t rank, std::size_t first, std::size_t d_total, Real* factor,
                  Real* right) {
    return by_scalar(x.is_complex, [&](auto zero) {
        using Scalar = decltype(zero);
        BlockSolver<Real, Scalar> solver;
        const Output<Real, Scalar> out(x, rank, first, d_total, factor, right);
        SplitEnergy sums{0, 0};
        std::vector<Real> kept;
        for_blocks<Real>(x, [&](std::size_t i, std::size_t t, std::size_t g, const BlockRows<Real>& rows) {
            const Eigenpairs<Scalar> pairs = solver.leading(rows, rank);
            const double energy = solver.last_trace();
            const BlockRows<Real> y = solver.combine(pairs.vectors, rows, kept);
            const double rest = energy - pairs.values.sum();
            const bool cancels = !(rest > solver.kCancels * energy);
            sums.total += energy,
                sums.discarded += cancels ? solver.residual(rows, pairs.vectors, y) : rest + solver.kRounding * energy;
            out.put(i, t, g, pairs.vectors, y);
        });
        return sums;
    });
}

template <class Real>
double spectra(const Blocks& x, double floor, std::size_t first, std::size_t d_total, double* lambda, double* u) {
    return by_scalar(x.is_complex, [&](auto zero) {
        using Scalar = decltype(zero);
        BlockSolver<Real, Scalar> solver;
        double total = 0;
        for_blocks<Real>(x, [&](std::size_t i, std::size_t t, std::size_t g, const BlockRows<Real>& rows) {
            const Eigenpairs<Scalar> pairs = solver.all(rows, floor);
            const std::size_t block = (i * x.groups + g) * d_total + first + t;
            for (std::size_t k = 0; k < x.b; ++k) lambda[block * x.b + k] = pairs.values(k) * (1 + solver.kDoubt);
            auto* to = reinterpret_cast<Scalar*>(u) + block * x.b * x.b;
            for (std::size_t j = 0; j < x.b; ++j) {
                for (std::size_t k = 0; k < x.b; ++k) to[j * x.b + k] = pairs.vectors(j, k);
            }
            total += solver.last_trace();
        });
        return total;
    });
}

template <class Real>
void project(const Blocks& x, const double* u, std::size_t rank, std::size_t first, std::size_t d_total, Real* factor,
             Real* right) {
    by_scalar(x.is_complex, [&](auto zero) {
        using Scalar = decltype(zero);
        BlockSolver<Real, Scalar> solver;
        const Output<Real, Scalar> out(x, rank, first, d_total, factor, right);
        std::vector<Real> kept;
        Matrix<Scalar> leading(x.b, rank);
        for_blocks<Real>(x, [&](std::size_t i, std::size_t t, std::size_t g, const BlockRows<Real>& rows) {
            const std::size_t block = (i * x.groups + g) * d_total + first + t;
            const auto* from = reinterpret_cast<const Scalar*>(u) + block * x.b * x.b;
            for (std::size_t j = 0; j < x.b; ++j) {
                for (std::size_t k = 0; k < rank; ++k) leading(j, k) = from[j * x.b + k];
            }
            out.put(i, t, g, leading, solver.combine(leading, rows, kept));
        });
    });
}

#define BITTERFLY_INSTANTIATE(Real)                                                                       \
    template SplitEnergy split<Real>(const Blocks&, std::size_t, std::size_t, std::size_t, Real*, Real*); \
    template double spectra<Real>(const Blocks&, double, std::size_t, std::size_t, double*, double*);     \
    template void project<Real>(const Blocks&, const double*, std::size_t, std::size_t, std::size_t, Real*, Real*);
BITTERFLY_INSTANTIATE(float)
BITTERFLY_INSTANTIATE(double)
#undef BITTERFLY_INSTANTIATE

}  // namespace bitterfly
