// A rank-one chain seen from a junction: columns of one factor, rows of the next, and what lies beyond them.
#pragma once

#include <algorithm>
#include <complex>
#include <cstddef>
#include <vector>

#include "short_floats/rank_one/weighted.hpp"

namespace bitterfly {

// A factor of pattern (a, b, c, d) in C order: what it is, and what it becomes.
template <class T>
struct ShortFactor {
    std::size_t a, b, c, d;
    const T* values;
    T* rounded;
    int bits;  // of its significands
};

// A vector that needs no heap for up to four numbers, as the columns and rows of square dyadic factors are.
template <class T>
class Numbers {
public:
    explicit Numbers(std::size_t size) : size_(size), more_(size > kInline ? size : 0) {}
    T* data() { return size_ > kInline ? more_.data() : few_; }
    const T* data() const { return size_ > kInline ? more_.data() : few_; }
    T& operator[](std::size_t i) { return data()[i]; }
    const T& operator[](std::size_t i) const { return data()[i]; }
    T* begin() { return data(); }
    T* end() { return data() + size_; }
    std::size_t size() const { return size_; }

private:
    static constexpr std::size_t kInline = 4;
    std::size_t size_;
    T few_[kInline];
    std::vector<T> more_;
};

// A column or a row of a factor: `size` numbers from `first` on, `stride` apart; number e lies on the crossing line
// cross + e * cross_stride.
struct Line {
    std::size_t first, stride, size, cross, cross_stride;
};

template <class T>
Line column(const ShortFactor<T>& f, std::size_t q) {
    const std::size_t i = q / (f.c * f.d), k = q / f.d % f.c, t = q % f.d;
    return {(i * f.b * f.c + k) * f.d + t, f.c * f.d, f.b, i * f.b * f.d + t, f.d};
}

template <class T>
Line row(const ShortFactor<T>& f, std::size_t q) {
    const std::size_t i = q / (f.b * f.d), j = q / f.d % f.b, t = q % f.d;
    return {(i * f.b + j) * f.c * f.d + t, f.d, f.c, i * f.c * f.d + t, f.d};
}

// All columns or rows in turn, without the divisions.
class LineCursor {
public:
    template <class T>
    static LineCursor columns(const ShortFactor<T>& f) {
        return {{0, f.c * f.d, f.b, 0, f.d}, f.c, f.d, f.d, (f.b - 1) * f.c * f.d, f.b * f.d};
    }
    template <class T>
    static LineCursor rows(const ShortFactor<T>& f) {
        return {{0, f.d, f.c, 0, f.d}, f.b, f.d, f.c * f.d, 0, f.c * f.d};
    }
    const Line& operator*() const { return line_; }
    // The line of number q, of a cursor at the first one.
    LineCursor at(std::size_t q) const {
        LineCursor out = *this;
        const std::size_t block = q / (count_ * d_);
        out.k_ = q / d_ % count_, out.t_ = q % d_;
        out.line_.first += block * (count_ * next_step_ + next_block_) + out.k_ * next_step_ + out.t_;
        out.line_.cross += block * cross_block_ + out.t_;
        return out;
    }
    void operator++() {
        ++line_.first, ++line_.cross;
        if (++t_ < d_) return;
        t_ = 0;
        line_.first += next_step_ - d_, line_.cross -= d_;
        if (++k_ < count_) return;
        k_ = 0;
        line_.first += next_block_, line_.cross += cross_block_;
    }

private:
    LineCursor(Line line, std::size_t count, std::size_t d, std::size_t next_step, std::size_t next_block,
               std::size_t cross_block)
        : line_(line),
          count_(count),
          d_(d),
          next_step_(next_step),
          next_block_(next_block),
          cross_block_(cross_block) {}

    Line line_;
    std::size_t count_, d_;               // lines of a block that differ in k, and in t
    std::size_t next_step_, next_block_;  // entries from one k to the next; more, from one block to the next
    std::size_t cross_block_;             // crossing lines of a block
    std::size_t k_ = 0, t_ = 0;
};

// A line u of the product on one side of a junction and the rounded one: u = kappa u^ + rest, the rest orthogonal to
// u^. `norm` is |u^|^2, `missed` |rest|^2.
template <class T>
struct Part {
    T kappa{1};
    double norm = 1, missed = 0;
};

// The numbers of one line with the parts behind them: the target of its rounded values, and their weights.
template <class T>
struct Target {
    Numbers<T> at, rounded;
    Numbers<double> weight;
    double missed = 0;  // energy that no rounded values reach

    Target(const ShortFactor<T>& f, const Line& line, const std::vector<Part<T>>& behind, bool weighted = true)
        : at(line.size), rounded(line.size), weight(line.size) {
        for (std::size_t e = 0; e < line.size; ++e) {
            const Part<T>& part = behind[line.cross + e * line.cross_stride];
            const T value = f.values[line.first + e * line.stride];
            at[e] = value * part.kappa, weight[e] = weighted ? part.norm : 1;
            rounded[e] = f.rounded[line.first + e * line.stride];
            missed += std::norm(value) * part.missed;
        }
    }
    Weighted<T> view() const { return {at.data(), weight.data(), at.size()}; }
    // The part that the line with these rounded values is to the lines that cross it further on.
    Part<T> part(const T* values) const {
        Part<T> out{0, 0, missed};
        for (std::size_t e = 0; e < at.size(); ++e) {
            out.norm += weight[e] * std::norm(values[e]);
            out.kappa += weight[e] * conjugate(values[e]) * at[e];
        }
        if (out.norm > 0) out.kappa /= out.norm;
        for (std::size_t e = 0; e < at.size(); ++e) {
            out.missed += weight[e] * std::norm(at[e] - out.kappa * values[e]);
        }
        return out;
    }
};

// The part that a line with its rounded values is to the lines that cross it further on, those behind it given.
template <class T>
Part<T> part_of(const ShortFactor<T>& f, const Line& line, const Part<T>* behind, bool weighted = true) {
    const auto of_size = [&](std::size_t size) {
        Part<T> out{0, 0, 0};
        for (std::size_t e = 0; e < size; ++e) {
            const Part<T>& part = behind[line.cross + e * line.cross_stride];
            const T value = f.values[line.first + e * line.stride], rounded = f.rounded[line.first + e * line.stride];
            const double weight = weighted ? part.norm : 1;
            out.norm += weight * std::norm(rounded);
            out.kappa += weight * conjugate(rounded) * (value * part.kappa);
            out.missed += std::norm(value) * part.missed;
        }
        if (out.norm > 0) out.kappa /= out.norm;
        for (std::size_t e = 0; e < size; ++e) {
            const Part<T>& part = behind[line.cross + e * line.cross_stride];
            const T value = f.values[line.first + e * line.stride], rounded = f.rounded[line.first + e * line.stride];
            out.missed += (weighted ? part.norm : 1) * std::norm(value * part.kappa - out.kappa * rounded);
        }
        return out;
    };
    return line.size == 2 ? of_size(2) : of_size(line.size);
}

template <class T>
void store(const ShortFactor<T>& f, const Line& line, const T* values) {
    for (std::size_t e = 0; e < line.size; ++e) f.rounded[line.first + e * line.stride] = values[e];
}

}  // namespace bitterfly
