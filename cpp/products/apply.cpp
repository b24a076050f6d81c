// Products: gather a few vectors into planes, run the passes depth first, scatter.
#include "products/apply.hpp"

#include <algorithm>

#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "products/columns.hpp"
#include "products/panels/panel.hpp"
#include "products/scale.hpp"
#include "workspace.hpp"

namespace bitterfly {
namespace {

// Vectors that do not stay in L2 beside their codes.
constexpr std::size_t kFarBytes = std::size_t{1} << 19;

// Small vectors are run with room for 32 elements.
constexpr std::size_t kLeastElements = 2 * kLanes;

// One real vector whose memory the first pass can read, or the last one write, without a copy; null where it cannot.
template <class Real>
struct Direct {
    const Real* x;
    Real* y;
};

// Runs all passes on a panel. Several workers share the parts below the uppermost passes, then the groups of each pass
// above, whose blocks are independent.
template <class Real>
class Passes {
public:
    // `scale` is what the innermost pass multiplies by, null for ones; `scratch` has room for kScratchNumbers for each
    // worker.
    Passes(const Product<Real>& product, bool transposed, const Panel<Real>& panel, Direct<Real> direct,
           const Real* scale, Real* scratch, std::size_t workers)
        : product_(product),
          plan_(product.plan),
          panel_(panel),
          direct_(direct),
          scale_(scale),
          scratch_(scratch),
          table_(kernels().template of<Real>()),
          transposed_(transposed),
          workers_(workers),
          shared_top_(workers > 1 ? plan_.shared_top(workers) : plan_.tops()) {}

    void run() const {
        const std::size_t part = plan_.part(shared_top_), parts = plan_.n < part ? 1 : plan_.n / part;
        for (std::size_t top = plan_.tops(); transposed_ && top > shared_top_; --top) run_shared(top);
        parallel_for(parts, workers_, [&](std::size_t worker, std::size_t i) {
            run_part({shared_top_, i * part, start_of(shared_top_, i * part), worker});
        });
        for (std::size_t top = shared_top_ + 1; !transposed_ && top <= plan_.tops(); ++top) run_shared(top);
    }

private:
    // The passes up to `top` on the elements from `first` on that depend on each other there, and their stream.
    struct Part {
        std::size_t top, first;
        const char* stream;
        std::size_t worker;
    };
    struct Groups {
        std::size_t first, end;
    };

    // The stream of the part of `top` that begins at element `first`: parts before it, on all levels, come first.
    const char* start_of(std::size_t top, std::size_t first) const {
        std::size_t bytes = 0;
        for (std::size_t level = plan_.tops();; --level) {
            const std::size_t size = plan_.part(level);
            bytes += first / size * product_.bytes_of_part(level);
            first %= size;
            if (level == top) return static_cast<const char*>(product_.stream) + bytes;
        }
    }

    void run_part(Part at) const {
        const std::size_t size = plan_.part(at.top);
        const char* own = at.stream + product_.bytes_of_part(at.top) - product_.bytes_of_pass(at.top, size);
        const Groups whole{0, Plan::groups(size)};
        if (transposed_ && at.top > 0) run_pass({at.top, at.first, own, at.worker}, whole);
        if (at.top <= 1) {
            run_pass({0, at.first, at.stream, at.worker}, {0, Plan::groups(size)});
        } else {
            const std::size_t inner = plan_.part(at.top - 1), count = size / inner,
                              bytes = product_.bytes_of_part(at.top - 1);
            for (std::size_t i = 0; i < count; ++i) {
                const std::size_t part = transposed_ ? count - 1 - i : i;
                run_part({at.top - 1, at.first + part * inner, at.stream + part * bytes, at.worker});
            }
        }
        if (!transposed_ && at.top > 0) run_pass({at.top, at.first, own, at.worker}, whole);
    }
    // One pass over the whole vector, in a few pieces for every worker.
    void run_shared(std::size_t top) const {
        const std::size_t size = plan_.part(top), parts = plan_.n / size, groups = Plan::groups(size);
        const std::size_t pieces = std::min(groups, (4 * workers_ + parts - 1) / parts);
        const std::size_t before = product_.bytes_of_part(top) - product_.bytes_of_pass(top, size);
        parallel_for(parts * pieces, workers_, [&](std::size_t worker, std::size_t i) {
            const std::size_t first = i / pieces * size, piece = i % pieces;
            const Groups some{groups * piece / pieces, groups * (piece + 1) / pieces};
            run_pass({top, first, start_of(top, first) + before, worker}, some);
        });
    }

    // Pass `at.top` on some groups of its part; at.stream is that of its first group.
    void run_pass(Part at, Groups groups) const {
        const std::size_t pass = at.top, size = plan_.part(pass == 0 ? std::min<std::size_t>(plan_.tops(), 1) : pass);
        const StreamPass<Real>& how = product_.passes[pass];
        const std::size_t bytes = product_.bytes_of_pass(pass, 1), offset = groups.first * plan_.group_elements(pass);
        const int factors = plan_.passes[pass].factors;
        const int kernel = plan_.n < 256 ? kSmallFused : pass == 0 ? kBaseFused : factors - 1;
        const auto direct = table_.fused[static_cast<int>(how.direct)][kernel];
        const auto run =
            panel_.vectors == 1 && direct != nullptr ? direct : table_.fused[static_cast<int>(how.general)][kernel];
        const bool is_first = pass == (transposed_ ? plan_.tops() : 0),
                   is_last = pass == (transposed_ ? 0 : plan_.tops());
        const Real* from = is_first && direct_.x != nullptr ? direct_.x : panel_.data;
        Real* to = is_last && direct_.y != nullptr ? direct_.y : panel_.data;
        const std::size_t first = at.first + offset;
        const PassArgs<Real> args{.stream = at.stream + groups.first * bytes,
                                  .factors = how.factors.empty() ? nullptr : how.factors.data(),
                                  .factor_count = static_cast<std::size_t>(factors),
                                  .group_words = how.group_words,
                                  .stride = plan_.passes[pass].stride,
                                  .size = std::min(size, (groups.end - groups.first) * 2 * kGroupBlocks),
                                  .from = from + first,
                                  .to = to + first,
                                  .vectors = panel_.vectors,
                                  .vector_stride = panel_.stride * panel_.planes,
                                  .plane_stride = panel_.stride,
                                  .scratch = scratch_ + at.worker * kScratchNumbers,
                                  .scale = pass == 0 && scale_ != nullptr ? scale_ + first * panel_.planes : nullptr,
                                  .transposed = transposed_,
                                  .is_far = plan_.n * panel_.planes * sizeof(Real) >= kFarBytes};
        run(args);
    }

    const Product<Real>& product_;
    const Plan& plan_;
    const Panel<Real>& panel_;
    Direct<Real> direct_;
    const Real* scale_;
    Real* scratch_;
    const RealKernels<Real>& table_;
    bool transposed_;
    std::size_t workers_, shared_top_;
};

// The numbers of a real column, if they are `Real`, in order, beside each other and fill whole lines; else null, as of
// several columns.
template <class Real, class ViewType>
auto numbers_of(const ViewType& view, const Panel<Real>& panel, std::size_t column, const std::uint32_t* order)
    -> decltype(view.re) {
    const bool plain = panel.vectors == 1 && view.im == nullptr && view.is_double == (sizeof(Real) == sizeof(double)) &&
                       view.rows == panel.n && view.row_stride == sizeof(Real);
    if (!plain || order != nullptr || panel.n < kLeastElements) return nullptr;
    return view.re + static_cast<std::ptrdiff_t>(column) * view.column_stride;
}

template <class Real>
void apply_panel(const Product<Real>& product, Diagonal<Real> scale, Mode mode, const Panel<Real>& panel, Real* scratch,
                 const View& x, const MutableView& y, std::size_t first, std::size_t workers) {
    const Diagonal<Real> none{nullptr, false};
    const bool fills_lines = panel.n >= kLeastElements;  // else kernels would read beyond the scale vector
    const Order in = mode.transposed ? product.rows : product.columns,
                out = mode.transposed ? product.columns : product.rows;
    Direct<Real> direct{nullptr, nullptr};
    if (!product.is_complex) {
        direct.x = reinterpret_cast<const Real*>(numbers_of<Real>(x, panel, first, in));
        direct.y = reinterpret_cast<Real*>(numbers_of<Real>(y, panel, first, out));
    }
    const Diagonal<Real> outside = fills_lines ? none : scale;
    if (direct.x == nullptr) gather(panel, x, first, in, mode.transposed ? none : outside, mode.conjugated);
    Passes<Real>(product, mode.transposed, panel, direct, fills_lines ? scale.scale : nullptr, scratch, workers).run();
    if (direct.y == nullptr) scatter(panel, y, first, out, mode.transposed ? outside : none, mode.conjugated);
}

// The columns that do not go side by side, each as one vector.
template <class Real>
void apply_vectors(const Product<Real>& product, Diagonal<Real> scale, Mode mode, const View& x, const MutableView& y,
                   const ColumnsPlan& how, std::size_t workers) {
    const std::size_t n = product.plan.n, planes = product.is_complex ? 2 : 1, vector_bytes = n * planes * sizeof(Real);
    const std::size_t begin = how.side_by_side, columns = x.columns - begin;
    const std::size_t together =
        std::clamp<std::size_t>(how.vector_bytes / vector_bytes, 1, std::min(how.most_vectors, columns));
    const std::size_t numbers = together * planes * padded(std::max(n, kLeastElements), together * planes);
    const auto run = [&](ColumnRange some, std::size_t inner) {
        Workspace<Real> workspace(numbers + inner * kScratchNumbers);
        Real* data = workspace.data() + inner * kScratchNumbers;
        if (n < kLeastElements) std::fill_n(data, numbers, Real(0));
        const Panel<Real> panel{data, n, planes, some.count, numbers / (together * planes)};
        apply_panel(product, scale, mode, panel, workspace.data(), x, y, begin + some.first, inner);
    };
    if (columns == 1) return run({0, 1}, workers);
    const std::vector<ColumnRange> panels = panels_of(columns, together, workers);
    // Panels side by side where there are enough of them, else one after the other with all workers.
    const std::size_t outer = panels.size() < workers ? 1 : workers, inner = outer == 1 ? workers : 1;
    parallel_for(panels.size(), outer, [&](std::size_t, std::size_t i) { run(panels[i], inner); });
}

}  // namespace

template <class Real>
void apply(const Product<Real>& product, Mode mode, const View& x, const MutableView& y, std::size_t workers) {
    const ColumnsPlan how = columns_plan(product, x, y);
    const std::size_t n = product.plan.n, each = product.is_complex ? 8 : 2;
    if (each * n * product.plan.factors() * x.columns < least_parallel_work()) workers = 1;
    const Scale<Real> numbers(product);
    const Diagonal<Real> scale{numbers.numbers(), product.is_complex};
    if (how.side_by_side > 0) apply_columns(product, scale, mode, x, y, 0, how.side_by_side, workers);
    if (how.side_by_side < x.columns) apply_vectors(product, scale, mode, x, y, how, workers);
}

template void apply<float>(const Product<float>&, Mode, const View&, const MutableView&, std::size_t);
template void apply<double>(const Product<double>&, Mode, const View&, const MutableView&, std::size_t);

}  // namespace bitterfly
