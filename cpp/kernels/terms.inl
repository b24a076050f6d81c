// Real terms (x0, x1) (y0, y1)^T -> the best rounded x of each, a term in every lane.
//
// Operations: about 40 for each of the 2^t candidates of a term, one division among them; 128 bytes read and stored.
#pragma once

#include "kernels.hpp"
#include "pairs.inl"

namespace {

using bitterfly::TermArgs;

// One candidate of the pivot x = 1 beside `ratio`: its error, in all terms of a register. See pairs.inl.
template <class V>
struct TermErrors {
    using Vec = typename V::Vec;
    Vec ratio, w, o, product, y0, y1, v0, v1, energy;

    TermErrors(const TermArgs& args, int pivot, std::size_t i) {
        const Vec x = V::load(args.x[pivot] + i);
        ratio = V::div(V::load(args.x[1 - pivot] + i), x);
        w = V::load(args.x_weight[pivot] + i), o = V::load(args.x_weight[1 - pivot] + i), product = V::mul(w, o);
        y0 = V::mul(x, V::load(args.y[0] + i)), y1 = V::mul(x, V::load(args.y[1] + i));
        v0 = V::load(args.y_weight[0] + i), v1 = V::load(args.y_weight[1] + i);
        energy = V::multiply_add(V::mul(v0, y0), y0, V::mul(V::mul(v1, y1), y1));
    }
    Vec at(Vec p, Vec q, Vec splitter) const {
        const Vec gap = V::sub(q, V::mul(ratio, p)), wp = V::mul(w, p), oq = V::mul(o, q);
        const Vec norm = V::multiply_add(wp, p, V::mul(oq, q)), inverse = V::div(V::broadcast(1), norm);
        const Vec mu = V::mul(V::multiply_add(oq, ratio, wp), inverse);
        const Vec z0 = V::mul(mu, y0), z1 = V::mul(mu, y1);
        const Vec m0 = V::sub(split_off<V>(z0, splitter), z0), m1 = V::sub(split_off<V>(z1, splitter), z1);
        const Vec missed = V::multiply_add(V::mul(m0, m0), v0, V::mul(V::mul(m1, m1), v1));
        return V::multiply_add(missed, norm, V::mul(V::mul(V::mul(gap, gap), product), V::mul(inverse, energy)));
    }
};

template <class V>
void terms(const TermArgs& args) {
    const auto unit = V::broadcast(args.unit), half = V::broadcast(args.unit / 2);
    const auto splitter = V::broadcast(args.x_splitter), y_splitter = V::broadcast(args.y_splitter);
    for (std::size_t i = 0; i < args.count; i += V::width) {
        auto least = V::broadcast(1e300), first = V::broadcast(1), second = V::broadcast(1);
        for (int pivot = 0; pivot < 2; ++pivot) {
            const TermErrors<V> errors(args, pivot, i);
            auto lambda = V::add(V::broadcast(1), half);
            for (std::size_t cell = 0; cell < args.cells; ++cell, lambda = V::add(lambda, unit)) {
                const auto p = V::add(lambda, half), q = split_off<V>(V::mul(errors.ratio, lambda), splitter);
                const auto error = errors.at(p, q, y_splitter), better = V::sub(error, least);
                first = V::select_negative(better, pivot == 0 ? p : q, first);
                second = V::select_negative(better, pivot == 0 ? q : p, second);
                least = V::select_negative(better, error, least);
            }
        }
        V::store(args.best[0] + i, first);
        V::store(args.best[1] + i, second);
    }
}

}  // namespace
