// Independent tasks on a few threads: one pool for the process, started at first use, anew after a fork.
#pragma once

#include <cstddef>
#include <functional>

namespace bitterfly {

// Calls body(worker, i) for all i < count, worker < workers; no two calls of the same worker at once. The caller is one
// of the workers, and the only one where others are using the pool. Rethrows the first exception of a task.
void parallel_for(std::size_t count, std::size_t workers, const std::function<void(std::size_t, std::size_t)>& body);

// Products of fewer multiply-adds are done before a sleeping thread has woken up.
inline constexpr std::size_t kLeastParallelWork = std::size_t{1} << 19;

}  // namespace bitterfly
