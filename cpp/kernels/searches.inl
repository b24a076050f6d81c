// The kernels of the searches for short significands of one tier, collected.
#pragma once

#include "cells.inl"
#include "complex_cells.inl"
#include "complex_pairs.inl"
#include "pairs.inl"
#include "terms.inl"

namespace {

constexpr bitterfly::SearchKernels search_kernels() {
    using V = Simd<double>;
    return {pairs<V>, cells<V>, terms<V>, complex_cells<V>, complex_pairs<V>};
}

}  // namespace
