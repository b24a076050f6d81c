// Passes over 16 or 32 columns side by side: an element is a row of them, a block acts on two rows, and its weights are
// the same for all columns. Forward and transposed, from any weights.
//
// Two factors at a time, on four rows in registers: for each of their four blocks 4 broadcasts of weights serve two
// registers of columns. Real numbers in single precision: 32 multiply-adds, 16 broadcasts, 8 loads and 8 stores, so
// that two multipliers are the limit; the innermost eight factors run on 256 rows in L1.
#pragma once

#include "kernels/dyadic/fused.inl"
#include "kernels/dyadic/weights.inl"
#include "kernels/lanes/transpose.inl"

namespace {

using bitterfly::ColumnsArgs;
using bitterfly::kChunkRows;
using bitterfly::RowsArgs;

template <class Real>
struct RowsFrom {
    Real* data;
    std::ptrdiff_t step;

    Real* at(std::size_t row) const { return data + static_cast<std::ptrdiff_t>(row) * step; }
    RowsFrom from(std::size_t row) const { return {at(row), step}; }
    RowsFrom every(std::size_t rows) const { return {data, step * static_cast<std::ptrdiff_t>(rows)}; }
};

// Block k of the j-th of a few factors: its first number at block[j] + k * step[j].
template <class Real>
struct PairWeights {
    const Real* block[2];
    std::size_t step[2];
};

// F <= 2 factors on 2^F rows.
template <class V, bool Transposed, int F, int Columns, class W>
[[gnu::always_inline]] inline void rows_butterfly(const PairWeights<typename V::Real>& w,
                                                  RowsFrom<typename V::Real> from, RowsFrom<typename V::Real> to) {
    constexpr int rows = 1 << F, parts = Columns > V::width && !W::is_complex ? 2 : 1;
    for (std::size_t h = 0; h < Columns; h += parts * V::width) {
        typename W::Value x[parts][rows];
        unroll<parts * rows>([&](auto i) __attribute__((always_inline)) {
            load<V>(from.at(i % rows) + h + i / rows * V::width, kLanes, x[i / rows][i % rows]);
        });
        unroll<F * rows / 2>([&](auto i) __attribute__((always_inline)) {
            constexpr int k = i % (rows / 2), j = Transposed ? F - 1 - i / (rows / 2) : i / (rows / 2);
            constexpr int low = insert_zero(k, j);
            const auto block = W::of_lane(w.block[j] + k * w.step[j]);
            unroll<parts>([&](auto q) __attribute__((always_inline)) {
                block.template apply<Transposed>(x[q][low], x[q][low | 1 << j]);
            });
        });
        unroll<parts * rows>([&](auto i) __attribute__((always_inline)) {
            store<V>(to.at(i % rows) + h + i / rows * V::width, kLanes, x[i / rows][i % rows]);
        });
    }
}

// Numbers from one block-vector to the next one.
template <class W>
inline constexpr std::size_t kBlockVector = W::numbers * kLanes;

// Where the blocks of factors 2S and 2S + 1 of the innermost eight stand that act on rows `row`, row + 4^S, ..., from
// the weights of the first of them on, see Plan::element().
template <int S, class W, class Real>
[[gnu::always_inline]] inline PairWeights<Real> base_weights(const Real* w, std::size_t row) {
    constexpr std::size_t vector = kBlockVector<W>;
    if constexpr (W::numbers == 0) {
        return {};
    } else if constexpr (S < 2) {
        constexpr std::size_t step = std::size_t{2} << 2 * S;
        const Real* block = w + row / 32 * vector + (S == 0 ? row % 16 : 2 * (row % 16)) + row / 16 % 2;
        return {{block, block + 8 * vector}, {step, step}};
    } else if constexpr (S == 2) {
        return {{w + row / 64 * 2 * vector + row % 16, w + (8 + row / 64) * vector + row % 16}, {vector, 4 * vector}};
    } else {
        const Real* block = w + (row / 16 % 2 * 4 + row / 32) * vector + row % 16;
        return {{block, block + 8 * vector}, {2 * vector, 2 * vector}};
    }
}

// Factors 2S and 2S + 1 of the innermost eight on 256 rows.
template <class V, bool Transposed, int S, int Columns, class W>
[[gnu::noinline]] void base_stage(const typename V::Real* p, RowsFrom<typename V::Real> rows) {
    constexpr std::size_t distance = std::size_t{1} << 2 * S;
    const typename V::Real* w = p + 2 * S * 8 * kBlockVector<W>;
    for (std::size_t first = 0; first < kChunkRows; first += 4 * distance) {
        for (std::size_t row = first; row < first + distance; ++row) {
            const auto four = rows.from(row).every(distance);
            rows_butterfly<V, Transposed, 2, Columns, W>(base_weights<S, W>(w, row), four, four);
        }
    }
}

// Three or four factors on as many rows: two of them, then the others, and in between rows that stay in L1.
template <class V, bool Transposed, int F, int Columns, class W>
[[gnu::always_inline]] inline void columns_in_two(const typename V::Real* p, std::size_t factor,
                                                  RowsFrom<typename V::Real> rows) {
    using Real = typename V::Real;
    constexpr std::size_t vector = kBlockVector<W>;
    constexpr std::ptrdiff_t row = Columns * (W::is_complex ? 2 : 1);
    alignas(64) Real between[(1 << F) * row];
    const RowsFrom<Real> middle{between, row};
    const auto lower = [&](RowsFrom<Real> x, RowsFrom<Real> y) __attribute__((always_inline)) {
        for (std::size_t a = 0; a < (1 << (F - 2)); ++a) {
            const Real* block = p + 2 * a * vector;
            rows_butterfly<V, Transposed, 2, Columns, W>({{block, block + factor}, {vector, vector}}, x.from(4 * a),
                                                         y.from(4 * a));
        }
    };
    const auto upper = [&](RowsFrom<Real> x, RowsFrom<Real> y) __attribute__((always_inline)) {
        for (std::size_t a = 0; a < 4; ++a) {
            const Real* block = p + 2 * factor + a * vector;
            rows_butterfly<V, Transposed, F - 2, Columns, W>({{block, block + factor}, {4 * vector, 4 * vector}},
                                                             x.from(a).every(4), y.from(a).every(4));
        }
    };
    if constexpr (Transposed) {
        upper(rows, middle), lower(middle, rows);
    } else {
        lower(rows, middle), upper(middle, rows);
    }
}

// One step of a strided pass: 2^F rows `stride` numbers apart, for each lane of its block-vectors.
template <class V, bool Transposed, int F, int Columns, class W>
void columns_step(const typename V::Real* p, std::ptrdiff_t stride, RowsFrom<typename V::Real> first) {
    constexpr std::size_t pairs = 1 << (F - 1), vector = kBlockVector<W>, factor = kStepVectors<F> * vector;
    for (std::size_t row = 0; row < kStepVectors<F> / pairs * kLanes; ++row) {
        const typename V::Real* block = p;
        if constexpr (vector > 0) block += row / kLanes * pairs * vector + row % kLanes;
        const RowsFrom<typename V::Real> rows{first.at(row), stride};
        if constexpr (F > 2) {
            columns_in_two<V, Transposed, F, Columns, W>(block, factor, rows);
        } else {
            rows_butterfly<V, Transposed, F, Columns, W>({{block, block + factor}, {vector, vector}}, rows, rows);
        }
    }
}

template <class V, class W>
[[gnu::noinline]] const typename V::Real* columns_weights(const ColumnsArgs<typename V::Real>& args, std::size_t s,
                                                          std::size_t vectors) {
    using Real = typename V::Real;
    if (args.factors == nullptr) {
        return static_cast<const Real*>(args.stream) + s * args.factor_count * vectors * kBlockVector<W>;
    }
    const std::size_t steps = args.group_vectors / vectors;
    const auto* group = static_cast<const std::uint32_t*>(args.stream) + s / steps * args.group_words;
    const auto next = static_cast<std::ptrdiff_t>(args.group_words), ahead = args.transposed ? -next : next;
    Real *weights = args.weights + (s - args.first) * args.weights_step, *out = weights;
    if (args.decoded) return weights;
    for (std::size_t j = 0; j < args.factor_count; ++j, out += vectors * kBlockVector<W>) {
        const auto& f = args.factors[j];
        decode<V, W::numbers == 6>(f, {group + f.offset, s % steps * vectors * 2, vectors, ahead}, out);
    }
    return weights;
}

template <class V, bool Transposed, int F, int Columns, class W>
void run_columns(const ColumnsArgs<typename V::Real>& args) {
    for (std::size_t i = args.first; i < args.end; ++i) {
        const std::size_t s = Transposed ? args.first + args.end - 1 - i : i, start = step_start<F>(s);
        const auto* p = columns_weights<V, W>(args, s, kStepVectors<F>);
        const RowsFrom<typename V::Real> chunk{args.data + static_cast<std::ptrdiff_t>(start / kChunkRows) * args.chunk,
                                               args.row};
        const auto rows = chunk.from(start % kChunkRows);
        if constexpr (F == 8) {
            unroll<4>(
                [&](auto stage) { base_stage<V, Transposed, Transposed ? 3 - stage : +stage, Columns, W>(p, rows); });
        } else {
            const std::size_t chunks = args.stride / kChunkRows;
            columns_step<V, Transposed, F, Columns, W>(p, static_cast<std::ptrdiff_t>(chunks) * args.chunk, rows);
        }
    }
}

template <class V, bool Transposed, int Columns, class W>
void columns_of(const ColumnsArgs<typename V::Real>& args) {
    if (args.stride == 1) return run_columns<V, Transposed, 8, Columns, W>(args);
    if (args.factor_count == 1) return run_columns<V, Transposed, 1, Columns, W>(args);
    if (args.factor_count == 2) return run_columns<V, Transposed, 2, Columns, W>(args);
    if (args.factor_count == 3) return run_columns<V, Transposed, 3, Columns, W>(args);
    run_columns<V, Transposed, 4, Columns, W>(args);
}

// A register of 16 columns has a weight loaded for each multiply-add; two of them share the loads.
template <class V>
inline constexpr bool kWideColumns = V::width == kLanes;

template <class V, class W>
void columns(const ColumnsArgs<typename V::Real>& args) {
    if constexpr (kWideColumns<V> && !W::is_complex) {
        constexpr int wide = 2 * kLanes;
        if (args.columns == wide)
            return args.transposed ? columns_of<V, true, wide, W>(args) : columns_of<V, false, wide, W>(args);
    }
    args.transposed ? columns_of<V, true, kLanes, W>(args) : columns_of<V, false, kLanes, W>(args);
}

// ---- rows of 16 columns in and out ----

// Of `count` lanes, those in the register that begins with lane `h`.
template <class V>
typename V::First first_of(std::size_t count, std::size_t h) {
    return V::first(count < h ? 0 : count - h < V::width ? count - h : V::width);
}

template <class V>
void copy_short_rows(const RowsArgs<typename V::Real>& args) {
    const RowsFrom<const typename V::Real> from{args.from, args.from_row};
    const RowsFrom<typename V::Real> to{args.to, args.to_row};
    for (std::size_t h = 0; h < kLanes; h += V::width) {
        const auto read = first_of<V>(args.from_columns, h), written = first_of<V>(args.to_columns, h);
        for (std::size_t r = 0; r < args.rows; ++r) {
            const auto scale = V::broadcast(args.scale == nullptr ? 1 : args.scale[r]);
            V::store_first(to.at(r) + h, V::mul(V::load_first(from.at(r) + h, read), scale), written);
        }
    }
}

template <class V>
void copy_rows(const RowsArgs<typename V::Real>& args) {
    if (args.from_columns < kLanes || args.to_columns < kLanes) return copy_short_rows<V>(args);
    const RowsFrom<const typename V::Real> from{args.from, args.from_row};
    const RowsFrom<typename V::Real> to{args.to, args.to_row};
    for (std::size_t r = 0; r < args.rows; ++r) {
        const auto scale = V::broadcast(args.scale == nullptr ? 1 : args.scale[r]);
        for (std::size_t h = 0; h < kLanes; h += V::width)
            V::store(to.at(r) + h, V::mul(V::load(from.at(r) + h), scale));
    }
}

// A tile of V::width x V::width numbers.
template <class V>
void transpose_tile(RowsFrom<const typename V::Real> from, RowsFrom<typename V::Real> to) {
    typename V::Vec v[V::width];
    unroll<V::width>([&](auto i) __attribute__((always_inline)) { v[i] = V::load(from.at(i)); });
    transpose_chunks<V, 1, V::width>(v);
    unroll<V::width>([&](auto i) __attribute__((always_inline)) { V::store(to.at(i), v[i]); });
}

template <class V>
void transpose_square(RowsFrom<const typename V::Real> from, RowsFrom<typename V::Real> to) {
    for (std::size_t i = 0; i < kLanes; i += V::width) {
        for (std::size_t j = 0; j < kLanes; j += V::width) {
            transpose_tile<V>({from.at(i) + j, from.step}, {to.at(j) + i, to.step});
        }
    }
}

template <class V>
void rows_of_columns(const RowsArgs<typename V::Real>& args) {
    for (std::size_t r = 0; r < args.rows; r += kLanes) {
        const RowsFrom<typename V::Real> to{args.to + static_cast<std::ptrdiff_t>(r) * args.to_row, args.to_row};
        transpose_square<V>({args.from + r, args.from_row}, to);
        if (args.scale != nullptr) copy_rows<V>({to.data, to.step, to.data, to.step, kLanes, args.scale + r});
    }
}

template <class V>
void columns_of_rows(const RowsArgs<typename V::Real>& args) {
    alignas(64) typename V::Real tile[kLanes * kLanes];
    constexpr std::ptrdiff_t row = kLanes;
    for (std::size_t r = 0; r < args.rows; r += kLanes) {
        const typename V::Real* from = args.from + static_cast<std::ptrdiff_t>(r) * args.from_row;
        copy_rows<V>({from, args.from_row, tile, row, kLanes, args.scale == nullptr ? nullptr : args.scale + r});
        transpose_square<V>({tile, row}, {args.to + r, args.to_row});
    }
}

}  // namespace
