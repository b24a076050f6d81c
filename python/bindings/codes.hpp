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

inline const DirectionKind& kind_of(const std::string& name) {
    const DirectionKind* found = find_direction(name);
    if (found == nullptr) {
        std::string known;
        for (const DirectionKind* kind : all_directions())
            known += std::string(known.empty() ? "'" : ", '") + kind->name + "'";
        require(false, "code: expected one of " + known + ", got '" + name + "'");
    }
    return *found;
}

inline Code code_of(const std::string& name, int bits) {
    const Code code{&kind_of(name), bits};
    require(bits >= 1 && bits <= code.kind->most_bits, "bits: expected 1 to " + std::to_string(code.kind->most_bits) +
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
