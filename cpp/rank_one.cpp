// The search for the best rounded rank-one matrix, real and complex.
#include "rank_one.hpp"

#include <algorithm>
#include <limits>

#include "candidates.hpp"
#include "require.hpp"

namespace bitterfly {
namespace {

using Complex = std::complex<double>;

double square(double x) { return x * x; }
double square(Complex z) { return std::norm(z); }
double largest_part(double x) { return std::fabs(x); }
double largest_part(Complex z) { return std::max(std::fabs(z.real()), std::fabs(z.imag())); }
double conj(double x) { return x; }
Complex conj(Complex z) { return std::conj(z); }
// Without the tests for infinities of the operator.
double times(double a, double b) { return a * b; }
Complex times(Complex a, Complex b) {
    return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

template <class T>
double energy(const Weighted<T>& x) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size; ++i) sum += x.weight[i] * square(x.at[i]);
    return sum;
}

// Multiplies by the power of two that brings the largest part to [1, 2); false for a zero vector.
template <class T>
bool normalize(T* x, std::size_t size) {
    double largest = 0;
    for (std::size_t i = 0; i < size; ++i) largest = std::max(largest, largest_part(x[i]));
    if (largest == 0) return false;
    const int exponent = -std::ilogb(largest);
    for (std::size_t i = 0; i < size; ++i) {
        if constexpr (sizeof(T) == sizeof(double)) {
            x[i] = std::ldexp(x[i], exponent);
        } else {
            x[i] = {std::ldexp(x[i].real(), exponent), std::ldexp(x[i].imag(), exponent)};
        }
    }
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
            mu += x.weight[i] * times(conj(q[i]), x.at[i]);
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

// The best candidate so far.
template <class T>
struct Best {
    double error = std::numeric_limits<double>::infinity();
    std::vector<T> at;

    void take(double found, const T* q) {
        error = found;
        std::copy_n(q, at.size(), at.begin());
    }
};

}  // namespace

template <class T>
RankOne<T>::RankOne(int x_bits, int y_bits, int depth) : x_bits_(x_bits), y_bits_(y_bits), depth_(depth) {
    require(x_bits >= 1 && x_bits <= 24 && y_bits >= 1 && y_bits <= 24, "significand: expected 1 to 24 bits");
}

template <class T>
double RankOne<T>::both(const Weighted<T>& x, const Weighted<T>& y, T* x_out, T* y_out, double bound) const {
    const std::vector<T> from = normalized(x), to = normalized(y);
    const Weighted<T> u{from.data(), x.weight, x.size}, v{to.data(), y.weight, y.size};
    const double weight = energy(v), whole = energy(x) * energy(y);
    if (!(whole > 0)) {
        std::fill_n(x_out, x.size, T(0));
        std::fill_n(y_out, y.size, T(0));
        return 0;
    }
    const double limit = bound / whole * energy(u) * weight;
    Best<T> best{limit, std::vector<T>(x.size)};
    for_candidates(u.at, u.size, x_bits_, depth_, true, [&](const T* q) {
        const Fit<T> fit(u, q);
        double error = fit.missed * weight;
        for (std::size_t i = 0; i < v.size && error < best.error; ++i) {
            const T scaled = times(fit.mu, v.at[i]);
            error += fit.norm * v.weight[i] * square(y_bits_(scaled) - scaled);
        }
        if (error < best.error) best.take(error, q);
    });
    if (best.error == limit) return std::numeric_limits<double>::infinity();
    std::copy(best.at.begin(), best.at.end(), x_out);
    normalize(x_out, x.size);
    const T mu = scale_of(x, x_out);
    for (std::size_t i = 0; i < y.size; ++i) y_out[i] = y_bits_(times(mu, y.at[i]));
    return error_of(x, y, x_out, y_out);
}

template <class T>
double RankOne<T>::direction(const Weighted<T>& x, T* x_out) const {
    const std::vector<T> from = normalized(x);
    const Weighted<T> u{from.data(), x.weight, x.size};
    Best<T> best{std::numeric_limits<double>::infinity(), std::vector<T>(x.size)};
    std::fill_n(x_out, x.size, T(0));
    if (energy(u) == 0) return 0;
    for_candidates(u.at, u.size, x_bits_, depth_, false, [&](const T* q) {
        const double error = Fit<T>(u, q).missed;
        if (error < best.error) best.take(error, q);
    });
    std::copy(best.at.begin(), best.at.end(), x_out);
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
        for_candidates(u.at, u.size, x_bits_, depth_, false, [&](const T* q) {
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
