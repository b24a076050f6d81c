// The searches for short significands of one worker: they keep scratch memory, so that each worker has its own.
#pragma once

#include <map>
#include <utility>

#include "short_floats/rank_one/rank_one.hpp"

namespace bitterfly {

// One for each pair of widths.
template <class T>
class Searches {
public:
    explicit Searches(int depth) : depth_(depth) {}

    // The last one asked for, mostly.
    RankOne<T>& of(int first, int second) {
        if (last_ == nullptr || asked_ != std::pair(first, second)) {
            asked_ = {first, second};
            last_ = &all_.try_emplace(asked_, first, second, depth_).first->second;
        }
        return *last_;
    }

private:
    int depth_;
    std::map<std::pair<int, int>, RankOne<T>> all_;
    RankOne<T>* last_ = nullptr;
    std::pair<int, int> asked_;
};

}  // namespace bitterfly
