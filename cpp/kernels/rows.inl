// The rows of one tile: where they lie in the vectors, where the pivots are, and the copies in and out.
#pragma once

#include <cstring>

#include "kernels.hpp"

namespace {

using bitterfly::kLanes;
using bitterfly::Rows;
using bitterfly::TileFactor;

template <class Real>
Real* at(const Rows<Real>& x, std::size_t vector, std::size_t plane, std::size_t row) {
    return x.data + vector * x.vector + plane * x.plane + row * x.row;
}

template <class Real>
Rows<const Real> reading(const Rows<Real>& y) {
    return {y.data, y.row, y.plane, y.vector};
}

// Where the rows of the lanes of one tile lie in the vectors: lane q at start[q] + r*d, `rows[q]` of them.
struct TilePlaces {
    std::size_t start[kLanes], rows[kLanes];
};

TilePlaces places_of(const TileFactor& f, std::size_t tile, bool columns) {
    TilePlaces out;
    std::size_t lane = tile * kLanes, t = lane % f.d, i = lane / f.d / f.split, part = lane / f.d % f.split;
    for (std::size_t q = 0; q < kLanes; ++q, ++lane) {
        const std::size_t first = part * f.group_rows;
        const bool outside = lane >= f.lanes || (!columns && first >= f.b);
        const std::size_t left = columns ? f.c : f.b - (outside ? 0 : first);
        out.start[q] = i * (columns ? f.c : f.b) * f.d + (columns ? 0 : first * f.d) + t;
        out.rows[q] = outside ? 0 : columns ? f.c : left < f.group_rows ? left : f.group_rows;
        if (++t == f.d) t = 0, ++part;
        if (part == f.split) part = 0, ++i;
    }
    return out;
}

template <class Real>
void gather_rows(const Rows<const Real>& x, const TilePlaces& places, std::size_t d, const Rows<Real>& out,
                 std::size_t rows, std::size_t planes, std::size_t vectors) {
    for (std::size_t v = 0; v < vectors; ++v) {
        for (std::size_t p = 0; p < planes; ++p) {
            const Real* from = at(x, v, p, 0);
            for (std::size_t r = 0; r < rows; ++r) {
                for (std::size_t q = 0; q < kLanes; ++q) {
                    at(out, v, p, r)[q] = r < places.rows[q] ? from[places.start[q] + r * d] : Real(0);
                }
            }
        }
    }
}

template <class Real>
void add_rows(const Rows<const Real>& from, const TilePlaces& places, std::size_t d, const Rows<Real>& y,
              std::size_t rows, std::size_t planes, std::size_t vectors) {
    for (std::size_t v = 0; v < vectors; ++v) {
        for (std::size_t p = 0; p < planes; ++p) {
            Real* to = at(y, v, p, 0);
            for (std::size_t r = 0; r < rows; ++r) {
                for (std::size_t q = 0; q < kLanes; ++q) {
                    if (r < places.rows[q]) to[places.start[q] + r * d] += at(from, v, p, r)[q];
                }
            }
        }
    }
}

// Numbers one after the other: rows of kLanes, planes of `rows` rows.
template <class Real>
Rows<Real> tile_rows(Real* data, std::size_t rows, std::size_t planes) {
    return {data, kLanes, rows * kLanes, rows * planes * kLanes};
}

// Where row j of a group lies among [rows of I; rows of T], lane by lane.
class PivotScan {
public:
    PivotScan(const std::uint32_t* masks, std::size_t rank) : masks_(masks), of_i_{}, of_t_{} {
        for (std::size_t q = 0; q < kLanes; ++q) of_i_[q] = static_cast<std::int32_t>(q);
        of_t_ = of_i_ + static_cast<std::int32_t>(rank * kLanes);
    }
    // Writes kLanes places; call for j = 0, 1, ...
    void advance(std::size_t j, std::int32_t* place) {
        Lanes words;
        std::memcpy(&words, masks_ + j / 32 * kLanes, sizeof words);
        const Lanes pivot = -(words >> static_cast<int>(j % 32) & 1);  // all bits, or none
        const Lanes chosen = of_t_ ^ ((of_t_ ^ of_i_) & pivot);
        std::memcpy(place, &chosen, sizeof chosen);
        of_i_ += pivot & kStep, of_t_ += ~pivot & kStep;
    }

private:
    using Lanes [[gnu::vector_size(4 * kLanes)]] = std::int32_t;
    static constexpr std::int32_t kStep = kLanes;
    const std::uint32_t* masks_;
    Lanes of_i_, of_t_;
};

template <class Action>
void for_rows_in_place(const TileFactor& f, const std::uint32_t* masks, std::size_t planes, std::size_t vectors,
                       Action action) {
    PivotScan scan(masks, f.rank);
    for (std::size_t j = 0; j < f.b; ++j) {
        alignas(64) std::int32_t place[kLanes];
        scan.advance(j, place);
        for (std::size_t v = 0; v < vectors; ++v) {
            for (std::size_t p = 0; p < planes; ++p) action(v, p, j, place);
        }
    }
}

template <class Real>
void copy_rows(const Rows<const Real>& from, const Rows<Real>& to, std::size_t rows, std::size_t planes,
               std::size_t n) {
    for (std::size_t v = 0; v < n; ++v) {
        for (std::size_t p = 0; p < planes; ++p) {
            for (std::size_t r = 0; r < rows; ++r) {
                for (std::size_t q = 0; q < kLanes; ++q) at(to, v, p, r)[q] = at(from, v, p, r)[q];
            }
        }
    }
}

template <class Real>
void clear_rows(const Rows<Real>& y, std::size_t first, std::size_t last, std::size_t planes, std::size_t n) {
    for (std::size_t v = 0; v < n; ++v) {
        for (std::size_t p = 0; p < planes; ++p) {
            for (std::size_t r = first; r < last; ++r) {
                for (std::size_t q = 0; q < kLanes; ++q) at(y, v, p, r)[q] = 0;
            }
        }
    }
}

template <class Real>
Rows<Real> from_row(const Rows<Real>& x, std::size_t r) {
    return {x.data + r * x.row, x.row, x.plane, x.vector};
}

}  // namespace
