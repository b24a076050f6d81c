// y = op(A) x for A = P_rows^T F_1 ... F_p diag(scale) P_columns, the factors given as weights or as packed codes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/dyadic/args.hpp"
#include "kernels/tiles/args.hpp"
#include "products/panels/panel.hpp"
#include "stores/codes/directions.hpp"
#include "stores/plan.hpp"

namespace bitterfly {

// How one pass of the plan reads the stream: `general` is what its kernels read, `direct` for one vector where the tier
// has such kernels.
template <class Real>
struct StreamPass {
    Weights direct, general;
    std::vector<CodedFactor<Real>> factors;  // empty for weights
    std::size_t group_words;                 // of codes, or numbers of Real
};

// Borrows all memory. A[rows[i], columns[j]] = (F_1 ... F_p diag(scale))[i, j].
template <class Real>
struct Product {
    Plan plan;
    bool is_complex;
    std::vector<StreamPass<Real>> passes;
    const void* stream;  // see stream.hpp
    const Real* scale;   // n numbers, complex ones interleaved
    Order rows, columns;
    // In place of `scale`: diag(scale) as a factor (1, 1, 1, n) in short floats; values null if not.
    TileFactor short_scale{};

    // Of the stream: one pass on a part of `size` elements, and all passes up to `top` on a part of `top`.
    std::size_t bytes_of_pass(std::size_t pass, std::size_t size) const {
        return Plan::groups(size) * passes[pass].group_words *
               (passes[pass].factors.empty() ? sizeof(Real) : sizeof(std::uint32_t));
    }
    std::size_t bytes_of_part(std::size_t top) const {
        std::size_t bytes = 0;
        for (std::size_t pass = 0; pass <= top; ++pass) bytes += bytes_of_pass(pass, plan.part(top));
        return bytes;
    }
};

// Products of float factors, and of coded ones (the code of each factor, F_1 first).
template <class Real>
Product<Real> product_of_weights(std::size_t n, bool is_complex, const Real* stream);
template <class Real>
Product<Real> product_of_codes(const std::vector<Code>& codes, bool is_complex, const std::uint32_t* stream,
                               const Real* scale);
// The Hadamard transform, without weights: the same passes at their least.
template <class Real>
Product<Real> product_of_signs(std::size_t n);

struct Mode {
    bool transposed, conjugated;
};

}  // namespace bitterfly
