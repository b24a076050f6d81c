// Numbers with t-bit significands: rounding to nearest (ties to even), and the ones next to a given one.
#pragma once

#include <bit>
#include <cmath>
#include <complex>
#include <cstdint>

namespace bitterfly {

// 2^floor(log2 |x|) of a normal number.
inline double power_below(double x) {
    return std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) & (std::uint64_t{0x7ff} << 52));
}

// `bits` = 1 to 24 counts the leading one; exponents are those of double. All members are for finite numbers.
class Significand {
public:
    explicit Significand(int bits)
        : shift_(53 - bits),
          half_((std::uint64_t{1} << (shift_ - 1)) - (bits > 1 ? 1 : 0)),
          lowest_(bits > 1 ? 1 : 0),
          mask_(~((std::uint64_t{1} << shift_) - 1)),
          bits_(bits) {}

    // With one bit the significand is 1, odd, so that ties go to the next power of two.
    double operator()(double x) const {
        const auto u = std::bit_cast<std::uint64_t>(x);
        return std::bit_cast<double>((u + half_ + ((u >> shift_) & lowest_)) & mask_);
    }
    std::complex<double> operator()(std::complex<double> z) const { return {(*this)(z.real()), (*this)(z.imag())}; }

    int bits() const { return bits_; }
    // 2^(53 - bits) + 1, by which kernels round (Veltkamp).
    double splitter() const { return std::ldexp(1.0, shift_) + 1; }
    // Distance of neighbours in [1, 2).
    double unit() const { return std::ldexp(1.0, 1 - bits_); }
    // How many numbers [1, 2) holds.
    std::uint32_t count() const { return std::uint32_t{1} << (bits_ - 1); }
    // The next number above x, for x with a `bits`-bit significand; zero is passed at |x| = least.
    double next(double x, double least) const {
        if (x == 0) return least;
        if (x == -least) return 0;
        const auto u = std::bit_cast<std::uint64_t>(x), step = std::uint64_t{1} << shift_;
        return std::bit_cast<double>(x > 0 ? u + step : u - step);
    }

private:
    int shift_;
    std::uint64_t half_, lowest_, mask_;
    int bits_;
};

}  // namespace bitterfly
