// Factors of any pattern, 16 blocks side by side: y = F x and y = F^T x from float weights or packed codes.
//
// Bytes: each weight is read once for all vectors of a panel; from memory or L3 that is the time of a pass. Operations:
// one multiply-add for each weight and vector (four if complex), for one vector and codes three to decode each number.
#pragma once

#include "routes.inl"
#include "tile_vector.inl"

namespace {

using bitterfly::kTileSlack;
using bitterfly::TileArgs;

// acc + w x for one lane vector; planes are real and imaginary parts.
template <class V, bool IsComplex>
struct Accumulator {
    using Real = typename V::Real;
    using Vec = typename V::Vec;
    Vec re = V::broadcast(0), im = V::broadcast(0);

    void add(const Real* w, const Rows<const Real>& x, std::size_t v, std::size_t r, std::size_t h) {
        const Vec weight = V::load(w), x_re = V::load(at(x, v, 0, r) + h);
        re = V::multiply_add(weight, x_re, re);
        if constexpr (IsComplex) {
            const Vec weight_im = V::load(w + kLanes), x_im = V::load(at(x, v, 1, r) + h);
            re = V::multiply_subtract_from(weight_im, x_im, re);
            im = V::multiply_add(weight, x_im, V::multiply_add(weight_im, x_re, im));
        }
    }
    void load(const Rows<const Real>& y, std::size_t v, std::size_t r, std::size_t h) {
        re = V::load(at(y, v, 0, r) + h);
        if constexpr (IsComplex) im = V::load(at(y, v, 1, r) + h);
    }
    void store(const Rows<Real>& y, std::size_t v, std::size_t r, std::size_t h) const {
        V::store(at(y, v, 0, r) + h, re);
        if constexpr (IsComplex) V::store(at(y, v, 1, r) + h, im);
    }
};

// A product y[j] = sum_k w[j, k] x[k]: rows of y, terms of a sum, and how far apart their weights lie.
struct Sums {
    std::size_t rows, terms, row_step, term_step;
};

// Weights in row-major order; the transposed product walks over the same ones the other way.
inline Sums sums_of(std::size_t rows, std::size_t columns, std::size_t planes, bool transposed) {
    const std::size_t weight = planes * kLanes, row = columns * weight;
    return transposed ? Sums{columns, rows, weight, row} : Sums{rows, columns, row, weight};
}

// J rows of y for N vectors.
template <class V, bool IsComplex, int N, int J, bool Adds>
void multiply_rows(const typename V::Real* w, std::size_t j, const Sums& sums, const Rows<const typename V::Real>& x,
                   const Rows<typename V::Real>& y) {
    const auto each = [&](auto visit) {
        for (std::size_t i = 0; i < J; ++i) {
            for (std::size_t v = 0; v < N; ++v) visit(i, v);
        }
    };
    for (std::size_t h = 0; h < kLanes; h += V::width) {
        Accumulator<V, IsComplex> sum[J][N];
        if constexpr (Adds) each([&](std::size_t i, std::size_t v) { sum[i][v].load(reading(y), v, j + i, h); });
        const typename V::Real* p = w + j * sums.row_step + h;
        for (std::size_t k = 0; k < sums.terms; ++k, p += sums.term_step) {
            each([&](std::size_t i, std::size_t v) { sum[i][v].add(p + i * sums.row_step, x, v, k, h); });
        }
        each([&](std::size_t i, std::size_t v) { sum[i][v].store(y, v, j + i, h); });
    }
}

// As many rows at once as keep the multipliers busy: a chain of multiply-adds waits four cycles for each of them.
template <class V, bool IsComplex, int N, bool Adds>
void multiply(const typename V::Real* w, const Sums& sums, const Rows<const typename V::Real>& x,
              const Rows<typename V::Real>& y) {
    constexpr int together = N == 1 ? (IsComplex ? 4 : 8) / (V::registers == 16 ? 2 : 1) : IsComplex ? 1 : 2;
    std::size_t j = 0;
    for (; j + together <= sums.rows; j += together) multiply_rows<V, IsComplex, N, together, Adds>(w, j, sums, x, y);
    for (; j < sums.rows; ++j) multiply_rows<V, IsComplex, N, 1, Adds>(w, j, sums, x, y);
}

// The factor, the number of the tile and its weights; null weights: codes, to be decoded as they are multiplied.
template <class V, bool IsComplex>
struct Tile {
    static constexpr std::size_t planes = IsComplex ? 2 : 1;
    using Real = typename V::Real;
    const TileFactor& f;
    std::size_t number;
    const Real* weights;

    std::size_t groups() const { return f.rank == 0 ? 1 : f.c / f.rank; }
    std::size_t group_columns() const { return f.rank == 0 ? f.c : f.rank; }
    std::size_t group_rows() const { return f.rank == 0 ? f.group_rows : f.b - f.rank; }
    const std::uint16_t* switches(std::size_t g) const { return f.routes + (number * groups() + g) * f.switches; }

    // All groups: rows x[g * x_group ...] times the weights, to rows y[g * y_group ...].
    template <int N, bool Adds>
    void multiply_groups(const Rows<const Real>& x, std::ptrdiff_t x_group, const Rows<Real>& y, std::ptrdiff_t y_group,
                         bool transposed) const {
        if (f.weights == 0) return;
        if (N == 1 && weights == nullptr) {
            const Groups<Real> all{groups(), group_rows(), group_columns(), x, x_group, y, y_group};
            return multiply_codes<V, IsComplex>(f, lines_of(f, number, planes), all, transposed);
        }
        const Sums sums = sums_of(group_rows(), group_columns(), planes, transposed);
        const Real* w = weights;
        Rows<const Real> from = x;
        Rows<Real> to = y;
        for (std::size_t g = 0; g < groups(); ++g) {
            multiply<V, IsComplex, N, Adds>(w, sums, from, to);
            w += group_rows() * group_columns() * planes * kLanes;
            from.data += x_group, to.data += y_group;
        }
    }

    // Dense blocks. Codes add up the transposed product in memory: in `sums`, side by side.
    template <int N>
    void dense(const Rows<const Real>& x, const Rows<Real>& y, const Rows<Real>& sums, bool transposed) const {
        if (weights != nullptr || !transposed) return multiply_groups<N, false>(x, 0, y, 0, transposed);
        clear_rows<V, planes>(sums, f.c);
        multiply_groups<N, true>(x, 0, sums, 0, true);
        copy_rows<V, N, planes>(reading(sums), y, f.c);
    }

    // Blocks P [I; T], the network between y and T x.
    template <int N>
    void skeleton(const Rows<const Real>& x, const Rows<Real>& y, const Rows<Real>& sorted) const {
        const auto of_group = static_cast<std::ptrdiff_t>(f.route_rows * kLanes);
        multiply_groups<N, false>(x, static_cast<std::ptrdiff_t>(f.rank) * x.row,
                                  backwards_from(sorted, f.route_rows - 1), of_group, false);
        for (std::size_t g = 0; g < groups(); ++g) {
            for (std::size_t v = 0; v < N; ++v) {
                for (std::size_t p = 0; p < planes; ++p) {
                    expand<V>(f, switches(g), at(x, v, p, g * f.rank), x.row, at(sorted, v, p, g * f.route_rows),
                              at(y, v, p, 0), y.row, g > 0);
                }
            }
        }
    }
    template <int N>
    void skeleton_transposed(const Rows<const Real>& x, const Rows<Real>& y, const Rows<Real>& sorted) const {
        const auto of_group = static_cast<std::ptrdiff_t>(f.route_rows * kLanes);
        for (std::size_t g = 0; g < groups(); ++g) {
            for (std::size_t v = 0; v < N; ++v) {
                for (std::size_t p = 0; p < planes; ++p) {
                    compress<V>(f, switches(g), at(x, v, p, 0), x.row, at(sorted, v, p, g * f.route_rows));
                }
            }
        }
        multiply_groups<N, true>(reading(backwards_from(sorted, f.route_rows - 1)), of_group, sorted, of_group, true);
        for (std::size_t g = 0; g < groups(); ++g) {
            copy_rows<V, N, planes>(reading(from_row(sorted, g * f.route_rows)), from_row(y, g * f.rank), f.rank);
        }
    }
};

template <int N, class V, bool IsComplex, class Real>
void multiply_rows_of(const Tile<V, IsComplex>& tile, const Rows<const Real>& x, const Rows<Real>& y,
                      const Rows<Real>& sorted, bool transposed) {
    if (tile.f.rank == 0) return tile.template dense<N>(x, y, sorted, transposed);
    transposed ? tile.template skeleton_transposed<N>(x, y, sorted) : tile.template skeleton<N>(x, y, sorted);
}

template <class V, bool IsComplex, int N>
void multiply_tile(const Tile<V, IsComplex>& tile, const TileArgs<typename V::Real>& args, std::size_t first,
                   typename V::Real* scratch) {
    using Real = typename V::Real;
    constexpr std::size_t planes = IsComplex ? 2 : 1, numbers = N * planes * kLanes;
    const TileFactor& f = tile.f;
    const std::size_t row_count = f.rank == 0 ? f.group_rows : f.b;
    const std::size_t in_rows = args.transposed ? row_count : f.c, out_rows = args.transposed ? f.c : row_count;
    const Rows<Real> x_tile = tile_rows(scratch, in_rows, planes);
    const Rows<Real> y_tile = tile_rows(x_tile.data + (in_rows + kTileSlack) * numbers, out_rows, planes);
    const Rows<Real> sorted = tile_rows(y_tile.data + (out_rows + kTileSlack) * numbers,
                                        f.rank == 0 ? f.c : tile.groups() * f.route_rows, planes);
    const Placement placement = placement_of(f, tile.number);
    const TilePlaces in = places_of(f, tile.number, !args.transposed), out = places_of(f, tile.number, args.transposed);
    const auto d = static_cast<std::ptrdiff_t>(f.d);
    Rows<const Real> x{at(args.x, first, 0, 0), d, args.x.plane, args.x.vector};
    Rows<Real> y{at(args.y, first, 0, 0), d, args.y.plane, args.y.vector};
    if (placement == Placement::kDirect) {
        x.data += in.start[0], y.data += out.start[0];
        return multiply_rows_of<N>(tile, x, y, sorted, args.transposed);
    }
    gather_rows<V, N, planes>(f, placement, in, x, x_tile, in_rows);
    multiply_rows_of<N>(tile, reading(x_tile), y_tile, sorted, args.transposed);
    put_rows<V, N, planes>(f, placement, out, reading(y_tile), y, out_rows);
}

// One vector of integer codes is multiplied as it is decoded; several share the decoded tile.
template <class V, bool IsComplex>
void tiles_of(const TileArgs<typename V::Real>& args) {
    constexpr std::size_t planes = IsComplex ? 2 : 1, together = bitterfly::kTileVectors;
    const TileFactor& f = *args.factor;
    const bool fused = args.vectors == 1 && f.bits > 0 && f.significand == 0;
    typename V::Real* scratch = args.scratch + f.weights * planes * kLanes;
    for (std::size_t number = 0; number < f.tiles; ++number) {
        const Tile<V, IsComplex> tile{f, number, fused ? nullptr : tile_weights<V>(f, number, planes, args.scratch)};
        std::size_t v = 0;
        for (; v + together <= args.vectors; v += together)
            multiply_tile<V, IsComplex, together>(tile, args, v, scratch);
        for (; v < args.vectors; ++v) multiply_tile<V, IsComplex, 1>(tile, args, v, scratch);
    }
}

template <class V>
void tiles(const TileArgs<typename V::Real>& args) {
    args.planes == 2 ? tiles_of<V, true>(args) : tiles_of<V, false>(args);
}

}  // namespace
