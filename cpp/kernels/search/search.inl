// What the searches for short significands share: rounding, the candidates of a pivot, the other vector rounded.
#pragma once

#include "kernels/search/args.hpp"

namespace {

using bitterfly::SearchArgs;

// Rounds to the significand whose splitter is 2^(53 - bits) + 1 (Veltkamp); of two equally near numbers either.
template <class V>
typename V::Vec split_off(typename V::Vec x, typename V::Vec splitter) {
    const auto c = V::mul(x, splitter);
    return V::sub(c, V::sub(c, x));
}

// 1 + unit, 1 + 2 unit, ...; no more than `count` different ones.
template <class V>
typename V::Vec first_candidates(double unit, std::size_t count) {
    double p[V::width];
    for (std::size_t i = 0; i < V::width; ++i) p[i] = 1 + unit * static_cast<double>((i < count ? i : count - 1) + 1);
    return V::load(p);
}

// The least error so far, in all lanes, and whose it is.
template <class V>
class Least {
public:
    using Vec = typename V::Vec;
    explicit Least(double error) : error_(error), all_(V::broadcast(error)) {}

    Vec all() const { return all_; }
    double error() const { return error_; }
    // Where lanes of `error` are below: takes the least of them, and its lane.
    bool take(Vec error, std::size_t& lane) {
        if (!V::any_negative(V::sub(error, all_))) return false;
        double lanes[V::width];
        V::store(lanes, error);
        for (std::size_t i = 0; i < V::width; ++i) {
            if (lanes[i] < error_) error_ = lanes[i], lane = i;
        }
        all_ = V::broadcast(error_);
        return true;
    }

private:
    double error_;
    Vec all_;
};

template <class V>
double lane_of(typename V::Vec v, std::size_t lane) {
    double lanes[V::width];
    V::store(lanes, v);
    return lanes[lane];
}

// The vector on the other side, rounded for each scale mu.
template <class V>
class RoundedRight {
public:
    using Vec = typename V::Vec;
    template <class Args>
    explicit RoundedRight(const Args& args)
        : y_(args.y), weight_(args.y_weight), size_(args.y_size), splitter_(V::broadcast(args.y_splitter)) {}

    // error + norm |y^ - mu y|^2; where no lane is below `least`, less than that.
    Vec add_missed(Vec error, Vec mu, Vec norm, Vec least) const {
        for (std::size_t e = 0; e < size_; ++e) {
            const Vec scaled = V::mul(mu, V::broadcast(y_[e])),
                      missed = V::sub(split_off<V>(scaled, splitter_), scaled);
            error = V::multiply_add(V::mul(V::mul(missed, missed), norm), V::broadcast(weight_[e]), error);
            if (!V::any_negative(V::sub(error, least))) break;
        }
        return error;
    }

private:
    const double *y_, *weight_;
    std::size_t size_;
    Vec splitter_;
};

// Columns of numbers that registers are appended to, and read from.
template <class V, int Columns, std::size_t Size>
class Table {
public:
    double* column(int k) { return at_[k]; }
    std::size_t size() const { return size_; }
    bool is_full() const { return size_ > Size - V::width; }
    void clear() { size_ = 0; }
    void append(typename V::Vec s, const typename V::Vec (&v)[Columns]) {
        std::size_t count = 0;
        for (int k = 0; k < Columns; ++k) count = V::store_negative(at_[k] + size_, s, v[k]);
        size_ += count;
    }
    // Copies of the last row, so that whole registers can be read.
    void fill() {
        for (auto& column : at_) {
            for (std::size_t i = 0; i + 1 < V::width; ++i) column[size_ + i] = column[size_ - 1];
        }
    }

private:
    double at_[Columns][Size + V::width];
    std::size_t size_ = 0;
};

// |q|^2 is at most that of the line at p, times this: rounded parts are longer by at most 2^-bits, and shifts go back.
inline double most_longer(double splitter) {
    const double longer = 1 + (splitter - 1) * 0x1p-53;
    return longer * longer * (1 + 0x1p-40);
}

// Candidates p of a pivot. Those whose direction alone is better than the best so far are packed into whole registers;
// y is rounded for them. Pivot::above(p, limit) is negative where a direction may be better, limit =
// Pivot::limit(error); Pivot::sums(p) has norm = |q|^2 and missed, the squared distance from the line of q times
// `energy` and norm; Pivot::scale(p, sums) is mu times norm.
template <class V, class Pivot>
class PackedSearch {
public:
    using Vec = typename V::Vec;
    PackedSearch(SearchArgs& args, const Pivot& pivot) : args_(args), pivot_(pivot), right_(args), least_(args.error) {}

    void run() {
        const Vec step = V::broadcast(V::width * args_.unit);
        Vec p = first_candidates<V>(args_.unit, args_.count);
        Vec limit = V::broadcast(pivot_.limit(least_.error()));
        std::size_t enough = kFirst;  // so that there is a bound soon
        for (std::size_t i = 0; i < args_.count; i += V::width, p = V::add(p, step)) {
            const Vec above = pivot_.above(p, limit);
            if (!V::any_negative(above)) continue;
            packed_.append(above, {p});
            if (packed_.size() < enough) continue;
            look();
            enough = kEnough, limit = V::broadcast(pivot_.limit(least_.error()));
        }
        look();
        args_.error = least_.error();
    }

private:
    void look() {
        if (packed_.size() == 0) return;
        packed_.fill();
        for (std::size_t i = 0; i < packed_.size(); i += V::width) {
            const Vec p = V::load(packed_.column(0) + i);
            const auto sums = pivot_.sums(p);
            if (!V::any_negative(V::multiply_subtract_from(least_.all(), sums.norm, sums.missed))) continue;
            const Vec inverse = V::div(V::broadcast(1), sums.norm), mu = V::mul(pivot_.scale(p, sums), inverse);
            const Vec error = right_.add_missed(V::mul(sums.missed, inverse), mu, sums.norm, least_.all());
            std::size_t lane = 0;
            if (least_.take(error, lane)) args_.p = packed_.column(0)[i + lane];
        }
        packed_.clear();
    }

    static constexpr std::size_t kFirst = 32, kEnough = 128;
    SearchArgs& args_;
    const Pivot& pivot_;
    RoundedRight<V> right_;
    Least<V> least_;
    Table<V, 1, kEnough + V::width> packed_;
};

}  // namespace
