// The pool: helpers sleep until a job has seats left; the caller works too and never waits for one that still sleeps.
#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define BITTERFLY_FORKS
#endif

namespace bitterfly {
namespace {

using Body = std::function<void(std::size_t, std::size_t)>;

class Job {
public:
    Job(std::size_t count, const Body& body) : count_(count), body_(body) {}

    // Takes tasks until none is left; after a failure the others are dropped.
    void work(std::size_t worker) {
        try {
            for (std::size_t i = next_++; i < count_; i = next_++) body_(worker, i);
        } catch (...) {
            next_ = count_;
            const std::lock_guard lock(mutex_);
            if (!failure_) failure_ = std::current_exception();
        }
    }
    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }

private:
    std::size_t count_;
    const Body& body_;
    std::atomic<std::size_t> next_{0};
    std::mutex mutex_;
    std::exception_ptr failure_;
};

class Pool {
public:
    // False where another thread is using the pool.
    bool try_run(Job& job, std::size_t workers) {
        if (busy_.exchange(true, std::memory_order_acquire)) return false;
        open(job, workers - 1);
        job.work(0);
        close();
        busy_.store(false, std::memory_order_release);
        return true;
    }

private:
    void open(Job& job, std::size_t helpers) {
        {
            const std::lock_guard lock(mutex_);
            start(helpers);
            job_ = &job;
            taken_ = 0, seats_ = std::min(helpers, helpers_);
            jobs_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
    }
    // Tasks are about as long as each other: what is left is over in a moment.
    void close() {
        std::unique_lock lock(mutex_);
        seats_ = taken_;
        if (running_ > 0) {
            lock.unlock();
            watch([this] { return running_.load(std::memory_order_acquire) == 0; });
            lock.lock();
            done_.wait(lock, [this] { return running_ == 0; });
        }
        job_ = nullptr;
    }
    // Fewer where the system has no more threads.
    void start(std::size_t helpers) {
        try {
            for (; helpers_ < helpers; ++helpers_) std::thread([this] { help(); }).detach();
        } catch (const std::system_error&) {
            return;
        }
    }
    void help() {
        std::unique_lock lock(mutex_);
        for (;;) {
            if (taken_ >= seats_) {
                const std::size_t seen = jobs_;
                lock.unlock();
                watch([this, seen] { return jobs_.load(std::memory_order_acquire) != seen; });
                lock.lock();
            }
            wake_.wait(lock, [this] { return taken_ < seats_; });
            Job& job = *job_;
            const std::size_t worker = ++taken_;
            ++running_;
            lock.unlock();
            job.work(worker);
            lock.lock();
            if (--running_ == 0) done_.notify_one();
        }
    }

    // Looks out for a moment: products follow each other, and a core that has gone idle takes longer to come back than
    // a small product.
    template <class Ready>
    static void watch(Ready ready) {
        const auto end = std::chrono::steady_clock::now() + kWatch;
        while (!ready() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    }

    static constexpr std::chrono::microseconds kWatch{300};
    std::atomic<bool> busy_{false};
    std::atomic<std::size_t> jobs_{0};
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    Job* job_ = nullptr;
    std::size_t helpers_ = 0, seats_ = 0, taken_ = 0;
    std::atomic<std::size_t> running_{0};
};

std::atomic<Pool*> instance{nullptr};

// Never destroyed: its threads sleep until the process ends. A forked child has none of them, and starts its own.
Pool& pool() {
#ifdef BITTERFLY_FORKS
    [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, [] { instance = nullptr; });
#endif
    if (Pool* found = instance.load()) return *found;
    Pool *made = new Pool, *found = nullptr;
    if (instance.compare_exchange_strong(found, made)) return *made;
    delete made;
    return *found;
}

// How far a phase is.
struct Phase {
    std::atomic<std::size_t> next{0}, done{0};
};

void wait_until(const std::atomic<std::size_t>& done, std::size_t count) {
    constexpr int kSpins = 256;
    for (int spins = 0; done.load(std::memory_order_acquire) < count; ++spins) {
        if (spins % kSpins == kSpins - 1) std::this_thread::yield();
    }
}

}  // namespace

void share(std::size_t count, std::size_t workers, const Body& body) {
    Job job(count, body);
    if (!pool().try_run(job, std::min(workers, count))) job.work(0);
    job.rethrow();
}

void parallel_phases(const std::vector<std::size_t>& counts, std::size_t workers,
                     const std::function<void(std::size_t, std::size_t, std::size_t)>& body) {
    if (workers <= 1) {
        for (std::size_t p = 0; p < counts.size(); ++p) {
            for (std::size_t i = 0; i < counts[p]; ++i) body(0, p, i);
        }
        return;
    }
    std::vector<Phase> phases(counts.size());
    parallel_for(workers, workers, [&](std::size_t worker, std::size_t) noexcept {
        for (std::size_t p = 0; p < phases.size(); ++p) {
            for (std::size_t i = phases[p].next++; i < counts[p]; i = phases[p].next++) {
                body(worker, p, i);
                phases[p].done.fetch_add(1, std::memory_order_release);
            }
            wait_until(phases[p].done, counts[p]);
        }
    });
}

namespace {
thread_local Checkpoint current = nullptr;
}  // namespace

Checkpoint set_checkpoint(Checkpoint next) { return std::exchange(current, next); }

void checkpoint() {
    if (current) current();
}

namespace {
std::atomic<std::size_t> least_work{std::size_t{1} << 19};
}  // namespace

std::size_t least_parallel_work() { return least_work.load(std::memory_order_relaxed); }
std::size_t set_least_parallel_work(std::size_t work) { return least_work.exchange(work); }

}  // namespace bitterfly
