// Products with chains of any patterns: gather a few vectors into planes, one pass a factor between two panels,
// scatter.
#include "tiled.hpp"

#include <algorithm>
#include <bit>

#include "columns_panel.hpp"
#include "panel.hpp"
#include "parallel.hpp"
#include "require.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kPanelBytes = std::size_t{1} << 19;
constexpr std::size_t kMaxVectors = 16;
// Fewer columns are faster as vectors.
constexpr std::size_t kLeastColumns = 9;

std::size_t rows_of(const TileFactor& f) { return f.a * f.b * f.d; }
std::size_t columns_of(const TileFactor& f) { return f.a * f.c * f.d; }

template <class Real>
std::size_t widest(const TiledProduct<Real>& product) {
    std::size_t most = 0;
    for (const TileFactor& f : product.factors) most = std::max({most, rows_of(f), columns_of(f)});
    return most;
}

// Multiply-adds with one vector.
template <class Real>
std::size_t work_of(const TiledProduct<Real>& product) {
    std::size_t work = 0;
    for (const TileFactor& f : product.factors) work += f.tiles * f.weights * kLanes;
    return work * (product.is_complex ? 4 : 1);
}

// Numbers that the kernels need beside the panels, see TileArgs.
template <class Real>
std::size_t scratch_of(const TiledProduct<Real>& product, std::size_t planes) {
    std::size_t most = 0;
    for (const TileFactor& f : product.factors) {
        most = std::max(most, (f.weights + kTileVectors * scratch_rows(f)) * planes * kLanes);
    }
    return most;
}

// Two panels, used in turn, and the scratch memory of the kernels.
template <class Real>
class Passes {
public:
    Passes(const TiledProduct<Real>& product, Mode mode, std::size_t vectors)
        : product_(product),
          mode_(mode),
          planes_(product.is_complex ? 2 : 1),
          stride_(aligned(widest(product) + kTileSlack)),
          panel_(vectors * planes_ * stride_),
          memory_(2 * panel_ + scratch_of(product, planes_)) {}

    void run(const View& x, const MutableView& y, std::size_t first, std::size_t vectors) const {
        const auto& f = product_.factors;
        const Diagonal<Real> scale{product_.scale, product_.is_complex}, none{nullptr, false};
        const std::size_t inner = mode_.transposed ? rows_of(f.front()) : columns_of(f.back());
        Panel<Real> from = panel(0, inner, vectors);
        gather(from, x, first, mode_.transposed ? product_.rows : product_.columns, mode_.transposed ? none : scale,
               mode_.conjugated);
        for (std::size_t step = 0; step < f.size(); ++step) {
            const TileFactor& factor = f[mode_.transposed ? step : f.size() - 1 - step];
            const Panel<Real> to =
                panel((step + 1) % 2, mode_.transposed ? columns_of(factor) : rows_of(factor), vectors);
            multiply(factor, from, to);
            from = to;
        }
        scatter(from, y, first, mode_.transposed ? product_.columns : product_.rows, mode_.transposed ? scale : none,
                mode_.conjugated);
    }

private:
    Panel<Real> panel(std::size_t which, std::size_t n, std::size_t vectors) const {
        return {memory_.data() + which * panel_, n, planes_, vectors, stride_};
    }
    void multiply(const TileFactor& factor, const Panel<Real>& x, const Panel<Real>& y) const {
        const auto plane = static_cast<std::ptrdiff_t>(stride_), vector = static_cast<std::ptrdiff_t>(planes_) * plane;
        kernels().template of<Real>().tiles({&factor,
                                             {x.data, 1, plane, vector},
                                             {y.data, 1, plane, vector},
                                             x.vectors,
                                             planes_,
                                             mode_.transposed,
                                             memory_.data() + 2 * panel_});
    }
    // Panels on cache lines; the slack keeps vectors of a power of two entries out of each other's cache sets.
    static std::size_t aligned(std::size_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

    const TiledProduct<Real>& product_;
    Mode mode_;
    std::size_t planes_, stride_, panel_;
    Workspace<Real> memory_;
};

// The same for columns side by side.
template <class Real>
class ColumnPasses {
public:
    ColumnPasses(const TiledProduct<Real>& product, Mode mode)
        : product_(product),
          mode_(mode),
          planes_(product.is_complex ? 2 : 1),
          panel_(widest(product) * planes_ * kLanes),
          memory_(2 * panel_ + scratch_of(product, planes_)) {}

    void run(const View& x, const MutableView& y, std::size_t first, std::size_t columns) const {
        const auto& f = product_.factors;
        const Diagonal<Real> scale{product_.scale, product_.is_complex}, none{nullptr, false};
        const auto *in = mode_.transposed ? product_.rows : product_.columns,
                   *out = mode_.transposed ? product_.columns : product_.rows;
        const ColumnBlock<View> from{x, first, columns, in, mode_.conjugated};
        const ColumnBlock<MutableView> to{y, first, columns, out, mode_.conjugated};
        const std::size_t inner = mode_.transposed ? rows_of(f.front()) : columns_of(f.back()),
                          outer = mode_.transposed ? columns_of(f.back()) : rows_of(f.front());
        for_each_chunk(inner, [&](std::size_t r, std::size_t rows) {
            load_chunk(panel(0), from, r, rows, mode_.transposed ? none : scale);
        });
        for (std::size_t step = 0; step < f.size(); ++step) {
            multiply(f[mode_.transposed ? step : f.size() - 1 - step], panel(step % 2).data,
                     panel((step + 1) % 2).data);
        }
        for_each_chunk(outer, [&](std::size_t r, std::size_t rows) {
            store_chunk(panel(f.size() % 2), to, r, rows, mode_.transposed ? scale : none);
        });
    }

private:
    template <class Visit>
    static void for_each_chunk(std::size_t rows, Visit visit) {
        for (std::size_t r = 0; r < rows; r += kChunkRows) visit(r, std::min(kChunkRows, rows - r));
    }
    ColumnPanel<Real> panel(std::size_t which) const { return {memory_.data() + which * panel_, planes_, 0}; }
    void multiply(const TileFactor& factor, const Real* x, Real* y) const {
        kernels().template of<Real>().tile_columns(
            {&factor, x, y, planes_, 0, factor.tiles, mode_.transposed, memory_.data() + 2 * panel_});
    }

    const TiledProduct<Real>& product_;
    Mode mode_;
    std::size_t planes_, panel_;
    Workspace<Real> memory_;
};

// Columns from `begin` on, a few vectors at a time.
template <class Real>
void apply_vectors(const TiledProduct<Real>& product, Mode mode, const View& x, const MutableView& y, std::size_t begin,
                   std::size_t workers) {
    const std::size_t planes = product.is_complex ? 2 : 1, bytes = widest(product) * planes * sizeof(Real);
    const std::size_t columns = x.columns - begin, most = std::min(kMaxVectors, columns);
    // As many vectors as share the loads of a weight, even where their panels leave the cache.
    const std::size_t together = std::clamp(kPanelBytes / bytes, std::min(most, kTileVectors), most);
    const std::vector<Columns> panels = panels_of(columns, together, workers);
    parallel_for(panels.size(), workers, [&](std::size_t, std::size_t i) {
        Passes<Real>(product, mode, together).run(x, y, begin + panels[i].first, panels[i].count);
    });
}

}  // namespace

TileFactor layout_of(std::size_t a, std::size_t b, std::size_t c, std::size_t d, std::size_t rank) {
    require(a > 0 && b > 0 && c > 0 && d > 0, "pattern: expected positive numbers");
    require(rank == 0 || (c % rank == 0 && rank <= b), "rank: expected a divisor of c, at most b");
    TileFactor f{};
    f.a = a, f.b = b, f.c = c, f.d = d, f.split = 1, f.rank = rank, f.step = 1;
    if (rank == 0 && a * d < kLanes) f.split = std::min(b, (kLanes + a * d - 1) / (a * d));
    f.lanes = a * f.split * d;
    f.tiles = (f.lanes + kLanes - 1) / kLanes;
    f.group_rows = (b + f.split - 1) / f.split;
    f.mask_words = (b + 31) / 32;
    f.weights = rank == 0 ? f.group_rows * c : (b - rank) * c;
    f.route_rows = std::bit_ceil(b);
    f.switches = f.route_rows / 2 * static_cast<std::size_t>(std::countr_zero(f.route_rows));
    return f;
}

std::size_t value_count(const TileFactor& f, std::size_t planes) {
    const std::size_t count = f.weights * planes;
    if (f.is_joined()) return kLanes * ((f.tiles * count * static_cast<std::size_t>(f.bits) + 31) / 32);
    return f.tiles * kLanes * (f.bits == 0 ? count : (count * static_cast<std::size_t>(f.bits) + 31) / 32);
}

std::size_t pivot_words(const TileFactor& f) {
    return f.rank == 0 ? 0 : f.tiles * kLanes * (f.c / f.rank) * f.mask_words;
}

template <class Real>
void apply(const TiledProduct<Real>& product, Mode mode, const View& x, const MutableView& y, std::size_t workers) {
    if (work_of(product) * x.columns < kLeastParallelWork) workers = 1;
    const std::size_t many = columns_in_blocks(x.columns, kLeastColumns);
    parallel_for((many + kLanes - 1) / kLanes, workers, [&](std::size_t, std::size_t i) {
        ColumnPasses<Real>(product, mode).run(x, y, i * kLanes, std::min(kLanes, many - i * kLanes));
    });
    if (many < x.columns) apply_vectors(product, mode, x, y, many, workers);
}

template void apply<float>(const TiledProduct<float>&, Mode, const View&, const MutableView&, std::size_t);
template void apply<double>(const TiledProduct<double>&, Mode, const View&, const MutableView&, std::size_t);

}  // namespace bitterfly
