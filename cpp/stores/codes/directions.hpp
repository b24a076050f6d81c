// Direction codes: an integer for a unit 2-vector up to scale. Encoders and decoders in double precision; the kernels
// decode the same codes in their own way.
#pragma once

#include <complex>
#include <cstdint>

#include "kernels/dyadic/args.hpp"

namespace bitterfly {

using Value = std::complex<double>;

struct Direction {
    Value first, second;
};

// How the columns of one packed factor are coded. `source` is kAngle, kPhase or kSphere.
struct Code {
    Source source;
    int bits;
};

int max_bits(Source source);

// cos(pi x) + i sin(pi x), exact where the angle is a multiple of pi/4.
Value unit_root(double x);

Direction decode(Code code, std::uint32_t q);

// The code of the direction nearest to (x0, x1); 0 for the zero vector.
std::uint32_t encode(Code code, Value x0, Value x1);

// Whether dropping trailing zero bits of all codes keeps the directions.
bool trims(Source source);

// The tables by which the kernels turn angle and phase codes into cosines and sines, kLevelBits of them by the bits of
// the first level less one; null for other sources.
template <class Real>
const RotationTables<Real>* rotation_tables(Source source);

}  // namespace bitterfly
