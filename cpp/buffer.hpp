// Memory on a cache-line boundary: what the kernels read and write.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>

namespace bitterfly {

inline constexpr std::size_t kAlignment = 64;

// Large memory lies on pages of 2 MiB where the system has them: walks over many small ones take as long as products.
inline constexpr std::size_t kHugePage = std::size_t{1} << 21;

struct AlignedDelete {
    void operator()(void* p) const { std::free(p); }
};

template <class T>
using AlignedArray = std::unique_ptr<T[], AlignedDelete>;

// `count` numbers, not initialised; at least one byte.
template <class T>
AlignedArray<T> make_aligned(std::size_t count) {
    const std::size_t bytes = count * sizeof(T) + 1, unit = bytes < 2 * kHugePage ? kAlignment : kHugePage;
    if (bytes > std::numeric_limits<std::size_t>::max() - unit) throw std::bad_alloc();
    void* memory = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
    if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (unit == kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return AlignedArray<T>(static_cast<T*>(memory));
}

}  // namespace bitterfly
