// The error of a rounded chain, from left to right: each column of the product as a multiple of the rounded one and a
// rest that is orthogonal to it.
#include "short_floats/chain_error.hpp"

#include <cmath>
#include <complex>

#include "short_floats/lines.hpp"

namespace bitterfly {
namespace {

// Columns of the product so far: against the rounded ones, and their squared norms.
template <class T>
struct ProductColumns {
    std::vector<Part<T>> parts;
    std::vector<double> energies;

    explicit ProductColumns(std::size_t count) : parts(count), energies(count, 1.0) {}
};

template <class T>
double energy_of(const ShortFactor<T>& f, const Line& line, const double* behind) {
    double sum = 0;
    for (std::size_t e = 0; e < line.size; ++e) {
        sum += std::norm(f.values[line.first + e * line.stride]) * behind[line.cross + e * line.cross_stride];
    }
    return sum;
}

template <class T>
void multiply(const ShortFactor<T>& f, const ProductColumns<T>& in, ProductColumns<T>& out) {
    const std::size_t count = f.a * f.c * f.d;
    out.parts.resize(count), out.energies.resize(count);
    LineCursor line = LineCursor::columns(f);
    for (std::size_t q = 0; q < count; ++q, ++line) {
        out.parts[q] = part_of(f, *line, in.parts.data());
        out.energies[q] = energy_of(f, *line, in.energies.data());
    }
}

}  // namespace

template <class T>
double chain_error(const std::vector<ShortFactor<T>>& factors) {
    const ShortFactor<T>& first = factors.front();
    ProductColumns<T> product(first.a * first.b * first.d), next(0);
    for (const ShortFactor<T>& f : factors) {
        multiply(f, product, next);
        std::swap(product, next);
    }
    double missed = 0, total = 0;
    for (const Part<T>& part : product.parts) missed += std::norm(part.kappa - 1.0) * part.norm + part.missed;
    for (const double energy : product.energies) total += energy;
    return total > 0 ? std::sqrt(missed / total) : 0;
}

template double chain_error(const std::vector<ShortFactor<double>>&);
template double chain_error(const std::vector<ShortFactor<std::complex<double>>>&);

}  // namespace bitterfly
