// The pool under the thread sanitizer: many callers at once, phases, sums, failing tasks. Exits with 0 where all sums
// are right.
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

// Each phase reads what all tasks of the one before have written.
void add_in_phases(std::size_t count, std::size_t workers) {
    const std::vector<std::size_t> counts{count, 1, count + 3};
    std::vector<std::size_t> seen(count, 0), last(count + 3, 0);
    std::size_t total = 0;
    bitterfly::parallel_phases(counts, workers, [&](std::size_t, std::size_t phase, std::size_t i) {
        if (phase == 0) ++seen[i];
        for (std::size_t k = 0; phase == 1 && k < count; ++k) total += seen[k];
        if (phase == 2) last[i] = total;
    });
    for (const std::size_t n : last) {
        if (n != count) ++wrong;
    }
}

// Sums of doubles, which depend on their order.
void sum_ranges(std::size_t count, std::size_t workers) {
    const auto part = [](std::size_t first, std::size_t end) {
        double sum = 0;
        for (std::size_t i = first; i < end; ++i) sum += 1.0 / static_cast<double>(i + 1);
        return sum;
    };
    if (bitterfly::parallel_sum(count, 3, workers, part) != bitterfly::parallel_sum(count, 3, 1, part)) ++wrong;
    std::vector<std::size_t> seen(count, 0);
    bitterfly::parallel_ranges(count, 3, workers, [&](std::size_t first, std::size_t end) {
        for (std::size_t i = first; i < end; ++i) ++seen[i];
    });
    for (const std::size_t n : seen) {
        if (n != 1) ++wrong;
    }
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
        add_in_phases(i % 7, 1 + i % 4);
        sum_ranges(i % 40, 1 + i % 4);
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
