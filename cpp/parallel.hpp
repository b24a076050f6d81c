// Independent tasks on a few threads: one pool for the process, started at first use, anew after a fork.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <numeric>
#include <vector>

namespace bitterfly {

// Calls body(worker, i) for all i < count, worker < workers; no two calls of the same worker at once. The caller is one
// of the workers, and the only one where others are using the pool. Rethrows the first exception of a task.
void share(std::size_t count, std::size_t workers, const std::function<void(std::size_t, std::size_t)>& body);

// The same; short calls of one worker feel what a std::function costs.
template <class Body>
void parallel_for(std::size_t count, std::size_t workers, const Body& body) {
    if (workers > 1 && count > 1) return share(count, workers, body);
    for (std::size_t i = 0; i < count; ++i) body(std::size_t{0}, i);
}

// Phases of independent tasks, phase p of counts[p] of them: body(worker, p, i) begins once all tasks of the phases
// before are done. One job for the pool: threads that wake up late join the phase that is running. Waiting threads
// spin; phases are short. `body` must not throw.
void parallel_phases(const std::vector<std::size_t>& counts, std::size_t workers,
                     const std::function<void(std::size_t, std::size_t, std::size_t)>& body);

// What a thread that called the core looks at between tasks, or nothing; it may throw, which drops the tasks left.
using Checkpoint = void (*)();
Checkpoint set_checkpoint(Checkpoint next);  // returns the one before
void checkpoint();                           // calls that of this thread; others, such as helpers, have none

// The sum of body(first, end) for ranges of `part` of `count` items, always the same ranges in the same order: it does
// not depend on the workers.
template <class Body>
double parallel_sum(std::size_t count, std::size_t part, std::size_t workers, const Body& body) {
    std::vector<double> sums((count + part - 1) / part);
    parallel_for(sums.size(), workers, [&](std::size_t, std::size_t i) {
        checkpoint();
        sums[i] = body(i * part, std::min(count, (i + 1) * part));
    });
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

// Calls body(first, end) for ranges of `part` of `count` items.
template <class Body>
void parallel_ranges(std::size_t count, std::size_t part, std::size_t workers, const Body& body) {
    parallel_for((count + part - 1) / part, workers, [&](std::size_t, std::size_t i) {
        checkpoint();
        body(i * part, std::min(count, (i + 1) * part));
    });
}

// Products of fewer multiply-adds stay on the calling thread: they are done before a sleeping one has woken up. Tests
// set it to 0, so that every shape is shared; they get the number before.
std::size_t least_parallel_work();
std::size_t set_least_parallel_work(std::size_t work);

}  // namespace bitterfly
