// Two-entry vectors with short significands: the candidates of one pivot and their errors, a register of them at once.
//
// Operations: about 40 for a candidate, two divisions among them; everything stays in L1.
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

template <class V>
void pairs(const PairArgs& args) {
    static constexpr struct Counting {
        double at[64] = {};
        constexpr Counting() {
            for (int i = 0; i < 64; ++i) at[i] = i;
        }
    } counting;
    const auto unit = V::broadcast(args.unit), start = V::broadcast(args.start), half = V::broadcast(args.unit / 2);
    const auto ratio = V::broadcast(args.ratio), w = V::broadcast(args.weight), o = V::broadcast(args.other);
    const auto splitter = V::broadcast(args.x_splitter), y_splitter = V::broadcast(args.y_splitter);
    const auto energy = V::broadcast(args.energy), product = V::broadcast(args.weight * args.other);
    for (std::size_t i = 0; i < args.count; i += V::width) {
        const auto lambda = V::multiply_add(V::load(counting.at + i), unit, start), p = V::add(lambda, half);
        const auto q = split_off<V>(V::mul(ratio, lambda), splitter);
        const auto gap = V::sub(q, V::mul(ratio, p));
        const auto wp = V::mul(w, p), oq = V::mul(o, q), norm = V::multiply_add(wp, p, V::mul(oq, q));
        const auto inverse = V::div(V::broadcast(1), norm);
        auto error = V::mul(V::mul(V::mul(gap, gap), product), V::mul(inverse, energy));
        const auto mu = V::mul(V::multiply_add(oq, ratio, wp), inverse);
        for (std::size_t e = 0; e < args.y_size; ++e) {
            const auto scaled = V::mul(mu, V::broadcast(args.y[e]));
            const auto missed = V::sub(split_off<V>(scaled, y_splitter), scaled);
            error = V::multiply_add(V::mul(V::mul(missed, missed), norm), V::broadcast(args.y_weight[e]), error);
        }
        V::store(args.p + i, p);
        V::store(args.q + i, q);
        V::store(args.errors + i, error);
    }
}

}  // namespace
