// The forward pass of Viterbi's algorithm on the trellis of window codes, one sequence a lane: two instructions a
// window.
#pragma once

#include <bit>
#include <type_traits>
#include <utility>

#include "kernels/lanes/unroll.inl"
#include "kernels/trellis/args.hpp"

namespace {

using bitterfly::Trellis;
using bitterfly::ViterbiArgs;

// What windows cost at one time. Windows of 7 bits need each entry once ...
template <class V>
class EntryCosts {
public:
    using Word = typename V::Word;
    EntryCosts(const ViterbiArgs& args, const std::uint32_t* input, std::uint32_t*)
        : input_(V::load_words(input)), entries_(args.entries) {}
    // Of the first of an aligned block of windows, and of window i of that block.
    std::size_t place(std::size_t window) const { return window; }
    static std::size_t place_in_block(std::size_t place, std::size_t i) { return place + i; }
    Word add_to(Word cost, std::size_t place) const {
        return V::add_products(cost, input_, V::broadcast_word(entries_[place]));
    }

private:
    Word input_;
    const std::uint32_t* entries_;
};

// ... and windows of 11 bits sixteen times.
template <class V>
class MaskedCosts {
public:
    using Word = typename V::Word;
    MaskedCosts(const ViterbiArgs& args, const std::uint32_t* input, std::uint32_t* lines)
        : lines_(lines), masks_(args.masks) {
        const Word x = V::load_words(input), none = V::broadcast_word(0);
        const std::uint32_t* const entries = args.entries;
        for (std::size_t e = 0; e < 128; ++e) {
            V::store_words(lines + e * V::width, V::add_products(none, x, V::broadcast_word(entries[e])));
        }
    }
    std::size_t place(std::size_t window) const { return ((window & 127) ^ masks_[window >> 7]) * V::width; }
    static std::size_t place_in_block(std::size_t place, std::size_t i) { return place ^ (i * V::width); }
    Word add_to(Word cost, std::size_t place) const { return V::add(cost, V::load_words(lines_ + place)); }

private:
    const std::uint32_t* lines_;
    const std::uint8_t* masks_;
};

template <class V, int Bits, int HalfBits>
class Viterbi {
public:
    using Word = typename V::Word;
    explicit Viterbi(const ViterbiArgs& args)
        : args_(args), lines_(args.scratch), tagged_(lines_ + 128 * V::width), next_(tagged_ + 32 * V::width) {}

    void run() {
        std::uint32_t* costs = args_.costs;
        int shift = args_.shift;
        for (std::size_t t = 0; t < args_.length; ++t, shift = kTrellis.other(shift)) {
            shift == kLess ? step<kLess, kMore>(costs, t) : step<kMore, kLess>(costs, t);
            std::uint32_t* const free = costs;
            costs = next_, next_ = free;
            if (t % kSteadySteps == kSteadySteps - 1) subtract(costs, kTrellis.states(kTrellis.other(shift)));
        }
        if (costs == args_.costs) return;
        for (std::size_t q = 0; q < kTrellis.states(shift) * V::width; q += V::width) {
            V::store_words(args_.costs + q, V::load_words(costs + q));
        }
    }

    void walk_back(std::size_t until, std::uint32_t* states, std::uint32_t* streams) const {
        constexpr int log2 = kTrellis.word_states_log2(), field_log2 = std::countr_zero(unsigned{kField});
        const Word lanes = V::load_words(kFirst.lane), none = V::broadcast_word(0);
        Word state = V::load_words(states), bits = none;
        int shift = args_.length % 2 == 0 ? kTrellis.other(args_.shift) : args_.shift, filled = 0;
        for (std::size_t t = args_.length; t-- > until; shift = kTrellis.other(shift)) {
            const std::uint32_t* const choices = args_.choices + t * kTrellis.choice_words() * V::width;
            const Word line = V::shift_left(V::shift_right(state, log2), std::countr_zero(unsigned{V::width}));
            const Word word = V::gather_words(choices, V::add(line, lanes));
            const Word before = V::shift_left(V::bit_and(state, kWordStates - 1), field_log2);
            const Word tag = V::shift_right(V::shift_left_by(word, before), 32 - kField);
            const Word window = V::bit_or(V::shift_left(tag, Bits - kTrellis.other(shift)), state);
            state = V::shift_right(window, shift);
            if (streams == nullptr) continue;
            const Word fresh = V::bit_and(window, (1U << shift) - 1);
            bits = V::bit_or(bits, V::shift_left(fresh, filled));
            filled += shift;
            if (filled < 32 && t > until) continue;
            V::store_words(streams, bits);
            filled -= 32, streams += V::width;
            bits = filled > 0 ? V::shift_right(fresh, shift - filled) : none;
        }
        V::store_words(states, state);
    }

private:
    struct Iota {
        std::uint32_t lane[V::width];
        constexpr Iota() : lane{} {
            for (std::uint32_t i = 0; i < V::width; ++i) lane[i] = i;
        }
    };
    static constexpr Iota kFirst{};
    static constexpr Trellis kTrellis{Bits, HalfBits};
    static constexpr int kLess = kTrellis.less(), kMore = kTrellis.more();
    static constexpr int kWordStates = 1 << kTrellis.word_states_log2(), kField = 32 / kWordStates;
    static constexpr int kBlock = kWordStates < 8 ? kWordStates : 8;  // states whose costs are in registers
    static constexpr std::uint32_t kTagMask = (1U << kMore) - 1;
    static constexpr std::size_t kSteadySteps = bitterfly::steady_steps(kMore);
    using Costs = std::conditional_t<Bits == 7, EntryCosts<V>, MaskedCosts<V>>;

    // A step of Shift new bits, to states that Next new bits follow.
    template <int Shift, int Next>
    void step(const std::uint32_t* costs, std::size_t t) {
        constexpr int tagged_bits = Shift + Next - Bits;
        if constexpr (tagged_bits > 0) costs = with_tags<tagged_bits>(costs);
        const Costs of_windows(args_, args_.inputs + t * V::width, lines_);
        std::uint32_t *next = next_, *choices = args_.choices + t * kTrellis.choice_words() * V::width;
        for (std::size_t q = 0; q < kTrellis.states(Next); choices += V::width) {
            Word tags = V::broadcast_word(0);
            for (int b = 0; b < kWordStates; b += kBlock, q += kBlock, next += kBlock * V::width) {
                Word least[kBlock];
                block<Shift, Next>(of_windows, costs, q, least);
                unroll<kBlock>([&](auto i) __attribute__((always_inline)) {
                    const std::uint32_t tag = kTrellis.tag(q) + kTrellis.tag(i);
                    V::store_words(next + i * V::width, V::replace_bits(least[i], ~kTagMask, tag));
                    tags = V::or_bits(V::shift_left(tags, kField), least[i], kTagMask);
                });
            }
            V::store_words(choices, tags);
        }
    }

    // Each state as often as windows of different tags follow.
    template <int TaggedBits>
    const std::uint32_t* with_tags(const std::uint32_t* costs) {
        for (std::uint32_t j = 0; j < 1U << kMore; ++j) {
            const Word cost = V::load_words(costs + (j >> TaggedBits) * V::width);
            V::store_words(tagged_ + j * V::width, V::bit_or(cost, V::broadcast_word(j)));
        }
        return tagged_;
    }

    // The least costs of kBlock states from q on.
    template <int Shift, int Next>
    [[gnu::always_inline]] static void block(const Costs& of_windows, const std::uint32_t* costs, std::size_t q,
                                             Word (&least)[kBlock]) {
        constexpr int dropped = Shift < Bits - Next ? Shift : Bits - Next;
        const auto window_pair = [&](std::size_t j, auto take) __attribute__((always_inline)) {
            const std::size_t first = j << (Bits - Next) | q, second = (j + 1) << (Bits - Next) | q;
            const std::size_t place0 = of_windows.place(first), place1 = of_windows.place(second);
            const std::uint32_t* const from0 = costs + (first >> dropped) * V::width;
            const std::uint32_t* const from1 = costs + (second >> dropped) * V::width;
            unroll<kBlock>([&](auto i) __attribute__((always_inline)) {
                constexpr std::size_t line = (i >> dropped) * V::width;
                take(i, V::min(of_windows.add_to(V::load_words(from0 + line), Costs::place_in_block(place0, i)),
                               of_windows.add_to(V::load_words(from1 + line), Costs::place_in_block(place1, i))));
            });
        };
        window_pair(0, [&](auto i, Word cost) __attribute__((always_inline)) { least[i] = cost; });
        for (std::size_t j = 2; j < std::size_t{1} << Next; j += 2) {
            window_pair(j,
                        [&](auto i, Word cost) __attribute__((always_inline)) { least[i] = V::min(least[i], cost); });
        }
    }

    // Only differences count: the first cost, without its tag, becomes zero.
    static void subtract(std::uint32_t* costs, std::size_t states) {
        const Word first = V::bit_and(V::load_words(costs), ~kTagMask);
        for (std::size_t q = 0; q < states * V::width; q += V::width) {
            V::store_words(costs + q, V::sub(V::load_words(costs + q), first));
        }
    }

    const ViterbiArgs& args_;
    std::uint32_t *lines_, *tagged_, *next_;
};

template <class V, int Bits, int... HalfBits, class Call>
void of_rate(const ViterbiArgs& args, std::integer_sequence<int, HalfBits...>, const Call& call) {
    ((args.trellis.half_bits == HalfBits ? call(Viterbi<V, Bits, HalfBits>(args)) : void()), ...);
}
template <class V, class Call>
void of_trellis(const ViterbiArgs& args, const Call& call) {
    constexpr std::integer_sequence<int, 2, 3, 4, 5, 6, 7, 8, 10> half_bits;
    args.trellis.bits == 7 ? of_rate<V, 7>(args, half_bits, call) : of_rate<V, 11>(args, half_bits, call);
}

template <class V>
void viterbi(const ViterbiArgs& args) {
    of_trellis<V>(args, [](auto run) { run.run(); });
}
template <class V>
void walk_back(const ViterbiArgs& args, std::size_t until, std::uint32_t* states, std::uint32_t* streams) {
    of_trellis<V>(args, [&](const auto& run) { run.walk_back(until, states, streams); });
}

constexpr bitterfly::WindowKernels window_kernels() {
    using V = Simd<float>;
    return {V::width, viterbi<V>, walk_back<V>};
}

}  // namespace
