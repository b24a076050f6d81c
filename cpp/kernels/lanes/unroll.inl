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

}  // namespace
