// The order in which kernels read codes and weights: one sequential stream. Files keep the layout of pack.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "stores/plan.hpp"

namespace bitterfly {

// Words of 32 bits that a group of one factor takes at `bits` a column.
std::size_t group_words(const Plan& plan, int bits);

// Packed factors, one after the other, to the stream and back; both take the same number of words. `bits` of each
// factor. Bits that no code uses are zero.
void codes_to_stream(const Plan& plan, const std::vector<int>& bits, const std::uint32_t* words, std::uint32_t* stream);
void codes_from_stream(const Plan& plan, const std::vector<int>& bits, const std::uint32_t* stream,
                       std::uint32_t* words);

// Numbers in the stream of float factors: p * 2n, more for n < 32, where lanes stay empty.
std::size_t weight_count(const Plan& plan, std::size_t planes);

// Factors as rows of 2n weights in C order (a, 2, 2, d), complex ones interleaved, to the stream and back.
template <class Real>
void weights_to_stream(const Plan& plan, std::size_t planes, const Real* values, Real* stream);
template <class Real>
void weights_from_stream(const Plan& plan, std::size_t planes, const Real* stream, Real* values);

}  // namespace bitterfly
