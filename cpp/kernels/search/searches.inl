// The kernels of the searches for short significands of one tier, collected.
#pragma once

#include "kernels/search/cells.inl"
#include "kernels/search/complex_cells.inl"
#include "kernels/search/complex_pairs.inl"
#include "kernels/search/pairs.inl"
#include "kernels/search/terms.inl"

namespace {

constexpr bitterfly::SearchKernels search_kernels() {
    using V = Simd<double>;
    return {pairs<V>, cells<V>, terms<V>, complex_cells<V>, complex_pairs<V>};
}

}  // namespace
