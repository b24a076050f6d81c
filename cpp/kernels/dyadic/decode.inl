// Codes of any kind and width -> weights of a few block-vectors, in a buffer that stays in L1.
#pragma once

#include "kernels/dyadic/args.hpp"
#include "kernels/dyadic/rotation.inl"
#include "kernels/dyadic/sphere.inl"

namespace {

using bitterfly::CodedFactor;
using bitterfly::kLanes;

// Code `index` of the lanes at `lines`, moved to the top of a word whose other bits are zero: of one line, or two where
// it goes on in the next one.
template <class V>
[[gnu::always_inline]] inline typename V::Word turn_of(const std::uint32_t* lines, std::size_t index, int bits) {
    const std::size_t start = index * static_cast<std::size_t>(bits), line = start / 32 * kLanes;
    const int shift = static_cast<int>(start % 32);
    const std::size_t next = line + (shift + bits > 32 ? kLanes : 0);
    const auto low = V::shift_right(V::load_words(lines + line), shift);
    const auto high = V::shift_left(V::load_words(lines + next), 32 - shift);
    return V::shift_left(V::bit_or(low, high), 32 - bits);
}

// Decoders write one block-vector, `numbers` lines of 16: w00 w01 w10 w11, or, complex, the first entries of both
// columns and the second ones with real and imaginary parts.
template <class V>
void write_columns(typename V::Real* out, const typename V::Vec (&first)[2], const Complex<V> (&second)[2]) {
    V::store(out, first[0]), V::store(out + kLanes, first[1]);
    V::store(out + 2 * kLanes, second[0].re), V::store(out + 3 * kLanes, second[0].im);
    V::store(out + 4 * kLanes, second[1].re), V::store(out + 5 * kLanes, second[1].im);
}

template <class V, int Levels, bool IsComplex>
struct AngleDecoder {
    static constexpr std::size_t numbers = IsComplex ? 6 : 4;
    Rotation<V> rotation;

    explicit AngleDecoder(const CodedFactor<typename V::Real>& f) : rotation(f.rotation) {}
    void write(typename V::Word turn0, typename V::Word turn1, typename V::Real* out) const {
        const Complex<V> a = rotation.template of_angle<Levels>(turn0), b = rotation.template of_angle<Levels>(turn1);
        if constexpr (IsComplex) {
            const auto zero = V::broadcast(0);
            write_columns<V>(out, {a.re, b.re}, {{a.im, zero}, {b.im, zero}});
        } else {
            V::store(out, a.re), V::store(out + kLanes, b.re);
            V::store(out + 2 * kLanes, a.im), V::store(out + 3 * kLanes, b.im);
        }
    }
};

template <class V, int Levels>
struct PhaseDecoder {
    static constexpr std::size_t numbers = 6;
    Rotation<V> rotation;
    typename V::Vec amplitude;

    explicit PhaseDecoder(const CodedFactor<typename V::Real>& f)
        : rotation(f.rotation), amplitude(V::broadcast(f.rotation->amplitude)) {}
    void write(typename V::Word turn0, typename V::Word turn1, typename V::Real* out) const {
        const Complex<V> a = rotation.template of_turn<Levels>(turn0);
        // Orthogonal columns, as of a Fourier transform: the second one is the first one turned by half, bit by bit.
        const bool is_opposite = V::all_differ_by(turn0, turn1, 0x80000000U);
        write_columns<V>(out, {amplitude, amplitude}, {a, is_opposite ? -a : rotation.template of_turn<Levels>(turn1)});
    }
};

template <class V>
struct SphereDecoder {
    static constexpr std::size_t numbers = 6;
    Sphere<V> sphere;

    explicit SphereDecoder(const CodedFactor<typename V::Real>& f) : sphere(f.bits) {}
    void write(typename V::Word turn0, typename V::Word turn1, typename V::Real* out) const {
        typename V::Vec first[2];
        Complex<V> second[2];
        sphere.direction(turn0, first[0], second[0]);
        sphere.direction(turn1, first[1], second[1]);
        write_columns<V>(out, first, second);
    }
};

// Block-vectors of a factor, from code `first` of the lanes at `lines` on; `ahead` words on lies what is decoded later.
struct CodeLines {
    const std::uint32_t* lines;
    std::size_t first, vectors;
    std::ptrdiff_t ahead;

    // Caches fetch what is read in sequence, but factors take turns after a few lines. Inlined: compilers drop calls of
    // a function that only prefetches.
    [[gnu::always_inline]] void prefetch(int bits) const {
        const std::size_t width = static_cast<std::size_t>(bits), end = (first + 2 * vectors) * width / 32;
        for (std::size_t line = first * width / 32; line < end; ++line) {
            __builtin_prefetch(lines + ahead + static_cast<std::ptrdiff_t>(line * kLanes));
        }
    }
};

template <class V, class Decoder>
void decode_as(const CodedFactor<typename V::Real>& f, const CodeLines& codes, typename V::Real* out) {
    const Decoder decoder(f);
    // Copies: stores might else change what the loop reads, for all that compilers know.
    const int bits = f.bits;
    const std::uint32_t* const group = codes.lines;
    const std::size_t end = codes.first + 2 * codes.vectors;
    codes.prefetch(bits);
    for (std::size_t first = codes.first; first < end; first += 2, out += Decoder::numbers * kLanes) {
        for (std::size_t h = 0; h < kLanes; h += V::width) {
            const std::uint32_t* lines = group + h;
            decoder.write(turn_of<V>(lines, first, bits), turn_of<V>(lines, first + 1, bits), out + h);
        }
    }
}

// ---- the codes ----
//
// A decoder for codes of one, two, or three and more levels of a turn.

struct AngleCode {
    static constexpr const char* name = "angle";
    static constexpr bool is_complex = false;
    template <class V, int Levels, bool IsComplex>
    using Decoder = AngleDecoder<V, Levels, IsComplex>;
};

struct PhaseCode {
    static constexpr const char* name = "phase";
    static constexpr bool is_complex = true;  // of complex columns only
    template <class V, int Levels, bool>
    using Decoder = PhaseDecoder<V, Levels>;
};

struct SphereCode {
    static constexpr const char* name = "sphere";
    static constexpr bool is_complex = true;
    template <class V, int, bool>
    using Decoder = SphereDecoder<V>;
};

template <class V>
using DecodeColumns = void (*)(const CodedFactor<typename V::Real>&, const CodeLines&, typename V::Real*);

template <class V>
struct ByLevels {
    DecodeColumns<V> of[3] = {};
};

template <class V, bool IsComplex, class Code>
constexpr ByLevels<V> by_levels() {
    if constexpr (Code::is_complex && !IsComplex) {
        return {};
    } else {
        return {{decode_as<V, typename Code::template Decoder<V, 1, IsComplex>>,
                 decode_as<V, typename Code::template Decoder<V, 2, IsComplex>>,
                 decode_as<V, typename Code::template Decoder<V, 3, IsComplex>>}};
    }
}

template <class... Codes>
struct CodeList {
    static constexpr int count = sizeof...(Codes);
    static constexpr const char* names[count] = {Codes::name...};
    template <class V, bool IsComplex>
    static constexpr ByLevels<V> decoders[count] = {by_levels<V, IsComplex, Codes>()...};
};

using DirectionCodes = CodeList<AngleCode, PhaseCode, SphereCode>;

template <class V, bool IsComplex>
void decode(const CodedFactor<typename V::Real>& f, const CodeLines& codes, typename V::Real* out) {
    const int levels = f.bits <= 4 ? 1 : f.bits <= 8 ? 2 : 3;
    DirectionCodes::decoders<V, IsComplex>[f.decoder].of[levels - 1](f, codes, out);
}

}  // namespace
