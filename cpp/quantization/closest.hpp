// Roundings to integers that err least in a metric: closest vectors of the integer lattice.
#pragma once

#include <cstddef>

namespace bitterfly {

// Codes are multiples of `step`, -most to most of them. `floor`, a share of the mean eigenvalue, is added to the
// diagonal of metrics: directions of no weight must not wander.
struct CodeRange {
    double step, most, floor;
};

// t: `count` matrices T of m x r numbers (complex ones interleaved); metric: as many Hermitian r x r matrices G. codes:
// integers (Gaussian ones) Q of at most `most` with tr (I + T T^H)^-1 D G D^H nearly least, D = step Q - T: what the
// product [I; T] W, W W^H = G, loses when T is replaced by step Q and W by the best matrix then. Takes m r^2 operations
// a matrix, beside the reduction of its lattice.
//
// Lenstra, Lenstra and Lovasz, Math. Ann. 261 (1982); nearest planes: Babai, Combinatorica 6 (1986).
void closest_codes(const double* t, const double* metric, std::size_t count, std::size_t m, std::size_t r,
                   bool is_complex, const CodeRange& range, double* codes, std::size_t workers);

}  // namespace bitterfly
