// Products with chains of any patterns: gather a few vectors into planes, one pass a factor between two panels,
// scatter.
#include "products/tiled.hpp"

#include <algorithm>

#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "products/panels/column_panel.hpp"
#include "products/panels/panel.hpp"
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

// The factors of a product in the order in which they are multiplied, each cut into ranges of tiles.
template <class Real>
class Steps {
public:
    Steps(const TiledProduct<Real>& product, Mode mode, std::size_t workers)
        : factors_(product.factors), transposed_(mode.transposed), parts_(workers > 1 ? kPartsOfWorker * workers : 1) {}

    std::size_t count() const { return factors_.size(); }
    const TileFactor& factor(std::size_t step) const { return factors_[transposed_ ? step : count() - 1 - step]; }
    std::size_t rows_in(std::size_t step) const {
        return transposed_ ? rows_of(factor(step)) : columns_of(factor(step));
    }
    std::size_t rows_out(std::size_t step) const {
        return transposed_ ? columns_of(factor(step)) : rows_of(factor(step));
    }
    // Ranges of the tiles of a step that write rows of their own: lanes that add to others keep them together.
    std::size_t parts(std::size_t step) const {
        const TileFactor& f = factor(step);
        return f.split == 1 ? std::min(parts_, f.tiles) : 1;
    }
    std::size_t first_tile(std::size_t step, std::size_t part) const { return factor(step).tiles * part / parts(step); }
    std::vector<std::size_t> all_parts() const {
        std::vector<std::size_t> out(count());
        for (std::size_t step = 0; step < count(); ++step) out[step] = parts(step);
        return out;
    }

private:
    static constexpr std::size_t kPartsOfWorker = 4;
    const std::vector<TileFactor>& factors_;
    bool transposed_;
    std::size_t parts_;
};

// Two panels, used in turn, and the scratch memory of the kernels, one for each worker.
template <class Real>
class Passes {
public:
    Passes(const TiledProduct<Real>& product, Mode mode, std::size_t vectors, std::size_t workers)
        : product_(product),
          mode_(mode),
          steps_(product, mode, workers),
          workers_(workers),
          planes_(product.is_complex ? 2 : 1),
          stride_(aligned(widest(product) + kLanes)),
          panel_(vectors * planes_ * stride_),
          scratch_(scratch_of(product, planes_)),
          memory_(2 * panel_ + workers * scratch_) {}

    void run(const View& x, const MutableView& y, std::size_t first, std::size_t vectors) const {
        const Diagonal<Real> scale{product_.scale, product_.is_complex}, none{nullptr, false};
        gather(panel(0, steps_.rows_in(0), vectors), x, first, mode_.transposed ? product_.rows : product_.columns,
               mode_.transposed ? none : scale, mode_.conjugated);
        parallel_phases(steps_.all_parts(), workers_, [&](std::size_t worker, std::size_t step, std::size_t part) {
            multiply(step, part, vectors, memory_.data() + 2 * panel_ + worker * scratch_);
        });
        const std::size_t last = steps_.count() - 1;
        scatter(panel(steps_.count(), steps_.rows_out(last), vectors), y, first,
                mode_.transposed ? product_.columns : product_.rows, mode_.transposed ? scale : none, mode_.conjugated);
    }

private:
    // What step `step` reads, and the step before writes.
    Panel<Real> panel(std::size_t step, std::size_t n, std::size_t vectors) const {
        return {memory_.data() + step % 2 * panel_, n, planes_, vectors, stride_};
    }
    void multiply(std::size_t step, std::size_t part, std::size_t vectors, Real* scratch) const {
        const auto plane = static_cast<std::ptrdiff_t>(stride_), vector = static_cast<std::ptrdiff_t>(planes_) * plane;
        kernels().template of<Real>().tiles({.factor = &steps_.factor(step),
                                             .x = {panel(step, 0, vectors).data, 1, plane, vector},
                                             .y = {panel(step + 1, 0, vectors).data, 1, plane, vector},
                                             .vectors = vectors,
                                             .planes = planes_,
                                             .first = steps_.first_tile(step, part),
                                             .end = steps_.first_tile(step, part + 1),
                                             .transposed = mode_.transposed,
                                             .scratch = scratch});
    }
    // Panels on cache lines; one line more keeps vectors of a power of two entries out of each other's cache sets.
    static std::size_t aligned(std::size_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

    const TiledProduct<Real>& product_;
    Mode mode_;
    Steps<Real> steps_;
    std::size_t workers_, planes_, stride_, panel_, scratch_;
    Workspace<Real> memory_;
};

// The same for columns side by side.
template <class Real>
class ColumnPasses {
public:
    ColumnPasses(const TiledProduct<Real>& product, Mode mode, std::size_t workers)
        : product_(product),
          mode_(mode),
          steps_(product, mode, workers),
          workers_(workers),
          planes_(product.is_complex ? 2 : 1),
          panel_(widest(product) * planes_ * kLanes),
          scratch_(scratch_of(product, planes_)),
          memory_(2 * panel_ + workers * scratch_) {}

    void run(const View& x, const MutableView& y, std::size_t first, std::size_t columns) const {
        const Diagonal<Real> scale{product_.scale, product_.is_complex}, none{nullptr, false};
        const auto *in = mode_.transposed ? product_.rows : product_.columns,
                   *out = mode_.transposed ? product_.columns : product_.rows;
        const ColumnBlock<View> from{x, first, columns, in, mode_.conjugated};
        const ColumnBlock<MutableView> to{y, first, columns, out, mode_.conjugated};
        const std::size_t steps = steps_.count();
        const Chunks inner{steps_.rows_in(0)}, outer{steps_.rows_out(steps - 1)};
        // The first phase loads chunks, the last one stores them.
        std::vector<std::size_t> parts = steps_.all_parts();
        parts.insert(parts.begin(), inner.count()), parts.push_back(outer.count());
        parallel_phases(parts, workers_, [&](std::size_t worker, std::size_t phase, std::size_t part) {
            const std::size_t row = part * kChunkRows;
            if (phase == 0) {
                load_chunk(panel(0), from, row, inner.rows_of(part), mode_.transposed ? none : scale);
            } else if (phase <= steps) {
                multiply(phase - 1, part, memory_.data() + 2 * panel_ + worker * scratch_);
            } else {
                store_chunk(panel(steps), to, row, outer.rows_of(part), mode_.transposed ? scale : none);
            }
        });
    }

private:
    // Rows in chunks, as columns side by side are copied.
    struct Chunks {
        std::size_t rows;
        std::size_t count() const { return (rows + kChunkRows - 1) / kChunkRows; }
        std::size_t rows_of(std::size_t chunk) const { return std::min(kChunkRows, rows - chunk * kChunkRows); }
    };
    ColumnPanel<Real> panel(std::size_t step) const { return {memory_.data() + step % 2 * panel_, planes_, 0}; }
    void multiply(std::size_t step, std::size_t part, Real* scratch) const {
        kernels().template of<Real>().tile_columns({.factor = &steps_.factor(step),
                                                    .x = panel(step).data,
                                                    .y = panel(step + 1).data,
                                                    .planes = planes_,
                                                    .first = steps_.first_tile(step, part),
                                                    .end = steps_.first_tile(step, part + 1),
                                                    .transposed = mode_.transposed,
                                                    .scratch = scratch});
    }

    const TiledProduct<Real>& product_;
    Mode mode_;
    Steps<Real> steps_;
    std::size_t workers_, planes_, panel_, scratch_;
    Workspace<Real> memory_;
};

// Calls run(panel, workers of that panel): panels side by side where there are enough of them, else one after the other
// with all workers.
template <class Run>
void for_each_panel(std::size_t count, std::size_t workers, Run run) {
    const bool beside = count >= workers;
    parallel_for(count, beside ? workers : 1, [&](std::size_t, std::size_t i) { run(i, beside ? 1 : workers); });
}

// Columns from `begin` on, a few vectors at a time.
template <class Real>
void apply_vectors(const TiledProduct<Real>& product, Mode mode, const View& x, const MutableView& y, std::size_t begin,
                   std::size_t workers) {
    const std::size_t planes = product.is_complex ? 2 : 1, bytes = widest(product) * planes * sizeof(Real);
    const std::size_t columns = x.columns - begin, most = std::min(kMaxVectors, columns);
    // As many vectors as share the loads of a weight, even where their panels leave the cache.
    const std::size_t together = std::clamp(kPanelBytes / bytes, std::min(most, kTileVectors), most);
    const std::vector<ColumnRange> panels = panels_of(columns, together, workers);
    for_each_panel(panels.size(), workers, [&](std::size_t i, std::size_t own) {
        Passes<Real>(product, mode, together, own).run(x, y, begin + panels[i].first, panels[i].count);
    });
}

}  // namespace

template <class Real>
void apply(const TiledProduct<Real>& product, Mode mode, const View& x, const MutableView& y, std::size_t workers) {
    // Workers meet after each factor: four times the work.
    if (work_of(product) * x.columns < 4 * least_parallel_work()) workers = 1;
    const std::size_t many = columns_in_blocks(x.columns, kLeastColumns);
    for_each_panel((many + kLanes - 1) / kLanes, workers, [&](std::size_t i, std::size_t own) {
        ColumnPasses<Real>(product, mode, own).run(x, y, i * kLanes, std::min(kLanes, many - i * kLanes));
    });
    if (many < x.columns) apply_vectors(product, mode, x, y, many, workers);
}

template void apply<float>(const TiledProduct<float>&, Mode, const View&, const MutableView&, std::size_t);
template void apply<double>(const TiledProduct<double>&, Mode, const View&, const MutableView&, std::size_t);

}  // namespace bitterfly
