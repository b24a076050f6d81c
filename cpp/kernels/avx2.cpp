// The avx2 tier: the kernels over the vocabulary of simd/avx2.hpp.
#include "simd/avx2.hpp"

#include "kernels/table.inl"

extern const bitterfly::Kernels bitterfly::kAvx2Kernels{
    "avx2",           known(),         real_kernels<float>(), real_kernels<double>(),
    search_kernels(), dense_kernels(), window_kernels(),      cut_kernels()};
