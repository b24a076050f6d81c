// Cosine and sine of a turn: the first level by tables of directions, each further one by shears; of whole words, what
// is left after two levels by polynomials.
#pragma once

#include <type_traits>

#include "kernels/dyadic/args.hpp"
#include "kernels/lanes/blocks.inl"
#include "kernels/lanes/lines.inl"

namespace {

using bitterfly::kLevelBits;

// Up to sixteen directions. The low bits of an index count, as many as the level has, the others may be anything;
// likewise below.
template <class V, int Bits>
struct Directions {
    typename V::Table cosine, sine;

    explicit Directions(const bitterfly::RotationTables<typename V::Real>& tables)
        : cosine(V::load_table(tables.cosine)), sine(V::load_table(tables.sine)) {}
    [[gnu::always_inline]] Complex<V> of_turn(typename V::Word index) const {
        return {V::lookup16(cosine, index), V::lookup16(sine, index)};
    }
    // Where the tables cover half a turn: the second half of them is the first one turned by a right angle.
    [[gnu::always_inline]] Complex<V> of_angle(typename V::Word index) const {
        if constexpr (Bits < kLevelBits) {
            return {V::lookup8(cosine, index), V::lookup8(sine, index)};
        } else {
            Complex<V> z;
            V::lookup_half_turn(cosine, sine, index, z.re, z.im);
            return z;
        }
    }
};

// 64 directions of half a turn.
template <class V>
struct NearDirections {
    typename V::LongTable cosine, sine;

    explicit NearDirections(const bitterfly::RotationTables<typename V::Real>& tables)
        : cosine(V::load_long_table(tables.near_cosine)), sine(V::load_long_table(tables.near_sine)) {}
    [[gnu::always_inline]] Complex<V> of_angle(typename V::Word index) const {
        Complex<V> z;
        V::lookup_half_turn(cosine, sine, index, z.re, z.im);
        return z;
    }
};

// Three shears are a rotation, exact in length and angle.
template <class V>
struct Shear {
    typename V::Table half_tangent, sine;

    explicit Shear(const typename bitterfly::RotationTables<typename V::Real>::Shear& tables)
        : half_tangent(V::load_table(tables.half_tangent)), sine(V::load_table(tables.sine)) {}
    [[gnu::always_inline]] Complex<V> turned(const Complex<V>& z, typename V::Word index) const {
        const auto t = V::lookup16(half_tangent, index), s = V::lookup16(sine, index);
        const auto a = V::multiply_subtract_from(t, z.im, z.re), b = V::multiply_add(s, a, z.im);
        return {V::multiply_subtract_from(t, b, a), b};
    }
};

// Angle codes of one width, by tables alone.
template <class V, int Bits>
class AngleRotation {
    // Two levels at once where a tier has the tables.
    static constexpr bool is_near = (Bits > kLevelBits) && bitterfly::first_bits(Bits) + kLevelBits == V::near_bits;
    static constexpr int first = bitterfly::first_bits(Bits) + (is_near ? kLevelBits : 0);
    static constexpr int levels = (Bits - first) / kLevelBits;

public:
    // Registers of 16 numbers that the tables fill.
    static constexpr int registers = (is_near ? 4 : 2) + 2 * levels;

    explicit AngleRotation(const bitterfly::RotationTables<typename V::Real>* tables)
        : AngleRotation(tables[bitterfly::first_bits(Bits) - 1]) {}

    // The columns of a block, level by level: shears are chains of multiply-adds that wait for each other.
    // `code.bits(at, count)` is a word whose lowest bits are those from bit `at` of the code on.
    template <class Code>
    [[gnu::always_inline]] RealBlock<V> block(const Code& code0, const Code& code1) const {
        Complex<V> a = directions_.of_angle(code0.bits(Bits - first, first));
        Complex<V> b = directions_.of_angle(code1.bits(Bits - first, first));
        unroll_late<levels>([&](int i) __attribute__((always_inline)) {
            const int shear = i + (is_near ? 1 : 0), at = Bits - first - kLevelBits * (i + 1);
            a = shears_[shear].turned(a, code0.bits(at, kLevelBits));
            b = shears_[shear].turned(b, code1.bits(at, kLevelBits));
        });
        return {{{a.re, b.re}, {a.im, b.im}}};
    }

private:
    explicit AngleRotation(const bitterfly::RotationTables<typename V::Real>& tables)
        : directions_(tables),
          shears_{Shear<V>(tables.shear[0]), Shear<V>(tables.shear[1]), Shear<V>(tables.shear[2])} {}

    std::conditional_t<is_near, NearDirections<V>, Directions<V, first>> directions_;
    Shear<V> shears_[bitterfly::kShears];
};

// Turns of whole words, of which the upper 4, 8 or 32 bits may be set.
template <class V>
class Rotation {
public:
    using Vec = typename V::Vec;
    using Word = typename V::Word;

    explicit Rotation(const bitterfly::RotationTables<typename V::Real>* tables)
        : directions_(tables[kLevelBits - 1]),
          shear_(tables[kLevelBits - 1].shear[0]),
          step_(V::broadcast(tables[kLevelBits - 1].step)) {}

    template <int Levels>
    Complex<V> of_turn(Word turn) const {
        return finer<Levels>(directions_.of_turn(V::shift_right(turn, 28)), turn);
    }
    // The same where the whole turn of the word is half a turn.
    template <int Levels>
    Complex<V> of_angle(Word turn) const {
        return finer<Levels>(directions_.of_angle(V::shift_right(turn, 28)), turn);
    }

private:
    template <int Levels>
    Complex<V> finer(Complex<V> z, Word turn) const {
        if constexpr (Levels > 1) z = shear_.turned(z, V::shift_right(turn, 24));
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

    Directions<V, kLevelBits> directions_;
    Shear<V> shear_;
    Vec step_;
};

}  // namespace
