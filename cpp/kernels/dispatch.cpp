// Chooses the tier: the best that the CPU has and the build contains, or the one that BITTERFLY_ISA names.
#include "kernels/dispatch.hpp"

#include <atomic>
#include <cstdlib>

#include "require.hpp"

namespace bitterfly {
namespace {

struct Tier {
    const Kernels* kernels;
    bool supported;
};

// A tier requires every flag that it was compiled with (cpp/CMakeLists.txt). Best first.
std::vector<Tier> tiers() {
    std::vector<Tier> out;
#ifdef BITTERFLY_X86
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
                        __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512bitalg");
    out.push_back({&kAvx512Kernels, avx512});
    out.push_back({&kAvx2Kernels, avx2});
#endif
    out.push_back({&kScalarKernels, true});
    return out;
}

const Kernels* find(const std::string& name) {
    std::string known;
    for (const Tier& tier : tiers()) {
        if (name == tier.kernels->name) {
            require(tier.supported, "BITTERFLY_ISA: this CPU cannot run '" + name + "'");
            return tier.kernels;
        }
        known += std::string(known.empty() ? "" : ", ") + tier.kernels->name;
    }
    require(false, "BITTERFLY_ISA: expected one of " + known + ", got '" + name + "'");
    return nullptr;
}

const Kernels* choose() {
    const char* forced = std::getenv("BITTERFLY_ISA");
    if (forced != nullptr && *forced != '\0') return find(forced);
    return find(available_isas().front());
}

std::atomic<const Kernels*> in_force{nullptr};

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> out;
    for (const Tier& tier : tiers()) {
        if (tier.supported) out.emplace_back(tier.kernels->name);
    }
    return out;
}

void select_isa(const std::string& name) { in_force.store(find(name)); }

const Kernels& kernels() {
    const Kernels* chosen = in_force.load(std::memory_order_acquire);
    if (chosen == nullptr) {
        chosen = choose();
        in_force.store(chosen, std::memory_order_release);
    }
    return *chosen;
}

}  // namespace bitterfly
