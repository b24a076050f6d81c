// Products: gather a few vectors into planes, run the passes depth first, scatter.
#include "apply.hpp"

#include <algorithm>
#include <bit>

#include "codes.hpp"
#include "panel.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

// Bytes of panel that a run of passes may cover before it is cut in parts: one third of a usual L1 and L2.
constexpr std::size_t kCacheBytes[] = {std::size_t{1} << 14, std::size_t{1} << 19};
constexpr std::size_t kPanelBytes = std::size_t{1} << 18;
constexpr std::size_t kMaxVectors = 16;

// Below this size a factor does not fill the registers of the wide tiers.
constexpr std::size_t kSmallestWide = 2 * kLanes;

// Runs the passes of all factors on a panel: inner factors (small d) on cache-sized parts first, or last if transposed.
template <class Real>
class Passes {
public:
    Passes(const Product<Real>& product, bool transposed, const Panel<Real>& panel)
        : product_(product),
          panel_(panel),
          transposed_(transposed),
          table_((product.n < kSmallestWide ? kScalarKernels : kernels()).template of<Real>()) {}

    void run() const { run_part(0, product_.n); }

private:
    // The largest part that fits the next smaller cache; zero if `size` already fits the smallest.
    std::size_t part_of(std::size_t size) const {
        const std::size_t row_bytes = panel_.vectors * panel_.planes * sizeof(Real);
        std::size_t part = 0;
        for (const std::size_t bytes : kCacheBytes) {
            const std::size_t fits = std::max(std::bit_floor(bytes / row_bytes), 2 * kGroupBlocks);
            if (fits < size) part = fits;
        }
        return part;
    }
    void run_part(std::size_t first, std::size_t size) const {
        const std::size_t part = part_of(size);
        if (transposed_) run_factors(first, size, std::max<std::size_t>(part, 1));
        for (std::size_t at = first; part != 0 && at < first + size; at += part) run_part(at, part);
        if (!transposed_) run_factors(first, size, std::max<std::size_t>(part, 1));
    }
    // The factors with part <= d < size, on the elements [first, first + size).
    void run_factors(std::size_t first, std::size_t size, std::size_t part) const {
        if (transposed_) {
            for (std::size_t d = size / 2; d >= part; d /= 2) run_factor(first, size, d);
        } else {
            for (std::size_t d = part; d < size; d *= 2) run_factor(first, size, d);
        }
    }
    void run_factor(std::size_t first, std::size_t size, std::size_t d) const {
        const auto level = static_cast<std::size_t>(std::countr_zero(product_.n / (2 * d)));
        const FactorData& f = product_.factors[level];
        const bool by_planes = f.source == Source::kRealWeights || f.source == Source::kAngle;
        const std::size_t plane = panel_.stride, planes = panel_.planes;
        table_.pass[static_cast<int>(f.source)]({f.data, rotation_tables<Real>(f.source), f.bits, product_.n, d,
                                                 first / 2, size / 2, panel_.data,
                                                 by_planes ? panel_.vectors * planes : panel_.vectors,
                                                 by_planes ? plane : plane * planes, plane, transposed_});
    }

    const Product<Real>& product_;
    const Panel<Real>& panel_;
    bool transposed_;
    const RealKernels<Real>& table_;
};

template <class Real>
void apply_panel(const Product<Real>& product, Mode mode, const Panel<Real>& panel, const View& x, const MutableView& y,
                 std::size_t first) {
    const Diagonal<Real> scale{product.scale, product.is_complex}, none{nullptr, false};
    const auto* in = mode.transposed ? product.rows : product.columns;
    const auto* out = mode.transposed ? product.columns : product.rows;
    gather(panel, x, first, in, mode.transposed ? none : scale, mode.conjugated);
    Passes<Real>(product, mode.transposed, panel).run();
    scatter(panel, y, first, out, mode.transposed ? scale : none, mode.conjugated);
}

}  // namespace

template <class Real>
void apply(const Product<Real>& product, Mode mode, const View& x, const MutableView& y) {
    const std::size_t planes = product.is_complex ? 2 : 1, vector_bytes = product.n * planes * sizeof(Real);
    const std::size_t most = std::min(kMaxVectors, std::max<std::size_t>(x.columns, 1));
    const std::size_t together = std::clamp<std::size_t>(kPanelBytes / vector_bytes, 1, most);
    const std::size_t stride = padded(product.n, together * planes);
    Workspace<Real> workspace(together * planes * stride);
    for (std::size_t first = 0; first < x.columns; first += together) {
        const Panel<Real> panel{workspace.data(), product.n, planes, std::min(together, x.columns - first), stride};
        apply_panel(product, mode, panel, x, y, first);
    }
}

template void apply<float>(const Product<float>&, Mode, const View&, const MutableView&);
template void apply<double>(const Product<double>&, Mode, const View&, const MutableView&);

}  // namespace bitterfly
