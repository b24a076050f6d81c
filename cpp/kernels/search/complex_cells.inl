// Complex vectors with short significands: the best candidate of the pivot, a register of them at once.
//
// Operations: about 24 for each entry of x, and 18 for each entry of y until the error is above the least one so far.
#pragma once

#include "kernels/lanes/blocks.inl"
#include "kernels/search/search.inl"

namespace {

using bitterfly::ComplexArgs;

// With x = (1, ratio, ...), q = p x + r and r = 0 at the pivot, as for real numbers (cells.inl): the distance of x from
// the line of q is (|x|^2 |r|^2 - |<x, r>|^2) / |q|^2, and mu = conj(|x|^2 p + <x, r>) / |q|^2 with <x, r> = sum
// conj(x) r. The pivot is the largest entry: the difference keeps at least 1 / size of |x|^2 |r|^2.
template <class V>
struct ComplexSums {
    using Vec = typename V::Vec;
    Vec norm, rest;    // |q|^2, |r|^2
    Complex<V> along;  // <x, r>

    ComplexSums(const ComplexArgs& args, const Complex<V>& p)
        : norm(V::mul(V::broadcast(args.pivot_weight), square(p))), rest(V::broadcast(0)), along{rest, rest} {}
    void add(Vec weight, const Complex<V>& ratio, const Complex<V>& exact, const Complex<V>& q) {
        const Complex<V> r = {V::sub(q.re, exact.re), V::sub(q.im, exact.im)};
        const Complex<V> wr = {V::mul(weight, r.re), V::mul(weight, r.im)};
        norm = V::multiply_add(weight, square(q), norm);
        rest = V::multiply_add(wr.re, r.re, V::multiply_add(wr.im, r.im, rest));
        along = multiply_add(Complex<V>{ratio.re, V::sub(V::broadcast(0), ratio.im)}, wr, along);
    }
    static Vec square(const Complex<V>& z) { return V::multiply_add(z.re, z.re, V::mul(z.im, z.im)); }
};

// The parts of candidates: the pivot, and the other entry where that is given.
struct ComplexColumns {
    const double *p_re, *p_im, *q_re, *q_im;
};

// Candidate i and those beside it, the other entries rounded, or given.
template <class V, bool kGiven>
class ComplexCandidates {
public:
    using Vec = typename V::Vec;
    ComplexCandidates(const ComplexArgs& args, const ComplexColumns& columns)
        : args_(args), columns_(columns), splitter_(V::broadcast(args.x_splitter)), energy_(V::broadcast(args.energy)) {
        double whole = args.pivot_weight;
        for (std::size_t m = 0; m < args.others; ++m) {
            whole += args.weight[m] * (args.ratio_re[m] * args.ratio_re[m] + args.ratio_im[m] * args.ratio_im[m]);
        }
        size_ = V::broadcast(whole), pivot_ = V::broadcast(args.pivot_weight);
    }
    Complex<V> p(std::size_t i) const { return {V::load(columns_.p_re + i), V::load(columns_.p_im + i)}; }
    Complex<V> exact(std::size_t m, const Complex<V>& p) const { return ratio(m) * p; }
    Complex<V> q(const Complex<V>& exact, std::size_t i) const {
        if constexpr (kGiven) return {V::load(columns_.q_re + i), V::load(columns_.q_im + i)};
        return {split_off<V>(exact.re, splitter_), split_off<V>(exact.im, splitter_)};
    }
    [[gnu::always_inline]] ComplexSums<V> sums(std::size_t i) const {
        const Complex<V> at = p(i);
        ComplexSums<V> sums(args_, at);
        for (std::size_t m = 0; m < args_.others; ++m) {
            const Complex<V> x = exact(m, at);
            sums.add(V::broadcast(args_.weight[m]), ratio(m), x, q(x, i));
        }
        return sums;
    }
    // The squared distance from the line of q, times |q|^2 and `energy`; of two entries without the difference.
    Vec missed(const ComplexSums<V>& sums) const {
        const Vec area = args_.others == 1 ? V::mul(pivot_, sums.rest)
                                           : V::sub(V::mul(size_, sums.rest), ComplexSums<V>::square(sums.along));
        return V::mul(area, energy_);
    }
    Complex<V> mu(const ComplexSums<V>& sums, std::size_t i) const {
        const Complex<V> at = p(i);
        const Vec inverse = V::div(V::broadcast(1), sums.norm);
        const Vec re = V::multiply_add(size_, at.re, sums.along.re), im = V::multiply_add(size_, at.im, sums.along.im);
        return {V::mul(re, inverse), V::mul(V::sub(V::broadcast(0), im), inverse)};
    }

private:
    Complex<V> ratio(std::size_t m) const { return {V::broadcast(args_.ratio_re[m]), V::broadcast(args_.ratio_im[m])}; }

    const ComplexArgs& args_;
    ComplexColumns columns_;
    Vec splitter_, energy_, size_, pivot_;
};

// error + norm |y^ - mu y|^2; where no lane is below `least`, less than that.
template <class V>
[[gnu::always_inline]] inline typename V::Vec add_complex_missed(const ComplexArgs& args, typename V::Vec error,
                                                                 const Complex<V>& mu, typename V::Vec norm,
                                                                 typename V::Vec least) {
    const auto splitter = V::broadcast(args.y_splitter);
    for (std::size_t e = 0; e < args.y_size; ++e) {
        const Complex<V> scaled = mu * Complex<V>{V::broadcast(args.y_re[e]), V::broadcast(args.y_im[e])};
        const auto re = V::sub(split_off<V>(scaled.re, splitter), scaled.re);
        const auto im = V::sub(split_off<V>(scaled.im, splitter), scaled.im);
        const auto missed = V::multiply_add(re, re, V::mul(im, im));
        error = V::multiply_add(V::mul(missed, norm), V::broadcast(args.y_weight[e]), error);
        if (!V::any_negative(V::sub(error, least))) break;
    }
    return error;
}

// The index of the best candidate with an error below that of `args`, which it replaces; else `count`.
template <class V, bool kGiven>
[[gnu::always_inline]] inline std::size_t best_of(ComplexArgs& args, const ComplexCandidates<V, kGiven>& candidates,
                                                  std::size_t count) {
    Least<V> least(args.error);
    std::size_t lane = 0, best = count;
    for (std::size_t i = 0; i < count; i += V::width) {
        const ComplexSums<V> sums = candidates.sums(i);
        const auto missed = candidates.missed(sums);
        if (!V::any_negative(V::multiply_subtract_from(least.all(), sums.norm, missed))) continue;
        const auto error = V::div(missed, sums.norm);
        if (least.take(add_complex_missed<V>(args, error, candidates.mu(sums, i), sums.norm, least.all()), lane)) {
            best = i + lane;
        }
    }
    args.error = least.error();
    return best;
}

template <class V>
void complex_cells(ComplexArgs& args) {
    const ComplexCandidates<V, false> candidates(args, {args.p_re, args.p_im, nullptr, nullptr});
    const std::size_t best = best_of(args, candidates, args.count);
    if (best == args.count) return;
    const std::size_t lane = best % V::width, first = best - lane;
    args.best_re = args.p_re[best], args.best_im = args.p_im[best];
    for (std::size_t m = 0; m < args.others; ++m) {
        const Complex<V> q = candidates.q(candidates.exact(m, candidates.p(first)), first);
        args.q_re[m] = lane_of<V>(q.re, lane), args.q_im[m] = lane_of<V>(q.im, lane);
    }
}

}  // namespace
