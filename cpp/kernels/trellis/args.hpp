// What the encoder of window codes and its kernel agree on: the states of the trellis, costs in fixed point, choices.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace bitterfly {

// The trellis of windows of `bits` bits (7 or 11), of which half_bits / 2 are new on average (1 to 5); where the rate
// is fractional, less() and more() take turns. Before a step with s new bits a state is what its windows keep of those
// before, bits - s bits; of n windows, n = 2^(new bits of the next step), that become the same state the tags, their
// upper bits, tell which one was chosen.
struct Trellis {
    int bits, half_bits;

    constexpr int less() const { return half_bits / 2; }
    constexpr int more() const { return (half_bits + 1) / 2; }
    constexpr int other(int shift) const { return less() + more() - shift; }
    constexpr std::size_t states(int shift) const { return std::size_t{1} << (bits - shift); }
    // The upper bits of a state that are the tag of its windows; none where windows tell more than a state does, and
    // get their tags in the step.
    constexpr std::uint32_t tag(std::size_t state) const {
        const int rest = bits - less() - more();
        return rest < 0 ? 0 : static_cast<std::uint32_t>(state >> rest);
    }
    // The tags of so many states are one word, the first one uppermost, in fields of a power of two of bits.
    constexpr int word_states_log2() const { return std::bit_width(32U / static_cast<unsigned>(more())) - 1; }
    constexpr std::size_t choice_words() const { return states(less()) >> word_states_log2(); }
};

// Costs are integers, hence the same on all tiers: inputs x and entries e count in units of 1 / kFraction, and a window
// costs (x - e)^2 - x^2, shifted left by more() bits, which hold the tag. So the least of such numbers is that of least
// cost, and among equal ones of the least window. With inputs up to +-kMostInput two windows differ by less than
// B = 2^(23 + more()). Within n = ceil(bits / less()) - 1 steps any state leads to any other: costs of states differ by
// at most n B <= 2^29, and kUnreached is more. A step adds no more than 18 837 * 256 * 2^more() in size, so that all
// numbers fit if one is subtracted from all after every steady_steps(more()) >= n steps.
inline constexpr int kFraction = 16, kMostEntry = 63, kMostInput = 118 * kFraction;
inline constexpr std::int32_t kUnreached = std::int32_t{1} << 30;
inline constexpr std::size_t steady_steps(int more) { return std::size_t{4} << (5 - more); }

// Costs as sums of two products of 16 bits, x (-2 kFraction e) + kFraction^2 e^2; inputs take four bits of the shift.
inline constexpr std::uint32_t pair_of(int low, int high) {
    return (static_cast<std::uint32_t>(low) & 0xffffU) | (static_cast<std::uint32_t>(high) << 16);
}
inline constexpr int input_scale(int more) { return 1 << (more < 4 ? more : 4); }
inline constexpr std::uint32_t input_pair(int x, int scale) {
    return pair_of(x * scale, kFraction * kFraction * scale);
}
inline constexpr std::uint32_t entry_pair(int e, int more) {
    const int scale = (1 << more) / input_scale(more);
    return pair_of(-2 * kFraction * e * scale, e * e * scale);
}

// A run of `length` steps over as many sequences as there are lanes; a line has one number for each.
struct ViterbiArgs {
    Trellis trellis;
    const std::uint32_t* entries;  // 128 pairs
    const std::uint8_t* masks;     // 16, of windows of 11 bits
    const std::uint32_t* inputs;   // a line of pairs a step; zeros cost nothing
    int shift;                     // new bits of the first step
    std::size_t length;
    std::uint32_t* costs;    // lines of states, with tags: before the first step, and after the last one
    std::uint32_t* scratch;  // scratch_lines
    std::uint32_t* choices;  // choice_words lines a step
};
inline constexpr std::size_t scratch_lines(const Trellis& trellis) { return trellis.states(trellis.less()) + 128 + 32; }

struct WindowKernels {
    std::size_t lanes;
    void (*viterbi)(const ViterbiArgs&);
    // The way of a run back, from a line of states after it to those before step `until`. Lines of the new bits from
    // there on, those of the last step first, as words, or nowhere.
    void (*walk_back)(const ViterbiArgs&, std::size_t until, std::uint32_t* states, std::uint32_t* streams);
};

}  // namespace bitterfly
