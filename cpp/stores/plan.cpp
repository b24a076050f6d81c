// Chooses the passes, and says which block stands where in a group.
//
// Radix 16 while a part fits L1 and sixteen streams share few of its sets; radix 8 above, since the streams of a pass
// lie a power of two apart and a cache has eight ways.
#include "stores/plan.hpp"

#include <algorithm>
#include <bit>

namespace bitterfly {
namespace {

constexpr std::size_t kBase = 256;   // elements of the innermost pass
constexpr std::size_t kLevel1 = 12;  // log2 of the elements that radix 16 may cover
constexpr std::size_t kPairLines = 2 * kLanes;

int log2_of_size(std::size_t n) { return std::countr_zero(n); }

// `bits` with a zero put in at position j.
std::size_t insert_zero(std::size_t bits, int j) {
    const std::size_t low = (std::size_t{1} << j) - 1;
    return (bits & ~low) << 1 | (bits & low);
}

// Inside 32 elements: what remains in a lane as the pair of registers is exchanged bit by bit, see fused.inl.
std::size_t lane_element(int j, std::size_t lane) {
    return j == 4 ? lane : insert_zero(lane >> 1, j) | (lane & 1) << 4;
}

}  // namespace

Plan::Plan(std::size_t size) : n(size) {
    const int p = log2_of_size(size);
    passes.push_back({std::min(p, 8), 1});
    for (int done = 8; done < p;) {
        const int left = p - done;
        int factors = std::min(left, 3);
        if (done == 8 && (left == 4 || (left % 3 != 0 && left > 4)))
            factors = std::min<int>(left, kLevel1 - 8);
        else if (left == 4)
            factors = 2;
        passes.push_back({factors, std::size_t{1} << done});
        done += factors;
    }
}

std::size_t Plan::shared_top(std::size_t workers) const {
    std::size_t top = tops();
    while (top > 1 && n / part(top) < 2 * workers) --top;
    return top;
}

std::size_t Plan::factors() const { return static_cast<std::size_t>(log2_of_size(n)); }

std::size_t Plan::group_elements(std::size_t pass) const {
    return pass == 0 ? 2 * kGroupBlocks : 2 * kGroupBlocks >> passes[pass].factors;
}

std::size_t Plan::group_vectors() const { return std::min((n / 2 + kLanes - 1) / kLanes, kGroupBlocks / kLanes); }

std::size_t Plan::step_vectors(std::size_t pass) const {
    const std::size_t most = pass == 0 || passes[pass].factors == 4 ? 8 : 4;
    return std::min(most, group_vectors());
}

std::size_t Plan::level(std::size_t pass, int j) const {
    return static_cast<std::size_t>(log2_of_size(n / passes[pass].stride) - 1 - j);
}

std::size_t Plan::element(std::size_t pass, std::size_t group, int j, std::size_t v, std::size_t lane) const {
    const PassPlan& at = passes[pass];
    if (pass > 0) {
        const std::size_t pairs = std::size_t{1} << (at.factors - 1), columns = kLanes * (16 / pairs);
        return group * columns + v / pairs * kLanes + lane + insert_zero(v % pairs, j) * at.stride;
    }
    const std::size_t chunk = 2 * group + v / 8, m = v % 8;
    if (j < 5) return chunk * kBase + m * kPairLines + lane_element(j, lane);
    const std::size_t pairs = std::min(n, kBase) / kPairLines / 2;
    return chunk * kBase + insert_zero(m % pairs, j - 5) * kPairLines + m / pairs * kLanes + lane;
}

}  // namespace bitterfly
