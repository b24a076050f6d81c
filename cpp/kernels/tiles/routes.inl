// P of [I; T] without indices: the rows of a group of columns go through a network of switches, in registers.
#pragma once

#include <utility>

#include "kernels/tiles/rows.inl"

namespace {

// Rows of one group through the network; switches as routes.hpp lays them out.
struct Network {
    const std::uint16_t* switches;
    std::size_t rows;
};

// One of log2(M) stages within M registers of each plane: the switch of register i and i + Stride. `stage` are the
// switches of this stage and of these rows, `step` apart.
template <class V, int Planes, int M, int Stride, int... Pair>
[[gnu::always_inline]] inline void exchange_stage(const std::uint16_t* stage, std::size_t step, std::size_t lane,
                                                  typename V::Vec (&row)[Planes][M],
                                                  std::integer_sequence<int, Pair...>) {
    const auto exchange = [&](int pair, int i) __attribute__((always_inline)) {
        const auto s = V::load_switch(stage + static_cast<std::size_t>(pair) * step, lane);
        unroll<Planes>([&](auto p) __attribute__((always_inline)) { V::exchange(s, row[p][i], row[p][i + Stride]); });
    };
    (exchange(Pair, Pair / Stride * 2 * Stride + Pair % Stride), ...);
}

// All stages, of rows of which only the first `Present` are there on the outer side. The others may be anything: on the
// way out as well those above them; on the way in compilers leave out what nobody reads.
template <class V, int Planes, int M, int Present, bool Out, int Stride = Out ? 1 : M / 2>
[[gnu::always_inline]] inline void exchange_rows(const std::uint16_t* stage, std::size_t per_stage, std::size_t step,
                                                 std::size_t lane, typename V::Vec (&row)[Planes][M]) {
    if constexpr (Stride >= 1 && Stride < M) {
        if constexpr (Out && Stride >= Present) {
            unroll<Planes * Stride>([&](auto n) __attribute__((always_inline)) {
                constexpr int p = n / Stride, i = n % Stride;
                row[p][i + Stride] = row[p][i];
            });
        } else {
            constexpr int pairs = (Out ? Present : M) / 2;
            exchange_stage<V, Planes, M, Stride>(stage, step, lane, row, std::make_integer_sequence<int, pairs>{});
        }
        Out ? stage -= per_stage : stage += per_stage;
        exchange_rows<V, Planes, M, Present, Out, (Out ? Stride * 2 : Stride / 2)>(stage, per_stage, step, lane, row);
    }
}

// Rows j of each plane: data + p * plane + j * row.
template <class Real>
struct Lines {
    Real* data;
    std::ptrdiff_t row, plane;

    Real* at(std::size_t p, std::size_t j) const {
        return data + static_cast<std::ptrdiff_t>(p) * plane + static_cast<std::ptrdiff_t>(j) * row;
    }
};

template <class Real>
Lines<Real> lines(const Rows<Real>& x, std::size_t vector, std::size_t plane, std::size_t row) {
    return {at(x, vector, plane, row), x.row, x.plane};
}

// What a pass does at its outer side, x or y: all rows are there and assigned; or added to; or rows from `count` on
// only fill up, being read as the first one and not written.
enum class Edge { kAssign, kAdd, kPart };

// The outer side of a pass has `count` rows; at the inner one, n rows lie side by side.
template <class Real>
struct OuterLines {
    Lines<Real> rows;
    std::size_t count;
    bool adds;
};

template <class V, Edge edge, class Real>
void store_row(Real* to, std::size_t j, const OuterLines<Real>& y, typename V::Vec row) {
    if (edge == Edge::kPart && j >= y.count) return;
    V::store(to, edge == Edge::kAdd || (edge == Edge::kPart && y.adds) ? V::add(V::load(to), row) : row);
}

// The stages from `first` on that M registers hold, on rows `step` apart. Out: from y to the rows before the network.
template <class V, int Planes, int M, bool Out, class From, class To>
struct RowsPass {
    static constexpr auto m = static_cast<std::size_t>(M);
    const From& from;
    const To& to;
    std::size_t step, per_stage;
    const std::uint16_t* stage;

    RowsPass(const Network& net, std::size_t first, const From& f, const To& t)
        : from(f),
          to(t),
          step(net.rows >> (first + stages)),
          per_stage(net.rows / 2),
          stage(net.switches + (Out && stages > 0 ? first + stages - 1 : first) * per_stage) {}

    const auto& outer() const {
        if constexpr (Out) {
            return from;
        } else {
            return to;
        }
    }
    // The rows of block `block`: on the outer side, only the first `Present` of them may be there.
    template <Edge edge, int Present>
    void run(std::size_t block) const {
        const auto from_step = static_cast<std::ptrdiff_t>(step) * (Out ? from.rows.row : kLanes);
        const auto to_step = static_cast<std::ptrdiff_t>(step) * (Out ? kLanes : to.rows.row);
        for (std::size_t j = block; j < block + step; ++j) {
            for (std::size_t h = 0; h < kLanes; h += V::width) {
                typename V::Vec row[Planes][M];
                unroll<Planes>([&](auto p) __attribute__((always_inline)) {
                    const typename V::Real* line = from.rows.at(p, j) + h;
                    unroll<(Out ? Present : M)>([&](auto i) __attribute__((always_inline)) {
                        const bool fills = Out && edge == Edge::kPart && j + i * step >= from.count;
                        row[p][i] = V::load(fills ? from.rows.at(p, 0) + h : line);
                        line += from_step;
                    });
                });
                exchange_rows<V, Planes, M, Present, Out>(stage + j - block / 2, per_stage, step, h, row);
                unroll<Planes>([&](auto p) __attribute__((always_inline)) {
                    typename V::Real* line = to.rows.at(p, j) + h;
                    unroll<(Out ? M : Present)>([&](auto i) __attribute__((always_inline)) {
                        if constexpr (Out) {
                            V::store(line, row[p][i]);
                        } else {
                            store_row<V, edge>(line, j + i * step, to, row[p][i]);
                        }
                        line += to_step;
                    });
                });
            }
        }
    }
    template <int Present>
    void run_part(std::size_t block, std::size_t present) const {
        if constexpr (Present > 1) {
            if (present <= Present / 2) return run_part<Present / 2>(block, present);
        }
        run<Edge::kPart, Present>(block);
    }

private:
    static constexpr std::size_t stages = static_cast<std::size_t>(__builtin_ctz(static_cast<unsigned>(M)));
};

// Whole blocks are assigned or added to; of the last one only some rows are there.
template <class V, int Planes, int M, bool Out, class From, class To>
void pass_rows(const Network& net, std::size_t first, const From& from, const To& to) {
    const RowsPass<V, Planes, M, Out, From, To> pass(net, first, from, to);
    const std::size_t count = pass.outer().count, size = pass.m * pass.step;
    const bool adds = !Out && pass.outer().adds;
    for (std::size_t block = 0; block < net.rows; block += size) {
        if (block + size > count) {
            pass.step == 1 ? pass.template run_part<M>(block, block < count ? count - block : 0)
                           : pass.template run<Edge::kPart, M>(block);
        } else {
            adds ? pass.template run<Edge::kAdd, M>(block) : pass.template run<Edge::kAssign, M>(block);
        }
    }
}

// Passes of as many stages as registers hold, M rows of all planes that share their switches.
template <class V, int Planes>
struct Routing {
    static constexpr int most = V::registers / 2 / Planes;
    static constexpr std::size_t most_stages = static_cast<std::size_t>(__builtin_ctz(static_cast<unsigned>(most)));

    template <bool Out, class From, class To>
    static void pass(const Network& net, std::size_t first, std::size_t stages, const From& from, const To& to) {
        if (stages == most_stages) return pass_rows<V, Planes, most, Out>(net, first, from, to);
        if (stages == 3) return pass_rows<V, Planes, (most < 8 ? most : 8), Out>(net, first, from, to);
        if (stages == 2) return pass_rows<V, Planes, (most < 4 ? most : 4), Out>(net, first, from, to);
        if (stages == 1) return pass_rows<V, Planes, (most < 2 ? most : 2), Out>(net, first, from, to);
        pass_rows<V, Planes, 1, Out>(net, first, from, to);
    }
    static std::size_t stages(const Network& net) { return static_cast<std::size_t>(__builtin_ctzll(net.rows)); }
};

// y[j] = row j of P [I rows; T rows], added to y if `adds`. The rows of I are the first ones of `sorted`, those of T
// lie backwards from its last one; all are overwritten.
template <class V, int Planes, class Real = typename V::Real>
void expand(const TileFactor& f, const std::uint16_t* switches, const Lines<Real>& sorted, const Lines<Real>& y,
            bool adds) {
    using Routes = Routing<V, Planes>;
    const Network net{switches, f.route_rows};
    const OuterLines<Real> inner{sorted, net.rows, false}, outer{y, f.b, adds};
    std::size_t left = Routes::stages(net), next = 0;
    for (std::size_t count; left > Routes::most_stages; next += count, left -= count) {
        count = (left - 1) % Routes::most_stages + 1;
        Routes::template pass<false>(net, next, count, inner, inner);
    }
    Routes::template pass<false>(net, next, left, inner, outer);
}

// The transpose: sorted = [rows of x that are pivots; ...; the others, backwards].
template <class V, int Planes, class Real = typename V::Real>
void compress(const TileFactor& f, const std::uint16_t* switches, const Lines<const Real>& x,
              const Lines<Real>& sorted) {
    using Routes = Routing<V, Planes>;
    const Network net{switches, f.route_rows};
    const OuterLines<Real> inner{sorted, net.rows, false};
    const OuterLines<const Real> outer{x, f.b, false};
    std::size_t left = Routes::stages(net), count = left < Routes::most_stages ? left : Routes::most_stages;
    Routes::template pass<true>(net, left - count, count, outer, inner);
    for (left -= count; left > 0; left -= count) {
        count = left < Routes::most_stages ? left : Routes::most_stages;
        Routes::template pass<true>(net, left - count, count, inner, inner);
    }
}

}  // namespace
