// The pivots of skeleton factors as networks of switches, which kernels apply without an index in sight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/tiles/args.hpp"

namespace bitterfly {

// P of [I; T] sends n = route_rows rows (b, rounded up to a power of two): the rows of I in their order, then those of
// T from the last to the first, behind the rows that only fill up. A butterfly network does it: stages of strides n/2,
// n/4, ..., 1; the switch of rows j and j + stride exchanges the two. A switch is 16 bits, one a lane.
//
// A stage of n/2 switches lists its blocks of 2 * stride rows one after the other, and in a block j = 0, 1, ...;
// stages, groups, tiles follow each other.
std::vector<std::uint16_t> routes_of(const TileFactor& factor);

}  // namespace bitterfly
