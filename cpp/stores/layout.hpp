// Where the values of a factor of any pattern lie in tiles, and how many there are.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/tiles/args.hpp"

namespace bitterfly {

// How a factor of pattern (a, b, c, d) lies in tiles; rank 0 is dense, else the skeleton form of that junction rank.
TileFactor layout_of(std::size_t a, std::size_t b, std::size_t c, std::size_t d, std::size_t rank);
// How its numbers are given: a form by its name, bits of a code.
const FormFacts& set_form(TileFactor& factor, const std::string& name, int bits, std::size_t planes);
// Numbers of Real (float weights), or 32-bit words (codes), and words of pivot masks, that a factor takes.
std::size_t value_count(const TileFactor& factor);
std::size_t pivot_words(const TileFactor& factor);

}  // namespace bitterfly
