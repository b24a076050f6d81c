// Vectors of any length with short significands: the best candidate of one pivot, a register of them at once.
//
// Operations: about 10 for each entry of x, and 8 for each entry of y until the error is above the least one so far.
#pragma once

#include "search.inl"

namespace {

using bitterfly::CellArgs;

// q = p (1, ratio, ...) + r with r = 0 at the pivot: with x = (1, ratio, ...) the distance of x from the line of q is
// (|x|^2 |r|^2 - <x, r>^2) / |q|^2, and mu = (|x|^2 p + <x, r>) / |q|^2.
template <class V>
struct CellSums {
    using Vec = typename V::Vec;
    Vec norm, rest, along;  // |q|^2, |r|^2, <x, r>

    CellSums(const CellArgs& args, Vec p, Vec lambda, Vec splitter)
        : norm(V::mul(V::mul(V::broadcast(args.pivot_weight), p), p)), rest(V::broadcast(0)), along(rest) {
        for (std::size_t m = 0; m < args.others; ++m) {
            const Vec ratio = V::broadcast(args.ratio[m]), weight = V::broadcast(args.weight[m]);
            const Vec q = split_off<V>(V::mul(ratio, lambda), splitter), r = V::multiply_subtract_from(ratio, p, q);
            const Vec wr = V::mul(weight, r);
            norm = V::multiply_add(V::mul(weight, q), q, norm);
            rest = V::multiply_add(wr, r, rest), along = V::multiply_add(wr, ratio, along);
        }
    }
};

template <class V>
void cells(CellArgs& args) {
    double whole = args.pivot_weight;
    for (std::size_t m = 0; m < args.others; ++m) whole += args.weight[m] * args.ratio[m] * args.ratio[m];
    const auto size = V::broadcast(whole), shift = V::broadcast(args.shift),
               energy = V::broadcast(args.pivot * args.pivot * args.energy);
    const auto splitter = V::broadcast(args.x_splitter), step = V::broadcast(V::width * args.unit);
    const auto pivot = V::broadcast(args.pivot);
    const RoundedRight<V> right(args);
    Least<V> least(args.error);
    std::size_t lane = 0;
    auto p = first_candidates<V>(args.unit, args.count);
    for (std::size_t i = 0; i < args.count; i += V::width, p = V::add(p, step)) {
        const CellSums<V> sums(args, p, V::add(p, shift), splitter);
        const auto area = V::multiply_subtract_from(sums.along, sums.along, V::mul(size, sums.rest));
        const auto missed = V::mul(area, energy);
        if (!V::any_negative(V::multiply_subtract_from(least.all(), sums.norm, missed))) continue;
        const auto inverse = V::div(V::broadcast(1), sums.norm);
        const auto mu = V::mul(V::multiply_add(size, p, sums.along), V::mul(pivot, inverse));
        if (least.take(right.add_missed(V::mul(missed, inverse), mu, sums.norm, least.all()), lane)) {
            args.index = i + lane;
        }
    }
    args.error = least.error();
}

}  // namespace
