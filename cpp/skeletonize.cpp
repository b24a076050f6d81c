// Row skeletons by column-pivoted QR of the transposed matrices.
#include "skeletonize.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <complex>
#include <numeric>
#include <type_traits>
#include <vector>

#include "parallel.hpp"

namespace bitterfly {
namespace {

template <class Scalar>
using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;

// Calls action(scalar) with the number type of the data.
template <class Real, class Action>
auto by_number(bool is_complex, Action action) {
    return is_complex ? action(std::complex<Real>{}) : action(Real{});
}

// The pivoted QR of one b x s matrix, transposed.
template <class Scalar>
class PivotedRows {
public:
    PivotedRows(std::size_t b, std::size_t s) : qr_(static_cast<Eigen::Index>(s), static_cast<Eigen::Index>(b)) {}

    void compute(const Scalar* x) {
        qr_.compute(Eigen::Map<const Matrix<Scalar>>(x, qr_.rows(), qr_.cols()));  // row-major b x s, read as s x b
    }
    // Energy of the rows of R from row k on.
    double tail(Eigen::Index k) const {
        double sum = 0;
        for (Eigen::Index i = k; i < std::min(qr_.rows(), qr_.cols()); ++i) {
            sum += qr_.matrixQR().row(i).tail(qr_.cols() - i).template cast<Wide>().squaredNorm();
        }
        return sum;
    }
    Eigen::Index row(Eigen::Index k) const { return qr_.colsPermutation().indices()(k); }
    // Column j: how the row at place rank + j of the pivot order follows from the first `rank` ones; zero rows of R11
    // (rank-deficient blocks) count for nothing.
    Matrix<Scalar> combinations(Eigen::Index rank) const {
        const Eigen::Index others = qr_.cols() - rank;
        Matrix<Scalar> t = Matrix<Scalar>::Zero(rank, others);
        Eigen::Index regular = 0;
        const Eigen::Index most = std::min(rank, qr_.rows());
        const auto largest = std::abs(qr_.matrixQR()(0, 0));
        while (regular < most && std::abs(qr_.matrixQR()(regular, regular)) > kSmallest * largest) ++regular;
        if (regular == 0 || others == 0) return t;
        t.topRows(regular) = qr_.matrixQR().block(0, rank, regular, others);
        qr_.matrixQR()
            .topLeftCorner(regular, regular)
            .template triangularView<Eigen::Upper>()
            .solveInPlace(t.topRows(regular));
        return t;
    }

private:
    using Number = typename Eigen::NumTraits<Scalar>::Real;
    using Wide = std::conditional_t<Eigen::NumTraits<Scalar>::IsComplex, std::complex<double>, double>;
    static constexpr Number kSmallest = 4 * std::numeric_limits<Number>::epsilon();
    Eigen::ColPivHouseholderQR<Matrix<Scalar>> qr_;
};

// Exchanges pivot rows with others until no combination exceeds kLargest, which spans the same space (strong pivoting,
// Gu and Eisenstat, SIAM J. Sci. Comput. 17, 1996): each exchange enlarges the volume of the pivots by that factor.
constexpr double kLargest = 1.25;

template <class Scalar>
void exchange(std::vector<std::size_t>& order, Matrix<Scalar>& t) {
    if (t.size() == 0) return;
    for (Eigen::Index trial = 0; trial < 4 * t.rows() + 8; ++trial) {
        Eigen::Index k, o;
        if (!(t.cwiseAbs2().maxCoeff(&k, &o) > kLargest * kLargest)) return;
        const Scalar p = t(k, o);
        const Eigen::Matrix<Scalar, 1, Eigen::Dynamic> row = t.row(k) / p;
        const Eigen::Matrix<Scalar, Eigen::Dynamic, 1> column = t.col(o);
        t -= column * row;
        t.row(k) = row;
        t.col(o) = -column / p;
        t(k, o) = Scalar(1) / p;
        std::swap(order[static_cast<std::size_t>(k)], order[static_cast<std::size_t>(t.rows() + o)]);
    }
}

// Writes the pivot flags and the combinations with rows and columns in the order of the matrix.
template <class Scalar>
void put(const PivotedRows<Scalar>& rows, std::size_t b, std::size_t rank, std::uint8_t* pivots, Scalar* t) {
    std::vector<std::size_t> order(b);
    for (std::size_t k = 0; k < b; ++k) order[k] = static_cast<std::size_t>(rows.row(static_cast<Eigen::Index>(k)));
    Matrix<Scalar> sums = rows.combinations(static_cast<Eigen::Index>(rank));
    exchange(order, sums);
    std::vector<std::size_t> place(b);  // of row j among the pivots, or among the others
    std::fill_n(pivots, b, std::uint8_t{0});
    for (std::size_t k = 0; k < rank; ++k) pivots[order[k]] = 1;
    std::size_t seen[2] = {0, 0};
    for (std::size_t j = 0; j < b; ++j) place[j] = seen[pivots[j]]++;
    for (std::size_t o = 0; o < b - rank; ++o) {
        Scalar* out = t + place[order[rank + o]] * rank;
        for (std::size_t k = 0; k < rank; ++k) {
            out[place[order[k]]] = sums(static_cast<Eigen::Index>(k), static_cast<Eigen::Index>(o));
        }
    }
}

}  // namespace

template <class Real>
void pivot_tails(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, double* tails) {
    by_number<Real>(is_complex, [&](auto zero) {
        using Scalar = decltype(zero);
        PivotedRows<Scalar> rows(b, s);
        for (std::size_t q = 0; q < count; ++q) {
            rows.compute(reinterpret_cast<const Scalar*>(x) + q * b * s);
            for (std::size_t k = 0; k <= b; ++k) tails[q * (b + 1) + k] = rows.tail(static_cast<Eigen::Index>(k));
        }
    });
}

template <class Real>
double skeletonize(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, std::size_t rank,
                   std::uint8_t* pivots, Real* t, std::size_t workers) {
    constexpr std::size_t kPart = 8;  // matrices that one worker takes at a time
    return by_number<Real>(is_complex, [&](auto zero) {
        using Scalar = decltype(zero);
        return parallel_sum(count, kPart, workers, [&](std::size_t first, std::size_t end) {
            PivotedRows<Scalar> rows(b, s);
            double left = 0;
            for (std::size_t q = first; q < end; ++q) {
                rows.compute(reinterpret_cast<const Scalar*>(x) + q * b * s);
                left += rows.tail(static_cast<Eigen::Index>(rank));
                put(rows, b, rank, pivots + q * b, reinterpret_cast<Scalar*>(t) + q * (b - rank) * rank);
            }
            return left;
        });
    });
}

#define BITTERFLY_INSTANTIATE(Real)                                                                          \
    template void pivot_tails<Real>(const Real*, std::size_t, std::size_t, std::size_t, bool, double*);      \
    template double skeletonize<Real>(const Real*, std::size_t, std::size_t, std::size_t, bool, std::size_t, \
                                      std::uint8_t*, Real*, std::size_t);
BITTERFLY_INSTANTIATE(float)
BITTERFLY_INSTANTIATE(double)
#undef BITTERFLY_INSTANTIATE

}  // namespace bitterfly
