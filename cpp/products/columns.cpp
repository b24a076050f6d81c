// Passes over a panel of 16 columns, or of 32 where the tier takes as many, depth first. Chunks of rows on the side of
// the innermost pass are copied (and scaled) while they are in L1.
#include "products/columns.hpp"

#include <algorithm>

#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "products/panels/column_panel.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

// Several vectors at a time share the weights that are decoded for them, and strided ones the lines of an array.
constexpr std::size_t kRunBytes = std::size_t{1} << 18, kStridedBytes = std::size_t{1} << 22;
constexpr std::size_t kMaxVectors = 16;
// Fewer columns are faster as vectors; a panel beyond the last cache is slower.
constexpr std::size_t kLeastColumns = 4, kLeastComplex = 11;
constexpr std::size_t kMostPanelBytes = std::size_t{1} << 22;
// Decoded weights that are kept from panel to panel; more are as slow to read as to decode.
constexpr std::size_t kMostKeptBytes = std::size_t{1} << 20;

template <class Real>
std::size_t planes_of(const Product<Real>& product) {
    return product.is_complex ? 2 : 1;
}
template <class Real>
ColumnPanel<Real> panel_of(const Product<Real>& product, std::size_t blocks, Real* data) {
    return {data, planes_of(product), kLanes, blocks};
}

// Blocks of 16 columns that lie side by side: as many as the kernels take.
template <class Real>
std::size_t blocks_together(const Product<Real>& product, std::size_t blocks) {
    const std::size_t most = product.is_complex ? 1 : kernels().template of<Real>().most_columns / kLanes;
    return std::min(blocks, most);
}

// Numbers of all decoded weights; 0 if the stream holds weights.
template <class Real>
std::size_t decoded_numbers(const Product<Real>& product) {
    const std::size_t blocks = product.plan.n / 2 * product.plan.factors();
    return product.passes.front().factors.empty() ? 0 : blocks * (product.is_complex ? 6 : 4);
}

template <class Real>
class ColumnPasses {
public:
    // `weights` has room for those of one step, or for all if they are kept.
    ColumnPasses(const Product<Real>& product, Diagonal<Real> scale, bool transposed, const ColumnPanel<Real>& panel,
                 Real* weights, bool keeps)
        : product_(product),
          scale_(scale),
          plan_(product.plan),
          panel_(panel),
          weights_(weights),
          keeps_(keeps),
          transposed_(transposed) {}

    // The columns of a panel or fewer; `decoded` if the weights are kept from the panel before.
    void run(const ColumnBlock<View>& x, const ColumnBlock<MutableView>& y, bool decoded) {
        x_ = &x, y_ = &y, next_ = weights_, decoded_ = decoded;
        const Diagonal<Real> none{nullptr, false};
        for (std::size_t r = 0; transposed_ && r < plan_.n; r += kChunkRows) load(r, none);
        run_part(plan_.tops(), 0, static_cast<const char*>(product_.stream));
        for (std::size_t r = 0; !transposed_ && r < plan_.n; r += kChunkRows) store(r, none);
    }

private:
    // One block after the other of the chunk that begins at row r.
    void load(std::size_t r, Diagonal<Real> scale) const {
        for (std::size_t b = 0; b < panel_.blocks; ++b) load_chunk(panel_.block(b), x_->block(b), r, kChunkRows, scale);
    }
    void store(std::size_t r, Diagonal<Real> scale) const {
        for (std::size_t b = 0; b < panel_.blocks; ++b)
            store_chunk(panel_.block(b), y_->block(b), r, kChunkRows, scale);
    }
    // The passes up to `top` on the elements from `first` on that depend on each other there, and their stream.
    void run_part(std::size_t top, std::size_t first, const char* stream) {
        const std::size_t size = plan_.part(top);
        const char* own = stream + product_.bytes_of_part(top) - product_.bytes_of_pass(top, size);
        if (transposed_ && top > 0) run_steps(top, first, own, 0, steps(top));
        if (top <= 1) {
            run_base(first, size, stream);
        } else {
            const std::size_t inner = plan_.part(top - 1), bytes = product_.bytes_of_part(top - 1);
            for (std::size_t i = 0; i < size / inner; ++i) run_part(top - 1, first + i * inner, stream + i * bytes);
        }
        if (!transposed_ && top > 0) run_steps(top, first, own, 0, steps(top));
    }
    std::size_t steps(std::size_t pass) const { return plan_.part(pass) / (2 * kLanes * plan_.step_vectors(pass)); }
    void run_base(std::size_t first, std::size_t size, const char* stream) {
        for (std::size_t s = 0; s < size / kChunkRows; ++s) {
            const std::size_t row = first + s * kChunkRows;
            if (!transposed_) load(row, scale_);
            run_steps(0, first, stream, s, s + 1);
            if (transposed_) store(row, scale_);
        }
    }
    void run_steps(std::size_t pass, std::size_t row, const char* stream, std::size_t first, std::size_t end) {
        const StreamPass<Real>& how = product_.passes[pass];
        const PassPlan& plan = plan_.passes[pass];
        const auto factors = static_cast<std::size_t>(plan.factors);
        const std::size_t step = factors * plan_.step_vectors(pass) * (product_.is_complex ? 6 : 4) * kLanes;
        const ColumnsArgs<Real> args{.stream = stream,
                                     .factors = how.factors.empty() ? nullptr : how.factors.data(),
                                     .factor_count = factors,
                                     .group_words = how.group_words,
                                     .group_vectors = plan_.group_vectors(),
                                     .stride = plan.stride,
                                     .first = first,
                                     .end = end,
                                     .columns = panel_.blocks * kLanes,
                                     .data = panel_.at(row),
                                     .row = static_cast<std::ptrdiff_t>(panel_.row()),
                                     .chunk = static_cast<std::ptrdiff_t>(panel_.chunk()),
                                     .weights = next_,
                                     .weights_step = keeps_ ? step : 0,
                                     .decoded = decoded_,
                                     .transposed = transposed_};
        kernels().template of<Real>().columns[static_cast<int>(how.general)](args);
        if (keeps_) next_ += (end - first) * step;
    }

    const Product<Real>& product_;
    Diagonal<Real> scale_;
    const Plan& plan_;
    ColumnPanel<Real> panel_;
    Real* weights_;
    bool keeps_, transposed_;
    const ColumnBlock<View>* x_ = nullptr;
    const ColumnBlock<MutableView>* y_ = nullptr;
    Real* next_ = nullptr;  // the weights of the next step, if they are kept
    bool decoded_ = false;
};

// Whether the numbers of a column lie one or two numbers apart, complex ones interleaved: one column at a time is
// copied as fast as memory goes, or not at all.
template <class Real, class ViewType>
bool are_runs(const ViewType& view, bool is_complex) {
    constexpr auto size = static_cast<std::ptrdiff_t>(sizeof(Real));
    if (view.is_double != (sizeof(Real) == sizeof(double)) || (view.im != nullptr) != is_complex) return false;
    if (is_complex) return view.row_stride == 2 * size && view.im - view.re == size;
    return view.row_stride == size || view.row_stride == 2 * size;
}

// Whether one vector alone takes weights that are decoded to the buffer.
template <class Real>
bool decodes(const Product<Real>& product) {
    const auto& fused = kernels().template of<Real>().fused;
    return std::any_of(product.passes.begin(), product.passes.end(), [&](const StreamPass<Real>& pass) {
        return !pass.factors.empty() &&
               (pass.direct == pass.general || fused[static_cast<int>(pass.direct)][0] == nullptr);
    });
}

// Whether runs one by one are as fast as side by side: without weights, with codes of two bits an entry, and complex
// ones, whose parts lie apart there.
template <class Real>
bool is_quick(const Product<Real>& product) {
    if (product.is_complex) return true;
    return !decodes(product) &&
           std::all_of(product.passes.begin(), product.passes.end(), [](const StreamPass<Real>& pass) {
               return pass.direct == Weights::kNone || (!pass.factors.empty() && pass.factors.front().bits <= 4);
           });
}

}  // namespace

template <class Real>
ColumnsPlan columns_plan(const Product<Real>& product, const View& x, const MutableView& y) {
    const bool runs = are_runs<Real>(x, product.is_complex) && are_runs<Real>(y, product.is_complex);
    const bool alone = runs && (product.is_complex || !decodes(product));
    const std::size_t bytes = product.plan.n * planes_of(product) * kLanes * sizeof(Real);
    const bool has_panels = product.plan.n >= kChunkRows && bytes <= kMostPanelBytes && !(runs && is_quick(product));
    const std::size_t least = runs ? kLanes : product.is_complex ? kLeastComplex : kLeastColumns;
    return {has_panels ? columns_in_blocks(x.columns, least) : 0, alone ? 1 : kMaxVectors,
            runs ? kRunBytes : kStridedBytes};
}

template <class Real>
void apply_columns(const Product<Real>& product, Diagonal<Real> scale, Mode mode, const View& x, const MutableView& y,
                   std::size_t first, std::size_t end, std::size_t workers) {
    const std::size_t blocks = (end - first + kLanes - 1) / kLanes;
    const std::size_t together = blocks_together(product, (blocks + workers - 1) / workers), width = together * kLanes;
    const std::size_t panels = (blocks + together - 1) / together, share = (panels + workers - 1) / workers;
    const std::size_t decoded = decoded_numbers(product);
    const bool keeps = share > 1 && decoded > 0 && decoded * sizeof(Real) <= kMostKeptBytes;
    const std::size_t room = keeps ? decoded : kScratchNumbers;
    const std::uint32_t* in = mode.transposed ? product.rows : product.columns;
    const std::uint32_t* out = mode.transposed ? product.columns : product.rows;
    parallel_for((panels + share - 1) / share, workers, [&](std::size_t, std::size_t i) {
        Workspace<Real> workspace(room + panel_of<Real>(product, together, nullptr).numbers(product.plan.n));
        for (std::size_t p = i * share; p < std::min((i + 1) * share, panels); ++p) {
            const std::size_t at = first + p * width, count = std::min(width, end - at);
            const auto panel = panel_of(product, (count + kLanes - 1) / kLanes, workspace.data() + room);
            ColumnPasses<Real> passes(product, scale, mode.transposed, panel, workspace.data(), keeps);
            passes.run({x, at, count, in, mode.conjugated}, {y, at, count, out, mode.conjugated},
                       keeps && p > i * share);
        }
    });
}

#define BITTERFLY_INSTANTIATE(Real)                                                                                \
    template ColumnsPlan columns_plan<Real>(const Product<Real>&, const View&, const MutableView&);                \
    template void apply_columns<Real>(const Product<Real>&, Diagonal<Real>, Mode, const View&, const MutableView&, \
                                      std::size_t, std::size_t, std::size_t);
BITTERFLY_INSTANTIATE(float)
BITTERFLY_INSTANTIATE(double)
#undef BITTERFLY_INSTANTIATE

}  // namespace bitterfly
