// Real terms (x0, x1) (y0, y1)^T -> the best rounded x of each, a term in every lane.
//
// Operations: about 40 for each of the 2^t candidates of a term, one division among them; 128 bytes read and stored.
#pragma once

#include "kernels/search/args.hpp"
#include "kernels/search/search.inl"

namespace {

using bitterfly::TermArgs;

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

// All terms of a register with one of the two entries of x as the pivot.
template <class V>
struct PivotedTerms {
    using Vec = typename V::Vec;
    Vec y0, y1, v0, v1;
    PivotedPair<V> pair;

    PivotedTerms(const TermArgs& args, int pivot, std::size_t i) {
        const Vec x = V::load(args.x[pivot] + i), w = V::load(args.x_weight[pivot] + i),
                  o = V::load(args.x_weight[1 - pivot] + i);
        y0 = V::mul(x, V::load(args.y[0] + i)), y1 = V::mul(x, V::load(args.y[1] + i));
        v0 = V::load(args.y_weight[0] + i), v1 = V::load(args.y_weight[1] + i);
        pair = {V::div(V::load(args.x[1 - pivot] + i), x), w, o, V::mul(w, o),
                V::multiply_add(V::mul(v0, y0), y0, V::mul(V::mul(v1, y1), y1))};
    }
};

template <class V>
void terms(const TermArgs& args) {
    const auto unit = V::broadcast(args.unit), half = V::broadcast(args.unit / 2);
    const auto splitter = V::broadcast(args.x_splitter), y_splitter = V::broadcast(args.y_splitter);
    for (std::size_t i = 0; i < args.count; i += V::width) {
        auto least = V::broadcast(1e300), first = V::broadcast(1), second = V::broadcast(1);
        for (int pivot = 0; pivot < 2; ++pivot) {
            const PivotedTerms<V> terms(args, pivot, i);
            auto lambda = V::add(V::broadcast(1), half);
            for (std::size_t cell = 0; cell < args.cells; ++cell, lambda = V::add(lambda, unit)) {
                Candidate<V> candidate(terms.pair, lambda, half, splitter);
                candidate.add_missed(terms.y0, terms.v0, y_splitter);
                candidate.add_missed(terms.y1, terms.v1, y_splitter);
                const auto better = V::sub(candidate.error, least);
                first = V::select_negative(better, pivot == 0 ? candidate.p : candidate.q, first);
                second = V::select_negative(better, pivot == 0 ? candidate.q : candidate.p, second);
                least = V::select_negative(better, candidate.error, least);
            }
        }
        V::store(args.best[0] + i, first);
        V::store(args.best[1] + i, second);
    }
}

}  // namespace
