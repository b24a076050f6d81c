// Direction codes by the names that Python has for them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "require.hpp"
#include "stores/codes/directions.hpp"
#include "stores/codes/pack.hpp"

namespace bitterfly {

inline const char* name_of(Source source) {
    switch (source) {
        case Source::kAngle: return "angle";
        case Source::kPhase: return "phase";
        case Source::kSphere: return "sphere";
        default: return "weights";
    }
}

inline Source source_of(const std::string& name) {
    for (const Source s : {Source::kAngle, Source::kPhase, Source::kSphere}) {
        if (name == name_of(s)) return s;
    }
    require(false, "code: expected 'angle', 'phase' or 'sphere', got '" + name + "'");
    return Source::kAngle;
}

inline Code code_of(const std::string& name, int bits) {
    const Code code{source_of(name), bits};
    require(bits >= 1 && bits <= max_bits(code.source), "bits: expected 1 to " + std::to_string(max_bits(code.source)) +
                                                            " for code '" + name + "', got " + std::to_string(bits));
    return code;
}

using NamedCodes = std::vector<std::pair<std::string, int>>;

inline std::vector<Code> codes_of(const NamedCodes& named) {
    std::vector<Code> out;
    for (const auto& [name, bits] : named) out.push_back(code_of(name, bits));
    return out;
}

inline void require_words(const IndexArray& words, const std::vector<Code>& codes) {
    require(!codes.empty() && codes.size() < 32, "codes: expected log2(n) of them");
    std::size_t count = 0;
    for (const Code& code : codes) count += packed_words(std::size_t{1} << codes.size(), code.bits);
    require(static_cast<std::size_t>(words.size()) == count,
            "words: expected " + std::to_string(count) + " words, got " + std::to_string(words.size()));
}

}  // namespace bitterfly
