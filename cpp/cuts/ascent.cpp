// The ascent by what changes: an image loses and gains rows of the residual, which is kept along both sides.
#include "cuts/ascent.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "kernels/kernels.hpp"
#include "lanes.hpp"
#include "parallel.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kMostTurns = 10000;                   // an even number: the columns are the last to follow
constexpr std::size_t kLeastShared = std::size_t{1} << 17;  // numbers of rows that are added
constexpr std::size_t kFlippedRows = 16;

std::size_t padded(std::size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// SplitMix64 (Steele, Lea, Flood 2014).
std::uint64_t random_bits(std::uint64_t& state) {
    std::uint64_t z = state += 0x9E3779B97F4A7C15U;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    return z ^ z >> 31;
}

// Columns of a range for each worker; results do not depend on where ranges end.
template <class Body>
void share_columns(std::size_t columns, std::size_t work, std::size_t workers, const Body& body) {
    if (workers == 1 || work < kLeastShared) return body(std::size_t{0}, columns);
    parallel_ranges(columns, padded((columns + workers - 1) / workers), workers, body);
}

}  // namespace

Ascent::Side::Side(std::size_t count_, std::size_t length)
    : count(count_),
      padded(bitterfly::padded(length)),
      stride(padded + kLanes),  // rows of a power of two would share few lines of the cache
      residual(make_aligned<float>(count * stride)),
      signs(bitterfly::padded(count)),
      image(bitterfly::padded(count)),
      best(bitterfly::padded(count)),
      factors(count),
      changed(count) {
    std::fill_n(signs.begin(), count, 1.0F);  // never zero: only bits of signs are compared
    best = signs;
}

Ascent::Ascent(const float* a, std::size_t rows, std::size_t columns) : rows_(rows, columns), columns_(columns, rows) {
    std::fill_n(rows_.residual.get(), rows * rows_.stride, 0.0F);
    std::fill_n(columns_.residual.get(), columns * columns_.stride, 0.0F);
    constexpr std::size_t kTile = 32;
    for (std::size_t i = 0; i < rows; i += kTile) {
        for (std::size_t j = 0; j < columns; j += kTile) {
            for (std::size_t r = i; r < std::min(rows, i + kTile); ++r) {
                for (std::size_t c = j; c < std::min(columns, j + kTile); ++c) {
                    const float number = a[r * columns + c];
                    rows_.residual[r * rows_.stride + c] = columns_.residual[c * columns_.stride + r] = number;
                }
            }
        }
    }
}

std::size_t Ascent::take_signs(Side& side) {
    constexpr std::size_t kAtOnce = 16;  // of which mostly none has changed
    std::size_t count = 0;
    for (std::size_t first = 0; first < side.count; first += kAtOnce) {
        std::uint32_t differ = 0;
        for (std::size_t i = first; i < first + kAtOnce; ++i) {
            differ |= std::bit_cast<std::uint32_t>(side.image[i]) ^ std::bit_cast<std::uint32_t>(side.signs[i]);
        }
        if (differ >> 31 == 0) continue;
        for (std::size_t i = first; i < std::min(side.count, first + kAtOnce); ++i) {
            const float sign = std::copysign(1.0F, side.image[i]);
            if (sign == side.signs[i]) continue;
            side.signs[i] = sign;
            side.changed[count] = static_cast<std::uint32_t>(i);
            side.factors[count++] = 2 * sign;
        }
    }
    return count;
}

void Ascent::follow(Side& from, Side& to, std::size_t changed, std::size_t workers) {
    std::size_t count = changed;
    if (2 * changed > from.count) {
        count = from.count;
        std::fill(to.image.begin(), to.image.end(), 0.0F);
        std::iota(from.changed.begin(), from.changed.end(), 0U);
        std::copy_n(from.signs.begin(), count, from.factors.begin());
    }
    share_columns(from.padded, count * from.padded, workers, [&](std::size_t first, std::size_t end) {
        kernels().cuts.add_rows({from.residual.get() + first, from.stride, from.changed.data(), from.factors.data(),
                                 count, to.image.data() + first, end - first});
    });
}

void Ascent::draw(std::uint64_t seed) {
    std::uint64_t bits = 0;
    for (std::size_t j = 0; j < columns_.count; ++j) {
        if (j % 64 == 0) bits = random_bits(seed);
        columns_.signs[j] = (bits >> j % 64 & 1) != 0 ? -1.0F : 1.0F;
    }
}

bool Ascent::take_row() {
    for (std::size_t i = 0; i < rows_.count; ++i) {
        const float* row = rows_.residual.get() + i * rows_.stride;
        if (std::all_of(row, row + columns_.count, [](float number) { return number == 0; })) continue;
        for (std::size_t j = 0; j < columns_.count; ++j) columns_.signs[j] = std::copysign(1.0F, row[j]);
        return true;
    }
    return false;
}

double Ascent::climb(std::size_t workers) {
    follow(columns_, rows_, columns_.count, workers);
    take_signs(rows_);
    follow(rows_, columns_, rows_.count, workers);
    // Rounding alone could make signs go in circles.
    for (std::size_t turn = 0; turn < kMostTurns; ++turn) {
        Side &from = turn % 2 == 0 ? columns_ : rows_, &to = turn % 2 == 0 ? rows_ : columns_;
        const std::size_t changed = take_signs(from);
        if (changed == 0) break;
        follow(from, to, changed, workers);
    }
    double gain = 0;
    for (const float number : columns_.image) gain += std::fabs(static_cast<double>(number));
    take_signs(columns_);
    return gain;
}

void Ascent::subtract(Side& from, const Side& to, float coefficient, std::size_t workers) {
    for (std::size_t i = 0; i < from.count; ++i) from.factors[i] = coefficient * from.best[i];
    const std::size_t part = workers == 1 ? from.count : (from.count + workers - 1) / workers;
    parallel_ranges(from.count, part, workers, [&](std::size_t first, std::size_t end) {
        kernels().cuts.subtract({from.residual.get() + first * from.stride, from.stride, from.factors.data() + first,
                                 end - first, to.best.data(), from.padded});
    });
}

double Ascent::cut(std::uint64_t seed, std::size_t starts, float* s, float* t, std::size_t workers) {
    double best = -1;
    for (std::size_t start = 0; start <= starts; ++start) {
        if (start < starts) {
            draw(random_bits(seed));
        } else if (best > 0 || !take_row()) {
            break;
        }
        const double gain = climb(workers);
        if (gain <= best) continue;
        best = gain;
        std::swap(rows_.signs, rows_.best), std::swap(columns_.signs, columns_.best);
    }
    std::copy_n(rows_.best.begin(), rows_.count, s);
    std::copy_n(columns_.best.begin(), columns_.count, t);
    const double coefficient = best / (static_cast<double>(rows_.count) * static_cast<double>(columns_.count));
    subtract(rows_, columns_, static_cast<float>(coefficient), workers);
    subtract(columns_, rows_, static_cast<float>(coefficient), workers);
    return coefficient;
}

std::size_t flip_signs(const FlipArgs& all, std::size_t times, std::size_t workers) {
    const CutKernels& kernel = kernels().cuts;
    const auto flips = [&](std::size_t first, std::size_t end) {
        FlipArgs args = all;
        args.signs += first * all.stride, args.slopes += first * all.stride, args.residual += first * all.columns;
        args.rows = end - first;
        std::size_t count = 0;
        for (std::size_t time = 0; time < times; ++time) {
            const std::size_t more = kernel.flip(args);
            count += more;
            if (more == 0) break;
        }
        return static_cast<double>(count);
    };
    return static_cast<std::size_t>(parallel_sum(all.rows, kFlippedRows, workers, flips));
}

}  // namespace bitterfly
