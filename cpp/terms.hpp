// Real terms of two by two numbers -> rounded ones, in blocks that a kernel searches side by side.
#pragma once

#include <cstddef>

#include "lines.hpp"
#include "rank_one.hpp"
#include "significand.hpp"

namespace bitterfly {

// Collects terms of a pair of factors; those of a full block, or of the last one, are rounded and stored at once.
template <class T>
class TermBlock {
public:
    TermBlock(const ShortFactor<T>& /*left*/, const ShortFactor<T>& /*right*/) {}
    bool take(const Line&, const Line&, const Weighted<T>&, const Weighted<T>&) { return false; }
};

template <>
class TermBlock<double> {
public:
    TermBlock(const ShortFactor<double>& left, const ShortFactor<double>& right)
        : left_(left), right_(right), x_bits_(left.bits), y_bits_(right.bits) {}
    TermBlock(const TermBlock&) = delete;
    TermBlock& operator=(const TermBlock&) = delete;
    ~TermBlock() { round(); }

    // False for terms that need a search of their own: other lengths, zeros, numbers that are unlike in size.
    bool take(const Line& line, const Line& next, const Weighted<double>& x, const Weighted<double>& y);

private:
    static constexpr std::size_t kSize = 64;
    void round();

    ShortFactor<double> left_, right_;
    Significand x_bits_, y_bits_;
    double x_[2][kSize], x_weight_[2][kSize], y_[2][kSize], y_weight_[2][kSize], best_[2][kSize];
    Line lines_[kSize], next_[kSize];
    std::size_t count_ = 0;
};

}  // namespace bitterfly
