// Vectors of any length with short significands: the best candidate of one pivot, a register of them at once.
//
// Operations: about 8 for each entry of x; as many again, and 8 for each entry of y until the error is above the least
// one so far, where the direction alone is better than that.
#pragma once

#include "kernels/search/search.inl"

namespace {

using bitterfly::CellArgs;

// q = p (1, ratio, ...) + r with r = 0 at the pivot: with x = (1, ratio, ...) the distance of x from the line of q is
// (|x|^2 |r|^2 - <x, r>^2) / |q|^2, |q|^2 = |x|^2 p^2 + 2 p <x, r> + |r|^2, and mu = (|x|^2 p + <x, r>) / |q|^2.
template <class V>
class CellPivot {
public:
    using Vec = typename V::Vec;
    struct Sums {
        Vec along, norm, missed;  // <x, r>, |q|^2, and the squared distance times |q|^2 and `energy`
    };
    explicit CellPivot(const CellArgs& args)
        : args_(args),
          whole_(args.pivot_weight),
          scale_(args.pivot * args.pivot * args.energy),
          shift_(V::broadcast(args.shift)),
          pivot_(V::broadcast(args.pivot)),
          splitter_(V::broadcast(args.x_splitter)) {
        for (std::size_t m = 0; m < args.others; ++m) whole_ += args.weight[m] * args.ratio[m] * args.ratio[m];
        size_ = V::broadcast(whole_);
    }

    // |q|^2 is at most a multiple of p^2.
    double limit(double error) const { return error * whole_ * most_longer(args_.x_splitter) / scale_; }
    Vec above(Vec p, Vec limit) const {
        const Residuals r = residuals(p);
        return V::multiply_subtract_from(V::mul(limit, p), p, area(r));
    }
    Sums sums(Vec p) const {
        const Residuals r = residuals(p);
        const Vec twice = V::multiply_add(size_, p, V::add(r.along, r.along));
        return {r.along, V::multiply_add(twice, p, r.rest), V::mul(area(r), V::broadcast(scale_))};
    }
    Vec scale(Vec p, const Sums& sums) const { return V::mul(V::multiply_add(size_, p, sums.along), pivot_); }

private:
    struct Residuals {
        Vec rest, along;  // |r|^2, <x, r>
    };
    Residuals residuals(Vec p) const {
        const Vec lambda = V::add(p, shift_);
        Vec rest = V::broadcast(0), along = rest;
        for (std::size_t m = 0; m < args_.others; ++m) {
            const Vec ratio = V::broadcast(args_.ratio[m]), q = split_off<V>(V::mul(ratio, lambda), splitter_);
            const Vec r = V::multiply_subtract_from(ratio, p, q), wr = V::mul(V::broadcast(args_.weight[m]), r);
            rest = V::multiply_add(wr, r, rest), along = V::multiply_add(wr, ratio, along);
        }
        return {rest, along};
    }
    Vec area(const Residuals& r) const { return V::multiply_subtract_from(r.along, r.along, V::mul(size_, r.rest)); }

    const CellArgs& args_;
    double whole_, scale_;
    Vec shift_, pivot_, splitter_, size_;
};

template <class V>
void cells(CellArgs& args) {
    const CellPivot<V> pivot(args);
    PackedSearch<V, CellPivot<V>>(args, pivot).run();
}

}  // namespace
