// Float factors -> direction codes and one scale vector, left to right, with the exact error of the product.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "stores/codes/directions.hpp"

namespace bitterfly {

struct Quantized {
    std::vector<Code> codes;           // one per factor
    std::vector<std::uint32_t> words;  // packed factors, one after the other
    std::vector<Value> scale;          // n entries, at the right end, to be multiplied by 2^exponent
    int exponent;
    // Of each factor: what its codes lose of the energy ||B||_F^2, B the product of the float factors; 0 if B = 0. The
    // sum is ||B - Q||_F^2 / ||B||_F^2.
    std::vector<double> losses;
};

// `values`: p x 2n numbers, factor l + 1 in C order (2^l, 2, 2, n / 2^(l+1)), complex ones interleaved. For every
// factor l the candidate with the least error is taken, at `bits[l]` bits a column or its own maximum. Results do not
// depend on the workers.
template <class Real>
Quantized quantize(const Real* values, std::size_t n, bool is_complex,
                   const std::vector<const DirectionKind*>& candidates, const std::vector<int>& bits,
                   std::size_t workers);

// Writes the scale vector, complex numbers interleaved, and returns the relative error of this rounding: the coded
// factors have orthonormal columns, so it is the relative error of the product.
template <class Real>
double round_scale(const Quantized& quantized, bool is_complex, Real* out);

}  // namespace bitterfly
