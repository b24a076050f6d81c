// What the kernels of the searches for short significands read and write.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitterfly {

// Real vectors with short significands: candidates p = 1 + unit, ..., 1 + count unit of the pivot, the other entries
// rounded at p + shift, and y (if any) rounded for each; `energy` = |y|^2. Splitters are 2^(53 - bits) + 1. The least
// error below `error` takes its place, and its candidate that of `p`.
struct SearchArgs {
    double shift, unit, x_splitter, y_splitter, energy;
    std::size_t count;
    const double *y, *y_weight;
    std::size_t y_size;
    double error, p;
};

// A vector pivot (1, ratio): q = (ratio (p + shift)) rounded, and its squared distance from the line of (p, q) times
// `energy`, plus the error of rounding y. The best q.
struct PairArgs : SearchArgs {
    double pivot, ratio, weight, other, q;
};

// The same for a vector of any length, pivot (1, ratio[0], ...).
struct CellArgs : SearchArgs {
    const double *ratio, *weight;
    std::size_t others;
    double pivot, pivot_weight;
};

// Terms (x0, x1) (y0, y1)^T of real numbers, entry e of term i at x[e][i]; their weights in the norm. best = the
// rounded x of least error among `cells` candidates for either pivot; y rounded to nearest. Splitters as above, unit =
// distance of candidates. No entry of x is zero, no weight of x either. Arrays have room for whole registers.
struct TermArgs {
    const double *x[2], *x_weight[2], *y[2], *y_weight[2];
    double* best[2];
    double unit, x_splitter, y_splitter;
    std::size_t cells, count;
};

// Complex vectors (1, ratio[0], ...): candidates p of the pivot, `count` of them and behind them as many more as fill a
// register; the other entries rounded at ratio p, and y (if any), in units of one over the pivot, rounded for each;
// `energy` = |y|^2. Real parts and imaginary parts apart. The least error below `error` takes its place, with its p and
// the other entries q.
struct ComplexArgs {
    double x_splitter, y_splitter, energy;
    const double *p_re, *p_im;
    std::size_t count;
    const double *ratio_re, *ratio_im, *weight;
    std::size_t others;
    double pivot_weight;
    const double *y_re, *y_im, *y_weight;
    std::size_t y_size;
    double error;
    double best_re, best_im, *q_re, *q_im;
};

// Vectors (1, ratio): what else the other entry may be while lambda runs through the cell of p, a rectangle of half
// sides re_half and im_half[p]. Parts below `least` become zero. Where the squared distance of the nearest value is
// above that of the best direction by more than 1 / slack, no other value is looked at; none at all where slack = 0.
struct NearArgs {
    const double* im_half;
    double re_half, least, slack;
};

struct SearchKernels {
    void (*pairs)(PairArgs&);
    void (*cells)(CellArgs&);
    void (*terms)(const TermArgs&);
    void (*complex_cells)(ComplexArgs&);
    void (*complex_pairs)(ComplexArgs&, const NearArgs&);
};

}  // namespace bitterfly
