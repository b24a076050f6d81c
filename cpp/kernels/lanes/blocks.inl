// 2 x 2 blocks, one per lane: how they act on a pair of vectors (x0, x1), forward or transposed.
#pragma once

namespace {

template <class V>
struct Complex {
    typename V::Vec re, im;
};

template <class V>
[[gnu::always_inline]] inline Complex<V> operator-(const Complex<V>& a) {
    return {V::sub(V::broadcast(0), a.re), V::sub(V::broadcast(0), a.im)};
}

template <class V>
[[gnu::always_inline]] inline Complex<V> operator*(const Complex<V>& a, const Complex<V>& b) {
    return {V::multiply_subtract_from(a.im, b.im, V::mul(a.re, b.re)), V::multiply_add(a.im, b.re, V::mul(a.re, b.im))};
}

template <class V>
[[gnu::always_inline]] inline Complex<V> multiply_add(const Complex<V>& a, const Complex<V>& b, const Complex<V>& c) {
    return {V::multiply_subtract_from(a.im, b.im, V::multiply_add(a.re, b.re, c.re)),
            V::multiply_add(a.im, b.re, V::multiply_add(a.re, b.im, c.im))};
}

// w[j][k]: row j, column k.
template <class V>
struct RealBlock {
    using Value = typename V::Vec;
    Value w[2][2];

    template <bool Transposed>
    [[gnu::always_inline]] void apply(Value& x0, Value& x1) const {
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
    [[gnu::always_inline]] void apply(Value& x0, Value& x1) const {
        const Value upper = multiply_add(w[0][0], x0, (Transposed ? w[1][0] : w[0][1]) * x1);
        x1 = multiply_add(Transposed ? w[0][1] : w[1][0], x0, w[1][1] * x1);
        x0 = upper;
    }
};

// Columns (first, second), the first entry real: what codes of complex operators decode to.
template <class V>
struct ColumnsBlock {
    using Value = Complex<V>;
    typename V::Vec first[2];
    Value second[2];

    template <bool Transposed>
    [[gnu::always_inline]] void apply(Value& x0, Value& x1) const {
        if constexpr (Transposed) {
            const Value upper = multiply_add(second[0], x1, scaled(first[0], x0));
            x1 = multiply_add(second[1], x1, scaled(first[1], x0));
            x0 = upper;
        } else {
            const Value lower = multiply_add(second[0], x0, second[1] * x1);
            x0 = {V::multiply_add(first[0], x0.re, V::mul(first[1], x1.re)),
                  V::multiply_add(first[0], x0.im, V::mul(first[1], x1.im))};
            x1 = lower;
        }
    }

private:
    static Value scaled(typename V::Vec a, const Value& x) { return {V::mul(a, x.re), V::mul(a, x.im)}; }
};

// (1, 1; 1, -1)
template <class V>
struct HadamardBlock {
    using Value = typename V::Vec;

    template <bool Transposed>
    [[gnu::always_inline]] void apply(Value& x0, Value& x1) const {
        const Value upper = V::add(x0, x1);
        x1 = V::sub(x0, x1);
        x0 = upper;
    }
};

}  // namespace
