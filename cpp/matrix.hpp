// Views of the caller's memory: strided real and imaginary planes, single or double, read-only or writable.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitterfly {

// Element (i, j) of the real plane lies at re + i*row_stride + j*column_stride bytes, and likewise for im (null if
// real).
template <class Byte>
struct BasicView {
    Byte* re;
    Byte* im;
    std::size_t rows, columns;
    std::ptrdiff_t row_stride, column_stride;
    bool is_double;
};

using View = BasicView<const char>;
using MutableView = BasicView<char>;

}  // namespace bitterfly
