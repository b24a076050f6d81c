// Factors of any pattern, 16 blocks side by side: y += F x and y += F^T x from float weights or packed integers.
//
// Bytes: each weight is read once for up to four vectors; from memory or L3 that is the time of a pass. Operations: one
// multiply-add for each weight and vector (four if complex).
#pragma once

#include "rows.inl"

namespace {

using bitterfly::TileArgs;

// Calls visit(offset, code) for the codes of one tile, a register at a time. Streams of integers start anew with every
// tile, those of floats go on.
template <class V, class Visit>
void for_codes(const TileFactor& f, std::size_t tile, std::size_t count, Visit visit) {
    const auto bits = static_cast<std::size_t>(f.bits);
    const std::size_t first = f.significand > 0 ? tile * count * bits : tile * ((count * bits + 31) / 32) * 32;
    const auto* stream = static_cast<const std::uint32_t*>(f.values);
    const std::uint32_t mask = (std::uint32_t{1} << bits) - 1;
    for (std::size_t t = 0; t < count; ++t) {
        const std::size_t bit = first + t * bits, start = bit % 32;
        const std::uint32_t* line = stream + bit / 32 * kLanes;
        for (std::size_t h = 0; h < kLanes; h += V::width) {
            auto code = V::shift_right(V::load_words(line + h), static_cast<int>(start));
            if (start + bits > 32) {
                const auto high = V::load_words(line + kLanes + h);
                code = V::bit_or(code, V::shift_left(high, static_cast<int>(32 - start)));
            }
            visit(t * kLanes + h, V::bit_and(code, mask));
        }
    }
}

// Sign, exponent field E of e bits, fraction of t - 1 bits, as in IEEE 754: the largest E stands for [1, 2) * step, E =
// 0 for zero and for numbers without the leading bit.
template <class V>
class FloatDecoder {
public:
    explicit FloatDecoder(const TileFactor& f)
        : sign_(32 - f.bits),
          fraction_(24 - f.significand),
          magnitude_((std::uint32_t{1} << (f.bits - 1)) - 1),
          normal_(std::uint32_t{1} << (f.significand - 1)),
          // The largest field becomes 127, the exponent zero of a float; the bias keeps subnormal floats out of reach.
          bias_(128 - (std::uint32_t{1} << (f.bits - f.significand))),
          least_(V::broadcast(power(static_cast<int>(bias_) - 127))),
          step_(V::broadcast(static_cast<typename V::Real>(f.step))) {}

    typename V::Vec operator()(typename V::Word code) const {
        const auto magnitude = V::bit_and(code, magnitude_);
        const auto number = V::from_float_bits(V::add(V::shift_left(magnitude, fraction_), bias_ << 23));
        const auto shortened = V::mul(V::sub(number, least_), V::broadcast(2));
        const auto is_short = V::from_float_bits(V::bit_and(V::add(magnitude, 0U - normal_), kSign));
        const auto sign = V::from_float_bits(V::bit_and(V::shift_left(code, sign_), kSign));
        return V::mul(V::with_sign(V::select_negative(is_short, shortened, number), sign), step_);
    }

private:
    static constexpr std::uint32_t kSign = 0x80000000U;
    static typename V::Real power(int exponent) {  // 2^exponent, for exponent <= 0
        typename V::Real x = 1;
        for (; exponent < 0; ++exponent) x /= 2;
        return x;
    }
    int sign_, fraction_;
    std::uint32_t magnitude_, normal_, bias_;
    typename V::Vec least_, step_;
};

// The weights of one tile as Real: in place, or decoded to `out`.
template <class V>
const typename V::Real* tile_weights(const TileFactor& f, std::size_t tile, std::size_t planes, typename V::Real* out) {
    using Real = typename V::Real;
    const std::size_t count = f.weights * planes;
    if (f.bits == 0) return static_cast<const Real*>(f.values) + tile * count * kLanes;
    if (f.significand > 0) {
        const FloatDecoder<V> decode(f);
        for_codes<V>(f, tile, count, [&](std::size_t at, auto code) { V::store(out + at, decode(code)); });
        return out;
    }
    const auto step = V::broadcast(static_cast<Real>(f.step));
    const auto zero = V::broadcast(static_cast<Real>(-f.step * (std::uint32_t{1} << (f.bits - 1))));
    for_codes<V>(f, tile, count, [&](std::size_t at, auto code) {
        V::store(out + at, V::multiply_add(V::to_real(code), step, zero));
    });
    return out;
}

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

// y[j .. j + J) = sum_k w[j, k] x[k], added to y unless it is `Fresh`; one tile, N vectors.
template <class V, bool IsComplex, int N, int J, bool Fresh>
void multiply_rows(const typename V::Real* w, std::size_t j, std::size_t columns, const Rows<const typename V::Real>& x,
                   const Rows<typename V::Real>& y) {
    constexpr std::size_t step = kLanes * (IsComplex ? 2 : 1);
    for (std::size_t h = 0; h < kLanes; h += V::width) {
        Accumulator<V, IsComplex> sum[J][N];
        if constexpr (!Fresh) {
            for (int i = 0; i < J; ++i) {
                for (int v = 0; v < N; ++v) {
                    sum[i][v].load(reading(y), static_cast<std::size_t>(v), j + static_cast<std::size_t>(i), h);
                }
            }
        }
        const typename V::Real* p = w + j * columns * step + h;
        for (std::size_t k = 0; k < columns; ++k, p += step) {
            for (int i = 0; i < J; ++i) {
                const typename V::Real* weight = p + static_cast<std::size_t>(i) * columns * step;
                for (int v = 0; v < N; ++v) sum[i][v].add(weight, x, static_cast<std::size_t>(v), k, h);
            }
        }
        for (int i = 0; i < J; ++i) {
            for (int v = 0; v < N; ++v) {
                sum[i][v].store(y, static_cast<std::size_t>(v), j + static_cast<std::size_t>(i), h);
            }
        }
    }
}

// The same for j < rows; a single vector takes several rows at once, so that products do not wait for each other.
template <class V, bool IsComplex, int N, bool Fresh = false>
void multiply_tile(const typename V::Real* w, std::size_t rows, std::size_t columns,
                   const Rows<const typename V::Real>& x, const Rows<typename V::Real>& y) {
    std::size_t j = 0;
    if constexpr (N == 1) {
        for (; j + 4 <= rows; j += 4) multiply_rows<V, IsComplex, N, 4, Fresh>(w, j, columns, x, y);
    }
    for (; j < rows; ++j) multiply_rows<V, IsComplex, N, 1, Fresh>(w, j, columns, x, y);
}

// y[k] += sum_j w[j, k] x[j].
template <class V, bool IsComplex, int N>
void multiply_tile_transposed(const typename V::Real* w, std::size_t rows, std::size_t columns,
                              const Rows<const typename V::Real>& x, const Rows<typename V::Real>& y) {
    constexpr std::size_t step = kLanes * (IsComplex ? 2 : 1);
    for (std::size_t j = 0; j < rows; ++j) {
        const typename V::Real* p = w + j * columns * step;
        for (std::size_t k = 0; k < columns; ++k, p += step) {
            for (std::size_t h = 0; h < kLanes; h += V::width) {
                for (int v = 0; v < N; ++v) {
                    Accumulator<V, IsComplex> sum;
                    sum.load(reading(y), static_cast<std::size_t>(v), k, h);
                    sum.add(p + h, x, static_cast<std::size_t>(v), j, h);
                    sum.store(y, static_cast<std::size_t>(v), k, h);
                }
            }
        }
    }
}

// One tile in skeleton form: each group of columns is P [I; T]; `sorted` holds the b rows before P.
template <class V, bool IsComplex, int N>
void multiply_skeleton(const TileFactor& f, const std::uint32_t* masks, const typename V::Real* w,
                       const Rows<const typename V::Real>& x, const Rows<typename V::Real>& y,
                       const Rows<typename V::Real>& sorted, bool transposed) {
    using Real = typename V::Real;
    constexpr std::size_t planes = IsComplex ? 2 : 1;
    const std::size_t others = f.b - f.rank;
    for (std::size_t group = 0; group < f.c / f.rank; ++group) {
        const Real* t = w + group * others * f.rank * planes * kLanes;
        const std::uint32_t* mask = masks + group * f.mask_words * kLanes;
        if (transposed) {
            for_rows_in_place(f, mask, planes, N, [&](auto v, auto p, auto j, const std::int32_t* place) {
                const Real* from = at(x, v, p, j);
                for (std::size_t h = 0; h < kLanes; h += V::width) {
                    V::store_at(at(sorted, v, p, 0), place + h, V::load(from + h));
                }
            });
            const Rows<Real> out = from_row(y, group * f.rank);
            multiply_tile_transposed<V, IsComplex, N>(t, others, f.rank, reading(from_row(sorted, f.rank)), out);
            for (std::size_t v = 0; v < N; ++v) {
                for (std::size_t p = 0; p < planes; ++p) {
                    for (std::size_t r = 0; r < f.rank; ++r) {
                        for (std::size_t q = 0; q < kLanes; ++q) at(out, v, p, r)[q] += at(sorted, v, p, r)[q];
                    }
                }
            }
        } else {
            const Rows<const Real> in = from_row(x, group * f.rank);
            copy_rows(in, sorted, f.rank, planes, N);
            multiply_tile<V, IsComplex, N, true>(t, others, f.rank, in, from_row(sorted, f.rank));
            for_rows_in_place(f, mask, planes, N, [&](auto v, auto p, auto j, const std::int32_t* place) {
                Real* to = at(y, v, p, j);
                for (std::size_t h = 0; h < kLanes; h += V::width) {
                    V::store(to + h, V::add(V::load(to + h), V::load_at(at(sorted, v, p, 0), place + h)));
                }
            });
        }
    }
}

template <class V, bool IsComplex, int N>
void tiles_of(const TileArgs<typename V::Real>& args, std::size_t first) {
    using Real = typename V::Real;
    constexpr std::size_t planes = IsComplex ? 2 : 1;
    const TileFactor& f = *args.factor;
    const std::size_t row_count = f.rank == 0 ? f.group_rows : f.b;
    const std::size_t in_rows = args.transposed ? row_count : f.c, out_rows = args.transposed ? f.c : row_count;
    Real* weights = args.scratch;
    const Rows<Real> x_tile = tile_rows(weights + f.weights * planes * kLanes, in_rows, planes);
    const Rows<Real> y_tile = tile_rows(x_tile.data + N * in_rows * planes * kLanes, out_rows, planes);
    // Lanes beyond the last one have no pivots: their rows seem to be the rank-th, rank+1-th, ... of T.
    const Rows<Real> sorted = tile_rows(y_tile.data + N * out_rows * planes * kLanes, f.b + f.rank, planes);
    const Rows<const Real> x{at(args.x, first, 0, 0), f.d, args.x.plane, args.x.vector};
    const Rows<Real> y{at(args.y, first, 0, 0), f.d, args.y.plane, args.y.vector};
    const bool direct = f.split == 1 && f.d % kLanes == 0;
    for (std::size_t tile = 0; tile < f.tiles; ++tile) {
        const Real* w = tile_weights<V>(f, tile, planes, weights);
        const TilePlaces in = places_of(f, tile, !args.transposed), out = places_of(f, tile, args.transposed);
        if (!direct) gather_rows(x, in, f.d, x_tile, in_rows, planes, N), clear_rows(y_tile, 0, out_rows, planes, N);
        const Rows<const Real> from =
            direct ? Rows<const Real>{x.data + in.start[0], x.row, x.plane, x.vector} : reading(x_tile);
        const Rows<Real> to = direct ? Rows<Real>{y.data + out.start[0], y.row, y.plane, y.vector} : y_tile;
        if (f.rank != 0) {
            const std::uint32_t* masks = f.pivots + tile * (f.c / f.rank) * f.mask_words * kLanes;
            multiply_skeleton<V, IsComplex, N>(f, masks, w, from, to, sorted, args.transposed);
        } else if (args.transposed) {
            multiply_tile_transposed<V, IsComplex, N>(w, f.group_rows, f.c, from, to);
        } else {
            multiply_tile<V, IsComplex, N>(w, f.group_rows, f.c, from, to);
        }
        if (!direct) add_rows(reading(y_tile), out, f.d, y, out_rows, planes, N);
    }
}

template <class V, bool IsComplex>
void tiles_by_vectors(const TileArgs<typename V::Real>& args) {
    constexpr std::size_t together = bitterfly::kTileVectors;
    std::size_t v = 0;
    for (; v + together <= args.vectors; v += together) tiles_of<V, IsComplex, together>(args, v);
    for (; v < args.vectors; ++v) tiles_of<V, IsComplex, 1>(args, v);
}

template <class V>
void tiles(const TileArgs<typename V::Real>& args) {
    args.planes == 2 ? tiles_by_vectors<V, true>(args) : tiles_by_vectors<V, false>(args);
}

}  // namespace
