// Window codes by Viterbi's algorithm, as many sequences at a time as there are lanes; two runs make both ends meet.
#include "dense/encode.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels/kernels.hpp"
#include "lanes.hpp"
#include "parallel.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kTaskBlocks = 8;

// In units of 1 / kFraction: to nearest, ties to even, as adding 1.5 * 2^23 rounds.
int fixed_point(float x) {
    constexpr float kMost = static_cast<float>(kMostInput) / kFraction, kRound = 0x1.8p23F;
    const float bounded = x > -kMost ? (x < kMost ? x : kMost) : -kMost;
    return static_cast<int>((bounded * kFraction + kRound) - kRound);
}

class Encoder {
public:
    Encoder(const WindowCode& code, std::size_t length, std::size_t valid, std::size_t around)
        : trellis_(code.trellis), masks_(code.masks), length_(length), valid_(valid), around_(around) {
        for (std::size_t e = 0; e < std::size(entries_); ++e) entries_[e] = entry_pair(code.table[e], trellis_.more());
    }

    // Up to as many sequences as there are lanes.
    void operator()(const float* x, std::size_t count, std::uint8_t* streams) const {
        const std::size_t lines[] = {2 * length_, trellis_.states(trellis_.less()), scratch_lines(trellis_),
                                     std::max(length_, 2 * around_) * trellis_.choice_words(), stream_bytes() / 4 + 1};
        const Workspace<std::uint32_t> memory(std::accumulate(lines, std::end(lines), std::size_t{0}) * lanes_);
        Run run{memory.data(), {}, {}, {}, {}};
        run.costs = run.inputs + lines[0] * lanes_;
        run.scratch = run.costs + lines[1] * lanes_;
        run.choices = run.scratch + lines[2] * lanes_;
        run.streams = run.choices + lines[3] * lanes_;
        load(x, count, run.inputs);
        State ends{};
        find_ends(run, ends);
        join_ends(run, ends);
        write(run.streams, count, streams);
    }
    std::size_t stream_bytes() const { return length_ * static_cast<std::size_t>(trellis_.half_bits) / 16; }

private:
    struct Run {
        std::uint32_t *inputs, *costs, *scratch, *choices, *streams;
    };
    using State = std::uint32_t[kLanes];

    // Twice, so that runs may begin anywhere. Lanes without a sequence hold zeros, as rows that cost nothing do.
    void load(const float* x, std::size_t count, std::uint32_t* inputs) const {
        const int scale = input_scale(trellis_.more());
        std::fill_n(inputs, 2 * length_ * lanes_, 0U);
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t t = 0; t < valid_; ++t) {
                inputs[t * lanes_ + i] = input_pair(fixed_point(x[i * length_ + t]), scale);
            }
        }
        std::copy_n(inputs, length_ * lanes_, inputs + length_ * lanes_);
    }

    // Position p of a stream, length - 1 - row, owns the bits from floor(p half_bits / 2) on.
    int shift(std::size_t row) const { return row % 2 == 0 ? trellis_.more() : trellis_.less(); }
    ViterbiArgs args(const Run& run, std::size_t first, std::size_t length) const {
        return {.trellis = trellis_,
                .entries = entries_,
                .masks = masks_,
                .inputs = run.inputs + first * lanes_,
                .shift = shift(first),
                .length = length,
                .costs = run.costs,
                .scratch = run.scratch,
                .choices = run.choices};
    }

    // The states before the first row, from a run with any ends around this place.
    void find_ends(const Run& run, State& ends) const {
        const ViterbiArgs around = args(run, length_ - around_, 2 * around_);
        const std::size_t states = trellis_.states(around.shift);
        for (std::size_t q = 0; q < states; ++q) std::fill_n(run.costs + q * lanes_, lanes_, trellis_.tag(q));
        kernels().windows.viterbi(around);
        const std::uint32_t no_tag = ~0U << trellis_.more();
        std::int32_t least[kLanes];
        std::fill_n(least, lanes_, std::numeric_limits<std::int32_t>::max());
        for (std::uint32_t q = 0; q < states; ++q) {
            for (std::size_t i = 0; i < lanes_; ++i) {
                const auto cost = static_cast<std::int32_t>(run.costs[q * lanes_ + i] & no_tag);
                ends[i] = cost < least[i] ? q : ends[i], least[i] = std::min(cost, least[i]);
            }
        }
        kernels().windows.walk_back(around, around_, ends, nullptr);
    }

    // The best paths from `ends` to `ends`, as streams.
    void join_ends(const Run& run, State& ends) const {
        const ViterbiArgs whole = args(run, 0, length_);
        constexpr auto unreached = static_cast<std::uint32_t>(kUnreached);
        for (std::size_t q = 0; q < trellis_.states(whole.shift); ++q) {
            std::fill_n(run.costs + q * lanes_, lanes_, unreached | trellis_.tag(q));
        }
        for (std::size_t i = 0; i < lanes_; ++i) run.costs[ends[i] * lanes_ + i] -= unreached;
        kernels().windows.viterbi(whole);
        kernels().windows.walk_back(whole, 0, ends, run.streams);
    }

    void write(const std::uint32_t* words, std::size_t count, std::uint8_t* streams) const {
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t b = 0; b < stream_bytes(); ++b) {
                *streams++ = static_cast<std::uint8_t>(words[b / 4 * lanes_ + i] >> 8 * (b % 4));
            }
        }
    }

    Trellis trellis_;
    const std::uint8_t* masks_;
    std::size_t length_, valid_, around_, lanes_ = kernels().windows.lanes;
    std::uint32_t entries_[128];
};

}  // namespace

std::size_t enough_around(const Trellis& trellis, std::size_t length) {
    const auto bits = static_cast<std::size_t>(trellis.bits), half_bits = static_cast<std::size_t>(trellis.half_bits);
    return std::min(length / 2, (20 * bits + half_bits - 1) / half_bits);
}

void window_codes(const float* x, std::size_t count, std::size_t length, std::size_t valid, const WindowCode& code,
                  std::size_t around, std::uint8_t* streams, std::size_t workers) {
    const Encoder encode(code, length, valid, around);
    const std::size_t lanes = kernels().windows.lanes, bytes = encode.stream_bytes();
    parallel_ranges(count, kTaskBlocks * lanes, workers, [&](std::size_t first, std::size_t end) {
        for (std::size_t i = first; i < end; i += lanes) {
            encode(x + i * length, std::min(lanes, end - i), streams + i * bytes);
        }
    });
}

}  // namespace bitterfly
