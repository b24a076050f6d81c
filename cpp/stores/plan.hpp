// How a product of size n = 2^p runs: passes of several factors each, and the order in which they eat codes or weights.
#pragma once

#include <cstddef>
#include <vector>

#include "lanes.hpp"

namespace bitterfly {

// The factors d = stride, 2 stride, ..., 2^(factors-1) stride, taken together while their elements are in registers.
struct PassPlan {
    int factors;
    std::size_t stride;

    std::size_t size() const { return stride << factors; }  // elements that depend on each other
};

// Passes in the order of the forward product (d ascending); the first one, of stride 1, takes up to eight factors.
// Depth first: a pass over one part of the vector follows the passes of smaller stride over the same part.
struct Plan {
    std::size_t n;
    std::vector<PassPlan> passes;

    explicit Plan(std::size_t size);

    std::size_t tops() const { return passes.size() - 1; }
    // Elements on which the passes up to `top` run before others do; the two innermost passes share a part.
    std::size_t part(std::size_t top) const { return top == 0 ? passes[0].size() : passes[top].size(); }
    // The uppermost pass whose parts are enough for several workers; passes above are shared group by group.
    std::size_t shared_top(std::size_t workers) const;
    std::size_t factors() const;
    // A pass takes its blocks in groups of 256 (fewer if n < 512): this many on a part of `size` elements.
    static std::size_t groups(std::size_t size) { return (size + 2 * kGroupBlocks - 1) / (2 * kGroupBlocks); }
    // From the first element of a group to that of the next one.
    std::size_t group_elements(std::size_t pass) const;
    // Block-vectors of 16 blocks in one group of a factor, and in one step of a kernel.
    std::size_t group_vectors() const;
    std::size_t step_vectors(std::size_t pass) const;
    // The upper element of block `lane` of block-vector `v` in group `group` of the j-th factor of a pass, from the
    // first element of the pass on.
    std::size_t element(std::size_t pass, std::size_t group, int j, std::size_t v, std::size_t lane) const;
    // Index of the factor with the j-th smallest d of a pass; factor 0 has d = n / 2.
    std::size_t level(std::size_t pass, int j) const;
};

// Calls visit(pass, first element, group) for all groups in the order of the forward product.
template <class Visit>
void for_each_group(const Plan& plan, std::size_t top, std::size_t first, Visit& visit) {
    const std::size_t size = plan.part(top), inner = top > 1 ? plan.part(top - 1) : size;
    for (std::size_t at = first; top > 1 && at < first + size; at += inner) for_each_group(plan, top - 1, at, visit);
    if (top <= 1) {
        for (std::size_t g = 0; g < Plan::groups(size); ++g) visit(0, first, g);
    }
    if (top == 0) return;
    for (std::size_t g = 0; g < Plan::groups(size); ++g) visit(top, first, g);
}

}  // namespace bitterfly
