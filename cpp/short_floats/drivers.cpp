// The drivers. A junction of rank one joins column q of one factor to row q of the next: one term each. Supports of
// terms are disjoint, so their squared errors add up; with the rounded factors beyond the two fixed, each term is a
// rank-one problem of its own, weighted by the norms of the rounded products beyond.
#include "short_floats/drivers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.hpp"
#include "require.hpp"
#include "short_floats/chain_error.hpp"
#include "short_floats/lines.hpp"
#include "short_floats/rank_one/searches.hpp"
#include "short_floats/terms.hpp"

namespace bitterfly {
namespace {

constexpr int kMaxSweeps = 12;
constexpr double kWorthwhile = 0.995;  // a sweep that gains less is the last
// Directions of a line among which its scale is chosen; complex ones cost a search each some ten times longer.
template <class T>
constexpr std::size_t kPool = sizeof(T) == sizeof(double) ? 24 : 10;

// Lines that one worker takes at a time.
template <class T>
constexpr std::size_t kPart = sizeof(T) == sizeof(double) ? 1024 : 8;

template <class T>
class Shortening {
public:
    Shortening(std::vector<ShortFactor<T>> factors, int depth, bool weighted, std::size_t workers)
        : f_(std::move(factors)), weighted_(weighted) {
        for (std::size_t w = 0; w < workers; ++w) searches_.emplace_back(depth);
    }

    // From both ends of the factors [first, last) to the pair at `junction` and the next, which are rounded together.
    void sweep(std::size_t first, std::size_t last, std::size_t junction) {
        reset(first, last);
        for (std::size_t l = first; l < junction; ++l) round_columns(l);
        mirror();
        for (std::size_t l = f_.size() - last; l + junction + 2 < f_.size(); ++l) round_columns(l);
        mirror();
        round_pair(junction);
    }
    // Chooses scales beyond the pair anew until that gains little; returns the sweeps.
    int refine(std::size_t junction) {
        double before = std::numeric_limits<double>::infinity();
        for (int sweeps = 0; sweeps < kMaxSweeps; ++sweeps) {
            const double error = pair_error(junction);
            if (error >= kWorthwhile * before) return sweeps;
            before = error;
            if (junction > 0) rescale(junction);
            mirror();
            const std::size_t mirrored = f_.size() - 2 - junction;
            if (mirrored > 0) rescale(mirrored);
            mirror();
        }
        return kMaxSweeps;
    }
    void mirror() {
        mirrored_ = !mirrored_;
        std::reverse(f_.begin(), f_.end());
        std::reverse(left_.begin(), left_.end());
        std::reverse(right_.begin(), right_.end());
        std::swap(left_, right_);
    }
    double relative_error() const { return chain_error(f_); }

private:
    Line near(const ShortFactor<T>& f, std::size_t q) const { return mirrored_ ? row(f, q) : column(f, q); }
    Line far(const ShortFactor<T>& f, std::size_t q) const { return mirrored_ ? column(f, q) : row(f, q); }
    LineCursor near(const ShortFactor<T>& f) const { return mirrored_ ? LineCursor::rows(f) : LineCursor::columns(f); }
    LineCursor far(const ShortFactor<T>& f) const { return mirrored_ ? LineCursor::columns(f) : LineCursor::rows(f); }
    std::size_t columns(const ShortFactor<T>& f) const { return f.a * f.d * (mirrored_ ? f.b : f.c); }
    std::size_t rows(const ShortFactor<T>& f) const { return f.a * f.d * (mirrored_ ? f.c : f.b); }

    // left_[l]: the rounded product before factor l; right_[l + 1]: the one after it. Exact outside [first, last).
    void reset(std::size_t first, std::size_t last) {
        left_.assign(f_.size() + 1, {}), right_.assign(f_.size() + 1, {});
        left_[first].assign(rows(f_[first]), Part<T>{});
        right_[last].assign(columns(f_[last - 1]), Part<T>{});
    }
    void pass_on(std::size_t l) {
        left_[l + 1].resize(columns(f_[l]));
        LineCursor line = near(f_[l]);
        for (Part<T>& part : left_[l + 1]) {
            part = part_of(f_[l], *line, left_[l].data(), weighted_);
            ++line;
        }
    }
    // Calls visit(searches, first, end) for ranges of lines.
    template <class Visit>
    void for_each_range(std::size_t lines, Visit visit) {
        const std::size_t parts = (lines + kPart<T> - 1) / kPart<T>;
        parallel_for(parts, searches_.size(), [&](std::size_t worker, std::size_t i) {
            checkpoint();
            visit(searches_[worker], i * kPart<T>, std::min(lines, (i + 1) * kPart<T>));
        });
    }
    void round_columns(std::size_t l) {
        for_each_range(columns(f_[l]), [&](Searches<T>& searches, std::size_t q, std::size_t end) {
            const RankOne<T>& rounding = searches.of(f_[l].bits, f_[l].bits);
            for (LineCursor at = near(f_[l]).at(q); q < end; ++q, ++at) {
                const Line line = *at;
                Target<T> target(f_[l], line, left_[l], weighted_);
                rounding.direction(target.view(), target.rounded.data());
                if (!weighted_) as_published(target);
                store(f_[l], line, target.rounded.data());
            }
        });
        pass_on(l);
    }
    // Without weights the lengths of rounded columns matter: those of round(lambda x), 1 <= lambda < 2.
    static void as_published(Target<T>& target) {
        const double length = std::abs(scale_of(target.view(), target.rounded.data()));
        if (length == 0) return;
        for (T& value : target.rounded) value *= std::ldexp(1.0, std::ilogb(length) + 1);
    }
    void round_pair(std::size_t l) {
        for_each_range(columns(f_[l]), [&](Searches<T>& searches, std::size_t q, std::size_t end) {
            TermBlock<T> block({f_[l], left_[l].data()}, {f_[l + 1], right_[l + 2].data()}, weighted_);
            LineCursor at = near(f_[l]).at(q), next_at = far(f_[l + 1]).at(q);
            for (; q < end; ++q, ++at, ++next_at) {
                const Line line = *at, next = *next_at;
                if (block.take(line, next)) continue;
                Target<T> x(f_[l], line, left_[l], weighted_), y(f_[l + 1], next, right_[l + 2], weighted_);
                both(searches, l, x, y, std::numeric_limits<double>::infinity());
                store(f_[l], line, x.rounded.data());
                store(f_[l + 1], next, y.rounded.data());
            }
        });
    }
    // The candidates come from the shorter side. Returns the error, infinite where none is below `bound`.
    double both(Searches<T>& searches, std::size_t l, Target<T>& x, Target<T>& y, double bound) {
        const int first = f_[l].bits, second = f_[l + 1].bits;
        if (x.at.size() <= y.at.size()) {
            return searches.of(first, second).both(x.view(), y.view(), x.rounded.data(), y.rounded.data(), bound);
        }
        return searches.of(second, first).both(y.view(), x.view(), y.rounded.data(), x.rounded.data(), bound);
    }
    // What a term misses: parts that the rounded factors beyond do not reach, and the rounded term itself.
    static double beyond(const Target<T>& x, const Target<T>& y) {
        return x.missed * (energy(y.view()) + y.missed) + energy(x.view()) * y.missed;
    }
    double pair_error(std::size_t l) const {
        double sum = 0;
        for (std::size_t q = 0; q < columns(f_[l]); ++q) {
            const Target<T> x(f_[l], near(f_[l], q), left_[l]), y(f_[l + 1], far(f_[l + 1], q), right_[l + 2]);
            sum += beyond(x, y) + error_of(x.view(), y.view(), x.rounded.data(), y.rounded.data());
        }
        return sum;
    }

    // A term of the pair at l, rounded anew.
    struct Term {
        Line line, next;
        Target<T> x, y;
    };
    // For each column of factor l - 1, the direction among the best ones after whose scale the terms in its row of
    // factor l, rounded anew, miss least. Rows of one block share its terms and are taken in turn.
    void rescale(std::size_t l) {
        const ShortFactor<T>& f = f_[l];
        const std::size_t rows_of_block = mirrored_ ? f.c : f.b;
        parallel_for(f.a * f.d, searches_.size(), [&](std::size_t worker, std::size_t block) {
            const std::size_t first = block / f.d * rows_of_block * f.d + block % f.d;
            for (std::size_t j = 0; j < rows_of_block; ++j) {
                checkpoint();
                rescale_row(searches_[worker], l, first + j * f.d);
            }
        });
    }
    void rescale_row(Searches<T>& searches, std::size_t l, std::size_t i) {
        const Line line = near(f_[l - 1], i);
        const Target<T> target(f_[l - 1], line, left_[l - 1]);
        const std::vector<T> pool = searches.of(f_[l - 1].bits, f_[l - 1].bits).directions(target.view(), kPool<T>);
        double best = row_error(l, i);
        const Part<T> old = left_[l][i];
        Part<T> chosen = old;
        for (std::size_t at = 0; at < pool.size(); at += line.size) {
            left_[l][i] = target.part(pool.data() + at);
            std::vector<Term> terms;
            const double error = try_row(searches, l, i, best, terms);
            if (error >= best) continue;
            best = error, chosen = left_[l][i];
            store(f_[l - 1], line, pool.data() + at);
            for (const Term& term : terms) {
                store(f_[l], term.line, term.x.rounded.data());
                store(f_[l + 1], term.next, term.y.rounded.data());
            }
        }
        left_[l][i] = chosen;
    }
    double row_error(std::size_t l, std::size_t i) const {
        const Line cross = far(f_[l], i);
        double sum = 0;
        for (std::size_t e = 0; e < cross.size; ++e) {
            const std::size_t q = cross.cross + e * cross.cross_stride;
            const Target<T> x(f_[l], near(f_[l], q), left_[l]), y(f_[l + 1], far(f_[l + 1], q), right_[l + 2]);
            sum += beyond(x, y) + error_of(x.view(), y.view(), x.rounded.data(), y.rounded.data());
        }
        return sum;
    }
    double try_row(Searches<T>& searches, std::size_t l, std::size_t i, double bound, std::vector<Term>& terms) {
        const Line cross = far(f_[l], i);
        double sum = 0;
        for (std::size_t e = 0; e < cross.size; ++e) {
            const std::size_t q = cross.cross + e * cross.cross_stride;
            const Line line = near(f_[l], q), next = far(f_[l + 1], q);
            terms.push_back({line, next, {f_[l], line, left_[l]}, {f_[l + 1], next, right_[l + 2]}});
            sum += beyond(terms.back().x, terms.back().y);
        }
        for (Term& term : terms) {
            if (sum >= bound) return sum;
            sum += both(searches, l, term.x, term.y, bound - sum);
        }
        return sum;
    }

    std::vector<ShortFactor<T>> f_;
    std::vector<std::vector<Part<T>>> left_, right_;
    std::vector<Searches<T>> searches_;  // one for each worker
    bool weighted_, mirrored_ = false;
};

template <class T>
void round_all(const std::vector<ShortFactor<T>>& factors) {
    for (const ShortFactor<T>& f : factors) {
        const Significand round(f.bits);
        for (std::size_t i = 0; i < f.a * f.b * f.c * f.d; ++i) f.rounded[i] = round(f.values[i]);
    }
}

// From left to right, then anew from both ends with the scales beside the middle pair refined: the better of the two.
template <class T>
ShortReport refined(const std::vector<ShortFactor<T>>& factors, Shortening<T>& work) {
    const std::size_t junction = (factors.size() - 2) / 2;
    work.sweep(0, factors.size(), factors.size() - 2);
    const double before = work.relative_error();
    std::vector<std::vector<T>> kept;
    for (const ShortFactor<T>& f : factors) kept.emplace_back(f.rounded, f.rounded + f.a * f.b * f.c * f.d);
    work.sweep(0, factors.size(), junction);
    const int sweeps = work.refine(junction);
    const double after = work.relative_error();
    if (after <= before) return {after, sweeps};
    for (std::size_t l = 0; l < factors.size(); ++l) std::copy(kept[l].begin(), kept[l].end(), factors[l].rounded);
    return {before, sweeps};
}

}  // namespace

template <class T>
ShortReport shorten(const std::vector<ShortFactor<T>>& factors, Driver driver, int depth, bool weighted,
                    std::size_t workers) {
    const std::size_t count = factors.size();
    require(count >= 1, "factors: expected at least one");
    Shortening<T> work(factors, depth, weighted, workers);
    if (count == 1) {
        round_all(factors);
        return {work.relative_error(), 0};
    }
    if (driver == Driver::kPairwise) {
        for (std::size_t first = 0; first + 2 <= count; first += 2) {
            const std::size_t last = first + 3 == count ? count : first + 2;
            work.sweep(first, last, last - 2);
        }
    } else if (driver != Driver::kRefined) {
        work.sweep(0, count, driver == Driver::kLeftToRight ? count - 2 : 0);
    } else {
        return refined(factors, work);
    }
    return {work.relative_error(), 0};
}

template ShortReport shorten(const std::vector<ShortFactor<double>>&, Driver, int, bool, std::size_t);
template ShortReport shorten(const std::vector<ShortFactor<std::complex<double>>>&, Driver, int, bool, std::size_t);

}  // namespace bitterfly
