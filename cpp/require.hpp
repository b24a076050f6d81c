// The one way in which the core refuses an argument.
#pragma once

#include <stdexcept>
#include <string>

namespace bitterfly {

inline void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument(message);
}

// A literal costs nothing where the condition holds.
inline void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

}  // namespace bitterfly
