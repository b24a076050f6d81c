// Codes and weights between the order of files (factor by factor) and the order of the kernels (group by group).
#include "stores/stream.hpp"

#include <algorithm>

#include "stores/codes/pack.hpp"

namespace bitterfly {
namespace {

struct Block {
    std::size_t level, d, i, t;
};

// Calls visit(block, j, v, lane, step) for all blocks of a group of one pass; lanes without elements are left out.
template <class Visit>
void for_each_block(const Plan& plan, std::size_t pass, std::size_t first, std::size_t group, Visit visit) {
    for (int j = 0; j < plan.passes[pass].factors; ++j) {
        const std::size_t d = plan.passes[pass].stride << j;
        for (std::size_t v = 0; v < plan.group_vectors(); ++v) {
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                const std::size_t e = first + plan.element(pass, group, j, v, lane);
                if (e < plan.n) visit(Block{plan.level(pass, j), d, e / (2 * d), e % d}, j, v, lane);
            }
        }
    }
}

// Words before factor `level` in a file, and before the j-th factor in a group of a pass.
struct CodeOffsets {
    std::vector<std::size_t> file;
    std::vector<std::vector<std::size_t>> group;  // the last entry is the size

    CodeOffsets(const Plan& plan, const std::vector<int>& bits) {
        std::size_t total = 0;
        for (const int b : bits) file.push_back(total), total += packed_words(plan.n, b);
        for (std::size_t pass = 0; pass < plan.passes.size(); ++pass) {
            std::vector<std::size_t> offsets{0};
            for (int j = 0; j < plan.passes[pass].factors; ++j) {
                offsets.push_back(offsets.back() + group_words(plan, bits[plan.level(pass, j)]));
            }
            group.push_back(std::move(offsets));
        }
    }
};

// Calls move(bits, position in the file, position in the stream) for every code.
template <class Move>
void for_each_code(const Plan& plan, const std::vector<int>& bits, Move move) {
    const CodeOffsets offsets(plan, bits);
    std::size_t at = 0;
    auto visit = [&](std::size_t pass, std::size_t first, std::size_t group) {
        for_each_block(plan, pass, first, group, [&](Block block, int j, std::size_t v, std::size_t lane) {
            const int b = bits[block.level];
            const std::size_t here = at + offsets.group[pass][static_cast<std::size_t>(j)];
            for (std::size_t k = 0; k < 2; ++k) {
                const CodePosition from = code_position(block.i * block.d + block.t, k, b);
                const CodePosition to = code_position(v * kLanes + lane, k, b);
                move(b, CodePosition{offsets.file[block.level] + from.word, from.shift},
                     CodePosition{here + to.word, to.shift});
            }
        });
        at += offsets.group[pass].back();
    };
    for_each_group(plan, plan.tops(), 0, visit);
}

std::size_t total_words(const Plan& plan, const std::vector<int>& bits) {
    std::size_t total = 0;
    for (const int b : bits) total += packed_words(plan.n, b);
    return total;
}

std::size_t group_numbers(const Plan& plan, std::size_t pass, std::size_t planes) {
    return static_cast<std::size_t>(plan.passes[pass].factors) * plan.group_vectors() * 4 * planes * kLanes;
}

// Calls move(index in rows of complex or real numbers, index in the stream) for every weight; planes are `kLanes`
// apart.
template <class Move>
void for_each_weight(const Plan& plan, std::size_t planes, Move move) {
    std::size_t at = 0;
    auto visit = [&](std::size_t pass, std::size_t first, std::size_t group) {
        const std::size_t step = plan.step_vectors(pass);
        const auto factors = static_cast<std::size_t>(plan.passes[pass].factors);
        for_each_block(plan, pass, first, group, [&](Block block, int j, std::size_t v, std::size_t lane) {
            const std::size_t vector = (v / step * factors + static_cast<std::size_t>(j)) * step + v % step;
            for (std::size_t jk = 0; jk < 4; ++jk) {
                move(block.level * 2 * plan.n + (4 * block.i + jk) * block.d + block.t,
                     at + (vector * 4 + jk) * planes * kLanes + lane);
            }
        });
        at += group_numbers(plan, pass, planes);
    };
    for_each_group(plan, plan.tops(), 0, visit);
}

}  // namespace

std::size_t group_words(const Plan& plan, int bits) { return packed_words(std::min(plan.n, 2 * kGroupBlocks), bits); }

void codes_to_stream(const Plan& plan, const std::vector<int>& bits, const std::uint32_t* words,
                     std::uint32_t* stream) {
    std::fill_n(stream, total_words(plan, bits), 0U);
    for_each_code(plan, bits, [&](int b, CodePosition file, CodePosition to) {
        write_code(stream, to, b, read_code(words, file, b));
    });
}

void codes_from_stream(const Plan& plan, const std::vector<int>& bits, const std::uint32_t* stream,
                       std::uint32_t* words) {
    std::fill_n(words, total_words(plan, bits), 0U);
    for_each_code(plan, bits, [&](int b, CodePosition file, CodePosition from) {
        write_code(words, file, b, read_code(stream, from, b));
    });
}

std::size_t weight_count(const Plan& plan, std::size_t planes) {
    std::size_t count = 0;
    for (std::size_t pass = 0; pass < plan.passes.size(); ++pass) {
        count += Plan::groups(plan.n) * group_numbers(plan, pass, planes);
    }
    return count;
}

template <class Real>
void weights_to_stream(const Plan& plan, std::size_t planes, const Real* values, Real* stream) {
    std::fill_n(stream, weight_count(plan, planes), Real(0));
    for_each_weight(plan, planes, [&](std::size_t value, std::size_t at) {
        for (std::size_t p = 0; p < planes; ++p) stream[at + p * kLanes] = values[value * planes + p];
    });
}

template <class Real>
void weights_from_stream(const Plan& plan, std::size_t planes, const Real* stream, Real* values) {
    for_each_weight(plan, planes, [&](std::size_t value, std::size_t at) {
        for (std::size_t p = 0; p < planes; ++p) values[value * planes + p] = stream[at + p * kLanes];
    });
}

template void weights_to_stream<float>(const Plan&, std::size_t, const float*, float*);
template void weights_to_stream<double>(const Plan&, std::size_t, const double*, double*);
template void weights_from_stream<float>(const Plan&, std::size_t, const float*, float*);
template void weights_from_stream<double>(const Plan&, std::size_t, const double*, double*);

}  // namespace bitterfly
