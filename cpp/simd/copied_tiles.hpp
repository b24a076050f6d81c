// What tiers share that read tiles of window codes from copies: where the 16 positions from 16 * chunk on lie in a
// tile.
#pragma once

#include <cstddef>
#include <cstdint>

namespace {

struct CopiedTiles {
    using Line = const std::uint8_t*;
    // Whether tiles are read where they lie; else from copies that go on behind their end as they begin.
    static constexpr bool is_direct = false;
    static constexpr int chunks_at_once = 1;
    static constexpr bool cuts_words = false;

    using Place = std::size_t;
    static Place place(std::size_t chunk, std::size_t, int half_bits) {
        return chunk * 4 * static_cast<std::size_t>(half_bits);
    }
    static bool is_one_line(std::size_t, int) { return false; }
    static Line line(const std::uint8_t* tile, Place place) { return tile + place; }
    static Line whole_line(const std::uint8_t* tile, Place place) { return tile + place; }
};

}  // namespace
