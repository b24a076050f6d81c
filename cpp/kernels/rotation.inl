// Angle and phase codes as sources of blocks: cosine and sine of a turn by table, four bits at a time.
#pragma once

#include "blocks.inl"
#include "unpack.inl"

namespace {

// Levels 1 and 2 cover four bits each by table; level 3 covers the rest by polynomials. The remaining angle is below
// 2 pi / 256: the first neglected terms are x^8/40320 and x^9/362880, 4e-18 and 1e-20.
template <class V, int Levels>
class Rotation {
public:
    using Vec = typename V::Vec;
    // The lookups ignore what stands above their four bits: one or two levels need no more than these of a turn.
    static constexpr int width = Levels > 2 ? 32 : 4 * Levels;

    explicit Rotation(const bitterfly::RotationTables<typename V::Real>& tables)
        : cosine_{V::load_table(tables.cosine[0]), V::load_table(tables.cosine[1])},
          sine_{V::load_table(tables.sine[0]), V::load_table(tables.sine[1])},
          step_(V::broadcast(tables.step)) {}

    Complex<V> at(typename V::Word turn) const {
        Complex<V> z = entry(0, nibble<width - 4>(turn));
        if constexpr (Levels > 1) z = z * entry(1, nibble<width - 8>(turn));
        if constexpr (Levels > 2) z = z * small(turn);
        return z;
    }

private:
    template <int Shift>
    static typename V::Word nibble(typename V::Word turn) {
        if constexpr (Shift == 0) return turn;
        return V::template shift_right<Shift>(turn);
    }
    Complex<V> entry(int level, typename V::Word index) const {
        return {V::lookup16(cosine_[level], index), V::lookup16(sine_[level], index)};
    }
    Complex<V> small(typename V::Word turn) const {
        const Vec x = V::mul(V::to_real(V::bit_and(turn, 0xffffff)), step_);
        const Vec y = V::mul(x, x);
        Vec c = V::multiply_add(y, constant(-1.0 / 720), constant(1.0 / 24));
        c = V::multiply_add(y, V::multiply_add(y, c, constant(-0.5)), constant(1.0));
        Vec s = V::multiply_add(y, constant(-1.0 / 5040), constant(1.0 / 120));
        s = V::multiply_add(y, V::multiply_add(y, s, constant(-1.0 / 6)), constant(1.0));
        return {c, V::mul(x, s)};
    }
    static Vec constant(double x) { return V::broadcast(static_cast<typename V::Real>(x)); }

    typename V::Table cosine_[2], sine_[2];
    Vec step_;
};

template <class V, int Levels>
struct Angle {
    using Block = RealBlock<V>;
    using Stream = Turns<Rotation<V, Levels>::width>;
    Rotation<V, Levels> rotation;

    explicit Angle(const bitterfly::PassArgs<typename V::Real>& args) : rotation(*args.rotation) {}
    Block block(const Stream& turns, std::size_t beta) const {
        const Complex<V> first = rotation.at(turns.template column<V>(beta % kGroupBlocks, 0));
        const Complex<V> second = rotation.at(turns.template column<V>(beta % kGroupBlocks, 1));
        return {{{first.re, second.re}, {first.im, second.im}}};
    }
};

template <class V, int Levels>
struct Phase {
    using Block = PhaseBlock<V>;
    using Stream = Turns<Rotation<V, Levels>::width>;
    Rotation<V, Levels> rotation;
    typename V::Vec amplitude;

    explicit Phase(const bitterfly::PassArgs<typename V::Real>& args)
        : rotation(*args.rotation), amplitude(V::broadcast(args.rotation->amplitude)) {}
    Block block(const Stream& turns, std::size_t beta) const {
        return {amplitude,
                {rotation.at(turns.template column<V>(beta % kGroupBlocks, 0)),
                 rotation.at(turns.template column<V>(beta % kGroupBlocks, 1))}};
    }
};

}  // namespace
