// Signs to tiles and back; sums by tables, panels or columns side by side.
#include "cuts/signs.hpp"

#include <algorithm>

#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kTasksOfWorker = 4;

std::size_t parts_of(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit; }

std::size_t part_of(std::size_t count, std::size_t workers, std::size_t unit) {
    return std::max(unit, parts_of(parts_of(count, kTasksOfWorker * workers), unit) * unit);
}

}  // namespace

SignMatrix::SignMatrix(const std::uint8_t* bits, std::size_t rows, std::size_t columns, bool of_transpose)
    : rows_(rows),
      columns_(columns),
      tiles_(make_aligned<std::uint8_t>(parts_of(rows, kSignLanes) * parts_of(columns, kSignTerms) * kSignBytes)) {
    const std::size_t stride = sign_bytes(of_transpose ? rows : columns);
    for_each_four([&](std::size_t row, std::size_t column, std::uint8_t& byte, int shift) {
        unsigned four = 0;
        if (row < rows_ && !of_transpose && column < columns_) {
            four = bits[row * stride + column / 8] >> column % 8 & 15U;
        } else if (row < rows_) {
            for (std::size_t k = 0; k < 4 && column + k < columns_; ++k) {
                four |= (bits[(column + k) * stride + row / 8] >> row % 8 & 1U) << k;
            }
        }
        byte = static_cast<std::uint8_t>((shift == 0 ? 0U : byte) | four << shift);
    });
}

void SignMatrix::write(std::uint8_t* bits, bool of_transpose) const {
    const std::size_t stride = sign_bytes(of_transpose ? rows_ : columns_);
    std::fill_n(bits, stride * (of_transpose ? columns_ : rows_), std::uint8_t{0});
    for_each_four([&](std::size_t row, std::size_t column, const std::uint8_t& byte, int shift) {
        if (row >= rows_) return;
        for (std::size_t k = 0; k < 4 && column + k < columns_; ++k) {
            const std::size_t outer = of_transpose ? column + k : row, inner = of_transpose ? row : column + k;
            const unsigned bit = byte >> (static_cast<std::size_t>(shift) + k) & 1U;
            bits[outer * stride + inner / 8] |= static_cast<std::uint8_t>(bit << inner % 8);
        }
    });
}

// Calls visit(row, column, byte, shift) for all four columns from a multiple of four on, the lower half of a byte
// first.
template <class Visit>
void SignMatrix::for_each_four(Visit visit) const {
    std::uint8_t* byte = tiles_.get();
    for (const SignTiles& part : {whole(), last()}) {
        const std::size_t before = part.tiles == tiles_.get() ? 0 : whole().panels;
        for (std::size_t p = 0; p < part.panels; ++p) {
            for (std::size_t at = 0; at < part.blocks * part.chunks * kSignLanes; ++at) {
                const std::size_t row = (before + p) * kSignPanel + at % (part.chunks * kSignLanes);
                const std::size_t first = at / (part.chunks * kSignLanes) * kSignTerms;
                for (std::size_t b = 0; b < 4; ++b, ++byte) {
                    visit(row, first + 4 * b, *byte, 0);
                    visit(row, first + 16 + 4 * b, *byte, 4);
                }
            }
        }
    }
}

SignTiles SignMatrix::whole() const {
    return {tiles_.get(), rows_ / kSignPanel, parts_of(columns_, kSignTerms), kSignChunks};
}

SignTiles SignMatrix::last() const {
    SignTiles all = whole();
    all.tiles += all.panels * all.panel_bytes();
    all.chunks = parts_of(rows_ % kSignPanel, kSignLanes);
    all.panels = all.chunks > 0 ? 1 : 0;
    return all;
}

std::size_t SignMatrix::values(bool transposed) const {
    return transposed ? parts_of(rows_, kSignLanes) * kSignLanes : parts_of(columns_, kSignTerms) * kSignTerms;
}

void SignMatrix::multiply(bool transposed, const std::int32_t* value, std::int64_t* out, std::size_t workers) const {
    const CutKernels& kernel = kernels().cuts;
    const std::size_t groups = values(transposed) / kTableNumbers;
    const Workspace<std::uint8_t> tables(groups * kTableBytes);
    kernel.tables(value, groups, tables.data());
    if (!transposed) {
        const SignTiles panels = whole();
        const std::size_t part = part_of(panels.panels, workers, 1);
        parallel_ranges(panels.panels, part, workers, [&](std::size_t first, std::size_t end) {
            SignTiles some = panels;
            some.tiles += first * panels.panel_bytes();
            some.panels = end - first;
            kernel.rows({some, tables.data(), out + first * kSignPanel, 0, 0});
        });
        if (rows_ % kSignPanel > 0) kernel.rows({last(), tables.data(), out + panels.panels * kSignPanel, 0, 0});
        return;
    }
    const std::size_t blocks = whole().blocks, part = part_of(blocks, workers, kSignChunks / 2);
    parallel_ranges(blocks, part, workers, [&](std::size_t first, std::size_t end) {
        std::int64_t* sums = out + first * kSignTerms;
        std::fill_n(sums, (end - first) * kSignTerms, std::int64_t{0});
        kernel.columns({whole(), tables.data(), sums, first, end - first});
        const std::size_t skipped = whole().panels * kSignChunks * kTableBytes;
        kernel.columns({last(), tables.data() + skipped, sums, first, end - first});
    });
}

}  // namespace bitterfly
