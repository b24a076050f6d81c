// Codes for columns in a list of numbers: the vector of listed numbers whose multiple is nearest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bitterfly {

// Each of `count` columns x holds b numbers (complex ones interleaved), and each number has a weight. A code is the
// index of one of `magnitudes`, which ascend from zero or more, plus their count where the number is negative (none for
// a negative zero); the codes q of a column make the weighted sum of |x - mu q|^2 least, mu the least-squares multiple.
// Real columns: exact, since the nearest q is that of a scale at which all roundings are to nearest, and the walk over
// all breakpoints visits each; mu = 1 where that is as good. Complex columns, whose mu turns: the best of several
// phases, each improved until it stays.
void alphabet_codes(const double* x, const double* weights, std::size_t count, std::size_t b, bool is_complex,
                    std::span<const double> magnitudes, std::uint32_t* codes);

}  // namespace bitterfly
