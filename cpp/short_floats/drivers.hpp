// Rank-one chains -> factors with short significands: pairs, one sweep, or sweeps until nothing improves.
#pragma once

#include <cstddef>
#include <vector>

#include "short_floats/lines.hpp"

namespace bitterfly {

enum class Driver { kPairwise, kLeftToRight, kRightToLeft, kRefined };

struct ShortReport {
    double relative_error;  // ||B - Q||_F / ||B||_F, exact but for rounding errors
    int sweeps;             // of Driver::kRefined
};

// `weighted`: errors count with the norms of the rounded products on both sides, as they do in the product; otherwise
// all alike, as published.
// Factors of a chain all of whose junctions have rank one, numbers of size near 1: squares neither vanish nor overflow.
// Results do not depend on the workers.
template <class T>
ShortReport shorten(const std::vector<ShortFactor<T>>& factors, Driver driver, int depth, bool weighted,
                    std::size_t workers);

}  // namespace bitterfly
