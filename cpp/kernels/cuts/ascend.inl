// The ascent of signed cuts: sums of rows, a matrix less a cut, and signs that flip by themselves. Products are exact,
// and sums have one order: every tier has the same bits.
#pragma once

#include "kernels/cuts/args.hpp"
#include "kernels/lanes/unroll.inl"

namespace {

template <class V, int Rows>
void add_some_rows(const bitterfly::RowSumArgs& args, std::size_t first) {
    const float* row[Rows];
    typename V::Vec factor[Rows];
    unroll<Rows>([&](auto i) __attribute__((always_inline)) {
        row[i] = args.matrix + args.rows[first + i] * args.stride;
        factor[i] = V::broadcast(args.factors[first + i]);
    });
    for (std::size_t j = 0; j < args.columns; j += V::width) {
        typename V::Vec sum = V::load(args.out + j);
        unroll<Rows>(
            [&](auto i) __attribute__((always_inline)) { sum = V::multiply_add(V::load(row[i] + j), factor[i], sum); });
        V::store(args.out + j, sum);
    }
}

template <class V>
void add_rows(const bitterfly::RowSumArgs& args) {
    constexpr int kAtOnce = 8;
    std::size_t k = 0;
    for (; k + kAtOnce <= args.count; k += kAtOnce) add_some_rows<V, kAtOnce>(args, k);
    for (; k < args.count; ++k) add_some_rows<V, 1>(args, k);
}

template <class V>
void subtract(const bitterfly::SubtractArgs& args) {
    float* row = args.matrix;
    for (std::size_t i = 0; i < args.rows; ++i, row += args.stride) {
        const typename V::Vec factor = V::broadcast(args.factors[i]);
        for (std::size_t j = 0; j < args.columns; j += V::width) {
            V::store(row + j, V::multiply_subtract_from(factor, V::load(args.signs + j), V::load(row + j)));
        }
    }
}

// to += factor * from
template <class V>
void add_multiple(float factor, const float* from, std::size_t count, float* to) {
    const typename V::Vec all = V::broadcast(factor);
    std::size_t j = 0;
    for (; j + V::width <= count; j += V::width) {
        V::store(to + j, V::multiply_add(all, V::load(from + j), V::load(to + j)));
    }
    if (j == count) return;
    const typename V::First rest = V::first(count - j);
    V::store_first(to + j, V::multiply_add(all, V::load_first(from + j, rest), V::load_first(to + j, rest)), rest);
}

// Flipping sign x to -x takes 2 x times a row of the Gram matrix to the slopes, and of the cuts to the residual.
template <class V>
std::size_t flip(const bitterfly::FlipArgs& args) {
    std::size_t count = 0;
    for (std::size_t j = 0; j < args.width; ++j) {
        const float* gram = args.gram + j * args.stride;
        for (std::size_t r = 0; r < args.rows; ++r) {
            float *signs = args.signs + r * args.stride, *slopes = args.slopes + r * args.stride;
            const float x = signs[j];
            if (x * slopes[j] + gram[j] >= 0) continue;
            signs[j] = -x;
            ++count;
            add_multiple<V>(2 * x, gram, args.stride, slopes);
            add_multiple<V>(2 * x, args.weighted + j * args.columns, args.columns, args.residual + r * args.columns);
        }
    }
    return count;
}

}  // namespace
