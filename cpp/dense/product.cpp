// Products: vectors to digits, a few at once; panels or columns side by side; sums to numbers.
#include "dense/product.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "dense/digits.hpp"
#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kTasksOfWorker = 4;
constexpr std::size_t kMostRounds = 3;
// Numbers near one times a larger power overflow, or vanish.
constexpr int kMostPower = 1400;

std::size_t rounded_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

// Panels of 64 rows of a piece, and the one behind them with fewer, if there is one.
struct Panels {
    Panels(const DensePiece& piece, std::size_t rows)
        : groups((piece.columns + kTileColumns - 1) / kTileColumns),
          count((rows + kPanelRows - 1) / kPanelRows),
          whole{piece.tiles, count, groups, kPanelRows / kChunkPositions, piece.half_bits},
          last{piece.tiles, 0, groups, 0, piece.half_bits} {
        const std::size_t last_rows = panel_rows(rows, count - 1);
        if (last_rows == kPanelRows) return;
        whole.panels = count - 1;
        last = {piece.tiles + whole.panels * whole.panel_bytes(), 1, groups, last_rows / kChunkPositions,
                piece.half_bits};
    }
    std::size_t groups, count;
    DenseTiles whole, last;
};

// Uses of the workspaces of a thread that may live side by side.
enum Use : int { kDigits, kNumbers = 2, kOfPiece, kTotals, kScales };

// Sums that a task makes before it uses them: they stay in the cache.
constexpr std::size_t kSumsAtOnce = std::size_t{1} << 14;
// Numbers of vectors and results that are in memory at once, where more than a few vectors are.
constexpr std::size_t kMostNumbers = std::size_t{1} << 20;

// How many of the vectors that are left the next call of the kernels takes: shares that are alike.
std::size_t vectors_together(std::size_t left, std::size_t numbers) {
    const std::size_t most = std::min(kernels().dense.together, std::max(kMostNumbers / numbers, std::size_t{8}));
    const std::size_t calls = (left + most - 1) / most;
    return (left + calls - 1) / calls;
}

// A few vectors with one matrix, or with several of one piece that take the same digits.
class Block {
public:
    // `others`: none unless the product is direct, and takes rows.
    Block(const DenseProduct& product, const MutableView& y, const std::vector<DenseTarget>& others, bool transposed,
          std::size_t parts, const View& x, std::size_t first, std::size_t workers)
        : product_(&product),
          y_(&y),
          others_(others),
          before_(transposed ? product.outputs : product.inputs),
          after_(transposed ? product.inputs : product.outputs),
          transposed_(transposed),
          is_exact_(parts == kExact),
          is_direct_(!is_exact_ && !after_ && (transposed || product.pieces.size() == 1)),
          parts_(is_exact_ ? kMostParts : parts),
          x_(x),
          first_(first),
          count_(vectors_together(x.columns - first, x.rows + y.rows)),
          is_few_(count_ <= kFewVectors),
          vectors_(transposed && is_few_ ? std::bit_ceil(count_) : count_),
          workers_(workers),
          numbers_(count_ * x.rows),
          of_piece_(transposed ? 0 : count_ * most_columns()),
          totals_(is_direct_ ? 0 : count_ * y.rows),
          scales_(most_rows()),
          digits_(vectors_ * kMostParts * (transposed ? padded_rows() : padded_columns())),
          sums_(vectors_ *
                (transposed ? rounded_up(padded_columns(), kPanelRows) : rounded_up(most_rows(), kPanelRows))) {}

    std::size_t count() const { return count_; }
    void run() {
        read_scales();
        parallel_for(count_, workers_, [&](std::size_t, std::size_t v) { read(v); });
        if (!is_direct_) std::fill_n(totals_.data(), count_ * y_->rows, 0.0);
        transposed_ ? run_columns() : run_rows();
        if (!is_direct_) parallel_for(count_, workers_, [&](std::size_t, std::size_t v) { write_totals(v); });
    }

private:
    void read_scales() const {
        for (std::size_t r = 0; r < product_->rows; ++r) scales_.data()[r] = number_of_half(product_->scale[r]);
    }
    std::size_t most_rows() const {
        std::size_t most = product_->rows;
        for (const DenseTarget& other : others_) most = std::max(most, other.product->rows);
        return most;
    }
    std::size_t most_columns() const {
        std::size_t most = 0;
        for (const DensePiece& piece : product_->pieces) most = std::max(most, piece.columns);
        return most;
    }
    // With those that pad the last panel, and the last tile.
    std::size_t padded_rows() const { return rounded_up(product_->rows, kPanelRows); }
    std::size_t padded_columns() const { return rounded_up(most_columns(), kTileColumns); }
    double* numbers(std::size_t v) const { return numbers_.data() + v * x_.rows; }
    double* totals(std::size_t v) const { return totals_.data() + v * y_->rows; }

    // Vector v as 2^exponents_[v] times numbers, which are near one where those of several pieces or rounds are added.
    void read(std::size_t v) {
        double* z = numbers(v);
        read_columns(x_, first_ + v, 1, z);
        if (before_) {
            exponents_[v] = rotate(*before_, false, z, x_.rows);
        } else if (transposed_ || !is_direct_) {
            exponents_[v] = bring_near_one(z, x_.rows);
        }
        if (transposed_) multiply_by_scale(z);
        if (is_exact_ && (before_ || transposed_)) exponents_[v] += bring_near_one(z, x_.rows);
    }
    int rotate(const Rotation& rotation, bool adjoint, double* z, std::size_t count) const {
        return rotate_near_one(rotation, adjoint, is_exact_ || x_.is_double, z, count);
    }
    void multiply_by_scale(double* z) const {
        for (std::size_t r = 0; r < product_->rows; ++r) z[r] *= scales_.data()[r];
    }

    // Digits of all vectors in this round, and what each contributes; whether there are any.
    bool split(const DensePiece& piece, std::size_t round) {
        const std::size_t n = transposed_ ? product_->rows : piece.columns;
        if (vectors_ > count_) std::fill_n(digits_.data(), vectors_ * parts_ * padded_rows(), std::int8_t{0});
        parallel_for(count_, workers_, [&](std::size_t, std::size_t v) {
            Workspace<std::int32_t> values(padded_values(n));
            double* z = numbers_of_piece(piece, v, round);
            scaled_[v] = is_exact_ ? take_values(z, n, values.data()) : round_to_values(z, n, parts_, values.data());
            if (before_) scaled_[v].unit *= before_->scale();
            transposed_ ? split_rows(values.data(), v) : split_inputs(values.data(), n, v);
        });
        return std::any_of(scaled_, scaled_ + count_, [](const Scaled& s) { return s.unit != 0; });
    }
    double* numbers_of_piece(const DensePiece& piece, std::size_t v, std::size_t round) const {
        if (transposed_ || piece.columns == product_->columns) return numbers(v);
        double* out = of_piece_.data() + v * piece.columns;
        if (round > 0) return out;
        double* to = out;
        for (const ColumnRun& run : piece.runs) to = std::copy_n(numbers(v) + run.first, run.count, to);
        return out;
    }
    // Where the digits of vector v and word `at` stand, of `words` that follow the first `before` of all vectors, and
    // how far from it those of the next word.
    struct DigitPlace {
        std::int8_t* begin;
        std::size_t stride;
    };
    DigitPlace place_of_digits(std::size_t v, std::size_t before, std::size_t words, std::size_t at) const {
        const std::size_t sums = vectors_ * parts_, s = v * parts_, within = s % kSumsBeside, first = s - within,
                          beside = std::min(kSumsBeside, sums - first);
        return {digits_.data() + 4 * (sums * before + first * words + beside * at + within), 4 * beside};
    }
    void split_inputs(const std::int32_t* values, std::size_t n, std::size_t v) const {
        const DigitPlace to = place_of_digits(v, 0, rounded_up(n, kTileColumns) / 4, 0);
        split_columns(values, n, parts_, to.stride, to.begin);
    }
    void split_rows(const std::int32_t* values, std::size_t v) const {
        constexpr std::size_t words = kPanelRows / 4;
        const std::size_t whole = rounded_up(product_->rows, kChunkPositions) / kPanelRows;
        for (std::size_t row = 0; row < product_->rows; row += kPanelRows) {
            const std::size_t i = row / kPanelRows, count = std::min(kPanelRows, product_->rows - row),
                              positions = panel_rows(product_->rows, i);
            if (is_few_) {
                split_panel(values + row, count, parts_, positions, kPanelRows, 4,
                            digits_.data() + (i * vectors_ + v) * parts_ * kPanelRows);
            } else {
                const DigitPlace to = i < whole ? place_of_digits(v, 0, whole * words, i * words)
                                                : place_of_digits(v, whole * words, positions / 4, 0);
                split_panel(values + row, count, parts_, positions, 4, to.stride, to.begin);
            }
        }
    }
    std::size_t rounds() const { return is_exact_ ? kMostRounds : 1; }
    DenseArgs args(const DensePiece& piece, const DenseTiles& matrix) const {
        return {.matrix = matrix,
                .table = &piece.table,
                .vectors = vectors_,
                .parts = parts_,
                .digits = digits_.data(),
                .sums = sums_.data(),
                .first = 0,
                .count = 0};
    }

    // What a sum of a kernel with one vector stands for, less a bias: near_one times a scale and a power of two, or
    // whole.
    struct Unit {
        double near_one, whole;
        std::int64_t bias;
        PowerOfTwo power;
    };
    using Units = std::array<Unit, kMostTogether>;
    Units units_of(const DensePiece& piece) const {
        Units out;
        for (std::size_t v = 0; v < count_; ++v) {
            const Scaled& scaled = scaled_[v];
            const double unit = scaled.unit * piece.step;
            out[v] = {unit, std::ldexp(unit, scaled.exponent), bias_of(piece.code) * scaled.sum,
                      power_of(v, scaled.exponent)};
        }
        return out;
    }
    // That of vector v, of the matrix, and 2^exponent.
    PowerOfTwo power_of(std::size_t v, int exponent) const {
        return power_of_two(std::clamp(exponents_[v] + product_->exponent + exponent, -kMostPower, kMostPower));
    }

    void run_rows() {
        for (const DensePiece& piece : product_->pieces) {
            for (std::size_t round = 0; round < rounds(); ++round) {
                if (split(piece, round) || is_direct_) multiply_rows(piece);
            }
        }
        for (const DenseTarget& other : others_) {
            product_ = other.product, y_ = &other.y;
            read_scales();
            multiply_rows(product_->pieces[0]);
        }
    }
    void multiply_rows(const DensePiece& piece) const {
        const Panels panels(piece, product_->rows);
        const std::size_t tasks =
            std::min(panels.count, std::max(workers_ > 1 ? kTasksOfWorker * workers_ : 1,
                                            panels.count * kPanelRows * vectors_ / kSumsAtOnce + 1));
        const auto kernel = kernels().dense.rows[static_cast<int>(piece.code)];
        const Units units = units_of(piece);
        parallel_for(tasks, workers_, [&](std::size_t, std::size_t t) {
            const std::size_t begin = panels.count * t / tasks, end = panels.count * (t + 1) / tasks;
            DenseArgs whole = args(piece, panels.whole);
            whole.matrix.panels = std::min(end, panels.whole.panels) - begin;
            whole.matrix.tiles += begin * panels.whole.panel_bytes();
            whole.sums += begin * vectors_ * kPanelRows;
            kernel(whole);
            if (end > panels.whole.panels) {
                DenseArgs last = args(piece, panels.last);
                last.sums += panels.whole.panels * vectors_ * kPanelRows;
                kernel(last);
            }
            use_rows(units, begin, end);
        });
    }
    void use_rows(const Units& units, std::size_t begin, std::size_t end) const {
        for (std::size_t i = begin; i < end; ++i) {
            const std::size_t row = i * kPanelRows, count = std::min(kPanelRows, product_->rows - row),
                              before = panel_rows(product_->rows, i) - count;
            for (std::size_t v = 0; v < count_; ++v) {
                use_sums(units[v], v, row, count, sums_.data() + (i * vectors_ + v) * kPanelRows + before);
            }
        }
    }

    void run_columns() {
        for (std::size_t round = 0; round < rounds(); ++round) {
            if (!split(product_->pieces[0], round) && !is_direct_) return;
            for (const DensePiece& piece : product_->pieces) multiply_columns(piece);
        }
    }
    void multiply_columns(const DensePiece& piece) const {
        const Panels panels(piece, product_->rows);
        const std::size_t most = is_few_
                                     ? groups_at_once(vectors_, parts_)
                                     : rounded_up(kSumsAtOnce / (kTileColumns * vectors_), kPanelRows / kTileColumns);
        const std::size_t shared = workers_ > 1 ? panels.groups / (kTasksOfWorker * workers_) + 1 : most;
        const std::size_t step = std::min(most, rounded_up(shared, is_few_ ? 8 : kPanelRows / kTileColumns));
        const auto kernel = kernels().dense.columns[static_cast<int>(piece.code)];
        const Units units = units_of(piece);
        parallel_for((panels.groups + step - 1) / step, workers_, [&](std::size_t, std::size_t t) {
            const std::size_t begin = t * step, end = std::min(begin + step, panels.groups);
            DenseArgs part = args(piece, panels.whole);
            part.first = begin, part.count = end - begin;
            part.sums += begin * vectors_ * kTileColumns;
            std::fill_n(part.sums, vectors_ * rounded_up((end - begin) * kTileColumns, sums_beside()), std::int64_t{0});
            kernel(part);
            part.matrix = panels.last;
            part.digits += panels.whole.panels * vectors_ * parts_ * kPanelRows;
            if (part.matrix.panels > 0) kernel(part);
            use_columns(piece, units, begin, end);
        });
    }
    // Sums of one vector with so many columns are next to each other.
    std::size_t sums_beside() const { return is_few_ ? kTileColumns : kPanelRows; }
    void use_columns(const DensePiece& piece, const Units& units, std::size_t begin, std::size_t end) const {
        const std::size_t beside = sums_beside(), first = begin * kTileColumns,
                          last = std::min(end * kTileColumns, piece.columns);
        // Columns from `begin` tiles on of the piece are those of its runs.
        std::size_t c = 0;
        for (const ColumnRun& run : piece.runs) {
            for (std::size_t at = std::max(c, first), to; at < std::min(c + run.count, last); at = to) {
                to = std::min({at - at % beside + beside, c + run.count, last});
                for (std::size_t v = 0; v < count_; ++v) {
                    const std::int64_t* sums = sums_.data() + (at / beside * vectors_ + v) * beside + at % beside;
                    use_sums(units[v], v, run.first + at - c, to - at, sums);
                }
            }
            c += run.count;
        }
    }
    // Those of rows go from the last one to the first.
    void use_sums(const Unit& unit, std::size_t v, std::size_t first, std::size_t count,
                  const std::int64_t* sums) const {
        const VectorKernels& vectors = kernels().dense.vectors;
        double out[kPanelRows];
        const SumsArgs args{.sums = sums,
                            .count = count,
                            .is_reversed = !transposed_,
                            .bias = unit.bias,
                            .unit = is_direct_ ? unit.near_one : unit.whole,
                            .scale = transposed_ ? nullptr : scales_.data() + first,
                            .out = is_direct_ ? out : totals(v) + first};
        if (!is_direct_) return vectors.add_sums(args);
        vectors.scale_sums(args);
        write(v, unit.power, first, count, out);
    }

    void write_totals(std::size_t v) const {
        double* z = totals(v);
        if (!transposed_) multiply_by_scale(z);
        const int exponent = after_ ? rotate(*after_, true, z, y_->rows) : 0;
        if (after_) {
            for (std::size_t i = 0; i < y_->rows; ++i) z[i] *= after_->scale();
        }
        write(v, power_of(v, exponent), 0, y_->rows, z);
    }

    // Rows first, ..., first + count - 1 of vector v, numbers times a power of two.
    void write(std::size_t v, const PowerOfTwo& power, std::size_t first, std::size_t count,
               const double* near_one) const {
        char* to = y_->re + static_cast<std::ptrdiff_t>(first_ + v) * y_->column_stride +
                   static_cast<std::ptrdiff_t>(first) * y_->row_stride;
        if (!y_->is_double && y_->row_stride == sizeof(float)) {
            kernels().dense.vectors.single.times_power(near_one, count, power, reinterpret_cast<float*>(to));
        } else {
            y_->is_double ? write_as<double>(to, power, count, near_one) : write_as<float>(to, power, count, near_one);
        }
    }
    template <class Real>
    void write_as(char* to, const PowerOfTwo& power, std::size_t count, const double* near_one) const {
        for (std::size_t i = 0; i < count; ++i, to += y_->row_stride)
            *reinterpret_cast<Real*>(to) = static_cast<Real>(near_one[i] * power.first * power.second);
    }

    const DenseProduct* product_;
    const MutableView* y_;
    const std::vector<DenseTarget>& others_;
    const std::optional<Rotation>&before_, &after_;
    bool transposed_, is_exact_;
    bool is_direct_;  // sums are written at once; else they are added up first
    std::size_t parts_;
    const View& x_;
    std::size_t first_, count_;
    bool is_few_;          // columns are those of the kernels of a few vectors
    std::size_t vectors_;  // with those that kernels of a few vectors take besides
    std::size_t workers_;
    Workspace<double, kNumbers> numbers_;
    Workspace<double, kOfPiece> of_piece_;
    Workspace<double, kTotals> totals_;
    Workspace<double, kScales> scales_;
    Workspace<std::int8_t, kDigits> digits_;
    Workspace<std::int64_t, kDigits> sums_;
    Scaled scaled_[kMostTogether];
    int exponents_[kMostTogether] = {};
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
    const std::vector<DenseTarget> none;
    if (product.rows * product.columns * x.columns < least_parallel_work()) workers = 1;
    for (std::size_t first = 0; first < x.columns;) {
        Block block(product, y, none, transposed, parts, x, first, workers);
        block.run();
        first += block.count();
    }
}

void apply(const std::vector<DenseTarget>& targets, std::size_t parts, const View& x, std::size_t workers) {
    const std::vector<DenseTarget> others(targets.begin() + 1, targets.end());
    std::size_t rows = 0;
    for (const DenseTarget& target : targets) rows += target.product->rows;
    if (rows * x.rows * x.columns < least_parallel_work()) workers = 1;
    for (std::size_t first = 0; first < x.columns;) {
        Block block(*targets[0].product, targets[0].y, others, false, parts, x, first, workers);
        block.run();
        first += block.count();
    }
}

}  // namespace bitterfly
