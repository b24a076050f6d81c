// Memory on a cache-line boundary: what the kernels read and write.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace bitterfly {

inline constexpr std::size_t kAlignment = 64;

struct AlignedDelete {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t{kAlignment}); }
};

template <class T>
using AlignedArray = std::unique_ptr<T[], AlignedDelete>;

// `count` numbers, not initialised; at least one byte.
template <class T>
AlignedArray<T> make_aligned(std::size_t count) {
    return AlignedArray<T>(static_cast<T*>(::operator new(count * sizeof(T) + 1, std::align_val_t{kAlignment})));
}

}  // namespace bitterfly
