// Copies of a vector in bit-reversed order. Rows whose middle bits agree are a tile: 16 runs of 16 numbers on either
// side, so that whole lines are read and written, each once.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace bitterfly {

inline constexpr int kRunBits = 4;
inline constexpr std::size_t kRun = std::size_t{1} << kRunBits;
// Smaller vectors stay in the cache in any order.
inline constexpr std::size_t kLeastReversed = std::size_t{1} << 13;

constexpr std::size_t reversed(std::size_t j, int bits) {
    std::size_t out = 0;
    for (int b = 0; b < bits; ++b) out = out << 1 | (j >> b & 1);
    return out;
}

// Whether order[j] is j with its bits reversed, for n numbers that are worth the tiles.
inline bool reverses_bits(const std::uint32_t* order, std::size_t n) {
    if (order == nullptr || n < kLeastReversed || !std::has_single_bit(n)) return false;
    const int bits = std::countr_zero(n);
    for (std::size_t j = 0; j < n; ++j) {
        if (order[j] != reversed(j, bits)) return false;
    }
    return true;
}

// Number k with its four bits reversed.
inline constexpr auto kReversed = [] {
    std::array<std::size_t, kRun> out{};
    for (std::size_t k = 0; k < kRun; ++k) out[k] = reversed(k, kRunBits);
    return out;
}();

// Tile number t: low and high bits count up together, so that tiles that follow each other lie in other sets of the
// caches on both sides. In order of either side they would share one set for a long time, and evict each other.
class Tiles {
public:
    explicit Tiles(std::size_t n) : bits_(std::countr_zero(n) - 2 * kRunBits), low_(bits_ / 2) {}
    std::size_t count() const { return std::size_t{1} << bits_; }
    // The first element on the side of the arrays, and on that of the numbers.
    std::size_t here(std::size_t t) const { return middle(t) * kRun; }
    std::size_t there(std::size_t t) const { return reversed(middle(t), bits_) * kRun; }

private:
    std::size_t middle(std::size_t t) const {
        const std::size_t low = t & ((std::size_t{1} << low_) - 1);
        return (((t >> low_) + low) << low_ | low) & (count() - 1);
    }
    int bits_, low_;
};

// Sixteen runs of `Length` numbers. Inlined: compilers drop calls of a function that only prefetches.
template <std::size_t Length, class Element>
[[gnu::always_inline]] inline void prefetch_runs(const Element* run, std::size_t apart) {
    constexpr std::size_t line = 64 / sizeof(Element);
    for (std::size_t k = 0; k < kRun; ++k, run += apart) {
        for (std::size_t i = 0; i < Length; i += line) __builtin_prefetch(run + i);
    }
}
inline constexpr std::size_t kTilesAhead = 4;

// The first one or two of every `Step` of `numbers`, in reversed order, to an array of each, the second times `sign`;
// `Out`: back from these. Tiles are written by lines and read by columns: caches pass wide stores on to narrow loads,
// not the other way round.
template <int Parts, int Step, bool Out, class Element, class Real>
void copy_reversed(Element* numbers, const std::array<Real*, Parts>& part, std::size_t n, Real sign) {
    constexpr auto parts = static_cast<std::size_t>(Parts), step = static_cast<std::size_t>(Step);
    const Tiles tiles(n);
    const std::size_t apart = n / kRun;
    const Real signs[] = {1, sign};
    Real tile[parts][kRun][kRun];
    for (std::size_t t = 0; t < tiles.count(); ++t) {
        Element* there = numbers + step * tiles.there(t);
        const std::size_t here = tiles.here(t);
        if constexpr (!Out) prefetch_runs<step * kRun>(numbers + step * tiles.there(t + kTilesAhead), step * apart);
        for (std::size_t k = 0; k < kRun; ++k) {
            for (std::size_t p = 0; p < parts; ++p) {
                for (std::size_t i = 0; i < kRun; ++i) {
                    tile[p][k][i] = Out ? part[p][kReversed[k] * apart + here + i]
                                        : static_cast<Real>(there[step * (kReversed[k] * apart + i) + p]);
                }
            }
        }
        for (std::size_t k = 0; k < kRun; ++k) {
            for (std::size_t p = 0; p < parts; ++p) {
                for (std::size_t i = 0; i < kRun; ++i) {
                    const Real value = signs[p] * tile[p][i][kReversed[k]];
                    if constexpr (Out) {
                        there[step * (k * apart + i) + p] = static_cast<Element>(value);
                    } else {
                        part[p][k * apart + here + i] = value;
                    }
                }
            }
        }
    }
}

}  // namespace bitterfly
