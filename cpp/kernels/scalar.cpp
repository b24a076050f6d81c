// The scalar tier: the kernels over the vocabulary of simd/scalar.hpp.
#include "simd/scalar.hpp"

#include "kernels/table.inl"

extern const bitterfly::Kernels bitterfly::kScalarKernels{
    "scalar",         known(),         real_kernels<float>(), real_kernels<double>(),
    search_kernels(), dense_kernels(), window_kernels(),      cut_kernels()};
