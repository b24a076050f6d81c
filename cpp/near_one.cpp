// One pass over the upper halves of the numbers: as integers they order the moduli, and compilers take several at once.
#include "near_one.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace bitterfly {
namespace {

std::int32_t upper(const char* p) {
    std::uint64_t bits;
    std::memcpy(&bits, p, sizeof bits);
    return static_cast<std::int32_t>(bits >> 32 & 0x7fffffff);
}

// `Stride` is the distance of two numbers in bytes, if it is known (not 0).
template <std::ptrdiff_t Stride>
std::int32_t largest(const char* p, std::size_t count, std::ptrdiff_t stride) {
    std::int32_t most = 0;
    for (std::size_t i = 0; i < count; ++i)
        most = std::max(most, upper(p + static_cast<std::ptrdiff_t>(i) * (Stride ? Stride : stride)));
    return most;
}

template <std::ptrdiff_t Stride>
void update(std::int32_t* most, const char* p, std::size_t count, std::ptrdiff_t stride) {
    for (std::size_t j = 0; j < count; ++j)
        most[j] = std::max(most[j], upper(p + static_cast<std::ptrdiff_t>(j) * (Stride ? Stride : stride)));
}

// Column by column where these are contiguous, else row by row.
void scan(const View& x, const char* plane, std::vector<std::int32_t>& most) {
    if (x.columns == 1 || std::abs(x.row_stride) < std::abs(x.column_stride)) {
        for (std::size_t j = 0; j < x.columns; ++j) {
            const char* p = plane + static_cast<std::ptrdiff_t>(j) * x.column_stride;
            const auto scan_column = x.row_stride == 8 ? largest<8> : largest<0>;
            most[j] = std::max(most[j], scan_column(p, x.rows, x.row_stride));
        }
        return;
    }
    const auto scan_row = x.column_stride == 8 ? update<8> : update<0>;
    for (std::size_t i = 0; i < x.rows; ++i)
        scan_row(most.data(), plane + static_cast<std::ptrdiff_t>(i) * x.row_stride, x.columns, x.column_stride);
}

}  // namespace

bool near_one(const View& x, int exponent) {
    std::vector<std::int32_t> most(x.columns, 0);
    scan(x, x.re, most);
    if (x.im != nullptr) scan(x, x.im, most);
    const std::int32_t least = (1023 - exponent) << 20, end = (1023 + exponent) << 20;
    return std::all_of(most.begin(), most.end(), [=](std::int32_t m) { return least <= m && m < end; });
}

}  // namespace bitterfly
