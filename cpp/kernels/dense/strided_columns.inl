// y = W^T x for one vector and whole panels of two and four bits: windows that begin at the same bit of their bytes are
// cut by shifts, and four rows of a column brought together afterwards.
#pragma once

#include "kernels/dense/columns.inl"

namespace {

template <class D, int Parts, int Bits>
void strided_column_sums(const D& weights_of, const std::uint8_t* tile, std::size_t stride, std::size_t groups,
                         const std::uint8_t* digits, std::int32_t* sums) {
    using B = typename D::Bytes;
    constexpr int kShifts = 8 / Bits, kLines = 4 / kShifts;
    for (std::size_t g = 0; g < groups; ++g, tile += stride, sums += 16 * Parts) {
        typename B::Vec weights[4], bytes, next, after;
        unroll<4>([&](auto c) __attribute__((always_inline)) {
            constexpr int line = c / kShifts, start = c % kShifts * Bits;
            if constexpr (start == 0) {
                bytes = B::template stream_bytes<0>(tile, line, kLines);
                next = B::template stream_bytes<1>(tile, line, kLines);
                after = B::template stream_bytes<2>(tile, line, kLines);
            }
            weights[c] = weights_of.template at<start>(bytes, next, after);
        });
        B::zip_words(weights);
        unroll<Parts>([&](auto q) __attribute__((always_inline)) {
            typename B::Sums sum = B::load(sums + 16 * q);
            unroll<4>([&](auto c) __attribute__((always_inline)) {
                sum = B::template add_products<false>(sum, weights[c], B::load(digits + (c * Parts + q) * 64));
            });
            B::store(sums + 16 * q, sum);
        });
    }
}

// A digit of the positions of a panel in the order of the weights: byte c of word w of vector i is that of place
// 4 (w / 4) + i of chunk c.
template <int Bits>
void repeat_strided(const std::int8_t* from, std::uint8_t* out, std::size_t stride) {
    constexpr int kShifts = 8 / Bits;
    for (int i = 0; i < 4; ++i) {
        for (int l = 0; l < 64; ++l) {
            const int c = l % 4, at = l / 16 * 4 + i;
            out[static_cast<std::size_t>(i) * stride + static_cast<std::size_t>(l)] =
                static_cast<std::uint8_t>(from[(c / kShifts * 16 + at) * kShifts + c % kShifts]);
        }
    }
}

template <class D, int Parts, int Bits>
void multiply_strided_columns(const bitterfly::DenseArgs& args) {
    using B = typename D::Bytes;
    const D weights_of(*args.table);
    const auto spread = [&](const std::int8_t* from, std::uint8_t* digits) {
        for (std::size_t q = 0; q < Parts; ++q)
            repeat_strided<Bits>(from + q * bitterfly::kPanelRows, digits + q * 64, Parts * 64);
    };
    for_each_panel<B, 1, Parts, false, B::streams_are_direct>(
        args, spread,
        [&](const std::uint8_t* tiles, std::size_t stride, std::size_t count, const std::uint8_t* digits,
            std::int32_t* sums) {
            strided_column_sums<D, Parts, Bits>(weights_of, tiles, stride, count, digits, sums);
        });
}

}  // namespace
