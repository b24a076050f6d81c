// The most additions that a core does: eight independent chains in registers. What benchmarks compare with.
#pragma once

#include "kernels/lanes/lines.inl"

namespace {

template <class V>
std::size_t add(std::size_t rounds, typename V::Real* out) {
    typename V::Vec sum[8];
    for (int i = 0; i < 8; ++i) sum[i] = V::broadcast(static_cast<typename V::Real>(i));
    const auto step = V::broadcast(static_cast<typename V::Real>(rounds));
    for (std::size_t r = 0; r < rounds; ++r) {
        unroll<64>([&](auto i) __attribute__((always_inline)) { sum[i % 8] = V::add(sum[i % 8], step); });
    }
    for (int i = 0; i < 8; ++i) V::store(out + i * V::width, sum[i]);
    return rounds * 64 * static_cast<std::size_t>(V::width);
}

}  // namespace
