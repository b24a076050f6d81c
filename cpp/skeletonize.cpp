// Row skeletons by column-pivoted QR of the transposed matrices.
#include "skeletonize.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>
#include <vector>

#include "parallel.hpp"

namespace bitterfly {
namespace {

template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
using Eigen::Index;

constexpr std::size_t kPart = 8;  // matrices that one worker takes at a time

std::size_t at(Index j) { return static_cast<std::size_t>(j); }

// Calls action(scalar) with the number type of the data.
template <class Real, class Action>
auto by_number(bool is_complex, Action action) {
    return is_complex ? action(std::complex<Real>{}) : action(Real{});
}

// The exponent of the largest number, 0 if there is none: 2^-exponent brings it near one.
template <class Number>
int exponent_of(const Number* x, std::size_t size) {
    Number largest = 0;
    for (std::size_t i = 0; i < size; ++i) largest = std::max(largest, std::abs(x[i]));
    int exponent = 0;
    std::frexp(largest, &exponent);
    return exponent;
}

// The pivoted QR of one b x s matrix, transposed and brought near one by a power of two; step by step (Golub and Van
// Loan 5.4). Squared norms are updated, and taken anew where half of their digits are gone.
template <class Scalar>
class PivotedRows {
    using Number = typename Eigen::NumTraits<Scalar>::Real;

public:
    PivotedRows(std::size_t b, std::size_t s)
        : x_(static_cast<Index>(s), static_cast<Index>(b)), order_(b), squares_(b), known_(b), work_(b) {}

    void load(const Scalar* x) {
        const auto* numbers = reinterpret_cast<const Number*>(x);
        const std::size_t size = at(x_.size()) * (sizeof(Scalar) / sizeof(Number));
        exponent_ = exponent_of(numbers, size);
        const Number half = std::ldexp(Number(1), -exponent_ / 2);  // 2^-exponent may itself leave the range
        const Number rest = std::ldexp(Number(1), -exponent_ - -exponent_ / 2);
        auto* out = reinterpret_cast<Number*>(x_.data());  // row-major b x s, read as s x b
        for (std::size_t i = 0; i < size; ++i) out[i] = numbers[i] * half * rest;
        std::iota(order_.begin(), order_.end(), std::size_t{0});
        for (Index j = 0; j < x_.cols(); ++j) squares_[at(j)] = known_[at(j)] = x_.col(j).squaredNorm();
        steps_ = 0;
    }
    // Chooses the row with the most left. False where all numbers are used.
    bool step() { return step(std::max_element(squares_.begin() + steps_, squares_.end()) - squares_.begin()); }
    // Chooses the row at this place of the order.
    bool step(Index next) {
        if (steps_ >= std::min(x_.rows(), x_.cols())) return false;
        const Index k = steps_++, below = x_.rows() - k - 1, others = x_.cols() - k - 1;
        if (next != k) {
            x_.col(k).swap(x_.col(next));
            std::swap(order_[at(k)], order_[at(next)]);
            std::swap(squares_[at(k)], squares_[at(next)]);
            std::swap(known_[at(k)], known_[at(next)]);
        }
        Scalar tau;
        Number beta;
        x_.col(k).tail(below + 1).makeHouseholderInPlace(tau, beta);
        x_(k, k) = beta;
        x_.bottomRightCorner(below + 1, others).applyHouseholderOnTheLeft(x_.col(k).tail(below), tau, work_.data());
        x_.col(k).tail(below).setZero();
        for (Index j = k + 1; j < x_.cols(); ++j) {
            squares_[at(j)] -= Eigen::numext::abs2(x_(k, j));
            if (squares_[at(j)] > kLost * known_[at(j)]) continue;
            squares_[at(j)] = known_[at(j)] = x_.col(j).tail(below).squaredNorm();
        }
        return true;
    }
    // The energy that the rows chosen so far leave, times 4^-exponent().
    double left() const { return std::accumulate(squares_.begin() + steps_, squares_.end(), 0.0); }
    int exponent() const { return exponent_; }
    // Column j: how the row at place rank + j of the pivot order follows from the first `rank` ones; zero rows of R11
    // (rank-deficient blocks) count for nothing.
    Matrix<Scalar> combinations(Index rank) {
        Matrix<Scalar> t = Matrix<Scalar>::Zero(rank, x_.cols() - rank);
        Index regular = 0;
        while (regular < steps_ && std::abs(x_(regular, regular)) > kSmallest * std::abs(x_(0, 0))) ++regular;
        if (regular == 0 || t.cols() == 0) return t;
        t.topRows(regular) = x_.block(0, rank, regular, t.cols());
        x_.topLeftCorner(regular, regular).template triangularView<Eigen::Upper>().solveInPlace(t.topRows(regular));
        if (exchange(t) && regular == rank) t = x_.leftCols(rank).householderQr().solve(x_.rightCols(t.cols()));
        return t;
    }
    std::size_t row(std::size_t k) const { return order_[k]; }

private:
    // Exchanges pivot rows with others until no combination exceeds kLargest, which spans the same space (strong
    // pivoting, Gu and Eisenstat, SIAM J. Sci. Comput. 17, 1996): each exchange enlarges the volume of the pivots by
    // that factor. What the pivots leave is passed on; the combinations are to be fitted anew. False where none was.
    bool exchange(Matrix<Scalar>& t) {
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
            std::swap(order_[at(k)], order_[at(t.rows() + o)]);
            x_.col(k).swap(x_.col(t.rows() + o));
        }
        return true;
    }

    static constexpr Number kLargest = Number(1.25);
    static constexpr Number kSmallest = 4 * std::numeric_limits<Number>::epsilon();
    static constexpr Number kLost = sizeof(Number) == 4 ? Number(3e-4) : Number(1e-8);  // sqrt(eps)
    Matrix<Scalar> x_;
    std::vector<std::size_t> order_;
    std::vector<Number> squares_, known_;  // of the columns, below the steps taken: updated, and last computed
    std::vector<Scalar> work_;
    Index steps_ = 0;
    int exponent_ = 0;
};

// Writes the pivot flags and the combinations with rows and columns in the order of the matrix.
template <class Scalar>
void put(PivotedRows<Scalar>& rows, std::size_t b, std::size_t rank, std::uint8_t* pivots, Scalar* t) {
    const Matrix<Scalar> sums = rows.combinations(static_cast<Index>(rank));
    std::vector<std::size_t> place(b);  // of row j among the pivots, or among the others
    std::fill_n(pivots, b, std::uint8_t{0});
    for (std::size_t k = 0; k < rank; ++k) pivots[rows.row(k)] = 1;
    std::size_t seen[2] = {0, 0};
    for (std::size_t j = 0; j < b; ++j) place[j] = seen[pivots[j]]++;
    for (std::size_t o = 0; o < b - rank; ++o) {
        Scalar* out = t + place[rows.row(rank + o)] * rank;
        for (std::size_t k = 0; k < rank; ++k) {
            out[place[rows.row(k)]] = sums(static_cast<Index>(k), static_cast<Index>(o));
        }
    }
}

}  // namespace

template <class Real>
void pivot_tails(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, double enough,
                 double* tails, std::size_t workers) {
    const std::size_t size = b * s * (is_complex ? 2 : 1);
    const int exponent = exponent_of(x, count * size);
    by_number<Real>(is_complex, [&](auto zero) {
        using Scalar = decltype(zero);
        parallel_ranges(count, kPart, workers, [&](std::size_t first, std::size_t end) {
            PivotedRows<Scalar> rows(b, s);
            for (std::size_t q = first; q < end; ++q) {
                rows.load(reinterpret_cast<const Scalar*>(x + q * size));
                double* tail = tails + q * (b + 1);
                const double total = rows.left();
                const auto relative = [&] { return std::ldexp(rows.left(), 2 * (rows.exponent() - exponent)); };
                *tail = relative();
                for (std::size_t k = 1; k <= b; ++k) {
                    const bool more = rows.left() > enough * total && rows.step();
                    tail[k] = more ? relative() : tail[k - 1];
                }
            }
        });
    });
}

template <class Real>
void pivot_rows(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, std::size_t rank,
                std::uint8_t* pivots, std::size_t workers) {
    by_number<Real>(is_complex, [&](auto zero) {
        using Scalar = decltype(zero);
        parallel_ranges(count, 1, workers, [&](std::size_t first, std::size_t end) {
            PivotedRows<Scalar> rows(b, s);
            for (std::size_t q = first; q < end; ++q) {
                rows.load(reinterpret_cast<const Scalar*>(x) + q * b * s);
                std::uint8_t* chosen = pivots + q * b;
                const double nothing =
                    std::pow(64 * std::numeric_limits<Real>::epsilon(), 2) * rows.left();  // rounding
                std::size_t k = 0;
                for (std::size_t j = 0; j < b; ++j) {
                    if (chosen[j] == 0) continue;
                    std::size_t place = k;
                    while (rows.row(place) != j) ++place;
                    k += rows.step(static_cast<Index>(place)) ? 1 : 0;
                }
                for (; k < rank && rows.left() > nothing && rows.step(); ++k) chosen[rows.row(k)] = 1;
            }
        });
    });
}

template <class Real>
double skeletonize(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, std::size_t rank,
                   std::uint8_t* pivots, Real* t, std::size_t workers) {
    return by_number<Real>(is_complex, [&](auto zero) {
        using Scalar = decltype(zero);
        return parallel_sum(count, kPart, workers, [&](std::size_t first, std::size_t end) {
            PivotedRows<Scalar> rows(b, s);
            double left = 0;
            for (std::size_t q = first; q < end; ++q) {
                rows.load(reinterpret_cast<const Scalar*>(x) + q * b * s);
                for (std::size_t k = 0; k < rank && rows.step(); ++k) {
                }
                left += std::ldexp(rows.left(), 2 * rows.exponent());
                put(rows, b, rank, pivots + q * b, reinterpret_cast<Scalar*>(t) + q * (b - rank) * rank);
            }
            return left;
        });
    });
}

#define BITTERFLY_INSTANTIATE(Real)                                                                            \
    template void pivot_tails<Real>(const Real*, std::size_t, std::size_t, std::size_t, bool, double, double*, \
                                    std::size_t);                                                              \
    template void pivot_rows<Real>(const Real*, std::size_t, std::size_t, std::size_t, bool, std::size_t,      \
                                   std::uint8_t*, std::size_t);                                                \
    template double skeletonize<Real>(const Real*, std::size_t, std::size_t, std::size_t, bool, std::size_t,   \
                                      std::uint8_t*, Real*, std::size_t);
BITTERFLY_INSTANTIATE(float)
BITTERFLY_INSTANTIATE(double)
#undef BITTERFLY_INSTANTIATE

}  // namespace bitterfly
