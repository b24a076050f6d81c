// Float factors as a source of blocks: weights in C order (a, 2, 2, d), real or interleaved complex.
#pragma once

#include "blocks.inl"

namespace {

// Weights need no unpacking.
struct NoStream {
    NoStream(const void*, int, std::size_t) {}
    void open(std::size_t) {}
};

// The four weights of `width` consecutive blocks. D is d where d < width (chunks of D lanes are sorted out in
// registers), 0 where each weight has a contiguous run of at least `width`.
template <class V, int D>
struct WeightOrder {
    // Offset of w[j][k] of block beta, in weights (D == 0).
    static std::size_t offset(std::size_t beta, std::size_t d, std::size_t j, std::size_t k) {
        const std::size_t t = beta & (d - 1);
        return 4 * (beta - t) + (2 * j + k) * d + t;
    }
    // r[0..3]: 4 * width consecutive weights -> w[j][k].
    static void sort(typename V::Vec* r, typename V::Vec (&w)[2][2]) {
        V::template unzip<D>(r[0], r[1]);
        V::template unzip<D>(r[2], r[3]);
        V::template unzip<D>(r[0], r[2]);
        V::template unzip<D>(r[1], r[3]);
        w[0][0] = r[0], w[1][0] = r[2], w[0][1] = r[1], w[1][1] = r[3];
    }
};

template <class V, int D>
struct RealWeights {
    using Real = typename V::Real;
    using Block = RealBlock<V>;
    using Stream = NoStream;
    const Real* weights;
    std::size_t d;

    explicit RealWeights(const bitterfly::PassArgs<Real>& args)
        : weights(static_cast<const Real*>(args.data)), d(args.d) {}
    Block block(const Stream&, std::size_t beta) const {
        Block out;
        if constexpr (D == 0) {
            for (std::size_t jk = 0; jk < 4; ++jk) {
                out.w[jk / 2][jk % 2] = V::load(weights + WeightOrder<V, D>::offset(beta, d, jk / 2, jk % 2));
            }
        } else {
            typename V::Vec r[4];
            for (std::size_t i = 0; i < 4; ++i) r[i] = V::load(weights + 4 * beta + i * V::width);
            WeightOrder<V, D>::sort(r, out.w);
        }
        return out;
    }
};

template <class V, int D>
struct ComplexWeights {
    using Real = typename V::Real;
    using Block = ComplexBlock<V>;
    using Stream = NoStream;
    const Real* weights;
    std::size_t d;

    explicit ComplexWeights(const bitterfly::PassArgs<Real>& args)
        : weights(static_cast<const Real*>(args.data)), d(args.d) {}

    // `width` complex numbers from weight `index` on.
    Complex<V> load(std::size_t index) const {
        const Real* p = weights + 2 * index;
        if constexpr (V::width == 1) {
            return {V::load(p), V::load(p + 1)};
        } else {
            Complex<V> z{V::load(p), V::load(p + V::width)};
            V::template unzip<1>(z.re, z.im);
            return z;
        }
    }
    Block block(const Stream&, std::size_t beta) const {
        Block out;
        if constexpr (D == 0) {
            for (std::size_t jk = 0; jk < 4; ++jk) {
                out.w[jk / 2][jk % 2] = load(WeightOrder<V, D>::offset(beta, d, jk / 2, jk % 2));
            }
        } else {
            typename V::Vec re[4], im[4], real[2][2], imag[2][2];
            for (std::size_t i = 0; i < 4; ++i) {
                const Complex<V> z = load(4 * beta + i * V::width);
                re[i] = z.re, im[i] = z.im;
            }
            WeightOrder<V, D>::sort(re, real);
            WeightOrder<V, D>::sort(im, imag);
            for (int jk = 0; jk < 4; ++jk) out.w[jk / 2][jk % 2] = {real[jk / 2][jk % 2], imag[jk / 2][jk % 2]};
        }
        return out;
    }
};

}  // namespace
