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
    explicit Workspace(std::size_t count) : kept_(count > 0 ? &of_thread() : nullptr) {
        if (kept_ != nullptr && count > kept_->capacity) *kept_ = {make_aligned<Real>(count), count};
    }
    ~Workspace() {
        if (kept_ != nullptr && kept_->capacity * sizeof(Real) > kKeptBytes) *kept_ = {};
    }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    Real* data() const { return kept_->memory.get(); }

private:
    struct Kept {
        AlignedArray<Real> memory;
        std::size_t capacity = 0;
    };
    static Kept& of_thread() {
        thread_local Kept instance;
        return instance;
    }
    Kept* kept_;  // null where nothing is needed
};

}  // namespace bitterfly
