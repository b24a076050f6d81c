// P of [I; T] without indices: the rows of a group of columns go through a network of switches, in registers.
#pragma once

#include <utility>

#include "rows.inl"

namespace {

// The exchanges of one stage within M registers.
template <class V, int Stride, int... Pair>
void exchange_stage(const std::uint16_t* switches, std::size_t lane, typename V::Vec* row,
                    std::integer_sequence<int, Pair...>) {
    (V::exchange(V::load_switch(switches + Pair, lane), row[Pair / Stride * 2 * Stride + Pair % Stride],
                 row[Pair / Stride * 2 * Stride + Pair % Stride + Stride]),
     ...);
}

// The last stages of a network of n rows, those of strides M/2 to 1, for M rows; Out runs them from 1 to M/2.
// `switches` are those of these rows in the stage of stride M/2.
template <class V, int M, bool Out, int Stride = Out ? 1 : M / 2>
void exchange_rows(const std::uint16_t* switches, std::size_t n, std::size_t lane, typename V::Vec* row) {
    if constexpr (Stride >= 1 && Stride < M) {
        constexpr int stage = __builtin_ctz(static_cast<unsigned>(M / 2 / Stride));
        exchange_stage<V, Stride>(switches + stage * (n / 2), lane, row, std::make_integer_sequence<int, M / 2>{});
        exchange_rows<V, M, Out, (Out ? Stride * 2 : Stride / 2)>(switches, n, lane, row);
    }
}

// One stage of n rows, stride n / 2^(stage + 1), from rows read(j) to rows of `to`.
template <class V, class Read>
void stage_in_memory(const std::uint16_t* switches, std::size_t n, std::size_t stage, Read read, typename V::Real* to) {
    const std::size_t stride = n >> (stage + 1);
    const std::uint16_t* next = switches + stage * (n / 2);
    for (std::size_t j = 0; j < n; ++j) {
        if (j & stride) continue;
        for (std::size_t h = 0; h < kLanes; h += V::width) {
            typename V::Vec a = V::load(read(j) + h), b = V::load(read(j + stride) + h);
            V::exchange(V::load_switch(next, h), a, b);
            V::store(to + j * kLanes + h, a);
            V::store(to + (j + stride) * kLanes + h, b);
        }
        ++next;
    }
}

// All rows in blocks of M, from read(j) to write(j, lane, register).
template <class V, int M, bool Out, class Read, class Write>
void stages_in_registers(const std::uint16_t* switches, std::size_t n, Read read, Write write) {
    constexpr std::size_t m = M;
    const std::size_t first = static_cast<std::size_t>(__builtin_ctzll(n / m)) * (n / 2);
    for (std::size_t j = 0; j < n; j += m) {
        for (std::size_t h = 0; h < kLanes; h += V::width) {
            typename V::Vec row[m];
            for (std::size_t i = 0; i < m; ++i) row[i] = V::load(read(j + i) + h);
            exchange_rows<V, M, Out>(switches + first + j / 2, n, h, row);
            for (std::size_t i = 0; i < m; ++i) write(j + i, h, row[i]);
        }
    }
}

// As many rows as half of the registers hold, or all n.
template <class V, bool Out, class Read, class Write>
void last_stages(const std::uint16_t* switches, std::size_t n, Read read, Write write) {
    constexpr int most = V::registers / 2;
    if (n >= most) return stages_in_registers<V, most, Out>(switches, n, read, write);
    if (n == 8) return stages_in_registers<V, 8, Out>(switches, n, read, write);
    if (n == 4) return stages_in_registers<V, 4, Out>(switches, n, read, write);
    if (n == 2) return stages_in_registers<V, 2, Out>(switches, n, read, write);
    stages_in_registers<V, 1, Out>(switches, n, read, write);
}

// Stages that span more rows than registers hold.
template <class V>
std::size_t early_stages(std::size_t n) {
    std::size_t count = 0;
    while (n >> count > V::registers / 2) ++count;
    return count;
}

// One plane of one vector: y[j] = row j of P [I rows of x; T rows], added to y if `adds`. The rows of T lie backwards
// from the last row of `sorted`, whose first rows are scratch.
template <class V, class Real = typename V::Real>
void expand(const TileFactor& f, const std::uint16_t* switches, const Real* x, std::ptrdiff_t x_row, Real* sorted,
            Real* y, std::ptrdiff_t y_row, bool adds) {
    const std::size_t n = f.route_rows, early = early_stages<V>(n);
    const auto source = [&](std::size_t j) -> const Real* {
        return j < f.rank ? x + static_cast<std::ptrdiff_t>(j) * x_row : sorted + j * kLanes;
    };
    const auto scratch = [&](std::size_t j) -> const Real* { return sorted + j * kLanes; };
    const auto write = [&](std::size_t j, std::size_t h, typename V::Vec row) {
        if (j >= f.b) return;
        Real* to = y + static_cast<std::ptrdiff_t>(j) * y_row + h;
        V::store(to, adds ? V::add(V::load(to), row) : row);
    };
    if (early == 0) return last_stages<V, false>(switches, n, source, write);
    stage_in_memory<V>(switches, n, 0, source, sorted);
    for (std::size_t s = 1; s < early; ++s) stage_in_memory<V>(switches, n, s, scratch, sorted);
    last_stages<V, false>(switches, n, scratch, write);
}

// The transpose: sorted = [rows of x that are pivots; ...; the others, backwards].
template <class V, class Real = typename V::Real>
void compress(const TileFactor& f, const std::uint16_t* switches, const Real* x, std::ptrdiff_t x_row, Real* sorted) {
    const std::size_t n = f.route_rows;
    const auto source = [&](std::size_t j) -> const Real* {  // row 0 also fills up
        return x + static_cast<std::ptrdiff_t>(j < f.b ? j : 0) * x_row;
    };
    const auto scratch = [&](std::size_t j) -> const Real* { return sorted + j * kLanes; };
    last_stages<V, true>(switches, n, source, [&](std::size_t j, std::size_t h, typename V::Vec row) {
        V::store(sorted + j * kLanes + h, row);
    });
    for (std::size_t s = early_stages<V>(n); s > 0; --s) stage_in_memory<V>(switches, n, s - 1, scratch, sorted);
}

}  // namespace
