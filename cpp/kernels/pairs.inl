// Two-entry vectors with short significands: the best candidate of one pivot, a register of them at once.
//
// Operations: about 20 for a candidate, and 8 more for each entry of y, with one division, where its direction alone
// is better than the best so far; everything stays in registers.
#pragma once

#include "search.inl"

namespace {

using bitterfly::PairArgs;

template <class V>
void pairs(PairArgs& args) {
    const auto ratio = V::broadcast(args.ratio), weight = V::broadcast(args.weight), other = V::broadcast(args.other);
    const auto shift = V::broadcast(args.shift),
               area = V::broadcast(args.weight * args.other * args.pivot * args.pivot * args.energy);
    const auto splitter = V::broadcast(args.x_splitter), step = V::broadcast(V::width * args.unit);
    const auto pivot = V::broadcast(args.pivot);
    const RoundedRight<V> right(args);
    Least<V> least(args.error);
    std::size_t lane = 0;
    auto p = first_candidates<V>(args.unit, args.count);
    for (std::size_t i = 0; i < args.count; i += V::width, p = V::add(p, step)) {
        const auto q = split_off<V>(V::mul(ratio, V::add(p, shift)), splitter);
        const auto gap = V::multiply_subtract_from(ratio, p, q), wp = V::mul(weight, p), oq = V::mul(other, q);
        const auto norm = V::multiply_add(wp, p, V::mul(oq, q)), missed = V::mul(V::mul(gap, gap), area);
        if (!V::any_negative(V::multiply_subtract_from(least.all(), norm, missed))) continue;
        const auto inverse = V::div(V::broadcast(1), norm);
        const auto mu = V::mul(V::multiply_add(oq, ratio, wp), V::mul(pivot, inverse));
        if (least.take(right.add_missed(V::mul(missed, inverse), mu, norm, least.all()), lane)) {
            args.p = lane_of<V>(p, lane), args.q = lane_of<V>(q, lane);
        }
    }
    args.error = least.error();
}

}  // namespace
