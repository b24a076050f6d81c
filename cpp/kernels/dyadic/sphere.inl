// Sphere codes: a cell of a square grid -> a complex direction, by an equal-area octahedral map.
#pragma once

#include "kernels/lanes/blocks.inl"

namespace {

// The map of Clarberg (Fast equal-area mapping of the (hemi)sphere using SIMD, 2008) from the square to the sphere of
// complex directions, with tan(pi t / 4) replaced by the cubic t (pi/4 + (1 - pi/4) t^2), so that decoding takes
// two divisions and two square roots. Odd widths use every other cell of the next finer grid (a quincunx).
template <class V>
class Sphere {
public:
    using Real = typename V::Real;
    using Vec = typename V::Vec;
    using Word = typename V::Word;

    explicit Sphere(int bits)
        : u_bits_((bits + 1) / 2), v_bits_(bits / 2), cell_(V::broadcast(Real(1) / static_cast<Real>(1 << u_bits_))) {}

    // The code at the top of a word whose other bits are zero.
    void direction(Word turn, Vec& first, Complex<V>& second) const {
        const Word u = V::shift_right(turn, 32 - u_bits_);
        Word v = V::shift_right(V::shift_left(turn, u_bits_), 32 - v_bits_);
        if (u_bits_ != v_bits_) v = V::bit_or(V::shift_left(v, 1), V::bit_and(u, 1));
        from_square(centre(u), centre(v), first, second);
    }

private:
    static Vec constant(double x) { return V::broadcast(static_cast<Real>(x)); }

    // Cell index -> centre of the cell in (-1, 1).
    Vec centre(Word index) const {
        const Vec twice = V::to_real(V::shift_left(index, 1));
        return V::sub(V::mul(V::add(twice, constant(1)), cell_), constant(1));
    }
    static void from_square(Vec a, Vec b, Vec& first, Complex<V>& second) {
        const Vec one = constant(1), a_size = V::abs(a), b_size = V::abs(b);
        const Vec s = V::sub(V::sub(one, a_size), b_size), r = V::sub(one, V::abs(s));
        const Vec t = V::div(V::sub(b_size, a_size), r);
        const Vec tau =
            V::mul(t, V::multiply_add(V::mul(t, t), constant(0.21460183660255170), constant(0.78539816339744830)));
        const Vec small = V::mul(r, constant(0.70710678118654752));
        const Vec big = V::sqrt(V::multiply_subtract_from(V::mul(r, r), constant(0.5), one));
        const Vec norm = V::sqrt(V::multiply_add(V::mul(tau, tau), constant(2), constant(2)));
        const Vec length = V::div(V::select_negative(s, big, small), norm);
        first = V::select_negative(s, small, big);
        second = {V::mul(length, V::with_sign(V::sub(one, tau), a)), V::mul(length, V::with_sign(V::add(one, tau), b))};
    }

    int u_bits_, v_bits_;
    Vec cell_;
};

}  // namespace
