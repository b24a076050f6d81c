// A chain and its rounded factors -> the error of the rounded product.
#pragma once

#include <vector>

#include "short_floats/lines.hpp"

namespace bitterfly {

// ||B - Q||_F / ||B||_F of rounded factors, exact but for rounding errors, without cancellation: O(entries).
template <class T>
double chain_error(const std::vector<ShortFactor<T>>& factors);

}  // namespace bitterfly
