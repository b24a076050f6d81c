// The avx512 tier: the kernels over the vocabulary of simd/avx512.hpp.
#include "simd/avx512.hpp"

#include "kernels/table.inl"

extern const bitterfly::Kernels bitterfly::kAvx512Kernels{
    "avx512",         known(),         real_kernels<float>(), real_kernels<double>(),
    search_kernels(), dense_kernels(), window_kernels(),      cut_kernels()};
