// One vector times the packed codes of a tile: each code is multiplied as it leaves its word, nothing is stored.
#pragma once

#include "kernels/tiles/codes.inl"
#include "kernels/tiles/rows.inl"

namespace {

// Blocks of `rows` x `columns` weights one after the other. Block g multiplies the rows x + g * x_group and gives the
// rows y + g * y_group; the transposed product adds to them.
template <class Real>
struct Groups {
    std::size_t count, rows, columns;
    Rows<const Real> x;
    std::ptrdiff_t x_group;
    Rows<Real> y;
    std::ptrdiff_t y_group;
};

// Where a product over all rows of all blocks stands. Rows of weights end anywhere in a period of codes: the code that
// follows is not worth sixteen copies, hence the calls that are not inlined.
template <class V, bool IsComplex>
struct Position {
    using Real = typename V::Real;
    using Vec = typename V::Vec;
    const Groups<Real>& all;
    Vec unit;
    const Real* x;
    Real* y;
    std::size_t row = 0, group = 0;

    Position(Vec of_codes, const Groups<Real>& groups, std::size_t h)
        : all(groups), unit(of_codes), x(groups.x.data + h), y(groups.y.data + h) {}

    bool to_next_group() {
        row = 0;
        x += all.x_group, y += all.y_group;
        return ++group != all.count;
    }
    // Writes a finished row of y, and goes on to the next row of weights; returns whether there is one.
    [[gnu::noinline]] bool finish(Vec re, Vec im) {
        Real* out = y + static_cast<std::ptrdiff_t>(row) * all.y.row;
        V::store(out, V::mul(re, unit));
        if constexpr (IsComplex) V::store(out + all.y.plane, V::mul(im, unit));
        return ++row != all.rows || to_next_group();
    }
    [[gnu::noinline]] bool advance() { return ++row != all.rows || to_next_group(); }
    const Real* x_row() const { return x + static_cast<std::ptrdiff_t>(row) * all.x.row; }
};

// y = W x: sums in registers, several of them, so that no multiply-add waits for the one before.
template <class V, bool IsComplex>
struct Dot {
    using Real = typename V::Real;
    using Vec = typename V::Vec;
    Position<V, IsComplex>& position;
    const Real* x;
    std::ptrdiff_t row, plane;
    std::size_t columns, left;
    Vec a = V::broadcast(0), b = V::broadcast(0), c = V::broadcast(0), d = V::broadcast(0);

    explicit Dot(Position<V, IsComplex>& at)
        : position(at), x(at.x), row(at.all.x.row), plane(at.all.x.plane), columns(at.all.columns), left(columns) {}

    [[gnu::always_inline]] bool operator()(Vec w, Vec w_im) {
        const Vec x_re = V::load(x);
        if constexpr (IsComplex) {
            const Vec x_im = V::load(x + plane);
            a = V::multiply_add(w, x_re, a);
            b = V::multiply_subtract_from(w_im, x_im, b);
            c = V::multiply_add(w, x_im, c);
            d = V::multiply_add(w_im, x_re, d);
        } else {
            const Vec next = V::multiply_add(w, x_re, a);
            a = b, b = c, c = d, d = next;
        }
        x += row;
        if (--left != 0) return true;
        const bool more = IsComplex ? position.finish(V::add(a, b), V::add(c, d))
                                    : position.finish(V::add(V::add(a, b), V::add(c, d)), a);
        x = position.x, left = columns;
        a = b = c = d = V::broadcast(0);
        return more;
    }
};

// y += W^T x: a row of x in registers, sums in memory.
template <class V, bool IsComplex>
struct Axpy {
    using Real = typename V::Real;
    using Vec = typename V::Vec;
    Position<V, IsComplex>& position;
    Real* y;
    std::ptrdiff_t row, plane;
    std::size_t columns, left;
    Vec x_re = V::broadcast(0), x_im = V::broadcast(0);

    explicit Axpy(Position<V, IsComplex>& at)
        : position(at), y(at.y), row(at.all.y.row), plane(at.all.y.plane), columns(at.all.columns), left(columns) {
        load();
    }
    [[gnu::always_inline]] void load() {
        const Real* x = position.x_row();
        x_re = V::mul(V::load(x), position.unit);
        if constexpr (IsComplex) x_im = V::mul(V::load(x + position.all.x.plane), position.unit);
    }
    [[gnu::always_inline]] bool operator()(Vec w, Vec w_im) {
        Vec re = V::multiply_add(w, x_re, V::load(y));
        if constexpr (IsComplex) {
            re = V::multiply_subtract_from(w_im, x_im, re);
            const Vec im = V::multiply_add(w, x_im, V::load(y + plane));
            V::store(y + plane, V::multiply_add(w_im, x_re, im));
        }
        V::store(y, re);
        y += row;
        if (--left != 0) return true;
        if (!position.advance()) return false;
        load();
        y = position.y, left = columns;
        return true;
    }
};

template <class V, bool IsComplex, bool Transposed, class Codes>
void multiply_lines(const TileFactor& f, const std::uint32_t* line, const Groups<typename V::Real>& all) {
    const Codes codes(f);
    for (std::size_t h = 0; h < kLanes; h += V::width) {
        Position<V, IsComplex> position(codes.unit, all, h);
        if constexpr (Transposed) {
            Axpy<V, IsComplex> step(position);
            walk<IsComplex ? 2 : 1>(codes, line + h, step);
        } else {
            Dot<V, IsComplex> step(position);
            walk<IsComplex ? 2 : 1>(codes, line + h, step);
        }
    }
}

template <class V, bool IsComplex, bool Transposed>
void multiply_codes(const TileFactor& f, const std::uint32_t* line, const Groups<typename V::Real>& all) {
    using Multiply = void (*)(const TileFactor&, const std::uint32_t*, const Groups<typename V::Real>&);
    static constexpr auto multiply = Forms::by_form<V, Multiply>(
        []<class Codes>() -> Multiply { return multiply_lines<V, IsComplex, Transposed, Codes>; });
    multiply.of[place_of(f)].of[f.bits](f, line, all);
}

}  // namespace
