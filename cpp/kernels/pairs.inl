// Two-entry vectors with short significands: the candidates of one pivot and their errors, a register of them at once.
//
// Operations: about 40 for a candidate, one division among them; everything stays in L1.
#pragma once

#include "kernels.hpp"

namespace {

using bitterfly::PairArgs;

// Rounds to the significand whose splitter is 2^(53 - bits) + 1 (Veltkamp); of two equally near numbers either.
template <class V>
typename V::Vec split_off(typename V::Vec x, typename V::Vec splitter) {
    const auto c = V::mul(x, splitter);
    return V::sub(c, V::sub(c, x));
}

// A vector (x, other) over its pivot x, and what errors of (x, other) y^T weigh: `energy` is that of y.
template <class V>
struct PivotedPair {
    typename V::Vec ratio, weight, other_weight, product, energy;
};

// A candidate (p, q) of lambda (1, ratio): p in the cell of lambda, q rounded; y is rounded for it entry by entry.
template <class V>
struct Candidate {
    using Vec = typename V::Vec;
    Vec p, q, norm, mu, error;

    Candidate(const PivotedPair<V>& x, Vec lambda, Vec half, Vec splitter)
        : p(V::add(lambda, half)), q(split_off<V>(V::mul(x.ratio, lambda), splitter)) {
        const Vec gap = V::sub(q, V::mul(x.ratio, p)), wp = V::mul(x.weight, p), oq = V::mul(x.other_weight, q);
        norm = V::multiply_add(wp, p, V::mul(oq, q));
        const Vec inverse = V::div(V::broadcast(1), norm);
        error = V::mul(V::mul(V::mul(gap, gap), x.product), V::mul(inverse, x.energy));
        mu = V::mul(V::multiply_add(oq, x.ratio, wp), inverse);
    }
    void add_missed(Vec y, Vec weight, Vec splitter) {
        const Vec scaled = V::mul(mu, y), missed = V::sub(split_off<V>(scaled, splitter), scaled);
        error = V::multiply_add(V::mul(V::mul(missed, missed), norm), weight, error);
    }
};

template <class V>
void pairs(const PairArgs& args) {
    static constexpr struct Counting {
        double at[64] = {};
        constexpr Counting() {
            for (int i = 0; i < 64; ++i) at[i] = i;
        }
    } counting;
    const auto unit = V::broadcast(args.unit), start = V::broadcast(args.start), half = V::broadcast(args.unit / 2);
    const auto splitter = V::broadcast(args.x_splitter), y_splitter = V::broadcast(args.y_splitter);
    const PivotedPair<V> x{V::broadcast(args.ratio), V::broadcast(args.weight), V::broadcast(args.other),
                           V::broadcast(args.weight * args.other), V::broadcast(args.energy)};
    for (std::size_t i = 0; i < args.count; i += V::width) {
        Candidate<V> candidate(x, V::multiply_add(V::load(counting.at + i), unit, start), half, splitter);
        for (std::size_t e = 0; e < args.y_size; ++e) {
            candidate.add_missed(V::broadcast(args.y[e]), V::broadcast(args.y_weight[e]), y_splitter);
        }
        V::store(args.p + i, candidate.p);
        V::store(args.q + i, candidate.q);
        V::store(args.errors + i, candidate.error);
    }
}

}  // namespace
