// Row skeletons by column-pivoted QR of the transposed matrices.
#include "factorization/skeletonize.hpp"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <vector>

#include "factorization/pivoted_rows.hpp"
#include "parallel.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kPart = 8;  // matrices that one worker takes at a time

// Calls action(scalar) with the number type of the data.
template <class Real, class Action>
auto by_number(bool is_complex, Action action) {
    return is_complex ? action(std::complex<Real>{}) : action(Real{});
}

// Writes the pivot flags and the combinations with rows and columns in the order of the matrix.
template <class Scalar>
void put(PivotedRows<Scalar>& rows, std::size_t b, std::size_t rank, std::uint8_t* pivots, Scalar* t) {
    const auto sums = rows.combinations(rank);
    std::vector<std::size_t> place(b);  // of row j among the pivots, or among the others
    std::fill_n(pivots, b, std::uint8_t{0});
    for (std::size_t k = 0; k < rank; ++k) pivots[rows.row(k)] = 1;
    std::size_t seen[2] = {0, 0};
    for (std::size_t j = 0; j < b; ++j) place[j] = seen[pivots[j]]++;
    for (std::size_t o = 0; o < b - rank; ++o) {
        Scalar* out = t + place[rows.row(rank + o)] * rank;
        for (std::size_t k = 0; k < rank; ++k) {
            out[place[rows.row(k)]] = sums(static_cast<Eigen::Index>(k), static_cast<Eigen::Index>(o));
        }
    }
}

}  // namespace

template <class Real>
void pivot_tails(const Real* x, std::size_t count, std::size_t b, std::size_t s, bool is_complex, double enough,
                 bool of_any, double* tails, std::size_t workers) {
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
                const auto unit = [&](int of_numbers) { return 2 * (of_numbers - exponent); };
                const auto put = [&](std::size_t k) { tail[k] = std::ldexp(rows.left(), unit(rows.exponent())); };
                for (put(0); rows.left() > enough * total && rows.step();) put(rows.steps());
                std::fill(tail + rows.steps(), tail + b + 1, tail[rows.steps()]);
                if (!of_any) continue;
                PivotedRows<Scalar> again(rows.steps(), b);
                again.load(rows.triangle());
                for (std::size_t k = 0; k < rows.steps(); ++k, again.step()) {
                    tail[k] = tail[b] + std::ldexp(again.left(), unit(rows.exponent() + again.exponent()));
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
                    k += rows.step(place) ? 1 : 0;
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

#define BITTERFLY_INSTANTIATE(Real)                                                                                  \
    template void pivot_tails<Real>(const Real*, std::size_t, std::size_t, std::size_t, bool, double, bool, double*, \
                                    std::size_t);                                                                    \
    template void pivot_rows<Real>(const Real*, std::size_t, std::size_t, std::size_t, bool, std::size_t,            \
                                   std::uint8_t*, std::size_t);                                                      \
    template double skeletonize<Real>(const Real*, std::size_t, std::size_t, std::size_t, bool, std::size_t,         \
                                      std::uint8_t*, Real*, std::size_t);
BITTERFLY_INSTANTIATE(float)
BITTERFLY_INSTANTIATE(double)
#undef BITTERFLY_INSTANTIATE

}  // namespace bitterfly
