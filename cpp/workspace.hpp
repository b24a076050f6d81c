// Scratch memory of the calling thread, kept from call to call.
#pragma once

#include <cstddef>

#include "buffer.hpp"

namespace bitterfly {

inline constexpr std::size_t kKeptBytes = std::size_t{1} << 26;

// The calling thread's scratch memory; kept from call to call unless it is large. One at a time lives of each `Use`.
template <class Real, int Use = 0>
class Workspace {
public:
    explicit Workspace(std::size_t count) {
        if (count > kept().capacity) kept() = {make_aligned<Real>(count), count};
        data_ = kept().memory.get();
    }
    ~Workspace() {
        if (kept().capacity * sizeof(Real) > kKeptBytes) kept() = {};
    }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    Real* data() const { return data_; }

private:
    struct Kept {
        AlignedArray<Real> memory;
        std::size_t capacity = 0;
    };
    static Kept& kept() {
        thread_local Kept instance;
        return instance;
    }
    Real* data_;
};

}  // namespace bitterfly
