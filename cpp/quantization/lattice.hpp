// Lattice codes: a column as integers times one length.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitterfly {

// Each of `count` columns holds b numbers (complex ones interleaved): codes = round(lambda * x) + 2^(bits-1), integers
// within +-(2^(bits-1) - 1), with the lambda that makes the error of length * (codes - 2^(bits-1)) * 2^(1-bits) least.
// `lengths` takes one number (complex: two) a column, the least-squares one. Up to 4 bits all breakpoints of the
// rounding are walked; above, those of the last octave, from 8 bits on the last 64 of each entry, among which many are
// as good as the best.
void lattice_codes(const double* x, std::size_t count, std::size_t b, bool is_complex, int bits, std::uint32_t* codes,
                   double* lengths, std::size_t workers);

}  // namespace bitterfly
