// 2 x 2 blocks, one per lane: how they act on a pair of vectors (x0, x1), forward or transposed.
#pragma once

#include "kernels.hpp"

namespace {

template <class V>
struct Complex {
    typename V::Vec re, im;
};

template <class V>
Complex<V> operator*(const Complex<V>& a, const Complex<V>& b) {
    return {V::multiply_subtract_from(a.im, b.im, V::mul(a.re, b.re)), V::multiply_add(a.im, b.re, V::mul(a.re, b.im))};
}

template <class V>
Complex<V> multiply_add(const Complex<V>& a, const Complex<V>& b, const Complex<V>& c) {
    return {V::multiply_subtract_from(a.im, b.im, V::multiply_add(a.re, b.re, c.re)),
            V::multiply_add(a.im, b.re, V::multiply_add(a.re, b.im, c.im))};
}

// w[j][k]: row j, column k.
template <class V>
struct RealBlock {
    using Value = typename V::Vec;
    Value w[2][2];

    template <bool Transposed>
    void apply(Value& x0, Value& x1) const {
        const Value upper = V::multiply_add(w[0][0], x0, V::mul(Transposed ? w[1][0] : w[0][1], x1));
        x1 = V::multiply_add(Transposed ? w[0][1] : w[1][0], x0, V::mul(w[1][1], x1));
        x0 = upper;
    }
};

template <class V>
struct ComplexBlock {
    using Value = Complex<V>;
    Value w[2][2];

    template <bool Transposed>
    void apply(Value& x0, Value& x1) const {
        const Value upper = multiply_add(w[0][0], x0, (Transposed ? w[1][0] : w[0][1]) * x1);
        x1 = multiply_add(Transposed ? w[0][1] : w[1][0], x0, w[1][1] * x1);
        x0 = upper;
    }
};

// Columns (h, w_k): h real and common, |w_k| = h.
template <class V>
struct PhaseBlock {
    using Value = Complex<V>;
    typename V::Vec h;
    Value w[2];

    template <bool Transposed>
    void apply(Value& x0, Value& x1) const {
        if constexpr (Transposed) {
            const Value head{V::mul(h, x0.re), V::mul(h, x0.im)};
            x0 = multiply_add(w[0], x1, head);
            x1 = multiply_add(w[1], x1, head);
        } else {
            const Value lower = multiply_add(w[0], x0, w[1] * x1);
            x0 = {V::mul(h, V::add(x0.re, x1.re)), V::mul(h, V::add(x0.im, x1.im))};
            x1 = lower;
        }
    }
};

}  // namespace
