// Long calls of the core: the GIL released, and a look at signals between tasks, so that Ctrl-C ends them at once.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>

#include "parallel.hpp"

namespace bitterfly {

class Interruptible {
public:
    Interruptible() : before_(set_checkpoint(&look)) {}
    ~Interruptible() { set_checkpoint(before_); }
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;

private:
    // Takes the GIL, for which a busy thread lets others wait 5 ms: seldom.
    static void look() {
        static thread_local std::chrono::steady_clock::time_point next{};
        const auto now = std::chrono::steady_clock::now();
        if (now < next) return;
        const pybind11::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
        next = std::chrono::steady_clock::now() + kPause;
    }

    static constexpr std::chrono::milliseconds kPause{50};
    Checkpoint before_;
    pybind11::gil_scoped_release release_;
};

}  // namespace bitterfly
