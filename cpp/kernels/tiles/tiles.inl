// Factors of any pattern, 16 blocks side by side: y = F x and y = F^T x from float weights or packed codes.
//
// Bytes: each weight is read once for all vectors of a panel; from memory or L3 that is the time of a pass. Operations:
// one multiply-add for each weight and vector (four if complex), for one vector and codes three to decode each number.
#pragma once

#include "kernels/tiles/routes.inl"
#include "kernels/tiles/tile_vector.inl"

namespace {

using bitterfly::TileArgs;

// Whether codes are multiplied as they are decoded: with one lane that gains nothing, and takes long to compile.
template <class V>
inline constexpr bool kDecodesInPlace = V::width > 1;

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

// Lines of weights that are fetched ahead: the rows of a few tiles, since several rows at once are more streams than
// caches follow.
inline constexpr std::size_t kWeightsAhead = 256;

// J rows of y for N vectors.
template <class V, bool IsComplex, int N, int J, bool Adds>
void multiply_rows(const typename V::Real* w, std::size_t j, const Sums& sums, const Rows<const typename V::Real>& x,
                   const Rows<typename V::Real>& y) {
    constexpr std::size_t planes = IsComplex ? 2 : 1;
    const auto each = [](auto visit) __attribute__((always_inline)) {
        unroll<J * N>([&](auto n) __attribute__((always_inline)) { visit(std::size_t{n / N}, std::size_t{n % N}); });
    };
    for (std::size_t h = 0; h < kLanes; h += V::width) {
        Accumulator<V, IsComplex> sum[J][N];
        if constexpr (Adds) {
            each([&](std::size_t i, std::size_t v)
                     __attribute__((always_inline)) { sum[i][v].load(reading(y), v, j + i, h); });
        }
        const typename V::Real* p = w + j * sums.row_step + h;
        for (std::size_t k = 0; k < sums.terms; ++k, p += sums.term_step) {
            for (std::size_t i = 0; i < J * planes; ++i) {
                __builtin_prefetch(p + i / planes * sums.row_step + (kWeightsAhead + i % planes) * kLanes);
            }
            each([&](std::size_t i, std::size_t v)
                     __attribute__((always_inline)) { sum[i][v].add(p + i * sums.row_step, x, v, k, h); });
        }
        each([&](std::size_t i, std::size_t v) __attribute__((always_inline)) { sum[i][v].store(y, v, j + i, h); });
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
    static constexpr int planes = IsComplex ? 2 : 1;
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
        if constexpr (N == 1 && kDecodesInPlace<V>) {
            if (weights == nullptr) {
                const Groups<Real> all{groups(), group_rows(), group_columns(), x, x_group, y, y_group};
                const std::uint32_t* line = lines_of(f, number, f.weights * planes);
                return transposed ? multiply_codes<V, IsComplex, true>(f, line, all)
                                  : multiply_codes<V, IsComplex, false>(f, line, all);
            }
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
};

// One tile times N vectors. Rows that lie side by side are read and written in place, others gathered first.
template <class V, bool IsComplex, int N>
class TileProduct {
public:
    using Real = typename V::Real;
    static constexpr std::size_t planes = IsComplex ? 2 : 1;
    // Planes that go through a network together: both where a switch takes instructions, not only a load.
    static constexpr int shared = V::registers == 16 ? static_cast<int>(planes) : 1;

    TileProduct(const Tile<V, IsComplex>& tile, const TileArgs<Real>& args, std::size_t first, Real* scratch)
        : tile_(tile),
          f_(tile.f),
          in_(f_, tile.number, !args.transposed),
          out_(f_, tile.number, args.transposed),
          x_{at(args.x, first, 0, 0), args.x.row, args.x.plane, args.x.vector},
          y_{at(args.y, first, 0, 0), args.y.row, args.y.plane, args.y.vector},
          tile_x_(tile_rows(scratch, rows(in_), planes)),
          tile_y_(tile_rows(tile_x_.data + rows(in_) * N * planes * kLanes, rows(out_), planes)),
          sorted_(tile_rows(tile_y_.data + rows(out_) * N * planes * kLanes,
                            f_.rank == 0 ? f_.c : tile.groups() * f_.route_rows, planes)) {}

    void run(bool transposed) const {
        f_.rank == 0 ? dense(transposed) : transposed ? skeleton_transposed() : skeleton();
    }

private:
    std::size_t rows(const Side& side) const { return side.columns ? f_.c : f_.rank == 0 ? f_.group_rows : f_.b; }
    bool is_direct() const { return in_.placement == Placement::kDirect; }
    std::ptrdiff_t of_group() const { return static_cast<std::ptrdiff_t>(f_.route_rows * kLanes); }

    template <class Visit>
    static void each(Visit visit, std::size_t step = 1) {
        for (std::size_t v = 0; v < N; ++v) {
            for (std::size_t p = 0; p < planes; p += step) visit(v, p);
        }
    }
    Rows<const Real> source() const {
        if (is_direct()) return {x_.data + in_.start, static_cast<std::ptrdiff_t>(f_.d), x_.plane, x_.vector};
        each([&](std::size_t v, std::size_t p) {
            in_.template read<V>(at(x_, v, p, 0), at(tile_x_, v, p, 0), 0, rows(in_));
        });
        return reading(tile_x_);
    }
    Rows<Real> target() const {
        if (is_direct()) return {y_.data + out_.start, static_cast<std::ptrdiff_t>(f_.d), y_.plane, y_.vector};
        return tile_y_;
    }
    void write(const Rows<Real>& from) const {
        each([&](std::size_t v, std::size_t p) {
            out_.template write<V>(at(from, v, p, 0), at(y_, v, p, 0), 0, rows(out_));
        });
    }

    // Codes add up the transposed product in memory: side by side.
    void dense(bool transposed) const {
        const bool adds = transposed && tile_.weights == nullptr;
        const Rows<Real> y = adds ? tile_y_ : target();
        if (adds) clear_rows<V, planes>(y, rows(out_));
        adds ? tile_.template multiply_groups<N, true>(source(), 0, y, 0, true)
             : tile_.template multiply_groups<N, false>(source(), 0, y, 0, transposed);
        if (adds || !is_direct()) write(y);
    }
    // y = P [I; T] x, the rows of x and of T x side by side before the network.
    void skeleton() const {
        for (std::size_t g = 0; g < tile_.groups(); ++g) {
            each([&](std::size_t v, std::size_t p) {
                in_.template read<V>(at(x_, v, p, 0), at(sorted_, v, p, g * f_.route_rows), g * f_.rank, f_.rank);
            });
        }
        tile_.template multiply_groups<N, false>(reading(sorted_), of_group(),
                                                 backwards_from(sorted_, f_.route_rows - 1), of_group(), false);
        const Rows<Real> y = target();
        each(
            [&](std::size_t v, std::size_t p) {
                for (std::size_t g = 0; g < tile_.groups(); ++g) {
                    expand<V, shared>(f_, tile_.switches(g), lines(sorted_, v, p, g * f_.route_rows), lines(y, v, p, 0),
                                      g > 0);
                }
            },
            shared);
        if (!is_direct()) write(y);
    }
    void skeleton_transposed() const {
        const Rows<const Real> x = source();
        each(
            [&](std::size_t v, std::size_t p) {
                for (std::size_t g = 0; g < tile_.groups(); ++g) {
                    compress<V, shared>(f_, tile_.switches(g), lines(x, v, p, 0),
                                        lines(sorted_, v, p, g * f_.route_rows));
                }
            },
            shared);
        tile_.template multiply_groups<N, true>(reading(backwards_from(sorted_, f_.route_rows - 1)), of_group(),
                                                sorted_, of_group(), true);
        each([&](std::size_t v, std::size_t p) {
            for (std::size_t g = 0; g < tile_.groups(); ++g) {
                copy_lines<V>(at(sorted_, v, p, g * f_.route_rows), at(tile_y_, v, p, g * f_.rank), f_.rank);
            }
        });
        write(tile_y_);
    }

    const Tile<V, IsComplex>& tile_;
    const TileFactor& f_;
    Side in_, out_;
    Rows<const Real> x_;
    Rows<Real> y_, tile_x_, tile_y_, sorted_;
};

// One vector of codes is multiplied as it is decoded, where they start on lines; several share the decoded tile.
template <class V, bool IsComplex>
void tiles_of(const TileArgs<typename V::Real>& args) {
    constexpr std::size_t planes = IsComplex ? 2 : 1, together = bitterfly::kTileVectors;
    const TileFactor& f = *args.factor;
    const bool fused = kDecodesInPlace<V> && args.vectors == 1 && has_own_lines(f, planes);
    typename V::Real* scratch = args.scratch + f.weights * planes * kLanes;
    for (std::size_t number = args.first; number < args.end; ++number) {
        const Tile<V, IsComplex> tile{f, number, fused ? nullptr : tile_weights<V>(f, number, planes, args.scratch)};
        std::size_t v = 0;
        for (; v + together <= args.vectors; v += together)
            TileProduct<V, IsComplex, together>(tile, args, v, scratch).run(args.transposed);
        for (; v < args.vectors; ++v) TileProduct<V, IsComplex, 1>(tile, args, v, scratch).run(args.transposed);
    }
}

template <class V>
void tiles(const TileArgs<typename V::Real>& args) {
    args.planes == 2 ? tiles_of<V, true>(args) : tiles_of<V, false>(args);
}

}  // namespace
