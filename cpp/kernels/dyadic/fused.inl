// Fused passes: several factors while their elements stay in registers, forward and transposed, from any weights.
#pragma once

#include "kernels/dyadic/base_steps.inl"

namespace {

// Where step s of a pass begins, and the block-vectors of a factor in it. F = 8 is the innermost pass.
template <int F>
inline constexpr int kStepVectors = F >= 4 ? 8 : 4;
template <int F>
std::size_t step_start(std::size_t s) {
    return F == 8 ? 256 * s : s * kLanes * (F >= 3 ? 1 : F == 2 ? 2 : 4);
}

template <class V, bool Transposed, int F, class W>
[[gnu::always_inline]] inline void step(const W& w, const PassArgs<typename V::Real>& args, std::size_t s,
                                        std::size_t offset) {
    const std::size_t at = offset + step_start<F>(s);
    if constexpr (F == 4 && !kManyRegisters<V, W>) {
        row_step_in_quarters<V, Transposed>(w, args.from + at, args.to + at, args.stride, args.plane_stride);
    } else if constexpr (F != 8) {
        row_step<V, Transposed, F>(w, args.from + at, args.to + at, args.stride, args.plane_stride);
    } else {
        constexpr std::size_t planes = W::is_complex ? 2 : 1;
        const auto* scale = args.scale == nullptr ? nullptr : args.scale + planes * step_start<F>(s);
        if constexpr (kManyRegisters<V, W> && V::width == kLanes) {
            base_step_in_registers<V, Transposed>(w, args.from + at, args.to + at, scale);
        } else {
            base_step_in_memory<V, Transposed>(w, args.from + at, args.to + at, args.plane_stride, scale);
        }
    }
}

// The weights of step s, decoded to the scratch memory.
template <class V, class W>
[[gnu::noinline]] void decode_step(const PassArgs<typename V::Real>& args, std::size_t s, std::size_t vectors,
                                   std::size_t steps) {
    const auto* group = static_cast<const std::uint32_t*>(args.stream) + s / steps * args.group_words;
    const auto next = static_cast<std::ptrdiff_t>(args.group_words), ahead = args.transposed ? -next : next;
    typename V::Real* out = args.scratch;
    for (std::size_t j = 0; j < args.factor_count; ++j, out += vectors * W::numbers * kLanes) {
        const auto& f = args.factors[j];
        decode<V, W::numbers == 6>(f, {group + f.offset, s % steps * vectors * 2, vectors, ahead}, out);
    }
}

// The elements of a later step of the innermost pass, and their scales. Inlined, see CodeLines::prefetch().
template <class V, class W>
[[gnu::always_inline]] inline void prefetch_step(const PassArgs<typename V::Real>& args, std::size_t s) {
    constexpr std::ptrdiff_t planes = W::is_complex ? 2 : 1, size = 256, ahead = 4 * size;
    const auto at = static_cast<std::ptrdiff_t>(step_start<8>(s)) + (args.transposed ? -ahead : ahead);
    for (std::ptrdiff_t i = 0; i < size; i += kLanes) {
        __builtin_prefetch(args.from + at + i);
        if (W::is_complex) __builtin_prefetch(args.from + static_cast<std::ptrdiff_t>(args.plane_stride) + at + i);
    }
    if (args.scale == nullptr) return;
    for (std::ptrdiff_t i = 0; i < planes * size; i += kLanes) __builtin_prefetch(args.scale + planes * at + i);
}

// `args` by value in all loops: stores to vectors might else change it, for all that compilers know.
// Transposed products run through the stream backwards.
template <class V, bool Transposed, int F, class W>
void run_numbers(PassArgs<typename V::Real> args) {
    using Real = typename V::Real;
    constexpr std::size_t vectors = kStepVectors<F>, numbers = F * vectors * W::numbers * kLanes;
    const std::size_t steps = args.size / (32 * vectors);
    for (std::size_t i = 0; i < steps; ++i) {
        const std::size_t s = Transposed ? steps - 1 - i : i;
        const Real* p = static_cast<const Real*>(args.stream) + s * numbers;
        if constexpr (numbers > 0) {
            if (args.factors != nullptr) {
                if (F == 8 && args.is_far) prefetch_step<V, W>(args, s);
                decode_step<V, W>(args, s, vectors, 16 / vectors);
                p = args.scratch;
            }
        }
        for (std::size_t v = 0; v < args.vectors; ++v) {
            step<V, Transposed, F>(W(p, vectors), args, s, v * args.vector_stride);
        }
    }
}

template <class V, bool Transposed, int F, int Bits>
void run_codes(PassArgs<typename V::Real> args) {
    constexpr int vectors = kStepVectors<F>, steps = 16 / vectors;
    // Steps after which codes begin on a line again.
    constexpr int apart = vectors == 4 && AngleCodes<V, Bits>::period > 4 ? 2 : 1;
    constexpr std::size_t words = F * Bits * kLanes;
    constexpr std::ptrdiff_t ahead = Transposed ? -1024 : 1024;  // words: 4 KiB
    const AngleRotation<V, Bits> rotation(args.factors->rotation);
    const std::size_t groups = args.size / 512;
    for (std::size_t i = 0; i < groups; ++i) {
        const std::size_t g = Transposed ? groups - 1 - i : i;
        const auto* lines = static_cast<const std::uint32_t*>(args.stream) + g * words;
        for (std::size_t line = 0; line < words; line += kLanes) __builtin_prefetch(lines + line + ahead);
        for (int k = 0; k < steps; k += apart) {
            const int first = Transposed ? steps - apart - k : k;
            const AngleCodes<V, Bits> codes{rotation, lines + first * vectors * Bits / 16 * static_cast<int>(kLanes)};
            unroll_late<apart>([&](int n) __attribute__((always_inline)) {
                const int u = Transposed ? apart - 1 - n : n;
                const std::size_t s = g * steps + static_cast<std::size_t>(first + u);
                if (F == 8 && args.is_far) prefetch_step<V, AngleCodes<V, Bits>>(args, s);
                step<V, Transposed, F>(codes.from(0, u * vectors), args, s, 0);
            });
        }
    }
}

template <class V, bool Transposed, class W>
void run_small(const PassArgs<typename V::Real>& args) {
    const std::size_t vectors = (args.size + 2 * kLanes - 1) / (2 * kLanes);
    const auto* p = static_cast<const typename V::Real*>(args.stream);
    if (args.factors != nullptr) {
        decode_step<V, W>(args, 0, vectors, 1);
        p = args.scratch;
    }
    const W w(p, vectors);
    for (std::size_t v = 0; v < args.vectors; ++v) {
        small_step<V, Transposed>(w, args, v * args.vector_stride);
    }
}

}  // namespace
