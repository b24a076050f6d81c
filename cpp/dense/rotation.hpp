// Orthogonal matrices that mix all entries at the cost of additions: random signs, Hadamard matrices of any order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "matrix.hpp"
#include "products/product.hpp"

namespace bitterfly {

// Q = scale() H diag(s), H a Hadamard matrix of order K 2^p, K in 1, 12, 20, 28: the Kronecker product of Paley's and
// Sylvester's. For other n the largest such matrix below n mixes the first entries, and then, with signs of its own,
// the last ones. Sign i is -1 where bit i % 64 of word i / 64 is set, and word j is output j of SplitMix64 from `seed`.
//
// Additions have one order, so that results are the same on all tiers.
class Rotation {
public:
    static constexpr std::size_t kMostOrder = 28;

    Rotation(std::size_t n, std::uint64_t seed);

    // Q x / scale() and Q^T x / scale() in place of n numbers x, none of them near the ends of their range; `scratch`
    // has room for as many.
    template <class Real>
    void forward(Real* x, Real* scratch) const;
    template <class Real>
    void adjoint(Real* x, Real* scratch) const;
    double scale() const { return scale_; }
    // The first number of each transform, the order of its matrix, and by how much Sylvester's makes it wider.
    std::vector<std::array<std::size_t, 3>> sizes() const;

private:
    // Of each row of a matrix the columns of its ones, their number, and behind them the others.
    struct SignedRows {
        std::uint8_t ones[kMostOrder];
        std::uint8_t at[kMostOrder][kMostOrder];
    };
    // One Hadamard matrix of entries first, first + 1, ...: order * width of them.
    struct Part {
        std::size_t first, order, width;
        std::vector<std::uint16_t> signs;  // bits, set where negative
        double factor;                     // of a part of two, 1 of a whole
        SignedRows rows, columns;          // of Paley's matrix
        Product<float> single;
        Product<double> twice;

        Part(std::size_t first, std::size_t order, std::size_t width, std::uint64_t seed, double factor);
        template <class Real>
        void multiply_signs(const Real* x, Real* out) const;
        template <class Real>
        void multiply_sylvester(const Real* x, Real* out) const;
        template <class Real>
        void multiply_paley(bool transposed, const Real* x, Real* out) const;
        template <class Real>
        const Product<Real>& product() const;
    };

    std::vector<Part> parts_;
    double scale_;
};

// z 2^-e becomes Q z / Q.scale(), or Q^T z / Q.scale(), for the number e that brings z near one, and which is returned;
// computed in double or in single precision. All numbers become NaN where one is not finite.
int rotate_near_one(const Rotation& rotation, bool adjoint, bool in_double, double* z, std::size_t count);

// y = Q x or Q^T x for real vectors, in the precision of x; results depend neither on other vectors nor on workers.
void apply(const Rotation& rotation, bool adjoint, const View& x, const MutableView& y, std::size_t workers);

}  // namespace bitterfly
