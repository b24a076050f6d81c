// Loops over registers: what is indexed by a variable would lie in memory.
#pragma once

#include <type_traits>
#include <utility>

namespace {

// Calls f with 0, ..., N - 1 as constants.
template <int N, class F>
[[gnu::always_inline]] inline void unroll(F f) {
    [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
        (f(std::integral_constant<int, I>{}), ...);
    }(std::make_integer_sequence<int, N>{});
}

// Calls f with 0, ..., N - 1, which become constants only after all is inlined: code is compiled once, then unrolled.
template <int N, class F>
[[gnu::always_inline]] inline void unroll_late(F f) {
#pragma GCC unroll 64
    for (int i = 0; i < N; ++i) f(i);
}

}  // namespace
