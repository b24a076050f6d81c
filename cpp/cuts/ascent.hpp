// Signed cuts of a matrix, one after the other: signs s and t that make s^T R t large, R what cuts before have left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "kernels/cuts/args.hpp"

namespace bitterfly {

class Ascent {
public:
    // a: rows of `columns` numbers.
    Ascent(const float* a, std::size_t rows, std::size_t columns);

    // One cut: from random signs t, each side becomes the signs of what the other gives, as long as that grows; the
    // best of `starts` ascents. Writes both sides as 1 and -1, and subtracts the cut; returns its coefficient s^T R t /
    // (rows columns).
    double cut(std::uint64_t seed, std::size_t starts, float* s, float* t, std::size_t workers);

private:
    // The residual along one side: of each of its places the numbers along the other one.
    struct Side {
        Side(std::size_t count, std::size_t length);
        std::size_t count, padded, stride;  // of rows, of their numbers, from one row to the next
        AlignedArray<float> residual;
        std::vector<float> signs, image, best, factors;  // the image: residual times the signs of the other side
        std::vector<std::uint32_t> changed;
    };

    // Signs t to begin with: random ones, or those of a row that is not zero, which random ones may be orthogonal to.
    void draw(std::uint64_t seed);
    bool take_row();
    double climb(std::size_t workers);
    // Takes the signs of the image of a side; returns how many have changed, which it writes with twice their signs.
    static std::size_t take_signs(Side& side);
    // Brings the image of the other side up to date.
    static void follow(Side& from, Side& to, std::size_t changed, std::size_t workers);
    static void subtract(Side& from, const Side& to, float coefficient, std::size_t workers);

    Side rows_, columns_;
};

// Signs of one side of sum_j c_j s_j t_j^T that flip where that makes the error smaller, row by row
// (kernels/cuts/args.hpp), as often as asked for while some do. Returns how many did.
std::size_t flip_signs(const FlipArgs& all, std::size_t times, std::size_t workers);

}  // namespace bitterfly
