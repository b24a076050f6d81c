// How each pass of a product reads its stream.
#include "products/product.hpp"

#include <algorithm>
#include <string>

#include "kernels/kernels.hpp"
#include "require.hpp"
#include "stores/stream.hpp"

namespace bitterfly {
namespace {

// The place of the kernels' decoder of the same name.
int decoder_of(const DirectionKind& kind) {
    const Known& known = kernels().known;
    const std::string name = kind.name;
    const auto* end = known.directions + known.direction_count;
    const auto* found = std::find(known.directions, end, name);
    require(found != end, "code: the kernels have no decoder for '" + name + "'");
    return static_cast<int>(found - known.directions);
}

template <class Real>
StreamPass<Real> coded_pass(const Plan& plan, std::size_t pass, const std::vector<Code>& codes, bool is_complex) {
    const Weights general = is_complex ? Weights::kColumns : Weights::kReal;
    StreamPass<Real> out{general, general, {}, 0};
    const int bits = codes[plan.level(pass, 0)].bits;
    bool equal = true;
    for (int j = 0; j < plan.passes[pass].factors; ++j) {
        const Code code = codes[plan.level(pass, j)];
        out.factors.push_back({decoder_of(*code.kind), code.bits, rotation_tables<Real>(*code.kind), out.group_words});
        out.group_words += group_words(plan, code.bits);
        equal = equal && code.kind->is_unrolled && code.bits == bits;
    }
    if (equal && !is_complex && plan.n >= 2 * kGroupBlocks) out.direct = angle_weights(bits);
    return out;
}

}  // namespace

template <class Real>
Product<Real> product_of_weights(std::size_t n, bool is_complex, const Real* stream) {
    Product<Real> out{Plan(n), is_complex, {}, stream, nullptr, {}, {}};
    const Weights weights = is_complex ? Weights::kComplex : Weights::kReal;
    for (const PassPlan& pass : out.plan.passes) {
        const std::size_t vectors = static_cast<std::size_t>(pass.factors) * out.plan.group_vectors();
        out.passes.push_back({weights, weights, {}, vectors * 4 * (is_complex ? 2 : 1) * kLanes});
    }
    return out;
}

template <class Real>
Product<Real> product_of_codes(const std::vector<Code>& codes, bool is_complex, const std::uint32_t* stream,
                               const Real* scale) {
    Product<Real> out{Plan(std::size_t{1} << codes.size()), is_complex, {}, stream, scale, {}, {}};
    for (std::size_t pass = 0; pass < out.plan.passes.size(); ++pass) {
        out.passes.push_back(coded_pass<Real>(out.plan, pass, codes, is_complex));
    }
    return out;
}

template <class Real>
Product<Real> product_of_signs(std::size_t n) {
    Product<Real> out{Plan(n), false, {}, nullptr, nullptr, {}, {}};
    out.passes.assign(out.plan.passes.size(), {Weights::kNone, Weights::kNone, {}, 0});
    return out;
}

template Product<float> product_of_weights<float>(std::size_t, bool, const float*);
template Product<double> product_of_weights<double>(std::size_t, bool, const double*);
template Product<float> product_of_codes<float>(const std::vector<Code>&, bool, const std::uint32_t*, const float*);
template Product<double> product_of_codes<double>(const std::vector<Code>&, bool, const std::uint32_t*, const double*);
template Product<float> product_of_signs<float>(std::size_t);
template Product<double> product_of_signs<double>(std::size_t);

}  // namespace bitterfly
