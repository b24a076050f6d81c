// The kernels of dense matrices in window codes of one tier, collected.
#pragma once

#include "kernels/dense/columns.inl"
#include "kernels/dense/rows.inl"

namespace {

constexpr bitterfly::DenseKernels dense_kernels() {
    using enum bitterfly::DenseCode;
    return {{dense_rows<Bytes, kWindow7>, dense_rows<Bytes, kWindow11>, dense_rows<Bytes, kScalar6>,
             dense_rows<Bytes, kScalar8>},
            {dense_columns<Bytes, kWindow7>, dense_columns<Bytes, kWindow11>, dense_columns<Bytes, kScalar6>,
             dense_columns<Bytes, kScalar8>},
            Bytes::together};
}

}  // namespace
