// Memory on a cache-line boundary: what the kernels read and write.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>

namespace bitterfly {

inline constexpr std::size_t kAlignment = 64;

// Large memory lies on pages of 2 MiB where the system has them: walks over many small ones take as long as products.
// It is mapped for itself, since the heap may hand out memory again that lies on small ones.
inline constexpr std::size_t kHugePage = std::size_t{1} << 21;

struct AlignedDelete {
    std::size_t mapped = 0;  // bytes of a mapping of its own; 0: of the heap
    void operator()(void* p) const {
#if defined(__linux__)
        if (mapped > 0) return static_cast<void>(munmap(p, mapped));
#endif
        std::free(p);
    }
};

template <class T>
using AlignedArray = std::unique_ptr<T[], AlignedDelete>;

#if defined(__linux__)
// Whole huge pages, a multiple of kHugePage bytes; null where there is no more memory.
inline void* map_huge_pages(std::size_t bytes) {
    void* all = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return nullptr;
    char* start = static_cast<char*>(all);
    const std::size_t before = (kHugePage - reinterpret_cast<std::uintptr_t>(all) % kHugePage) % kHugePage;
    if (before > 0) munmap(start, before);
    munmap(start + before + bytes, kHugePage - before);
    madvise(start + before, bytes, MADV_HUGEPAGE);
    return start + before;
}
#endif

// `count` numbers, not initialised; at least one byte.
template <class T>
AlignedArray<T> make_aligned(std::size_t count) {
    if (count > (std::numeric_limits<std::size_t>::max() - 4 * kHugePage) / sizeof(T)) throw std::bad_alloc();
    const std::size_t bytes = count * sizeof(T) + 1;
    const auto rounded = [bytes](std::size_t unit) { return (bytes + unit - 1) / unit * unit; };
    AlignedDelete owner;
    void* memory = nullptr;
#if defined(__linux__)
    if (bytes >= 2 * kHugePage) owner.mapped = rounded(kHugePage), memory = map_huge_pages(owner.mapped);
#endif
    if (owner.mapped == 0) memory = std::aligned_alloc(kAlignment, rounded(kAlignment));
    if (memory == nullptr) throw std::bad_alloc();
    return AlignedArray<T>(static_cast<T*>(memory), owner);
}

}  // namespace bitterfly
