// Real terms of two by two numbers -> rounded ones, in blocks that a kernel searches side by side.
#pragma once

#include <cstddef>

#include "short_floats/lines.hpp"
#include "short_floats/rank_one/significand.hpp"

namespace bitterfly {

// A factor of a pair with what lies behind its lines.
template <class T>
struct TermSide {
    ShortFactor<T> factor;
    const Part<T>* behind;
};

// Collects terms of a pair of factors; those of a full block, or of the last one, are rounded and stored at once.
template <class T>
class TermBlock {
public:
    TermBlock(const TermSide<T>& /*left*/, const TermSide<T>& /*right*/, bool /*weighted*/) {}
    bool take(const Line&, const Line&) { return false; }
};

template <>
class TermBlock<double> {
public:
    TermBlock(const TermSide<double>& left, const TermSide<double>& right, bool weighted)
        : left_(left), right_(right), x_bits_(left.factor.bits), y_bits_(right.factor.bits), weighted_(weighted) {}
    TermBlock(const TermBlock&) = delete;
    TermBlock& operator=(const TermBlock&) = delete;
    ~TermBlock() { round(); }

    // False for terms that need a search of their own: other lengths, many candidates, zeros, numbers that are
    // unlike in size.
    bool take(const Line& line, const Line& next);

private:
    static constexpr std::size_t kSize = 64;
    // The numbers of one side with their weights, an entry of all terms after the other.
    struct Entries {
        double at[2][kSize], weight[2][kSize];
    };
    void gather(const TermSide<double>& side, const Line& line, Entries& out) const;
    bool is_plain(std::size_t i) const;
    void round();

    TermSide<double> left_, right_;
    Significand x_bits_, y_bits_;
    bool weighted_;
    Entries x_, y_;
    double best_[2][kSize];
    Line lines_[kSize], next_[kSize];
    std::size_t count_ = 0;
};

}  // namespace bitterfly
