// Factors of any pattern times 16 columns side by side: an element is a row of 16 numbers, a weight is the same for all
// of them, and P of [I; T] is a choice of rows.
//
// Operations: one multiply-add for each weight and register of columns (four if complex); a tile is decoded once for
// all columns. Complex, single precision, two registers of 8 columns: 8 multiply-adds, 4 loads and 2 broadcasts a
// weight.
#pragma once

#include "kernels/lanes/lines.inl"
#include "kernels/tiles/tiles.inl"

namespace {

using bitterfly::TileColumnsArgs;

// J sums of the same rows times weights, for as many columns as two registers hold.
template <class V, bool IsComplex, int J>
struct RowSums {
    static constexpr int parts = kParts<V> > 1 ? 2 : 1;
    static constexpr std::size_t columns = parts * V::width;
    static constexpr std::size_t row = kLanes * (IsComplex ? 2 : 1);
    using Real = typename V::Real;
    using Vec = typename V::Vec;
    Vec re[J][parts], im[J][parts];

    // `terms` rows one after the other, their weights `step` numbers apart, those of the next sum `next` numbers on.
    RowSums(const Real* w, std::size_t step, std::size_t next, const Real* x, std::size_t terms) {
        each([&](int j, int q) __attribute__((always_inline)) { re[j][q] = im[j][q] = V::broadcast(0); });
        for (; terms > 0; --terms, w += step, x += row) {
            Vec x_re[parts], x_im[parts];
            unroll<parts>([&](auto q) __attribute__((always_inline)) {
                x_re[q] = V::load(x + q * V::width);
                if constexpr (IsComplex) x_im[q] = V::load(x + kLanes + q * V::width);
            });
            unroll<J>([&](auto j) __attribute__((always_inline)) { add(j, w + j * next, x_re, x_im); });
        }
    }
    // To J rows `step` numbers apart.
    void store(Real* y, std::size_t step, bool adds) const {
        each([&](int j, int q) __attribute__((always_inline)) {
            Real* out = y + static_cast<std::size_t>(j) * step + q * V::width;
            V::store(out, adds ? V::add(V::load(out), re[j][q]) : re[j][q]);
            if constexpr (!IsComplex) return;
            V::store(out + kLanes, adds ? V::add(V::load(out + kLanes), im[j][q]) : im[j][q]);
        });
    }

private:
    template <class Visit>
    [[gnu::always_inline]] static void each(Visit visit) {
        unroll<J>([&](auto j) __attribute__((always_inline)) {
            unroll<parts>([&](auto q) __attribute__((always_inline)) { visit(j, q); });
        });
    }
    [[gnu::always_inline]] void add(int j, const Real* w, const Vec (&x_re)[parts], const Vec (&x_im)[parts]) {
        const Vec w_re = V::broadcast(w[0]);
        unroll<parts>([&](auto q)
                          __attribute__((always_inline)) { re[j][q] = V::multiply_add(w_re, x_re[q], re[j][q]); });
        if constexpr (IsComplex) {
            const Vec w_im = V::broadcast(w[kLanes]);
            unroll<parts>([&](auto q) __attribute__((always_inline)) {
                im[j][q] = V::multiply_add(w_re, x_im[q], im[j][q]);
                re[j][q] = V::multiply_subtract_from(w_im, x_im[q], re[j][q]);
                im[j][q] = V::multiply_add(w_im, x_re[q], im[j][q]);
            });
        }
    }
};

// One lane of a tile: its block times its rows, which are gathered first: d rows apart, they would share cache sets.
template <class V, bool IsComplex>
class LaneColumns {
public:
    using Real = typename V::Real;
    static constexpr std::size_t row = kLanes * (IsComplex ? 2 : 1);

    LaneColumns(const TileFactor& factor, std::size_t tile, std::size_t lane, const Real* weights, Real* rows)
        : f_(factor),
          w_(weights + lane),
          rows_(rows),
          groups_(factor.rank == 0 ? 1 : factor.c / factor.rank),
          masks_(factor.rank == 0 ? nullptr : factor.pivots + tile * groups_ * factor.mask_words * kLanes + lane) {}

    // y = block x: x has c rows, y the given number.
    void forward(const Real* x, Real* y, std::size_t rows) const {
        const std::size_t columns = f_.c / groups_, others = f_.rank == 0 ? rows : f_.b - f_.rank;
        for (std::size_t g = 0; g < groups_; ++g) {
            for (std::size_t k = 0; k < columns; ++k) copy(at(x, g * columns + k), rows_ + k * row, false);
            const Real* w = w_ + g * others * columns * row;
            if (f_.rank == 0) {
                multiply(w, {others, columns, columns * row, row}, rows_, y, f_.d * row, false);
            } else {
                multiply(w, {others, columns, columns * row, row}, rows_, rows_ + columns * row, row, false);
                for_each_sorted(g, [&](std::size_t j, std::size_t to) { copy(rows_ + to * row, at(y, j), g > 0); });
            }
        }
    }
    // y (c rows) = block^T x, or added to y.
    void transposed(const Real* x, std::size_t rows, Real* y, bool adds) const {
        const std::size_t columns = f_.c / groups_, others = f_.rank == 0 ? rows : f_.b - f_.rank;
        for (std::size_t g = 0; g < groups_; ++g) {
            Real* out = at(y, g * columns);
            if (f_.rank == 0) {
                for (std::size_t j = 0; j < rows; ++j) copy(at(x, j), rows_ + j * row, false);
            } else {
                for_each_sorted(g, [&](std::size_t j, std::size_t to) { copy(at(x, j), rows_ + to * row, false); });
                for (std::size_t k = 0; k < columns; ++k) copy(rows_ + k * row, at(out, k), false);
            }
            multiply(w_ + g * others * columns * row, {columns, others, row, columns * row}, rows_ + f_.rank * row, out,
                     f_.d * row, adds || f_.rank > 0);
        }
    }

private:
    template <class Number>
    Number* at(Number* x, std::size_t j) const {
        return x + j * f_.d * row;
    }
    static void copy(const Real* from, Real* to, bool adds) {
        for (std::size_t h = 0; h < row; h += V::width) {
            V::store(to + h, adds ? V::add(V::load(to + h), V::load(from + h)) : V::load(from + h));
        }
    }
    // Rows of y `step` numbers apart.
    static void multiply(const Real* w, const Sums& sums, const Real* x, Real* y, std::size_t step, bool adds) {
        for (std::size_t h = 0; h < kLanes; h += RowSums<V, IsComplex, 2>::columns) {
            std::size_t j = 0;
            for (; j + 2 <= sums.rows; j += 2) sum<2>(w, j, sums, x + h, y + h, step, adds);
            if (j < sums.rows) sum<1>(w, j, sums, x + h, y + h, step, adds);
        }
    }
    template <int J>
    static void sum(const Real* w, std::size_t j, const Sums& sums, const Real* x, Real* y, std::size_t step,
                    bool adds) {
        const RowSums<V, IsComplex, J> some(w + j * sums.row_step, sums.term_step, sums.row_step, x, sums.terms);
        some.store(y + j * step, step, adds);
    }
    // Calls visit(j, place of row j) with the pivots of group g in the first places, then the others.
    template <class Visit>
    void for_each_sorted(std::size_t g, Visit visit) const {
        const std::uint32_t* mask = masks_ + g * f_.mask_words * kLanes;
        for (std::size_t j = 0, pivots = 0; j < f_.b; ++j) {
            const std::size_t is_pivot = mask[j / 32 * kLanes] >> j % 32 & 1, other = f_.rank + j - pivots;
            visit(j, is_pivot != 0 ? pivots : other);
            pivots += is_pivot;
        }
    }

    const TileFactor& f_;
    const Real* w_;
    Real* rows_;
    std::size_t groups_;
    const std::uint32_t* masks_;
};

template <class V, bool IsComplex>
void tile_columns_of(const TileColumnsArgs<typename V::Real>& args) {
    constexpr std::size_t planes = IsComplex ? 2 : 1, row = planes * kLanes;
    const TileFactor& f = *args.factor;
    typename V::Real* rows = args.scratch + f.weights * row;
    for (std::size_t tile = args.first; tile < args.end; ++tile) {
        const auto* weights = tile_weights<V>(f, tile, planes, args.scratch);
        const TilePlaces upper = places_of(f, tile, false), lower = places_of(f, tile, true);
        for (std::size_t q = 0; q < kLanes; ++q) {
            if (lower.rows[q] == 0) continue;
            const LaneColumns<V, IsComplex> lane(f, tile, q, weights, rows);
            if (args.transposed) {
                lane.transposed(args.x + upper.start[q] * row, upper.rows[q], args.y + lower.start[q] * row,
                                lower.adds[q]);
            } else {
                lane.forward(args.x + lower.start[q] * row, args.y + upper.start[q] * row, upper.rows[q]);
            }
        }
    }
}

template <class V>
void tile_columns(const TileColumnsArgs<typename V::Real>& args) {
    args.planes == 2 ? tile_columns_of<V, true>(args) : tile_columns_of<V, false>(args);
}

}  // namespace
