// Direction codes: angle (real), phase (equal moduli) and sphere (any complex direction). See docs/format.md.
#include "stores/codes/directions.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "require.hpp"

namespace bitterfly {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kHalfRoot = 0.70710678118654752440;
constexpr double kQuarterPi = kPi / 4;

// ---- sphere: the octahedral equal-area square, coordinates in (-1, 1) ----

struct Grid {
    int u_bits, v_bits;
    explicit Grid(int bits) : u_bits((bits + 1) / 2), v_bits(bits / 2) {}
    bool quincunx() const { return u_bits != v_bits; }
    std::int64_t side() const { return std::int64_t{1} << u_bits; }
    double centre(std::int64_t index) const { return std::ldexp(2.0 * static_cast<double>(index) + 1, -u_bits) - 1; }
};

double tangent_cubic(double t) { return t * (kQuarterPi + (1 - kQuarterPi) * t * t); }

// Newton's method for the inverse of the increasing cubic on [-1, 1].
double inverse_tangent_cubic(double tau) {
    double t = tau;
    for (int i = 0; i < 6; ++i) {
        t -= (tangent_cubic(t) - tau) / (kQuarterPi + 3 * (1 - kQuarterPi) * t * t);
    }
    return std::clamp(t, -1.0, 1.0);
}

Direction from_square(double a, double b) {
    const double s = 1 - std::fabs(a) - std::fabs(b), r = 1 - std::fabs(s);
    const double tau = r == 0 ? 0 : tangent_cubic((std::fabs(b) - std::fabs(a)) / r);
    const Value phase = Value(std::copysign(1 - tau, a), std::copysign(1 + tau, b)) / std::sqrt(2 + 2 * tau * tau);
    const double small = r * kHalfRoot, big = std::sqrt(1 - r * r / 2);
    return s >= 0 ? Direction{big, small * phase} : Direction{small, big * phase};
}

struct Square {
    double a, b;
};

Square to_square(Value x0, Value x1) {
    const double n0 = std::abs(x0), n1 = std::abs(x1), n = std::hypot(n0, n1);
    const Value relative = n0 > 0 && n1 > 0 ? (x1 / n1) * std::conj(x0 / n0) : Value(1);
    const double c = std::fabs(relative.real()), s = std::fabs(relative.imag());
    const double t = inverse_tangent_cubic((s - c) / (s + c));
    const double r = std::min(n0, n1) / (n * kHalfRoot), sum = n0 >= n1 ? r : 2 - r;
    return {std::copysign((sum - t * r) / 2, relative.real()), std::copysign((sum + t * r) / 2, relative.imag())};
}

// The code of cell (u, v); a cell beyond an edge of the square is its mirror image on the same edge.
std::uint32_t cell_code(const Grid& grid, std::int64_t u, std::int64_t v) {
    const std::int64_t side = grid.side();
    if (u < 0 || u >= side) u = std::clamp<std::int64_t>(u, 0, side - 1), v = side - 1 - v;
    if (v < 0 || v >= side) v = std::clamp<std::int64_t>(v, 0, side - 1), u = side - 1 - u;
    u = std::clamp<std::int64_t>(u, 0, side - 1);
    const std::int64_t low = grid.quincunx() ? v >> 1 : v;
    return static_cast<std::uint32_t>((u << grid.v_bits) | low);
}

Direction decode_sphere(int bits, std::uint32_t q) {
    const Grid grid(bits);
    const std::int64_t u = static_cast<std::int64_t>(q >> grid.v_bits);
    std::int64_t v = q & ((std::uint64_t{1} << grid.v_bits) - 1);
    if (grid.quincunx()) v = 2 * v + (u & 1);
    return from_square(grid.centre(u), grid.centre(v));
}

double alignment(const Direction& d, Value x0, Value x1) {
    return std::norm(std::conj(d.first) * x0 + std::conj(d.second) * x1);
}

// The cell that holds the point is not always the nearest one: its neighbours are tried as well.
std::uint32_t encode_sphere(int bits, Value x0, Value x1) {
    const Grid grid(bits);
    const Square p = to_square(x0, x1);
    const double half = static_cast<double>(grid.side()) / 2;
    const auto u = static_cast<std::int64_t>(std::floor((p.a + 1) * half)),
               v = static_cast<std::int64_t>(std::floor((p.b + 1) * half));
    const std::int64_t reach = grid.quincunx() ? 2 : 1;
    std::uint32_t best = 0;
    double most = -1;
    for (std::int64_t du = -1; du <= 1; ++du) {
        for (std::int64_t dv = -reach; dv <= reach; ++dv) {
            const std::uint32_t q = cell_code(grid, u + du, v + dv);
            const double value = alignment(decode_sphere(bits, q), x0, x1);
            if (value > most) most = value, best = q;
        }
    }
    return best;
}

// ---- angle and phase ----

std::uint32_t round_turn(double turns, int bits) {
    const auto q = static_cast<std::int64_t>(std::nearbyint(std::ldexp(turns, bits)));
    return static_cast<std::uint32_t>(q & ((std::int64_t{1} << bits) - 1));
}

// The direction of a complex column as an angle code sees it: the real direction closest to (x0, x1).
void realign(Value& x0, Value& x1) {
    const double aa = std::norm(x0), bb = std::norm(x1), ab = (x0 * std::conj(x1)).real();
    const double theta = std::atan2(2 * ab, aa - bb) / 2;
    x0 = std::cos(theta), x1 = std::sin(theta);
}

std::uint32_t encode_angle(int bits, Value x0, Value x1) {
    if (x0.imag() != 0 || x1.imag() != 0) realign(x0, x1);
    return round_turn(std::atan2(x1.real(), x0.real()) / kPi, bits);
}

std::uint32_t encode_phase(int bits, Value x0, Value x1) {
    const Value relative = x1 * std::conj(x0);
    return round_turn(std::atan2(relative.imag(), relative.real()) / (2 * kPi), bits);
}

// cos and sin of h * 2^-bits of the whole turn, which repeat after 2^bits.
template <class Real, std::size_t Size>
void fill_turns(double half_turns, double amplitude, int bits, Real (&cosine)[Size], Real (&sine)[Size]) {
    for (std::size_t h = 0; h < Size; ++h) {
        const auto turn = static_cast<double>(h & ((std::size_t{1} << bits) - 1));
        const Value z = amplitude * unit_root(half_turns * std::ldexp(turn, -bits));
        cosine[h] = static_cast<Real>(z.real()), sine[h] = static_cast<Real>(z.imag());
    }
}

template <class Real>
RotationTables<Real> make_tables(double half_turns, double amplitude, int first) {
    RotationTables<Real> out{};
    fill_turns(half_turns, amplitude, first, out.cosine, out.sine);
    fill_turns(half_turns, amplitude, first + kLevelBits, out.near_cosine, out.near_sine);
    for (int level = 0; level < kShears; ++level) {
        for (int h = 0; h < 16; ++h) {
            const double angle = kPi * half_turns * std::ldexp(h, -first - kLevelBits * (level + 1));
            out.shear[level].half_tangent[h] = static_cast<Real>(std::tan(angle / 2));
            out.shear[level].sine[h] = static_cast<Real>(std::sin(angle));
        }
    }
    out.step = static_cast<Real>(std::ldexp(half_turns * kPi, -32));
    out.amplitude = static_cast<Real>(amplitude);
    return out;
}

template <class Real>
using TablesOfLevels = std::array<RotationTables<Real>, kLevelBits>;

template <class Real>
TablesOfLevels<Real> tables_of_levels(double half_turns, double amplitude) {
    TablesOfLevels<Real> out;
    for (int first = 1; first <= kLevelBits; ++first) {
        out[static_cast<std::size_t>(first - 1)] = make_tables<Real>(half_turns, amplitude, first);
    }
    return out;
}

template <class Real>
const RotationTables<Real>* angle_tables() {
    static const TablesOfLevels<Real> tables = tables_of_levels<Real>(1, 1);
    return tables.data();
}

template <class Real>
const RotationTables<Real>* phase_tables() {
    static const TablesOfLevels<Real> tables = tables_of_levels<Real>(2, kHalfRoot);
    return tables.data();
}

template <class Real>
const RotationTables<Real>* no_tables() {
    return nullptr;
}

Direction decode_angle(int bits, std::uint32_t q) {
    const Value z = unit_root(std::ldexp(static_cast<double>(q), -bits));
    return {z.real(), z.imag()};
}

Direction decode_phase(int bits, std::uint32_t q) {
    return {kHalfRoot, kHalfRoot * unit_root(2 * std::ldexp(static_cast<double>(q), -bits))};
}

// ---- all of them ----

constexpr DirectionKind kDirections[] = {
    {.name = "angle",
     .most_bits = kMostAngleBits,
     .is_complex = false,
     .trims = true,
     .is_unrolled = true,
     .decode = decode_angle,
     .encode = encode_angle,
     .single = angle_tables<float>,
     .twice = angle_tables<double>},
    {.name = "phase",
     .most_bits = 24,
     .is_complex = true,
     .trims = true,
     .is_unrolled = false,
     .decode = decode_phase,
     .encode = encode_phase,
     .single = phase_tables<float>,
     .twice = phase_tables<double>},
    {.name = "sphere",
     .most_bits = 32,
     .is_complex = true,
     .trims = false,
     .is_unrolled = false,
     .decode = decode_sphere,
     .encode = encode_sphere,
     .single = no_tables<float>,
     .twice = no_tables<double>},
};

}  // namespace

const DirectionKind* find_direction(const std::string& name) {
    const auto* found = std::find_if(std::begin(kDirections), std::end(kDirections),
                                     [&](const DirectionKind& kind) { return name == kind.name; });
    return found == std::end(kDirections) ? nullptr : found;
}

std::vector<const DirectionKind*> all_directions() {
    std::vector<const DirectionKind*> out;
    for (const DirectionKind& kind : kDirections) out.push_back(&kind);
    return out;
}

Value unit_root(double x) {
    const double quarters = std::nearbyint(2 * x), r = x - quarters / 2;
    const bool diagonal = std::fabs(r) == 0.25;
    const double c = diagonal ? kHalfRoot : std::cos(kPi * r);
    const double s = diagonal ? std::copysign(kHalfRoot, r) : std::sin(kPi * r);
    switch (static_cast<std::int64_t>(quarters) & 3) {
        case 0: return {c, s};
        case 1: return {-s, c};
        case 2: return {-c, -s};
        default: return {s, -c};
    }
}

Direction decode(Code code, std::uint32_t q) { return code.kind->decode(code.bits, q); }

std::uint32_t encode(Code code, Value x0, Value x1) {
    const double size =
        std::max({std::fabs(x0.real()), std::fabs(x0.imag()), std::fabs(x1.real()), std::fabs(x1.imag())});
    return size == 0 ? 0 : code.kind->encode(code.bits, x0 / size, x1 / size);
}

}  // namespace bitterfly
