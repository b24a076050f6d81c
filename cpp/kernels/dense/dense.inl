// The kernels of dense matrices in window codes of one tier, collected.
#pragma once

#include "kernels/dense/columns.inl"
#include "kernels/dense/many.inl"
#include "kernels/dense/rows.inl"
#include "kernels/dense/strided_columns.inl"
#include "kernels/dense/vectors.inl"

namespace {

template <class B, bitterfly::DenseCode Code>
void rows_of_any(const bitterfly::DenseArgs& args) {
    if constexpr (B::together > 1) {
        if (args.vectors > 1) return many_rows<B, Code>(args);
    }
    dense_rows<B, Code>(args);
}

template <class B, bitterfly::DenseCode Code>
void columns_of_any(const bitterfly::DenseArgs& args) {
    if constexpr (B::together > 1) {
        if (args.vectors > bitterfly::kFewVectors) return many_columns<B, Code>(args);
    }
    if constexpr (B::zips_words) {
        const auto strided = [&](auto decoder, auto parts, auto bits) {
            multiply_strided_columns<typename decltype(decoder)::type, parts, bits>(args);
        };
        if (with_strided<B, Code>(args, strided)) return;
    }
    dense_columns<B, Code>(args);
}

constexpr bitterfly::DenseKernels dense_kernels() {
    using enum bitterfly::DenseCode;
    return {{rows_of_any<Bytes, kWindow7>, rows_of_any<Bytes, kWindow11>, rows_of_any<Bytes, kScalar6>,
             rows_of_any<Bytes, kScalar8>},
            {columns_of_any<Bytes, kWindow7>, columns_of_any<Bytes, kWindow11>, columns_of_any<Bytes, kScalar6>,
             columns_of_any<Bytes, kScalar8>},
            Bytes::together,
            {largest_number, widen, round_numbers, split_values, scale_sums, add_sums, rotation_kernels<float>(),
             rotation_kernels<double>()}};
}

}  // namespace
