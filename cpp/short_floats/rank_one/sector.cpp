// Lists of sectors, and the few that are kept.
#include "short_floats/rank_one/sector.hpp"

#include <array>
#include <complex>
#include <mutex>

#include "short_floats/rank_one/candidates.hpp"

namespace bitterfly {
namespace {

constexpr std::size_t kKept = 8, kLargest = std::size_t{1} << 16;  // sectors; numbers of one: 12 MiB in all
constexpr std::size_t kRegister = 8;

struct Known {
    int bits = 0, depth = 0;
    std::shared_ptr<const Sector> sector;
};

}  // namespace

Sector::Sector(const Significand& round, int depth) {
    for_sector(round, depth, [&](std::complex<double> p, double /*re_half*/, double half) {
        re.push_back(p.real()), im.push_back(p.imag()), im_half.push_back(half);
    });
    count = re.size();
    for (auto* column : {&re, &im, &im_half}) column->resize(count + kRegister - 1, column->back());
}

std::shared_ptr<const Sector> sector_of(const Significand& round, int depth) {
    static std::mutex mutex;
    static std::array<Known, kKept> kept;
    static std::size_t oldest = 0;
    {
        const std::lock_guard<std::mutex> lock(mutex);
        for (const Known& known : kept) {
            if (known.bits == round.bits() && known.depth == depth && known.sector) return known.sector;
        }
    }
    auto made = std::make_shared<const Sector>(round, depth);
    if (made->count <= kLargest) {
        const std::lock_guard<std::mutex> lock(mutex);
        kept[oldest++ % kKept] = {round.bits(), depth, made};
    }
    return made;
}

}  // namespace bitterfly
