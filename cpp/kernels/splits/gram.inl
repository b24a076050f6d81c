// The two heavy passes of a split: the Gram matrix of a block's rows, and the product of a small matrix with them.
//
// Operations: rows^2 / 2 and out_rows * rows multiply-adds for each column; bytes: the rows, from cache.
#pragma once

#include "kernels/lanes/unroll.inl"
#include "kernels/splits/args.hpp"

namespace {

// Partial sums are kept in Real over this many vectors, then added up in double.
inline constexpr std::size_t kGramChunk = 64;

template <class V, int I, int J>
void gram_tile(const typename V::Real* a, const typename V::Real* b, std::size_t stride, std::size_t vectors,
               double (&out)[4][4]) {
    typename V::Vec sum[I * J];
    unroll<I * J>([&](auto n) __attribute__((always_inline)) { sum[n] = V::broadcast(0); });
    for (std::size_t c = 0; c < vectors * V::width; c += V::width) {
        typename V::Vec right[J];
        unroll<J>([&](auto j) __attribute__((always_inline)) { right[j] = V::load(b + j * stride + c); });
        unroll<I>([&](auto i) __attribute__((always_inline)) {
            const auto left = V::load(a + i * stride + c);
            unroll<J>([&](auto j) __attribute__((always_inline)) {
                sum[i * J + j] = V::multiply_add(left, right[j], sum[i * J + j]);
            });
        });
    }
    unroll<I * J>([&](auto n)
                      __attribute__((always_inline)) { out[n / J][n % J] += static_cast<double>(V::sum(sum[n])); });
}

// Rows i .. i+I-1 against rows j .. j+J-1, added to `out` (count x count, row-major).
template <class V, int I, int J>
void gram_block(const bitterfly::GramArgs<typename V::Real>& args, std::size_t i, std::size_t j) {
    const auto* a = args.rows + i * args.stride;
    const auto* b = args.rows + j * args.stride;
    double sum[4][4] = {};
    const std::size_t vectors = args.length / V::width;
    for (std::size_t v = 0; v < vectors; v += kGramChunk) {
        const std::size_t left = vectors - v;
        gram_tile<V, I, J>(a + v * V::width, b + v * V::width, args.stride, left < kGramChunk ? left : kGramChunk, sum);
    }
    for (std::size_t p = 0; p < I; ++p) {
        for (std::size_t q = 0; q < J; ++q) {
            for (std::size_t c = vectors * V::width; c < args.length; ++c) {
                sum[p][q] += static_cast<double>(a[p * args.stride + c]) * static_cast<double>(b[q * args.stride + c]);
            }
            args.out[(i + p) * args.count + j + q] = sum[p][q];
        }
    }
}

// The lower triangle, and whatever else the tiles of four rows cover.
template <class V>
void gram_rows(const bitterfly::GramArgs<typename V::Real>& args) {
    const std::size_t whole = args.count / 4 * 4;
    for (std::size_t i = 0; i < args.count; i += i < whole ? 4 : 1) {
        for (std::size_t j = 0; j <= i; j += j < whole ? 4 : 1) {
            if (i < whole) {
                gram_block<V, 4, 4>(args, i, j);
            } else if (j < whole) {
                gram_block<V, 1, 4>(args, i, j);
            } else {
                gram_block<V, 1, 1>(args, i, j);
            }
        }
    }
}

// `N` rows of y = m x, columns c .. c + Columns*width - 1.
template <class V, int N, int Columns>
void combine_tile(const bitterfly::CombineArgs<typename V::Real>& args, std::size_t i, std::size_t c) {
    typename V::Vec sum[N * Columns];
    unroll<N * Columns>([&](auto n) __attribute__((always_inline)) { sum[n] = V::broadcast(0); });
    for (std::size_t k = 0; k < args.in_rows; ++k) {
        typename V::Vec x[Columns];
        unroll<Columns>([&](auto q) __attribute__((always_inline)) {
            x[q] = V::load(args.x + k * args.x_stride + c + q * V::width);
        });
        unroll<N>([&](auto p) __attribute__((always_inline)) {
            const auto weight = V::broadcast(args.matrix[(i + p) * args.in_rows + k]);
            unroll<Columns>([&](auto q) __attribute__((always_inline)) {
                sum[p * Columns + q] = V::multiply_add(weight, x[q], sum[p * Columns + q]);
            });
        });
    }
    unroll<N * Columns>([&](auto n) __attribute__((always_inline)) {
        V::store(args.y + (i + n / Columns) * args.y_stride + c + n % Columns * V::width, sum[n]);
    });
}

template <class V, int Columns>
void combine_columns(const bitterfly::CombineArgs<typename V::Real>& args, std::size_t c) {
    std::size_t i = 0;
    for (; i + 4 <= args.out_rows; i += 4) combine_tile<V, 4, Columns>(args, i, c);
    for (; i < args.out_rows; ++i) combine_tile<V, 1, Columns>(args, i, c);
}

template <class V>
void combine_rows(const bitterfly::CombineArgs<typename V::Real>& args) {
    std::size_t c = 0;
    for (; c + 4 * V::width <= args.length; c += 4 * V::width) combine_columns<V, 4>(args, c);
    for (; c + V::width <= args.length; c += V::width) combine_columns<V, 1>(args, c);
    for (; c < args.length; ++c) {
        for (std::size_t i = 0; i < args.out_rows; ++i) {
            typename V::Real sum = 0;
            for (std::size_t k = 0; k < args.in_rows; ++k) {
                sum += args.matrix[i * args.in_rows + k] * args.x[k * args.x_stride + c];
            }
            args.y[i * args.y_stride + c] = sum;
        }
    }
}

}  // namespace
