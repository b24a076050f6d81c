// The pivoted QR of the rows of a small matrix, step by step.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "kernels/kernels.hpp"

namespace bitterfly {

// The exponent of the largest number, 0 if there is none: 2^-exponent brings it near one.
template <class Number>
int exponent_of(const Number* x, std::size_t size) {
    Number largest = 0;
    for (std::size_t i = 0; i < size; ++i) largest = std::max(largest, std::abs(x[i]));
    int exponent = 0;
    std::frexp(largest, &exponent);
    return exponent;
}

// The pivoted QR of one b x s matrix, transposed and brought near one by a power of two (Golub and Van Loan 5.4). Each
// step takes the last of the numbers that the columns still have: what is left of them always begins at an aligned
// address, and its squared norms are summed anew with every step.
template <class Scalar>
class PivotedRows {
    using Number = typename Eigen::NumTraits<Scalar>::Real;
    using Index = Eigen::Index;
    static constexpr std::size_t planes = sizeof(Scalar) / sizeof(Number);

public:
    using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;

    PivotedRows(std::size_t b, std::size_t s)
        : b_(b),
          s_(s),
          plane_((s + kLanes - 1) / kLanes * kLanes),
          x_(make_aligned<Number>(b * column())),
          r_(std::min(b, s) * b),
          order_(b),
          squares_(b) {
        std::fill_n(x_.get(), b * column(), Number(0));
    }

    // Row-major; read again by combinations().
    void load(const Scalar* x) {
        source_ = x;
        const auto* numbers = reinterpret_cast<const Number*>(x);
        exponent_ = exponent_of(numbers, b_ * s_ * planes);
        const Number half = std::ldexp(Number(1), -exponent_ / 2);  // 2^-exponent may itself leave the range
        const Number rest = std::ldexp(Number(1), -exponent_ - -exponent_ / 2);
        for (std::size_t j = 0; j < b_; ++j, numbers += s_ * planes) {
            double square = 0;
            for (std::size_t p = 0; p < planes; ++p) {
                Number* out = column(j) + p * plane_;
                for (std::size_t i = 0; i < s_; ++i) {
                    out[i] = numbers[i * planes + p] * half * rest;
                    square += static_cast<double>(out[i]) * static_cast<double>(out[i]);
                }
            }
            squares_[j] = static_cast<Number>(square);
        }
        std::iota(order_.begin(), order_.end(), std::size_t{0});
        steps_ = 0;
    }
    // Chooses the row with the most left. False where all numbers are used.
    bool step() {
        const auto first = squares_.begin() + static_cast<std::ptrdiff_t>(steps_);
        return step(static_cast<std::size_t>(std::max_element(first, squares_.end()) - squares_.begin()));
    }
    // Chooses the row at this place of the order.
    bool step(std::size_t next) {
        if (steps_ >= std::min(s_, b_)) return false;
        const std::size_t k = steps_++, rows = s_ - k, others = b_ - k - 1;
        if (next != k) exchange_rows(k, next, rows);
        Number* v = column(k);
        const auto [beta, tau] = make_reflector(v, rows - 1, std::sqrt(squares_[k]));
        r_[k * b_ + k] = beta;
        auto* last = reinterpret_cast<Number*>(&r_[k * b_ + k] + 1);
        if (others > 0) {
            kernels().of<Number>().reflect(
                {v, column(k + 1), plane_, planes, others, rows, tau, last, &squares_[k] + 1});
        }
        return true;
    }
    // The energy that the rows chosen so far leave, times 4^-exponent().
    double left() const {
        return std::accumulate(squares_.begin() + static_cast<std::ptrdiff_t>(steps_), squares_.end(), 0.0);
    }
    int exponent() const { return exponent_; }
    std::size_t steps() const { return steps_; }
    // R, times 2^-exponent(): a row of b numbers for each step.
    const Scalar* triangle() const { return r_.data(); }
    // Column j: how the row at place rank + j of the pivot order follows from the first `rank` ones, as many as there
    // were steps at most; those without a number on the diagonal of R (rank-deficient blocks) count for nothing.
    Matrix combinations(std::size_t rank) {
        const std::size_t regular = std::min(rank, regular_steps());
        Matrix t = solved(rank, regular);
        if (!exchange(t) || regular < rank) return t;
        const std::vector<std::size_t> chosen(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(rank));
        load(source_);
        for (const std::size_t row : chosen) {
            step(static_cast<std::size_t>(std::find(order_.begin(), order_.end(), row) - order_.begin()));
        }
        return solved(rank, rank);
    }
    std::size_t row(std::size_t k) const { return order_[k]; }

private:
    std::size_t column() const { return planes * plane_; }
    Number* column(std::size_t j) { return x_.get() + j * column(); }
    const Scalar& r(std::size_t i, std::size_t j) const { return r_[i * b_ + j]; }

    void exchange_rows(std::size_t k, std::size_t next, std::size_t rows) {
        for (std::size_t p = 0; p < planes; ++p) {
            std::swap_ranges(column(k) + p * plane_, column(k) + p * plane_ + rows, column(next) + p * plane_);
        }
        for (std::size_t i = 0; i < k; ++i) std::swap(r_[i * b_ + k], r_[i * b_ + next]);
        std::swap(order_[k], order_[next]);
        std::swap(squares_[k], squares_[next]);
    }
    // Turns x into v, with which 1 - tau v v^H takes x to beta times the last unit vector.
    std::pair<Scalar, Number> make_reflector(Number* x, std::size_t last, Number norm) const {
        Scalar alpha;
        if constexpr (planes == 2) {
            alpha = {x[last], x[plane_ + last]};
        } else {
            alpha = x[last];
        }
        if (norm == Number(0)) return {alpha, Number(0)};
        const Number size = std::abs(alpha) / norm;
        const Scalar sign = alpha == Scalar(0) ? Scalar(1) : alpha / std::abs(alpha);
        for (std::size_t p = 0; p < planes; ++p) {
            for (std::size_t i = 0; i < last; ++i) x[p * plane_ + i] /= norm;
        }
        const Scalar v = sign * (size + 1);
        x[last] = std::real(v);
        if constexpr (planes == 2) x[plane_ + last] = std::imag(v);
        return {-sign * norm, 1 / (1 + size)};
    }
    // Steps before the first that found nothing but rounding.
    std::size_t regular_steps() const {
        std::size_t k = 0;
        while (k < steps_ && std::abs(r(k, k)) > kSmallest * std::abs(r(0, 0))) ++k;
        return k;
    }
    // The combinations of the first `regular` rows, in `rank` rows.
    Matrix solved(std::size_t rank, std::size_t regular) const {
        Matrix t = Matrix::Zero(static_cast<Index>(rank), static_cast<Index>(b_ - rank));
        if (regular == 0 || rank == b_) return t;
        const Eigen::Map<const Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> r(
            r_.data(), static_cast<Index>(steps_), static_cast<Index>(b_));
        const auto top = static_cast<Index>(regular);
        const Matrix corner = r.topLeftCorner(top, top);
        t.topRows(top) = r.block(0, static_cast<Index>(rank), top, t.cols());
        corner.template triangularView<Eigen::Upper>().solveInPlace(t.topRows(top));
        return t;
    }
    // Exchanges pivot rows with others until no combination exceeds kLargest, which spans the same space (strong
    // pivoting, Gu and Eisenstat, SIAM J. Sci. Comput. 17, 1996): each exchange enlarges the volume of the pivots by
    // that factor. The combinations are to be fitted anew. False where none was.
    bool exchange(Matrix& t) {
        for (Index trial = 0; trial < 4 * t.rows() + 8; ++trial) {
            Index k, o;
            if (!(t.cwiseAbs2().maxCoeff(&k, &o) > kLargest * kLargest)) return trial > 0;
            const Scalar p = t(k, o);
            const Eigen::Matrix<Scalar, 1, Eigen::Dynamic> row = t.row(k) / p;
            const Eigen::Matrix<Scalar, Eigen::Dynamic, 1> column = t.col(o);
            t.noalias() -= column * row;
            t.row(k) = row;
            t.col(o) = -column / p;
            t(k, o) = Scalar(1) / p;
            std::swap(order_[static_cast<std::size_t>(k)], order_[static_cast<std::size_t>(t.rows() + o)]);
        }
        return true;
    }

    static constexpr Number kLargest = Number(1.25);
    static constexpr Number kSmallest = 4 * std::numeric_limits<Number>::epsilon();
    std::size_t b_, s_, plane_;
    const Scalar* source_ = nullptr;
    AlignedArray<Number> x_;  // columns of s numbers, real parts, then imaginary ones
    std::vector<Scalar> r_;   // rows of b numbers, one a step; nothing left of the diagonal
    std::vector<std::size_t> order_;
    std::vector<Number> squares_;  // of what is left of the columns
    std::size_t steps_ = 0;
    int exponent_ = 0;
};

}  // namespace bitterfly
