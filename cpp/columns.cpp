// Passes over a panel of 16 columns, depth first. The rows on the side of the innermost pass are copied (and scaled)
// part by part while they are in L1; those of the other side are read or written in place where they can be.
#include "columns.hpp"

#include <algorithm>

#include "columns_panel.hpp"
#include "parallel.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kBaseRows = 256;
// Fewer columns than these are faster as vectors; a panel beyond the last cache is slower.
constexpr std::size_t kLeastColumns = 3;
constexpr std::size_t kMostPanelBytes = std::size_t{1} << 22;
// Panels that share decoded weights: as many as take half of L2.
constexpr std::size_t kSharedBytes = std::size_t{1} << 18;

// Panel i of a few columns.
template <class ViewType>
ColumnBlock<ViewType> panel_block(const ColumnBlock<ViewType>& all, std::size_t i) {
    const std::size_t before = i * kLanes;
    return {all.view, all.first + before, std::min(kLanes, all.count - before), all.order, all.conjugated};
}

// The rows of the first panel, if the kernels can take those of all panels where they are.
template <class Real, class ViewType>
auto direct_rows(const ColumnBlock<ViewType>& all, std::size_t planes, std::size_t n) {
    const auto first = plain_rows<Real>(panel_block(all, 0), planes, n);
    return all.count % kLanes == 0 ? first : decltype(first){nullptr, 0};
}

template <class Real>
class ColumnPasses {
public:
    // The panels lie one behind the other.
    ColumnPasses(const Product<Real>& product, Diagonal<Real> scale, bool transposed,
                 const ColumnPanel<Real>& first_panel, Real* scratch, const ColumnBlock<View>& x,
                 const ColumnBlock<MutableView>& y)
        : product_(product),
          scale_(scale),
          plan_(product.plan),
          panel_(first_panel),
          scratch_(scratch),
          x_(x),
          y_(y),
          panels_((x.count + kLanes - 1) / kLanes),
          direct_x_(direct_rows<Real>(x, first_panel.planes, plan_.n)),
          direct_y_(direct_rows<Real>(y, first_panel.planes, plan_.n)),
          transposed_(transposed) {}

    void run() const {
        const std::size_t n = plan_.n;
        const bool several = plan_.tops() > 0;
        if (transposed_ && !(several && direct_x_.data != nullptr)) load(0, n, none());
        run_part(plan_.tops(), 0, static_cast<const char*>(product_.stream));
        if (!transposed_ && !(several && direct_y_.data != nullptr)) store(0, n, none());
    }

private:
    static Diagonal<Real> none() { return {nullptr, false}; }
    ColumnPanel<Real> panel(std::size_t i) const { return {panel_.at(i * plan_.n), panel_.planes}; }
    void load(std::size_t first, std::size_t rows, Diagonal<Real> diagonal) const {
        for (std::size_t i = 0; i < panels_; ++i) load_rows(panel(i), panel_block(x_, i), first, rows, diagonal);
    }
    void store(std::size_t first, std::size_t rows, Diagonal<Real> diagonal) const {
        for (std::size_t i = 0; i < panels_; ++i) store_rows(panel(i), panel_block(y_, i), first, rows, diagonal);
    }

    // The passes up to `top` on the elements from `first` on that depend on each other there, and their stream.
    void run_part(std::size_t top, std::size_t first, const char* stream) const {
        const std::size_t size = plan_.part(top);
        const char* own = stream + product_.bytes_of_part(top) - product_.bytes_of_pass(top, size);
        if (transposed_ && top > 0) run_pass(top, first, own);
        if (top <= 1) {
            run_base(first, size, stream);
        } else {
            const std::size_t inner = plan_.part(top - 1), bytes = product_.bytes_of_part(top - 1);
            for (std::size_t i = 0; i < size / inner; ++i) run_part(top - 1, first + i * inner, stream + i * bytes);
        }
        if (!transposed_ && top > 0) run_pass(top, first, own);
    }
    ColumnsArgs<Real> args_of(std::size_t pass, std::size_t row, const char* stream) const {
        const StreamPass<Real>& how = product_.passes[pass];
        const PassPlan& plan = plan_.passes[pass];
        const std::ptrdiff_t between = static_cast<std::ptrdiff_t>(plan_.n) * panel_.step();
        return {stream,
                how.factors.empty() ? nullptr : how.factors.data(),
                static_cast<std::size_t>(plan.factors),
                how.group_words,
                plan_.group_vectors(),
                plan.stride,
                0,
                plan_.part(pass) / (2 * kLanes * plan_.step_vectors(pass)),
                panels_,
                panel_.at(row),
                panel_.step(),
                between,
                panel_.at(row),
                panel_.step(),
                between,
                scratch_,
                transposed_};
    }
    void call(std::size_t pass, const ColumnsArgs<Real>& args) const {
        kernels().template of<Real>().columns[static_cast<int>(product_.passes[pass].general)](args);
    }
    void run_base(std::size_t first, std::size_t size, const char* stream) const {
        ColumnsArgs<Real> args = args_of(0, first, stream);
        for (std::size_t s = 0; s < size / kBaseRows; ++s) {
            const std::size_t row = first + s * kBaseRows;
            args.first = s, args.end = s + 1;
            if (!transposed_) load(row, kBaseRows, scale_);
            call(0, args);
            if (transposed_) store(row, kBaseRows, scale_);
        }
    }
    void run_pass(std::size_t pass, std::size_t first, const char* stream) const {
        ColumnsArgs<Real> args = args_of(pass, first, stream);
        const bool outermost = pass == plan_.tops();
        if (outermost && transposed_ && direct_x_.data != nullptr) {
            args.from = direct_x_.data, args.from_row = direct_x_.step, args.from_panel = kLanes;
        }
        if (outermost && !transposed_ && direct_y_.data != nullptr) {
            args.to = direct_y_.data, args.to_row = direct_y_.step, args.to_panel = kLanes;
        }
        call(pass, args);
    }

    const Product<Real>& product_;
    Diagonal<Real> scale_;
    const Plan& plan_;
    const ColumnPanel<Real>& panel_;
    Real* scratch_;
    const ColumnBlock<View>& x_;
    const ColumnBlock<MutableView>& y_;
    std::size_t panels_;
    PlainRows<Real, const Real> direct_x_;
    PlainRows<Real, Real> direct_y_;
    bool transposed_;
};

}  // namespace

template <class Real>
std::size_t columns_together(const Product<Real>& product, std::size_t columns) {
    const std::size_t planes = product.is_complex ? 2 : 1, bytes = product.plan.n * planes * kLanes * sizeof(Real);
    const bool weighted = product.passes.front().general != Weights::kNone;
    if (!weighted || product.plan.n < kBaseRows || bytes > kMostPanelBytes) return 0;
    return columns % kLanes < kLeastColumns ? columns / kLanes * kLanes : columns;
}

template <class Real>
void apply_columns(const Product<Real>& product, Diagonal<Real> scale, Mode mode, const View& x, const MutableView& y,
                   std::size_t first, std::size_t end, std::size_t workers) {
    const std::size_t planes = product.is_complex ? 2 : 1, numbers = product.plan.n * planes * kLanes;
    const std::size_t panels = (end - first + kLanes - 1) / kLanes, share = std::max<std::size_t>(panels / workers, 1);
    const std::size_t together = std::clamp<std::size_t>(kSharedBytes / (numbers * sizeof(Real)), 1, share);
    parallel_for((panels + together - 1) / together, workers, [&](std::size_t, std::size_t i) {
        const std::size_t at = first + i * together * kLanes, count = std::min(together * kLanes, end - at);
        Workspace<Real> workspace(together * numbers + kScratchNumbers);
        const ColumnPanel<Real> panel{workspace.data() + kScratchNumbers, planes};
        const auto* in = mode.transposed ? product.rows : product.columns;
        const auto* out = mode.transposed ? product.columns : product.rows;
        const ColumnBlock<View> from{x, at, count, in, mode.conjugated};
        const ColumnBlock<MutableView> to{y, at, count, out, mode.conjugated};
        ColumnPasses<Real>(product, scale, mode.transposed, panel, workspace.data(), from, to).run();
    });
}

#define BITTERFLY_INSTANTIATE(Real)                                                                                \
    template std::size_t columns_together<Real>(const Product<Real>&, std::size_t);                                \
    template void apply_columns<Real>(const Product<Real>&, Diagonal<Real>, Mode, const View&, const MutableView&, \
                                      std::size_t, std::size_t, std::size_t);
BITTERFLY_INSTANTIATE(float)
BITTERFLY_INSTANTIATE(double)
#undef BITTERFLY_INSTANTIATE

}  // namespace bitterfly
