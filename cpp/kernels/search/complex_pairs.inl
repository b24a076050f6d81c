// Complex vectors of two entries: the best of all candidates, also with other values of the second entry than the
// nearest one, a register at once.
//
// Operations: about 25 for a candidate p; 60 more, with two square roots, where its direction alone may be good enough;
// 5 for each other value; about 20 for each pair whose direction is good enough, and 18 for each entry of y.
#pragma once

#include <cmath>

#include "kernels/search/complex_cells.inl"

namespace {

using bitterfly::NearArgs;

constexpr double kLittleMore = 1 + 0x1p-40;  // so that at ties both numbers count

// Rounded parts, from the first to the last.
template <class V>
struct Range {
    typename V::Vec first, last;
};

template <class V>
typename V::Vec larger(typename V::Vec a, typename V::Vec b) {
    return V::select_negative(V::sub(a, b), b, a);
}

// Parts with a short significand, or zero.
template <class V>
class ShortParts {
public:
    using Vec = typename V::Vec;
    // splitter = 2^(53 - bits) + 1
    ShortParts(double splitter, double least)
        : splitter_(V::broadcast(splitter)),
          least_(V::broadcast(least)),
          up_(V::broadcast((splitter - 1) * 0x1p-53 * (1 + 0x1p-10))) {}

    Vec rounded(Vec x) const { return split_off<V>(x, splitter_); }
    // The next one above: |x| 2^-bits is half a unit or more, and less than one.
    Vec next(Vec x) const {
        const Vec size = V::abs(x), above = trimmed(rounded(V::multiply_add(size, up_, x)));
        return V::select_negative(V::sub(size, least_), least_, above);
    }
    Range<V> within(Vec centre, Vec half) const {
        return {trimmed(rounded(V::sub(centre, half))), trimmed(rounded(V::add(centre, half)))};
    }

private:
    Vec trimmed(Vec x) const { return V::select_negative(V::sub(V::abs(x), least_), V::broadcast(0), x); }

    Vec splitter_, least_, up_;
};

// All directions first, a chunk of candidates at a time: then the best of them, those that are better than what it
// gives, and what lies beside those that are nearly so. Whatever passes is packed into whole registers again.
template <class V>
class PairsSearch {
public:
    using Vec = typename V::Vec;
    PairsSearch(ComplexArgs& args, const NearArgs& near)
        : args_(args),
          given_(near),
          parts_(args.x_splitter, near.least),
          nearest_(args, {args.p_re, args.p_im, nullptr, nullptr}) {}

    void run() {
        for (std::size_t first = 0; first < args_.count; first += kChunk) {
            const std::size_t end = first + kChunk < args_.count ? first + kChunk : args_.count;
            const std::size_t best = measure(first, end);
            take_nearest(best, V::broadcast(-1));
            search();
            for (std::size_t i = first; i < end; i += V::width) {
                take_nearest(i, V::sub(missed(i, first), V::broadcast(args_.error)));
            }
            search();
            if (given_.slack > 0) collect(first, end);
        }
    }

private:
    // The squared distances of all directions, times `energy`. Returns the register of the least one.
    std::size_t measure(std::size_t first, std::size_t end) {
        Least<V> least(HUGE_VAL);
        std::size_t lane = 0, best = first;
        for (std::size_t i = first; i < end; i += V::width) {
            const ComplexSums<V> sums = nearest_.sums(i);
            const Vec error = V::div(nearest_.missed(sums), sums.norm);
            V::store(missed_ + (i - first), error);
            if (least.take(error, lane)) best = i;
        }
        return best;
    }
    Vec missed(std::size_t i, std::size_t first) const { return V::load(missed_ + (i - first)); }
    // The candidates of a register, with the nearest q, where s is negative.
    void take_nearest(std::size_t i, Vec s) {
        if (!V::any_negative(s)) return;
        const Complex<V> p = nearest_.p(i), q = nearest_.q(nearest_.exact(0, p), i);
        pairs_.append(s, {p.re, p.im, q.re, q.im});
        if (pairs_.is_full()) search();
    }
    // What lies beside those candidates that are nearly good enough.
    void collect(std::size_t first, std::size_t end) {
        const Vec slack = V::broadcast(given_.slack);
        for (std::size_t i = first; i < end; i += V::width) {
            const Vec above = V::sub(V::mul(slack, missed(i, first)), V::broadcast(args_.error));
            if (!V::any_negative(above)) continue;
            const Complex<V> p = nearest_.p(i);
            near_.append(above, {p.re, p.im, V::load(given_.im_half + i)});
            if (near_.is_full()) limit();
        }
        limit();
        look();
        search();
    }
    void limit() {
        if (near_.size() == 0) return;
        near_.fill();
        for (std::size_t i = 0; i < near_.size(); i += V::width) {
            limit(i);
            if (ranges_.is_full()) look();
        }
        near_.clear();
    }
    // The rectangle around ratio p that q may be in, but for what is too far away: a pair (p, q) at distance d misses
    // d^2 / |(p, q)|^2 times a scale, and no rounded q is longer than the corners of the rectangle.
    void limit(std::size_t i) {
        const Complex<V> p = {V::load(near_.column(0) + i), V::load(near_.column(1) + i)};
        const Complex<V> x = nearest_.exact(0, p), half = halves(V::load(near_.column(2) + i));
        const Vec room = V::mul(most_missed(), largest_norm(p, x, half)), zero = V::broadcast(0);
        const Vec r = V::sub(parts_.rounded(x.re), x.re), s = V::sub(parts_.rounded(x.im), x.im);
        const Vec re_room = V::sqrt(larger<V>(V::multiply_subtract_from(s, s, room), zero));
        const Vec im_room = V::sqrt(larger<V>(V::multiply_subtract_from(r, r, room), zero));
        const Range<V> re = parts_.within(x.re, smaller(half.re, re_room));
        const Range<V> im = parts_.within(x.im, smaller(half.im, im_room));
        const Vec others = V::add(V::sub(re.first, re.last), V::sub(im.first, im.last));
        const Vec beyond = V::sub(V::multiply_add(r, r, V::mul(s, s)), room);
        ranges_.append(V::select_negative(beyond, others, zero),
                       {p.re, p.im, room, re.first, re.last, im.first, im.last});
    }
    Vec most_missed() const {
        return V::broadcast(args_.error * kLittleMore / (args_.pivot_weight * args_.weight[0] * args_.energy));
    }
    Complex<V> halves(Vec im) const {
        const Vec a = V::broadcast(std::fabs(args_.ratio_re[0]) * kLittleMore),
                  b = V::broadcast(std::fabs(args_.ratio_im[0]) * kLittleMore);
        const Vec re = V::broadcast(given_.re_half);
        return {V::multiply_add(a, re, V::mul(b, im)), V::multiply_add(b, re, V::mul(a, im))};
    }
    Vec largest_norm(const Complex<V>& p, const Complex<V>& x, const Complex<V>& half) const {
        const Vec re = parts_.rounded(V::add(V::abs(x.re), half.re)),
                  im = parts_.rounded(V::add(V::abs(x.im), half.im));
        return V::multiply_add(V::broadcast(args_.weight[0]), ComplexSums<V>::square({re, im}),
                               V::mul(V::broadcast(args_.pivot_weight), ComplexSums<V>::square(p)));
    }
    static Vec smaller(Vec a, Vec b) { return V::select_negative(V::sub(a, b), a, b); }

    void look() {
        if (ranges_.size() == 0) return;
        ranges_.fill();
        for (std::size_t i = 0; i < ranges_.size(); i += V::width) look_at(i);
        ranges_.clear();
    }
    // All q in the ranges of a register of p.
    void look_at(std::size_t i) {
        const auto column = [&](int k) { return V::load(ranges_.column(k) + i); };
        const Complex<V> p = {column(0), column(1)}, x = nearest_.exact(0, p);
        const Vec room = column(2), zero = V::broadcast(0), end = parts_.next(column(4));
        const int count = list(x.im, column(5), column(6));
        Vec re = column(3);
        for (int m = 0; m < kMost; ++m, re = parts_.next(re)) {
            const Vec is_re = V::sub(re, end), r = V::sub(re, x.re);
            if (!V::any_negative(is_re)) break;
            const Vec rest = V::select_negative(is_re, V::multiply_subtract_from(r, r, room), zero);
            for (int n = 0; n < count; ++n) {
                const Vec im = V::load(im_[n]), beyond = V::sub(V::load(im_beyond_[n]), rest);
                if (!V::any_negative(beyond)) continue;
                pairs_.append(beyond, {p.re, p.im, re, im});
                if (pairs_.is_full()) search();
            }
        }
    }
    // The imaginary parts of q with their squared distances, infinite where a lane has no more.
    int list(Vec x, Vec first, Vec last) {
        const Vec end = parts_.next(last), never = V::broadcast(1e300);
        int count = 0;
        for (Vec im = first; count < kMost; ++count, im = parts_.next(im)) {
            const Vec is_im = V::sub(im, end), s = V::sub(im, x);
            if (!V::any_negative(is_im)) break;
            V::store(im_[count], im);
            V::store(im_beyond_[count], V::select_negative(is_im, V::mul(s, s), never));
        }
        return count;
    }
    void search() {
        if (pairs_.size() == 0) return;
        pairs_.fill();
        const double *re = pairs_.column(2), *im = pairs_.column(3);
        const ComplexCandidates<V, true> given(args_, {pairs_.column(0), pairs_.column(1), re, im});
        const std::size_t best = best_of(args_, given, pairs_.size());
        if (best < pairs_.size()) {
            args_.best_re = pairs_.column(0)[best], args_.best_im = pairs_.column(1)[best];
            args_.q_re[0] = re[best], args_.q_im[0] = im[best];
        }
        pairs_.clear();
    }

    static constexpr int kMost = 128;  // values of one part
    static constexpr std::size_t kChunk = 2048;
    ComplexArgs& args_;
    const NearArgs& given_;
    ShortParts<V> parts_;
    ComplexCandidates<V, false> nearest_;
    Table<V, 3, 64> near_;
    Table<V, 7, 64> ranges_;
    Table<V, 4, 256> pairs_;
    double missed_[kChunk];
    double im_[kMost][V::width], im_beyond_[kMost][V::width];
};

template <class V>
void complex_pairs(ComplexArgs& args, const NearArgs& near) {
    PairsSearch<V>(args, near).run();
}

}  // namespace
