// Sixteen lanes, and how many blocks kernels read at a time.
#pragma once

#include <cstddef>

namespace bitterfly {

// One block is a 2 x 2 matrix of a factor (2^(l-1), 2, 2, d). Sixteen blocks, one a lane, are a block-vector; kernels
// read the codes or weights of whole groups of 256 blocks, see stores/plan.hpp and docs/performance.md.
inline constexpr std::size_t kLanes = 16;
inline constexpr std::size_t kGroupBlocks = 256;
inline constexpr std::size_t kCodesPerLane = 2 * kGroupBlocks / kLanes;

}  // namespace bitterfly
