// The scale vector of a product as numbers: borrowed, or decoded from short floats for the time of one call.
#pragma once

#include <cstddef>

#include "kernels/kernels.hpp"
#include "products/product.hpp"
#include "workspace.hpp"

namespace bitterfly {

template <class Real>
class Scale {
public:
    explicit Scale(const Product<Real>& product)
        : decoded_(product.short_scale.values == nullptr ? 0 : 2 * numbers_in(product)), numbers_(product.scale) {
        if (product.short_scale.values == nullptr) return;
        const std::size_t planes = product.is_complex ? 2 : 1;
        Real* out = decoded_.data();
        Real* tiles = product.is_complex ? out + numbers_in(product) : out;
        kernels().template of<Real>().floats(product.short_scale, planes, tiles);
        if (product.is_complex) interleave(tiles, product.short_scale.tiles, out);
        numbers_ = out;
    }
    // n numbers, complex ones interleaved; null for the identity.
    const Real* numbers() const { return numbers_; }

private:
    static std::size_t numbers_in(const Product<Real>& product) {
        return product.short_scale.tiles * kLanes * (product.is_complex ? 2 : 1);
    }
    // Tiles hold 16 real parts, then 16 imaginary ones.
    static void interleave(const Real* tiles, std::size_t count, Real* out) {
        for (std::size_t tile = 0; tile < count; ++tile, tiles += 2 * kLanes, out += 2 * kLanes) {
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                out[2 * lane] = tiles[lane];
                out[2 * lane + 1] = tiles[kLanes + lane];
            }
        }
    }

    Workspace<Real, 1> decoded_;
    const Real* numbers_;
};

}  // namespace bitterfly
