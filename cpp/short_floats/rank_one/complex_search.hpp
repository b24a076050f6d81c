// The search for complex vectors with short significands: candidates of the largest entry, a register of them at once;
// for two entries then a closer look beside those whose direction alone is good enough.
#pragma once

#include <complex>
#include <memory>

#include "kernels/search/args.hpp"
#include "short_floats/rank_one/sector.hpp"
#include "short_floats/rank_one/significand.hpp"
#include "short_floats/rank_one/weighted.hpp"

namespace bitterfly {

class ComplexSearch {
public:
    using Complex = std::complex<double>;
    ComplexSearch(const Significand& x_bits, const Significand& y_bits, int depth);

    // The best rounded x, up to a scale, with y rounded to nearest. False where none has an error below `error`, which
    // otherwise becomes the least. x is not zero where its weights are not.
    bool best(const Weighted<Complex>& x, const Weighted<Complex>& y, Complex* x_out, double& error) const;
    // The same with y free, of energy one.
    bool direction(const Weighted<Complex>& x, Complex* x_out, double& error) const;

private:
    struct Problem;
    // Where candidates of two entries are also looked for beside the nearest values; nowhere for a zero.
    NearArgs beside(const ComplexArgs& args) const;

    Significand x_bits_, y_bits_;
    int depth_;
    std::shared_ptr<const Sector> sector_;
};

}  // namespace bitterfly
