// The kernels of one tier, collected from the vocabulary that is in force where this file is included.
#pragma once

#include "kernels/cuts/cuts.inl"
#include "kernels/dense/dense.inl"
#include "kernels/dyadic/columns.inl"
#include "kernels/dyadic/fused.inl"
#include "kernels/kernels.hpp"
#include "kernels/peak.inl"
#include "kernels/search/searches.inl"
#include "kernels/splits/gram.inl"
#include "kernels/splits/reflect.inl"
#include "kernels/splits/split.inl"
#include "kernels/tiles/tile_columns.inl"
#include "kernels/tiles/tiles.inl"
#include "kernels/trellis/viterbi.inl"
#include "simd/vocabulary.hpp"

namespace {

// What a tier has to have; where one fails, the compiler names the word.
static_assert(Vocabulary<Simd<float>> && CountsWords<Simd<float>> && ByteVocabulary<Bytes> && CutsWords<Bytes>);
static_assert(SignVocabulary<Signs> && Vocabulary<Simd<double>> && PacksLanes<Simd<double>> &&
              ConvertsNumbers<Simd<double>>);

template <class V, int F, class W>
void numbers_pass(const PassArgs<typename V::Real>& args) {
    args.transposed ? run_numbers<V, true, F, W>(args) : run_numbers<V, false, F, W>(args);
}
template <class V, class W>
void small_pass(const PassArgs<typename V::Real>& args) {
    args.transposed ? run_small<V, true, W>(args) : run_small<V, false, W>(args);
}
template <class V, int F, int Bits>
void codes_pass(const PassArgs<typename V::Real>& args) {
    args.transposed ? run_codes<V, true, F, Bits>(args) : run_codes<V, false, F, Bits>(args);
}

template <class V, int F>
void signs_pass(const PassArgs<typename V::Real>& args) {
    run_numbers<V, false, F, NoWeights<V>>(args);
}

template <class V>
struct FusedTable {
    using Pass = typename bitterfly::RealKernels<typename V::Real>::Pass;
    template <class W>
    static constexpr void numbers(Pass (&to)[bitterfly::kFused]) {
        to[0] = numbers_pass<V, 1, W>, to[1] = numbers_pass<V, 2, W>, to[2] = numbers_pass<V, 3, W>;
        to[3] = numbers_pass<V, 4, W>, to[4] = numbers_pass<V, 8, W>, to[5] = small_pass<V, W>;
    }
    template <int Bits>
    static constexpr void codes(Pass (&to)[bitterfly::kFused]) {
        to[0] = codes_pass<V, 1, Bits>, to[1] = codes_pass<V, 2, Bits>, to[2] = codes_pass<V, 3, Bits>;
        to[3] = codes_pass<V, 4, Bits>, to[4] = codes_pass<V, 8, Bits>;
    }
    template <int... Bits>
    static constexpr void angles(Pass (&to)[bitterfly::kWeights][bitterfly::kFused]) {
        (codes<Bits>(to[static_cast<int>(bitterfly::angle_weights(Bits))]), ...);
    }
    // The transform is its own transpose: its factors commute.
    static constexpr void none(Pass (&to)[bitterfly::kFused]) {
        to[0] = signs_pass<V, 1>, to[1] = signs_pass<V, 2>, to[2] = signs_pass<V, 3>, to[3] = signs_pass<V, 4>;
        to[4] = signs_pass<V, 8>, to[5] = run_small<V, false, NoWeights<V>>;
    }
};

constexpr bitterfly::Known known() {
    return {DirectionCodes::names, DirectionCodes::count, Forms::facts, Forms::count};
}

template <class Real>
constexpr bitterfly::RealKernels<Real> real_kernels() {
    using V = Simd<Real>;
    using Table = FusedTable<V>;
    using bitterfly::Weights;
    bitterfly::RealKernels<Real> out{{},
                                     {},
                                     kWideColumns<V> ? 2 * kLanes : kLanes,
                                     copy_rows<V>,
                                     rows_of_columns<V>,
                                     columns_of_rows<V>,
                                     gram<V>,
                                     project<V>,
                                     tiles<V>,
                                     tile_columns<V>,
                                     gram_rows<V>,
                                     combine_rows<V>,
                                     reflect<V>,
                                     all_floats<V>,
                                     add<V>};
    out.columns[static_cast<int>(Weights::kNone)] = columns<V, NoWeights<V>>;
    out.columns[static_cast<int>(Weights::kReal)] = columns<V, RealNumbers<V>>;
    out.columns[static_cast<int>(Weights::kComplex)] = columns<V, ComplexNumbers<V>>;
    out.columns[static_cast<int>(Weights::kColumns)] = columns<V, ColumnNumbers<V>>;
    Table::none(out.fused[static_cast<int>(Weights::kNone)]);
    Table::template numbers<RealNumbers<V>>(out.fused[static_cast<int>(Weights::kReal)]);
    Table::template numbers<ComplexNumbers<V>>(out.fused[static_cast<int>(Weights::kComplex)]);
    Table::template numbers<ColumnNumbers<V>>(out.fused[static_cast<int>(Weights::kColumns)]);
    // In double precision, and one lane at a time, look-ups cost more than decoding once.
    if constexpr (sizeof(Real) == sizeof(float) && V::width > 1) {
        Table::template angles<2, 4, 6, 8, 10, 12>(out.fused);
        // Tables of four levels that do not fit the registers gain nothing over decoding once.
        if constexpr (V::registers >= 32) Table::template angles<14, 16>(out.fused);
    }
    return out;
}

}  // namespace
