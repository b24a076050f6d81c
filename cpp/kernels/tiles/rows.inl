// The rows of one tile, 16 lanes each: where they lie in the vectors, and the copies in and out.
#pragma once

#include "kernels/lanes/transpose.inl"
#include "kernels/lanes/unroll.inl"
#include "kernels/tiles/args.hpp"
#include "lanes.hpp"

namespace {

using bitterfly::kLanes;
using bitterfly::Rows;
using bitterfly::TileFactor;

template <class Real>
Real* at(const Rows<Real>& x, std::size_t vector, std::size_t plane, std::size_t row) {
    return x.data + static_cast<std::ptrdiff_t>(vector) * x.vector + static_cast<std::ptrdiff_t>(plane) * x.plane +
           static_cast<std::ptrdiff_t>(row) * x.row;
}

template <class Real>
Rows<const Real> reading(const Rows<Real>& y) {
    return {y.data, y.row, y.plane, y.vector};
}

template <class Real>
Rows<Real> backwards_from(const Rows<Real>& x, std::size_t r) {
    return {at(x, 0, 0, r), -x.row, x.plane, x.vector};
}

// Numbers one after the other: rows of kLanes, planes of `rows` rows.
template <class Real>
Rows<Real> tile_rows(Real* data, std::size_t rows, std::size_t planes) {
    const auto plane = static_cast<std::ptrdiff_t>(rows * kLanes);
    return {data, static_cast<std::ptrdiff_t>(kLanes), plane, static_cast<std::ptrdiff_t>(planes) * plane};
}

// How the lanes of a tile lie: the 16 numbers of a row side by side; in chunks of d, those of consecutive rows side by
// side; or anyhow.
enum class Placement { kDirect, kChunks, kAny };

inline Placement placement_of(const TileFactor& f, std::size_t tile) {
    if (f.split == 1 && f.d % kLanes == 0) return Placement::kDirect;
    const bool whole = f.split == 1 && (tile + 1) * kLanes <= f.lanes;
    return whole && kLanes % f.d == 0 ? Placement::kChunks : Placement::kAny;
}

// Where the rows of the lanes of one tile lie in the vectors: lane q at start[q] + r*d, `rows[q]` of them. A lane that
// is not the first of its block adds to what that one has written.
struct TilePlaces {
    std::size_t start[kLanes], rows[kLanes];
    bool adds[kLanes];
};

inline TilePlaces places_of(const TileFactor& f, std::size_t tile, bool columns) {
    TilePlaces out;
    std::size_t lane = tile * kLanes, t = lane % f.d, i = lane / f.d / f.split, part = lane / f.d % f.split;
    for (std::size_t q = 0; q < kLanes; ++q, ++lane) {
        const std::size_t first = part * f.group_rows;
        const bool outside = lane >= f.lanes || (!columns && first >= f.b);
        const std::size_t left = columns ? f.c : f.b - (outside ? 0 : first);
        out.start[q] = i * (columns ? f.c : f.b) * f.d + (columns ? 0 : first * f.d) + t;
        out.rows[q] = outside ? 0 : columns ? f.c : left < f.group_rows ? left : f.group_rows;
        out.adds[q] = columns && part > 0;
        if (++t == f.d) t = 0, ++part;
        if (part == f.split) part = 0, ++i;
    }
    return out;
}

template <class Real>
void gather_any(const Real* from, const TilePlaces& places, std::size_t d, Real* out, std::size_t first,
                std::size_t rows) {
    for (std::size_t q = 0; q < kLanes; ++q) {
        const Real* lane = from + places.start[q];
        for (std::size_t r = 0; r < rows; ++r) {
            out[r * kLanes + q] = first + r < places.rows[q] ? lane[(first + r) * d] : Real(0);
        }
    }
}

template <class Real>
void put_any(const Real* from, const TilePlaces& places, std::size_t d, Real* to, std::size_t first, std::size_t rows) {
    for (std::size_t q = 0; q < kLanes; ++q) {
        Real* lane = to + places.start[q];
        for (std::size_t r = first; r < first + rows && r < places.rows[q]; ++r) {
            lane[r * d] = from[(r - first) * kLanes + q] + (places.adds[q] ? lane[r * d] : Real(0));
        }
    }
}

// ---- chunks: the rows of 16 / d blocks are transposed in registers ----

// Up to V::width / D rows between a tile and as many blocks of block_rows rows. The last register of a block holds
// fewer than `count` rows: neither side is touched beyond them, since what lies behind belongs to another block, plane,
// vector or worker.
template <class V, int D, bool Out, bool Whole, class Real, class BlockReal>
[[gnu::always_inline]] inline void copy_square(Real* tile, BlockReal* block, std::size_t rows, std::size_t block_rows) {
    constexpr std::size_t count = V::width / D, d = D;
    [[maybe_unused]] const auto present = V::first(Whole ? V::width : rows * d);
    typename V::Vec v[count];
    unroll<count>([&](auto i) __attribute__((always_inline)) {
        if constexpr (Out) {
            v[i] = Whole || i < rows ? V::load(tile + i * kLanes) : V::broadcast(0);
        } else {
            BlockReal* from = block + i * block_rows * d;
            v[i] = Whole ? V::load(from) : V::load_first(from, present);
        }
    });
    transpose_chunks<V, D, count>(v);
    unroll<count>([&](auto i) __attribute__((always_inline)) {
        if constexpr (Out) {
            BlockReal* to = block + i * block_rows * d;
            Whole ? V::store(to, v[i]) : V::store_first(to, v[i], present);
        } else if (Whole || i < rows) {
            V::store(tile + i * kLanes, v[i]);
        }
    });
}

// Copies `rows` rows between a tile and 16 / D blocks of block_rows rows, which start at `blocks`.
template <class V, int D, bool Out, class Real, class BlockReal>
void copy_chunks(Real* tile, BlockReal* blocks, std::size_t rows, std::size_t block_rows) {
    constexpr std::size_t width = V::width, d = D;
    for (std::size_t h = 0; h < kLanes; h += width) {
        BlockReal* block = blocks + h / d * block_rows * d + h % d;
        if constexpr (d >= width) {
            for (std::size_t r = 0; r < rows; ++r) {
                if constexpr (Out) {
                    V::store(block + r * d, V::load(tile + r * kLanes + h));
                } else {
                    V::store(tile + r * kLanes + h, V::load(block + r * d));
                }
            }
        } else {
            constexpr std::size_t count = width / d;
            std::size_t r = 0;
            for (; r + count <= rows; r += count)
                copy_square<V, D, Out, true>(tile + r * kLanes + h, block + r * d, count, block_rows);
            if (r < rows) copy_square<V, D, Out, false>(tile + r * kLanes + h, block + r * d, rows - r, block_rows);
        }
    }
}

template <class V, bool Out, class Real, class BlockReal>
void copy_chunks_of(std::size_t d, Real* tile, BlockReal* blocks, std::size_t rows, std::size_t block_rows) {
    if (d == 1) return copy_chunks<V, 1, Out>(tile, blocks, rows, block_rows);
    if (d == 2) return copy_chunks<V, 2, Out>(tile, blocks, rows, block_rows);
    if (d == 4) return copy_chunks<V, 4, Out>(tile, blocks, rows, block_rows);
    copy_chunks<V, 8, Out>(tile, blocks, rows, block_rows);
}

// ---- the rows of one tile ----

template <class V, std::size_t Planes, class Real = typename V::Real>
void clear_rows(const Rows<Real>& y, std::size_t rows) {
    for (std::size_t p = 0; p < Planes; ++p) {
        for (std::size_t r = 0; r < rows; ++r) {
            for (std::size_t h = 0; h < kLanes; h += V::width) V::store(at(y, 0, p, r) + h, V::broadcast(0));
        }
    }
}

// Rows one after the other.
template <class V, class Real>
void copy_lines(const Real* from, Real* to, std::size_t rows) {
    for (std::size_t at = 0; at < rows * kLanes; at += V::width) V::store(to + at, V::load(from + at));
}

// One side of a tile, x or y: its rows in one plane of the vectors.
struct Side {
    Placement placement;
    bool columns;
    std::size_t d, block_rows, start;
    TilePlaces places;

    Side(const TileFactor& f, std::size_t tile, bool of_columns)
        : placement(placement_of(f, tile)), columns(of_columns), d(f.d), block_rows(of_columns ? f.c : f.b) {
        const std::size_t lane = tile * kLanes;
        start = lane / d * block_rows * d + lane % d;
        if (placement == Placement::kAny) places = places_of(f, tile, of_columns);
    }

    // Copies rows `first` and on from a vector to lines of a tile, and back.
    template <class V, class Real>
    void read(const Real* x, Real* tile, std::size_t first, std::size_t rows) const {
        if (placement == Placement::kDirect) {
            for (std::size_t r = 0; r < rows; ++r) copy_line<V>(x + start + (first + r) * d, tile + r * kLanes);
        } else if (placement == Placement::kChunks) {
            copy_chunks_of<V, false>(d, tile, x + start + first * d, rows, block_rows);
        } else {
            gather_any(x, places, d, tile, first, rows);
        }
    }
    template <class V, class Real>
    void write(const Real* tile, Real* y, std::size_t first, std::size_t rows) const {
        if (placement == Placement::kDirect) {
            for (std::size_t r = 0; r < rows; ++r) copy_line<V>(tile + r * kLanes, y + start + (first + r) * d);
        } else if (placement == Placement::kChunks) {
            copy_chunks_of<V, true>(d, tile, y + start + first * d, rows, block_rows);
        } else {
            put_any(tile, places, d, y, first, rows);
        }
    }

private:
    template <class V, class Real>
    static void copy_line(const Real* from, Real* to) {
        for (std::size_t h = 0; h < kLanes; h += V::width) V::store(to + h, V::load(from + h));
    }
};

}  // namespace
