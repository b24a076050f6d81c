// The pool under the thread sanitizer: many callers at once, failing tasks. Exits with 0 where all sums are right.
#include "parallel.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

std::atomic<int> wrong{0};

void sum_once(std::size_t count, std::size_t workers) {
    std::vector<std::size_t> by_worker(workers, 0), seen(count, 0);
    bitterfly::parallel_for(count, workers, [&](std::size_t worker, std::size_t i) { by_worker[worker] += ++seen[i]; });
    std::size_t total = 0;
    for (const std::size_t n : by_worker) total += n;
    if (total != count) ++wrong;
}

void fail_once() {
    try {
        bitterfly::parallel_for(8, 3, [](std::size_t, std::size_t i) {
            if (i == 5) throw std::runtime_error("5");
        });
        ++wrong;
    } catch (const std::runtime_error&) {
    }
}

void call_often() {
    for (std::size_t i = 0; i < 2000; ++i) {
        sum_once(i % 40, 1 + i % 4);
        if (i % 50 == 0) fail_once();
    }
}

}  // namespace

int main() {
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i) callers.emplace_back(call_often);
    for (std::thread& t : callers) t.join();
    return wrong == 0 ? 0 : 1;
}
