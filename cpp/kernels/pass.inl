// One pass of one factor over a panel of vectors: every source, every distance d, forward and transposed, from one
// loop.
#pragma once

#include "kernels.hpp"
#include "rotation.inl"
#include "sphere.inl"
#include "unpack.inl"
#include "weights.inl"

namespace {

// The pair (x0, x1) on which `width` consecutive blocks act. D is d where d < width, else 0.
template <class V, int D>
struct Pair {
    using Real = typename V::Real;
    using Vec = typename V::Vec;

    static std::size_t offset(std::size_t beta, std::size_t d) {
        return D == 0 ? 2 * beta - (beta & (d - 1)) : 2 * beta;
    }
    static std::size_t distance(std::size_t d) { return D == 0 ? d : V::width; }

    static void load(const Real* p, std::size_t distance, Vec& x0, Vec& x1) {
        x0 = V::load(p), x1 = V::load(p + distance);
        if constexpr (D != 0) V::template unzip<D>(x0, x1);
    }
    static void load(const Real* p, std::size_t distance, std::size_t plane, Complex<V>& x0, Complex<V>& x1) {
        load(p, distance, x0.re, x1.re);
        load(p + plane, distance, x0.im, x1.im);
    }
    static void load(const Real* p, std::size_t distance, std::size_t, Vec& x0, Vec& x1) { load(p, distance, x0, x1); }

    static void store(Real* p, std::size_t distance, Vec x0, Vec x1) {
        if constexpr (D != 0) V::template zip<D>(x0, x1);
        V::store(p, x0), V::store(p + distance, x1);
    }
    static void store(Real* p, std::size_t distance, std::size_t plane, const Complex<V>& x0, const Complex<V>& x1) {
        store(p, distance, x0.re, x1.re);
        store(p + plane, distance, x0.im, x1.im);
    }
    static void store(Real* p, std::size_t distance, std::size_t, Vec x0, Vec x1) { store(p, distance, x0, x1); }
};

template <class V, class Source, int D, bool Transposed>
void pass_blocks(const bitterfly::PassArgs<typename V::Real>& args) {
    using P = Pair<V, D>;
    // The stream's buffer escapes to the unpacker; the source stays in registers.
    const Source source(args);
    typename Source::Stream stream(args.data, args.bits, args.n);
    const std::size_t end = args.first_block + args.blocks, distance = P::distance(args.d);
    for (std::size_t group = args.first_block; group < end; group += kGroupBlocks) {
        stream.open(group / kGroupBlocks);
        const std::size_t group_end = group + kGroupBlocks < end ? group + kGroupBlocks : end;
        for (std::size_t beta = group; beta < group_end; beta += V::width) {
            const auto block = source.block(stream, beta);
            auto* x = args.panel + P::offset(beta, args.d);
            for (std::size_t v = 0; v < args.vectors; ++v, x += args.vector_stride) {
                typename Source::Block::Value x0, x1;
                P::load(x, distance, args.plane_stride, x0, x1);
                block.template apply<Transposed>(x0, x1);
                P::store(x, distance, args.plane_stride, x0, x1);
            }
        }
    }
}

template <class V, template <class, int> class Source, int D>
void pass_distance(const bitterfly::PassArgs<typename V::Real>& args) {
    if constexpr (D != 0 && D < V::width) {
        if (args.d != static_cast<std::size_t>(D)) return pass_distance<V, Source, 2 * D>(args);
        return args.transposed ? pass_blocks<V, Source<V, D>, D, true>(args)
                               : pass_blocks<V, Source<V, D>, D, false>(args);
    } else {
        return args.transposed ? pass_blocks<V, Source<V, 0>, 0, true>(args)
                               : pass_blocks<V, Source<V, 0>, 0, false>(args);
    }
}

template <class V, template <class, int> class Source>
void pass(const bitterfly::PassArgs<typename V::Real>& args) {
    pass_distance<V, Source, 1>(args);
}

// Adaptors: decoders do not depend on D, rotations on the number of levels that their width needs.
template <class V, int>
using Angle1 = Angle<V, 1>;
template <class V, int>
using Angle2 = Angle<V, 2>;
template <class V, int>
using Angle3 = Angle<V, 3>;
template <class V, int>
using Phase1 = Phase<V, 1>;
template <class V, int>
using Phase2 = Phase<V, 2>;
template <class V, int>
using Phase3 = Phase<V, 3>;
template <class V, int>
using AnySphere = Sphere<V>;

template <class V>
void angle_pass(const bitterfly::PassArgs<typename V::Real>& args) {
    if (args.bits <= 4) return pass<V, Angle1>(args);
    return args.bits <= 8 ? pass<V, Angle2>(args) : pass<V, Angle3>(args);
}

template <class V>
void phase_pass(const bitterfly::PassArgs<typename V::Real>& args) {
    if (args.bits <= 4) return pass<V, Phase1>(args);
    return args.bits <= 8 ? pass<V, Phase2>(args) : pass<V, Phase3>(args);
}

}  // namespace
