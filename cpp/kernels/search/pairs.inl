// Two-entry vectors with short significands: the best candidate of one pivot, a register of them at once.
//
// Operations: about 8 for a candidate; twice as many again, and 8 for each entry of y, with one division, where its
// direction alone is better than the best so far.
#pragma once

#include <cmath>

#include "kernels/search/search.inl"

namespace {

using bitterfly::PairArgs;

template <class V>
class PairPivot {
public:
    using Vec = typename V::Vec;
    struct Sums {
        Vec wp, oq, norm, missed;
    };
    explicit PairPivot(const PairArgs& args)
        : square_(args.weight * args.other * args.pivot * args.pivot * args.energy /
                  ((args.weight + args.other * args.ratio * args.ratio) * most_longer(args.x_splitter))),
          ratio_(V::broadcast(args.ratio)),
          weight_(V::broadcast(args.weight)),
          other_(V::broadcast(args.other)),
          shift_(V::broadcast(args.shift)),
          pivot_(V::broadcast(args.pivot)),
          area_(V::broadcast(args.weight * args.other * args.pivot * args.pivot * args.energy)),
          splitter_(V::broadcast(args.x_splitter)) {}

    // |q|^2 being at most a multiple of p^2, a distance of p / limit may do.
    double limit(double error) const { return std::sqrt(square_ / error); }
    Vec above(Vec p, Vec limit) const {
        const Vec gap = V::multiply_subtract_from(ratio_, p, q(p));
        return V::sub(V::mul(V::abs(gap), limit), p);
    }
    Vec q(Vec p) const { return split_off<V>(V::mul(ratio_, V::add(p, shift_)), splitter_); }
    Sums sums(Vec p) const {
        const Vec q = this->q(p), gap = V::multiply_subtract_from(ratio_, p, q);
        const Vec wp = V::mul(weight_, p), oq = V::mul(other_, q);
        return {wp, oq, V::multiply_add(wp, p, V::mul(oq, q)), V::mul(V::mul(gap, gap), area_)};
    }
    Vec scale(Vec, const Sums& sums) const { return V::mul(V::multiply_add(sums.oq, ratio_, sums.wp), pivot_); }

private:
    double square_;
    Vec ratio_, weight_, other_, shift_, pivot_, area_, splitter_;
};

template <class V>
void pairs(PairArgs& args) {
    const PairPivot<V> pivot(args);
    PackedSearch<V, PairPivot<V>>(args, pivot).run();
    args.q = lane_of<V>(pivot.q(V::broadcast(args.p)), 0);
}

}  // namespace
