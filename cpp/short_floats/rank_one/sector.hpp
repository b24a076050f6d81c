// The values that the pivot of a complex vector takes, listed once for all searches with the same significand.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "short_floats/rank_one/significand.hpp"

namespace bitterfly {

// Of the sector |Im p| <= Re p (for_sector in candidates.hpp). All go on with copies of the last number, so that any
// register that begins before `count` can be read.
struct Sector {
    std::vector<double> re, im, im_half;
    std::size_t count;

    Sector(const Significand& round, int depth);
};

// Safe on several threads; small ones that were used last are kept.
std::shared_ptr<const Sector> sector_of(const Significand& round, int depth);

}  // namespace bitterfly
