// Codes <-> packed bits, one code at a time: the plain statement of the layout of files.
#include "stores/codes/pack.hpp"

#include <algorithm>

namespace bitterfly {
namespace {

// The layout is part of the file format: changing it takes a new format version.
static_assert(kLanes == 16 && kGroupBlocks == 256 && kCodesPerLane == 32);

template <class Visit>
void for_each_code(std::size_t n, std::size_t d, int bits, Visit visit) {
    for (std::size_t beta = 0; beta < n / 2; ++beta) {
        const std::size_t i = beta / d, t = beta % d;
        for (std::size_t k = 0; k < 2; ++k) visit((2 * i + k) * d + t, code_position(beta, k, bits));
    }
}

}  // namespace

std::size_t packed_words(std::size_t n, int bits) {
    const std::size_t vectors = (n / 2 + kLanes - 1) / kLanes;
    return (2 * vectors * static_cast<std::size_t>(bits) + 31) / 32 * kLanes;
}

void pack(const std::uint32_t* codes, std::size_t n, std::size_t d, int bits, std::uint32_t* words) {
    std::fill_n(words, packed_words(n, bits), 0U);
    for_each_code(n, d, bits, [&](std::size_t index, CodePosition at) {
        write_code(words, at, bits, codes[index] & low_mask(bits));
    });
}

void unpack(const std::uint32_t* words, std::size_t n, std::size_t d, int bits, std::uint32_t* codes) {
    for_each_code(n, d, bits, [&](std::size_t index, CodePosition at) { codes[index] = read_code(words, at, bits); });
}

void pack_lanes(const std::uint32_t* codes, std::size_t tiles, std::size_t count, int bits, std::uint32_t* words) {
    const auto width = static_cast<std::size_t>(bits);
    const std::size_t lines = (count * width + 31) / 32;
    std::fill_n(words, tiles * lines * kLanes, 0U);
    for (std::size_t tile = 0; tile < tiles; ++tile, codes += count * kLanes, words += lines * kLanes) {
        for (std::size_t c = 0; c < count; ++c) {
            const std::size_t start = c * width % 32;
            std::uint32_t* line = words + c * width / 32 * kLanes;
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                const std::uint64_t code = std::uint64_t{codes[c * kLanes + lane]} << start;
                line[lane] |= static_cast<std::uint32_t>(code);
                if (start + width > 32) line[kLanes + lane] |= static_cast<std::uint32_t>(code >> 32);
            }
        }
    }
}

void unpack_lanes(const std::uint32_t* words, std::size_t tiles, std::size_t count, int bits, std::uint32_t* codes) {
    const auto width = static_cast<std::size_t>(bits);
    const std::size_t lines = (count * width + 31) / 32;
    const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
    for (std::size_t tile = 0; tile < tiles; ++tile, codes += count * kLanes, words += lines * kLanes) {
        for (std::size_t c = 0; c < count; ++c) {
            const std::size_t start = c * width % 32;
            const std::uint32_t* line = words + c * width / 32 * kLanes;
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                std::uint64_t both = line[lane];
                if (start + width > 32) both |= std::uint64_t{line[kLanes + lane]} << 32;
                codes[c * kLanes + lane] = static_cast<std::uint32_t>(both >> start & mask);
            }
        }
    }
}

}  // namespace bitterfly
