// Pairs of rows of a permuted matrix as planes of Real: pointers into the input where that is possible, else copies.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "buffer.hpp"
#include "kernels/splits/args.hpp"
#include "lanes.hpp"
#include "matrix.hpp"

namespace bitterfly {

// Rows as planes: the imaginary part of a row of n complex numbers stands behind its real part. Rows of a power of two
// numbers are kept off each other's cache sets.
inline std::size_t row_numbers(std::size_t n, bool is_complex) { return (is_complex ? 2 * n : n) + kLanes; }

// The matrix a[rows, columns], times `scale`; index arrays may be null.
struct Permuted {
    View a;
    const std::uint32_t *rows, *columns;
    double scale;

    bool is_complex() const { return a.im != nullptr; }
    // Whether the numbers of a column lie closer to each other than those of a row.
    bool by_columns() const { return std::abs(a.row_stride) < std::abs(a.column_stride); }
    std::ptrdiff_t row_offset(std::size_t i) const {
        return static_cast<std::ptrdiff_t>(rows != nullptr ? rows[i] : i) * a.row_stride;
    }
};

template <class Real>
class RowReader {
public:
    // Rows that are opened at a time: columns are read by cache lines.
    static std::size_t tile(const Permuted& matrix) {
        return matrix.by_columns() ? 2 * kAlignment / sizeof(Real) / (matrix.is_complex() ? 2 : 1) : 1;
    }

    explicit RowReader(const Permuted& matrix)
        : matrix_(matrix),
          stride_(row_numbers(matrix.a.columns, matrix.is_complex())),
          direct_(!matrix.is_complex() && matrix.columns == nullptr && matrix.scale == 1 &&
                  matrix.a.column_stride == static_cast<std::ptrdiff_t>(sizeof(Real))),
          copies_(make_aligned<Real>(direct_ ? 0 : 2 * tile(matrix) * stride_)) {}

    // Makes rows [first, first + count) and their partners `distance` further available; count <= tile().
    void open(std::size_t first, std::size_t count, std::size_t distance) {
        first_ = first, distance_ = distance, count_ = count;
        if (direct_) return;
        copy(first, copies_.get());
        copy(first + distance, copies_.get() + count * stride_);
    }
    RowPair<Real> pair(std::size_t t) const {
        const std::size_t n = matrix_.a.columns;
        if (direct_) return {direct(t), nullptr, direct(t + distance_), nullptr, n};
        const Real* upper = copies_.get() + (t - first_) * stride_;
        const Real* lower = upper + count_ * stride_;
        return {upper, matrix_.is_complex() ? upper + n : nullptr, lower, matrix_.is_complex() ? lower + n : nullptr,
                n};
    }

private:
    static constexpr std::size_t kAhead = 32;

    const Real* direct(std::size_t i) const {
        return reinterpret_cast<const Real*>(matrix_.a.re + matrix_.row_offset(i));
    }
    void copy(std::size_t first, Real* out) const {
        copy_plane(first, matrix_.a.re, out);
        if (matrix_.is_complex()) copy_plane(first, matrix_.a.im, out + matrix_.a.columns);
    }
    void copy_plane(std::size_t first, const char* plane, Real* out) const {
        const std::ptrdiff_t step = matrix_.a.column_stride;
        if (matrix_.by_columns()) return copy_columns(first, plane, out);
        for (std::size_t r = 0; r < count_; ++r, out += stride_) {
            const char* row = plane + matrix_.row_offset(first + r);
            if (matrix_.columns != nullptr) {
                copy_row([=, this](std::size_t c) { return matrix_.columns[c] * step; }, row, out);
            } else if (step == 2 * sizeof(Real)) {  // interleaved: with a stride that is known, in registers
                copy_row([](std::size_t c) { return static_cast<std::ptrdiff_t>(c * 2 * sizeof(Real)); }, row, out);
            } else {
                copy_row([=](std::size_t c) { return static_cast<std::ptrdiff_t>(c) * step; }, row, out);
            }
        }
    }
    template <class Offset>
    void copy_row(Offset offset, const char* row, Real* out) const {
        const auto scale = static_cast<Real>(matrix_.scale);
        for (std::size_t c = 0; c < matrix_.a.columns; ++c) {
            out[c] = *reinterpret_cast<const Real*>(row + offset(c)) * scale;
        }
    }
    void copy_columns(std::size_t first, const char* plane, Real* out) const {
        const auto scale = static_cast<Real>(matrix_.scale);
        const std::size_t n = matrix_.a.columns;
        const auto column = [&](std::size_t c) {
            const std::size_t source = matrix_.columns != nullptr ? matrix_.columns[c] : c;
            return plane + static_cast<std::ptrdiff_t>(source) * matrix_.a.column_stride;
        };
        for (std::size_t c = 0; c < n; ++c) {
            // One line of each column: too far apart for the prefetcher of the machine.
            __builtin_prefetch(column(std::min(c + kAhead, n - 1)) + matrix_.row_offset(first));
            const char* from = column(c);
            for (std::size_t r = 0; r < count_; ++r) {
                out[r * stride_ + c] = *reinterpret_cast<const Real*>(from + matrix_.row_offset(first + r)) * scale;
            }
        }
    }

    Permuted matrix_;
    std::size_t stride_;
    bool direct_;
    AlignedArray<Real> copies_;
    std::size_t first_ = 0, distance_ = 0, count_ = 0;
};

}  // namespace bitterfly
