// Cosine and sine of a turn: sixteen directions by table, four more bits by shears, the rest by polynomials.
#pragma once

#include "blocks.inl"

namespace {

template <class V>
class Rotation {
public:
    using Vec = typename V::Vec;
    using Word = typename V::Word;

    explicit Rotation(const bitterfly::RotationTables<typename V::Real>& tables)
        : cosine_(V::load_table(tables.cosine)),
          sine_(V::load_table(tables.sine)),
          half_tangent_(V::load_table(tables.half_tangent)),
          fine_sine_(V::load_table(tables.fine_sine)),
          step_(V::broadcast(tables.step)) {}

    // The low four bits of `index` count, the others may be anything; likewise below.
    [[gnu::always_inline]] Complex<V> coarse(Word index) const {
        return {V::lookup16(cosine_, index), V::lookup16(sine_, index)};
    }

    // The same where the tables cover half a turn, the second half being the first one turned by a right angle.
    [[gnu::always_inline]] Complex<V> coarse_angle(Word index) const {
        Complex<V> z;
        V::lookup_half_turn(cosine_, sine_, index, z.re, z.im);
        return z;
    }

    // z turned by the angle of the next four bits: three shears are a rotation, exact in length and angle.
    [[gnu::always_inline]] Complex<V> fine(const Complex<V>& z, Word index) const {
        const Vec t = V::lookup16(half_tangent_, index), s = V::lookup16(fine_sine_, index);
        const Vec a = V::multiply_subtract_from(t, z.im, z.re), b = V::multiply_add(s, a, z.im);
        return {V::multiply_subtract_from(t, b, a), b};
    }

    // The turn of a whole word, of which the upper 4, 8 or 32 bits may be set.
    template <int Levels>
    Complex<V> of_turn(Word turn) const {
        return finer<Levels>(coarse(V::template shift_right<28>(turn)), turn);
    }
    // The same where the whole turn of the word is half a turn, see coarse_angle().
    template <int Levels>
    Complex<V> of_angle(Word turn) const {
        return finer<Levels>(coarse_angle(V::template shift_right<28>(turn)), turn);
    }

private:
    template <int Levels>
    Complex<V> finer(Complex<V> z, Word turn) const {
        if constexpr (Levels > 1) z = fine(z, V::template shift_right<24>(turn));
        if constexpr (Levels > 2) z = z * small(turn);
        return z;
    }

    // The remaining angle is below 2 pi / 256. The first neglected terms are x^8/40320 and x^9/362880, 4e-18 and 1e-20;
    // in single precision x^4/24 and x^5/120, 1.5e-8 and 1e-10.
    Complex<V> small(Word turn) const {
        const Vec x = V::mul(V::to_real(V::bit_and(turn, 0xffffff)), step_);
        const Vec y = V::mul(x, x);
        Vec c = constant(-0.5), s = constant(-1.0 / 6);
        if constexpr (sizeof(typename V::Real) == sizeof(double)) {
            c = V::multiply_add(y, V::multiply_add(y, constant(-1.0 / 720), constant(1.0 / 24)), c);
            s = V::multiply_add(y, V::multiply_add(y, constant(-1.0 / 5040), constant(1.0 / 120)), s);
        }
        return {V::multiply_add(y, c, constant(1.0)), V::mul(x, V::multiply_add(y, s, constant(1.0)))};
    }
    static Vec constant(double x) { return V::broadcast(static_cast<typename V::Real>(x)); }

    typename V::Table cosine_, sine_, half_tangent_, fine_sine_;
    Vec step_;
};

}  // namespace
