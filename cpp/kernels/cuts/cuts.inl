// The kernels of signed cuts of one tier, collected.
#pragma once

#include "kernels/cuts/ascend.inl"
#include "kernels/cuts/signs.inl"

namespace {

constexpr bitterfly::CutKernels cut_kernels() {
    using V = Simd<float>;
    return {multiply_signs<Signs>, multiply_turned_signs<Signs>, sign_tables<Signs>, add_rows<V>, subtract<V>, flip<V>};
}

}  // namespace
