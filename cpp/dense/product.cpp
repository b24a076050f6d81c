// Products: vectors to digits, a few at once; panels or columns side by side; sums to numbers.
#include "dense/product.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dense/digits.hpp"
#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kTasksOfWorker = 4;

std::size_t rounded_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

// Panels of 64 rows, and the one behind them with fewer, if there is one.
struct Panels {
    explicit Panels(const DenseProduct& product)
        : groups((product.columns + kTileColumns - 1) / kTileColumns),
          count((product.rows + kPanelRows - 1) / kPanelRows),
          whole{product.tiles, count, groups, kPanelRows / kChunkPositions, product.half_bits},
          last{product.tiles, 0, groups, 0, product.half_bits} {
        const std::size_t rows = panel_rows(product.rows, count - 1);
        if (rows == kPanelRows) return;
        whole.panels = count - 1;
        last = {product.tiles + whole.panels * whole.panel_bytes(), 1, groups, rows / kChunkPositions,
                product.half_bits};
    }
    std::size_t groups, count;
    DenseTiles whole, last;
};

// How many vectors the next call of the kernels takes: 1, 2, 4 or 8.
std::size_t vectors_together(std::size_t left) { return left >= 5 ? 8 : left >= 3 ? 4 : left; }

// A few vectors with one matrix.
class Block {
public:
    Block(const DenseProduct& product, bool transposed, std::size_t parts, const View& x, const MutableView& y,
          std::size_t first, std::size_t workers)
        : product_(product),
          transposed_(transposed),
          parts_(parts),
          x_(x),
          y_(y),
          first_(first),
          count_(std::min(x.columns - first, kernels().dense.together)),
          vectors_(vectors_together(count_)),
          workers_(workers),
          panels_(product),
          digits_(digits_size()),
          sums_(vectors_ * padded(!transposed)) {}

    std::size_t count() const { return count_; }
    void run() {
        split();
        transposed_ ? multiply_columns() : multiply_rows();
    }

private:
    void split() {
        const std::size_t n = x_.rows;
        Workspace<double> scratch(n);
        Workspace<std::int32_t> values(n);
        std::fill_n(digits_.data(), digits_size(), std::int8_t{0});
        for (std::size_t v = 0; v < count_; ++v) {
            scaled_[v] = round_to_values(x_, first_ + v, transposed_ ? product_.scale : nullptr, parts_, scratch.data(),
                                         values.data());
            std::int8_t* out = digits_.data();
            if (!transposed_) {
                split_columns(values.data(), n, parts_, vectors_ * parts_ * 4, out + v * parts_ * 4);
                continue;
            }
            for (std::size_t i = 0; i < panels_.count; ++i) {
                const std::size_t row = i * kPanelRows;
                split_panel(values.data() + row, std::min(kPanelRows, n - row), parts_, panel_rows(n, i), kPanelRows,
                            out + (i * vectors_ + v) * parts_ * kPanelRows);
            }
        }
    }
    // Entries of x or y with those that pad the last panel and the last tile.
    std::size_t padded(bool rows) const { return rows ? panels_.count * kPanelRows : panels_.groups * kTileColumns; }
    std::size_t digits_size() const { return vectors_ * parts_ * padded(transposed_); }
    DenseArgs args(const DenseTiles& matrix) const {
        return {.matrix = matrix,
                .table = &product_.table,
                .vectors = vectors_,
                .parts = parts_,
                .digits = digits_.data(),
                .sums = sums_.data(),
                .first = 0,
                .count = 0};
    }

    void multiply_rows() const {
        const std::size_t tasks = std::min(panels_.count, workers_ > 1 ? kTasksOfWorker * workers_ : 1);
        const auto kernel = kernels().dense.rows[static_cast<int>(product_.code)];
        parallel_for(tasks, workers_, [&](std::size_t, std::size_t t) {
            const std::size_t begin = panels_.count * t / tasks, end = panels_.count * (t + 1) / tasks;
            DenseArgs whole = args(panels_.whole);
            whole.matrix.panels = std::min(end, panels_.whole.panels) - begin;
            whole.matrix.tiles += begin * panels_.whole.panel_bytes();
            whole.sums += begin * vectors_ * kPanelRows;
            kernel(whole);
            if (end > panels_.whole.panels) {
                DenseArgs last = args(panels_.last);
                last.sums += panels_.whole.panels * vectors_ * kPanelRows;
                kernel(last);
            }
            for (std::size_t v = 0; v < count_; ++v) write_rows(v, begin, end);
        });
    }
    void write_rows(std::size_t v, std::size_t begin, std::size_t end) const {
        const Writer write(*this, v);
        for (std::size_t i = begin; i < end; ++i) {
            const std::size_t row = i * kPanelRows, last = panel_rows(product_.rows, i) - 1;
            const std::int64_t* sums = sums_.data() + (i * vectors_ + v) * kPanelRows;
            for (std::size_t r = 0; r < std::min(kPanelRows, product_.rows - row); ++r) {
                write(row + r, sums[last - r], static_cast<double>(product_.scale[row + r]));
            }
        }
    }

    void multiply_columns() const {
        const std::size_t most = groups_at_once(vectors_, parts_);
        const std::size_t shared = workers_ > 1 ? panels_.groups / (kTasksOfWorker * workers_) + 1 : most;
        const std::size_t step = std::min(most, rounded_up(shared, 8));
        const auto kernel = kernels().dense.columns[static_cast<int>(product_.code)];
        parallel_for((panels_.groups + step - 1) / step, workers_, [&](std::size_t, std::size_t t) {
            const std::size_t begin = t * step, end = std::min(begin + step, panels_.groups);
            DenseArgs part = args(panels_.whole);
            part.first = begin, part.count = end - begin;
            part.sums += begin * vectors_ * kTileColumns;
            std::fill_n(part.sums, (end - begin) * vectors_ * kTileColumns, std::int64_t{0});
            kernel(part);
            part.matrix = panels_.last;
            part.digits += panels_.whole.panels * vectors_ * parts_ * kPanelRows;
            if (part.matrix.panels > 0) kernel(part);
            for (std::size_t v = 0; v < count_; ++v) write_columns(v, begin, end);
        });
    }
    void write_columns(std::size_t v, std::size_t begin, std::size_t end) const {
        const Writer write(*this, v);
        for (std::size_t c = begin * kTileColumns; c < std::min(end * kTileColumns, product_.columns); ++c) {
            write(c, sums_.data()[(c / kTileColumns * vectors_ + v) * kTileColumns + c % kTileColumns], 1.0);
        }
    }

    // Numbers of one vector, always in the same order of operations.
    class Writer {
    public:
        Writer(const Block& block, std::size_t v)
            : y_(block.y_),
              column_(block.y_.re + static_cast<std::ptrdiff_t>(block.first_ + v) * block.y_.column_stride),
              unit_(block.scaled_[v].is_finite ? block.scaled_[v].unit : std::numeric_limits<double>::quiet_NaN()),
              power_(power_of_two(block.scaled_[v].exponent)),
              bias_(bias_of(block.product_.code) * block.scaled_[v].sum) {}

        void operator()(std::size_t row, std::int64_t sum, double scale) const {
            const double number = scale * unit_ * static_cast<double>(sum - bias_) * power_.first * power_.second;
            char* to = column_ + static_cast<std::ptrdiff_t>(row) * y_.row_stride;
            if (y_.is_double) {
                *reinterpret_cast<double*>(to) = number;
            } else {
                *reinterpret_cast<float*>(to) = static_cast<float>(number);
            }
        }

    private:
        const MutableView& y_;
        char* column_;
        double unit_;
        PowerOfTwo power_;
        std::int64_t bias_;
    };

    const DenseProduct& product_;
    bool transposed_;
    std::size_t parts_;
    const View& x_;
    const MutableView& y_;
    std::size_t first_, count_, vectors_, workers_;
    Panels panels_;
    Workspace<std::int8_t> digits_;
    Workspace<std::int64_t> sums_;
    Scaled scaled_[kMostTogether];
};

}  // namespace

bool is_rate(DenseCode code, int half_bits) {
    if (code == DenseCode::kScalar6) return half_bits == 12;
    if (code == DenseCode::kScalar8) return half_bits == 16;
    return (half_bits >= 2 && half_bits <= 8) || half_bits == 10;
}

std::size_t panel_rows(std::size_t rows, std::size_t panel) {
    return std::min(kPanelRows, rounded_up(rows - panel * kPanelRows, kChunkPositions));
}

std::size_t tiles_bytes(std::size_t rows, std::size_t columns, int half_bits) {
    const std::size_t bits = rounded_up(rows, kChunkPositions) * rounded_up(columns, kTileColumns);
    return bits / 16 * static_cast<std::size_t>(half_bits) + kTilePadding;
}

DenseTable table_of(DenseCode code, const std::int8_t* entries, const std::uint8_t* masks) {
    DenseTable out{};
    const std::size_t count = code == DenseCode::kScalar8 ? 0 : code == DenseCode::kScalar6 ? 64 : 128;
    for (std::size_t i = 0; i < count; ++i) out.entries[i] = static_cast<std::uint8_t>(entries[i] + bias_of(code));
    for (std::size_t i = 0; masks != nullptr && i < 64; ++i) out.masks[i] = masks[i % 16];
    return out;
}

void apply(const DenseProduct& product, bool transposed, std::size_t parts, const View& x, const MutableView& y,
           std::size_t workers) {
    if (product.rows * product.columns * x.columns < least_parallel_work()) workers = 1;
    for (std::size_t first = 0; first < x.columns;) {
        Block block(product, transposed, parts, x, y, first, workers);
        block.run();
        first += block.count();
    }
}

}  // namespace bitterfly
