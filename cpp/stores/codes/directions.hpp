// Direction codes: an integer for a unit 2-vector up to scale. Encoders and decoders in double precision; the kernels
// decode the same codes in their own way.
#pragma once

#include <complex>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/dyadic/args.hpp"

namespace bitterfly {

using Value = std::complex<double>;

struct Direction {
    Value first, second;
};

// What there is to know of a code of directions; the list of them stands at the end of directions.cpp. The kernels have
// a decoder of the same name, see kernels/dyadic/decode.inl.
struct DirectionKind {
    const char* name;
    int most_bits;
    bool is_complex;   // of complex columns only
    bool trims;        // whether dropping trailing zero bits of all codes keeps the directions
    bool is_unrolled;  // whether kernels have passes for codes of each width, see Weights::kAngle
    Direction (*decode)(int bits, std::uint32_t q);
    // The nearest code; the largest part of x0 and x1 is 1.
    std::uint32_t (*encode)(int bits, Value x0, Value x1);
    // By which kernels turn codes into cosines and sines, kLevelBits of them by the bits of the first level less one;
    // null where they do not.
    const RotationTables<float>* (*single)();
    const RotationTables<double>* (*twice)();
};

// The code of a name; null where there is none.
const DirectionKind* find_direction(const std::string& name);
std::vector<const DirectionKind*> all_directions();

// How the columns of one packed factor are coded.
struct Code {
    const DirectionKind* kind;
    int bits;
};

// cos(pi x) + i sin(pi x), exact where the angle is a multiple of pi/4.
Value unit_root(double x);

Direction decode(Code code, std::uint32_t q);

// The code of the direction nearest to (x0, x1); 0 for the zero vector.
std::uint32_t encode(Code code, Value x0, Value x1);

template <class Real>
const RotationTables<Real>* rotation_tables(const DirectionKind& kind) {
    if constexpr (sizeof(Real) == sizeof(float)) {
        return kind.single();
    } else {
        return kind.twice();
    }
}

}  // namespace bitterfly
