// What the searches for short significands share: rounding, the candidates of a pivot, the other vector rounded.
#pragma once

#include "kernels.hpp"

namespace {

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

}  // namespace
