// The kernels of one tier, collected from the vocabulary that is in force where this file is included.
#pragma once

#include "gram.inl"
#include "pairs.inl"
#include "pass.inl"
#include "split.inl"
#include "tiles.inl"

namespace {

template <class Real>
constexpr bitterfly::RealKernels<Real> real_kernels() {
    using V = Simd<Real>;
    return {{pass<V, RealWeights>, pass<V, ComplexWeights>, angle_pass<V>, phase_pass<V>, pass<V, AnySphere>},
            gram<V>,
            project<V>,
            tiles<V>,
            gram_rows<V>,
            combine_rows<V>};
}

}  // namespace
