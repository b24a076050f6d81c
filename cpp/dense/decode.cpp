// Window codes to entries: three bytes of a stream, a shift, a table.
#include "dense/decode.hpp"

#include "dense/digits.hpp"
#include "parallel.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kTaskStreams = 64, kTaskNumbers = std::size_t{1} << 13;

// The numbers of one piece in one row, one after the other.
template <class Use>
void for_each_entry(const DensePiece& piece, std::size_t rows, std::size_t row, Use use) {
    const std::size_t panel = row / kPanelRows, length = panel_rows(rows, panel),
                      groups = (piece.columns + kTileColumns - 1) / kTileColumns;
    const Window window = window_at(length - 1 - row % kPanelRows, length, piece.half_bits);
    const auto bytes_of = [&](std::size_t panel_length) {
        return panel_length * static_cast<std::size_t>(piece.half_bits) / 16 * kTileColumns;
    };
    const std::uint8_t* tiles = piece.tiles + panel * groups * bytes_of(kPanelRows);
    std::size_t c = 0;
    for (const ColumnRun& run : piece.runs) {
        for (std::size_t column = run.first; column < run.first + run.count; ++column, ++c) {
            const std::uint8_t* stream = tiles + c / kTileColumns * bytes_of(length) + c % kTileColumns;
            use(column, entry_of(piece.code, piece.table, window, stream, kTileColumns));
        }
    }
}

template <class Real>
void decode_row(const DenseProduct& product, std::size_t row, char* out, std::ptrdiff_t stride) {
    const PowerOfTwo power = power_of_two(product.exponent);
    for (const DensePiece& piece : product.pieces) {
        const double scale = number_of_half(product.scale[row]) * piece.step;
        for_each_entry(piece, product.rows, row, [&](std::size_t column, int entry) {
            *reinterpret_cast<Real*>(out + static_cast<std::ptrdiff_t>(column) * stride) =
                static_cast<Real>(scale * entry * power.first * power.second);
        });
    }
}

}  // namespace

Window window_at(std::size_t position, std::size_t length, int half_bits) {
    const std::size_t bit = position * static_cast<std::size_t>(half_bits) / 2, first = bit / 8,
                      bytes = length * static_cast<std::size_t>(half_bits) / 16;
    return {{first, (first + 1) % bytes, (first + 2) % bytes}, static_cast<int>(bit % 8)};
}

int entry_of(DenseCode code, const DenseTable& table, const Window& window, const std::uint8_t* stream,
             std::size_t step) {
    std::uint32_t bits = 0;
    for (int i = 0; i < 3; ++i) bits |= static_cast<std::uint32_t>(stream[window.bytes[i] * step]) << (8 * i);
    bits >>= window.shift;
    switch (code) {
        case DenseCode::kWindow7: return table.entries[bits & 127] - bias_of(code);
        case DenseCode::kWindow11: return table.entries[(bits & 127) ^ table.masks[bits >> 7 & 15]] - bias_of(code);
        case DenseCode::kScalar6: return table.entries[bits & 63] - bias_of(code);
        case DenseCode::kScalar8: break;
    }
    return static_cast<std::int8_t>(bits & 255);
}

void window_entries(DenseCode code, int half_bits, const DenseTable& table, const std::uint8_t* streams,
                    std::size_t count, std::size_t length, std::int8_t* out, std::size_t workers) {
    const std::size_t bytes = length * static_cast<std::size_t>(half_bits) / 16;
    parallel_ranges(count, kTaskStreams, workers, [&](std::size_t first, std::size_t end) {
        for (std::size_t position = 0; position < length; ++position) {
            const Window window = window_at(position, length, half_bits);
            for (std::size_t i = first; i < end; ++i) {
                const int entry = entry_of(code, table, window, streams + i * bytes, 1);
                out[i * length + length - 1 - position] = static_cast<std::int8_t>(entry);
            }
        }
    });
}

void decode_rows(const DenseProduct& product, const std::int64_t* index, const MutableView& out, std::size_t workers) {
    const std::size_t rows_of_task = kTaskNumbers / product.columns + 1;
    parallel_ranges(out.rows, rows_of_task, workers, [&](std::size_t first, std::size_t end) {
        for (std::size_t i = first; i < end; ++i) {
            char* to = out.re + static_cast<std::ptrdiff_t>(i) * out.row_stride;
            const auto row = static_cast<std::size_t>(index[i]);
            out.is_double ? decode_row<double>(product, row, to, out.column_stride)
                          : decode_row<float>(product, row, to, out.column_stride);
        }
    });
}

}  // namespace bitterfly
