// The search for the best rounded rank-one matrix, real and complex.
#include "short_floats/rank_one/rank_one.hpp"

#include <algorithm>
#include <limits>

#include "require.hpp"
#include "short_floats/rank_one/candidates.hpp"

namespace bitterfly {
namespace {

using Complex = std::complex<double>;

double square(double x) { return x * x; }
double square(Complex z) { return std::norm(z); }
double largest_part(double x) { return std::fabs(x); }
double largest_part(Complex z) { return std::max(std::fabs(z.real()), std::fabs(z.imag())); }

// Multiplies by the power of two that brings the largest part to [1, 2); false for a zero vector.
template <class T>
bool normalize(T* x, std::size_t size) {
    double largest = 0;
    for (std::size_t i = 0; i < size; ++i) largest = std::max(largest, largest_part(x[i]));
    if (largest == 0) return false;
    const double factor = 1 / power_below(largest);
    for (std::size_t i = 0; i < size; ++i) x[i] *= factor;
    return true;
}

template <class T>
std::vector<T> normalized(const Weighted<T>& x) {
    std::vector<T> out(x.at, x.at + x.size);
    for (std::size_t i = 0; i < x.size; ++i) {
        if (x.weight[i] == 0) out[i] = 0;
    }
    normalize(out.data(), out.size());
    return out;
}

// |x - mu q|^2 and |q|^2 for a candidate q.
template <class T>
struct Fit {
    double missed, norm;
    T mu;

    Fit(const Weighted<T>& x, const T* q) : missed(0), norm(0), mu(0) {
        for (std::size_t i = 0; i < x.size; ++i) {
            norm += x.weight[i] * square(q[i]);
            mu += x.weight[i] * times(conjugate(q[i]), x.at[i]);
        }
        if (norm == 0) return;
        mu /= norm;
        if (x.size == 2) {  // the area between the two: no cancellation, and no second pass
            missed = x.weight[0] * x.weight[1] * square(times(x.at[0], q[1]) - times(x.at[1], q[0])) / norm;
            return;
        }
        for (std::size_t i = 0; i < x.size; ++i) missed += x.weight[i] * square(x.at[i] - times(mu, q[i]));
    }
};

int short_bits(int bits) {
    require(bits >= 1 && bits <= 24, "significand: expected 1 to 24 bits");
    return bits;
}

}  // namespace

template <>
RankOne<double>::RankOne(int x_bits, int y_bits, int depth)
    : x_bits_(short_bits(x_bits)), y_bits_(short_bits(y_bits)), depth_(depth), candidates_(x_bits_, y_bits_) {}

template <>
RankOne<Complex>::RankOne(int x_bits, int y_bits, int depth)
    : x_bits_(short_bits(x_bits)), y_bits_(short_bits(y_bits)), depth_(depth), candidates_(x_bits_, y_bits_, depth) {}

template <>
double RankOne<double>::search(const Weighted<double>& x, const Weighted<double>& y, double* x_out, double bound) {
    candidates_.best(x, {y.at, y.weight, y.size, energy(y)}, x_out, bound);
    return bound;
}

template <>
double RankOne<Complex>::search(const Weighted<Complex>& x, const Weighted<Complex>& y, Complex* x_out, double bound) {
    candidates_.best(x, y, x_out, bound);
    return bound;
}

template <>
double RankOne<double>::search_direction(const Weighted<double>& x, double* x_out) const {
    double error = std::numeric_limits<double>::infinity();
    candidates_.best(x, {nullptr, nullptr, 0, 1}, x_out, error);
    return error;
}

template <>
double RankOne<Complex>::search_direction(const Weighted<Complex>& x, Complex* x_out) const {
    double least = std::numeric_limits<double>::infinity();
    candidates_.direction(x, x_out, least);
    return least;
}

template <class T>
double RankOne<T>::both(const Weighted<T>& x, const Weighted<T>& y, T* x_out, T* y_out, double bound) {
    const double whole = energy(x) * energy(y);
    if (!(whole > 0)) {
        std::fill_n(x_out, x.size, T(0));
        std::fill_n(y_out, y.size, T(0));
        return 0;
    }
    if (x.size == 2) {
        const double least = search(x, y, x_out, bound);
        if (least >= bound) return std::numeric_limits<double>::infinity();
        finish(x, y, x_out, y_out);
        return least;
    }
    const std::vector<T> from = normalized(x), to = normalized(y);
    const Weighted<T> u{from.data(), x.weight, x.size}, v{to.data(), y.weight, y.size};
    const double limit = bound / whole * energy(u) * energy(v);
    double least = std::numeric_limits<double>::infinity();
    if (search(u, v, x_out, limit) < limit) {
        finish(x, y, x_out, y_out);
        least = error_of(x, y, x_out, y_out);
    }
    if (!kReal) least = std::min(least, round_both(x, y, x_out, y_out, std::min(least, bound)));
    return least;
}

template <class T>
double RankOne<T>::round_both(const Weighted<T>& x, const Weighted<T>& y, T* x_out, T* y_out, double bound) {
    rounded_.resize(x.size + y.size);
    T *first = rounded_.data(), *second = first + x.size;
    double largest = 0;
    for (std::size_t i = 0; i < x.size; ++i) {
        first[i] = x_bits_(x.at[i]);
        largest = std::max(largest, largest_part(first[i]));
    }
    for (std::size_t i = 0; i < y.size; ++i) second[i] = y_bits_(y.at[i]);
    const double error = error_of(x, y, first, second);
    if (!(error < bound) || largest == 0) return std::numeric_limits<double>::infinity();
    const double length = power_below(largest);
    for (std::size_t i = 0; i < x.size; ++i) x_out[i] = first[i] / length;
    for (std::size_t i = 0; i < y.size; ++i) y_out[i] = second[i] * length;
    return error;
}

template <class T>
void RankOne<T>::finish(const Weighted<T>& x, const Weighted<T>& y, T* x_out, T* y_out) const {
    normalize(x_out, x.size);
    const T mu = scale_of(x, x_out);
    for (std::size_t i = 0; i < y.size; ++i) y_out[i] = y_bits_(times(mu, y.at[i]));
}

template <class T>
double RankOne<T>::direction(const Weighted<T>& x, T* x_out) const {
    std::fill_n(x_out, x.size, T(0));
    if (energy(x) == 0) return 0;
    if (x.size == 2) {
        search_direction(x, x_out);
    } else {
        const std::vector<T> from = normalized(x);
        search_direction({from.data(), x.weight, x.size}, x_out);
    }
    normalize(x_out, x.size);
    return Fit<T>(x, x_out).missed;
}

template <class T>
std::vector<T> RankOne<T>::directions(const Weighted<T>& x, std::size_t most) const {
    struct Found {
        double error;
        std::vector<T> q;
        bool operator<(const Found& other) const { return error < other.error; }
    };
    const std::vector<T> from = normalized(x);
    const Weighted<T> u{from.data(), x.weight, x.size};
    std::vector<Found> heap;  // the worst on top
    if (energy(u) > 0) {
        for_candidates(u.at, u.size, x_bits_, depth_, [&](const T* q) {
            const double error = Fit<T>(u, q).missed;
            if (heap.size() == most && error >= heap.front().error) return;
            std::vector<T> copy(q, q + u.size);
            normalize(copy.data(), u.size);
            const bool known = std::any_of(heap.begin(), heap.end(), [&](const Found& f) { return f.q == copy; });
            if (known) return;
            if (heap.size() == most) {
                std::pop_heap(heap.begin(), heap.end());
                heap.pop_back();
            }
            heap.push_back({error, std::move(copy)});
            std::push_heap(heap.begin(), heap.end());
        });
    }
    std::sort_heap(heap.begin(), heap.end());
    std::vector<T> out;
    for (const Found& f : heap) out.insert(out.end(), f.q.begin(), f.q.end());
    return out;
}

template <class T>
double error_of(const Weighted<T>& x, const Weighted<T>& y, const T* x_out, const T* y_out) {
    const Fit<T> fit(x, x_out);
    if (fit.norm == 0) return energy(x) * energy(y);
    double error = fit.missed * energy(y);
    for (std::size_t i = 0; i < y.size; ++i) {
        error += fit.norm * y.weight[i] * square(y_out[i] - times(fit.mu, y.at[i]));
    }
    return error;
}

template <class T>
T scale_of(const Weighted<T>& x, const T* x_out) {
    return Fit<T>(x, x_out).mu;
}

template class RankOne<double>;
template class RankOne<Complex>;
template double error_of(const Weighted<double>&, const Weighted<double>&, const double*, const double*);
template double error_of(const Weighted<Complex>&, const Weighted<Complex>&, const Complex*, const Complex*);
template double scale_of(const Weighted<double>&, const double*);
template Complex scale_of(const Weighted<Complex>&, const Complex*);

}  // namespace bitterfly
