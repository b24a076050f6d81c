"""Every bound that the tests use, derived from the number of operations and the unit roundoff."""

from __future__ import annotations

from typing import Any

import numpy as np

# What was promised for the DFT and Hadamard up to n = 4096.
PROMISED_SINGLE, PROMISED_DOUBLE = 1e-6, 1e-14

# The ledger is promised to be within this fraction of the true error where that exceeds LEDGER_FLOOR (double).
LEDGER, LEDGER_FLOOR = 0.01, 1e-11

# The laws of docs/accuracy.md with a statistical margin: root mean square over draws against the law.
REAL_LAW, REAL_MARGIN = 0.907, 1.05
COMPLEX_LAW = 0.9


def eps(dtype: Any) -> float:
    return float(np.finfo(np.dtype(dtype)).eps)


def levels(n: int) -> int:
    return n.bit_length() - 1


def gamma(operations: int, dtype: Any) -> float:
    """Higham's gamma_k = k u / (1 - k u) with u = eps / 2."""
    k = operations * eps(dtype) / 2
    return k / (1 - k)


def product_bound(n: int, dtype: Any) -> float:
    """Relative to the product of the moduli of all factors with |x|, for given coefficients.

    Each factor costs an output two products and a sum (8 roundings count for complex numbers), the scale vector and the
    conversion one each; the reference in double precision takes as much again.
    """
    return gamma(levels(n) * 16 + 4, dtype)


def tiny_bound(n: int, dtype: Any, largest: float) -> float:
    """What underflow may add to an output: each of 4 log2(n) operations half a subnormal, then grown by later factors.

    `largest` bounds the row sums of moduli of the product of later factors.
    """
    return 4 * levels(n) * float(np.finfo(np.dtype(dtype)).smallest_subnormal) * max(largest, 1.0)


def exact_factors(n: int, dtype: Any) -> float:
    """Relative error of factorizing a matrix that is an exact butterfly.

    A level rounds a direction (2 u), its product with a row (3 u); p levels, errors add up at worst.
    """
    return 5 * levels(n) * eps(dtype) / 2


def ledger_excess(n: int, dtype: Any, norm: float) -> float:
    """What the reported error of a factorization may exceed the ledger by, relative to the norm of the matrix.

    The documented 3 p eps (complex: 4 p eps), half a subnormal on each of the 2 n entries of the last factor (bounded
    by a whole one), and the energy of rounding errors of the rows that the ledger sees as discarded.
    """
    subnormal = float(np.finfo(np.dtype(dtype)).smallest_subnormal)
    rounding = (4 if np.dtype(dtype).kind == "c" else 3) * levels(n) * eps(dtype)
    return rounding + np.sqrt(2 * n) * subnormal / norm + exact_factors(n, dtype)


# Two factorizations may choose directions that differ by eps / gap where singular values are close: the gaps of a few
# hundred random blocks stay above sqrt(eps), and so do the ledgers.
LEDGERS_AGREE = float(np.sqrt(np.finfo(np.float64).eps))


def exact_codes(n: int, dtype: Any) -> float:
    """Relative error of a dense matrix formed from codes that are exact: products (8 u a level) and the scale (2 u)."""
    return exact_factors(n, dtype) + gamma(8 * levels(n) + 2, dtype)


def rank_one_squares(m: int, n: int) -> float:
    """What two evaluations of the squared relative error of a rounded rank-one matrix may differ by.

    Sums over m and n entries of squared differences of products of complex numbers: 16 roundings an entry, relative to
    the energy of the matrix; each of the two.
    """
    return 2 * gamma(16 * (m + n), np.float64)


def low_rank_excess(rank: int, entries: int, dtype: Any) -> float:
    """What the measured error of a nearest matrix of low rank may lie above the least one.

    Cores whose norms multiply to at most sqrt(r) times that of the matrix round by a unit each, their product in double
    precision r + 4 times; sums of N squares N times, 2 N of complex numbers; the SVD as much as some units.
    """
    return float(np.sqrt(rank) * (eps(dtype) + 2 * (rank + 4) * eps(np.float64)) + (2 * entries + 20) * eps(np.float64))


def decoded(dtype: Any) -> float:
    """Absolute error of an entry of a decoded unit column.

    A dozen operations on numbers of size up to 1: three complex products of table entries (angle, phase), or the map of
    the sphere. Relative to a small entry it may be large: cos x near a quarter turn is a difference.
    """
    return gamma(16, dtype)


def gauge(n: int, dtype: Any) -> float:
    """Relative change of a product whose factors were scaled: two roundings a level, and both products' own (8 u)."""
    return gamma(2 * levels(n) + 16 * levels(n), dtype)


def reference_quantizer(n: int) -> float:
    """Two quantizers that choose equal codes differ by the roundings of a dozen operations on each level (double)."""
    return gamma(24 * levels(n), np.float64)


def norm_product(n: int, dtype: Any) -> float:
    """Norm-wise relative error of a product by near-orthogonal factors.

    A 2 x 2 block errs by gamma_8 |Q| |x| (complex), and the moduli of an orthogonal block have norm sqrt(2) at most;
    the following factors keep norms, so the levels add up; the scale vector is one more.
    """
    return (levels(n) * np.sqrt(2) + 1) * gamma(8, dtype)


def solution(n: int, dtype: Any, condition: float) -> float:
    """Relative error of a Krylov solution (CG on the normal equations at worst, hence the squared condition number).

    The stopping rule allows 10 eps; updates of the solution round once an iteration; an error of the products enters in
    proportion to the step, and with steps that shrink by (k - 1)/(k + 1) or faster their sum is below (k + 1)/2 times
    the first (Greenbaum, Estimating the attainable accuracy of recursively computed residual methods, 1997). Two
    products an iteration, and the dot products of length n.
    """
    rate = (condition - 1) / (condition + 1)
    iterations = np.log(eps(dtype)) / np.log(rate)
    products = (condition + 1) * (2 * norm_product(n, dtype) + np.sqrt(n) * eps(dtype))
    return float(condition**2 * ((10 + iterations) * eps(dtype) + products))


def eigenvalue(n: int, dtype: Any, condition: float = 1.0) -> float:
    """Relative error of a leading eigenvalue or singular value of A^H A by Lanczos with full orthogonalization.

    Backward stable: the error is that of the products (two for A^H A) and of the orthogonalization against at most n
    vectors, sqrt(n) eps for sums of random sign; for singular values taken from A^H A nothing is lost at the top.
    """
    return float(condition * (4 * norm_product(n, dtype) + 4 * np.sqrt(n) * eps(dtype)))


def exponential(n: int, dtype: Any, norm_1: float, norm_2: float) -> float:
    """Relative error of exp(A) b by truncated Taylor series, as expm_multiply takes it.

    The series is cut at the unit roundoff of the dtype; about norm_1 steps of a dozen terms each err by the products,
    the terms are bounded by exp(norm_2) |b|, and exp(A) b is at least exp(-norm_2) |b|.
    """
    return float((norm_1 + 1) * np.exp(2 * norm_2) * (norm_product(n, dtype) + 4 * eps(dtype)))


def products(op: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Return (E, M, u) of an operator: a product errs by at most ``E |x| + u``, and M bounds the moduli of its paths.

    Forward and transposed alike, entry by entry, against the product by the stored factors in double precision. With F
    the moduli of factors, factor l contributes ``F_1 .. F_(l-1) (gamma_k F_l + delta S_l) F_(l+1) .. F_L``: each of its
    sums of at most t = max(b, c) terms rounds products and partial sums, k = t + 2 times (4 t + 2 if complex, with
    sqrt(2) for moduli of real and imaginary parts), a number decoded from codes twice more; unit columns are decoded
    to delta = `decoded` on their support S_l, whatever the size of an entry, and a block of two columns turns them in
    up to 16 operations. The scale vector and the conversions of x and y round three times; the reference rounds as
    often in double precision, hence the second gamma. Each of the k operations may lose half a subnormal, which other
    factors may make larger: u.
    """
    from bitterfly import reference

    if op.kind in ("sum", "stack"):
        return _summed(op, [products(member) for member in op.members])
    if op.members:
        return _multiplied(op.kind, [products(member) for member in op.members])
    if op.kind == "dense":
        return _dense(op)
    if op.kind == "sparse":
        return _sparse(op)
    if op.kind == "permutation":
        moduli = np.abs(reference.dense(op))
        return gamma(1, np.float64) * moduli, moduli, 0.0
    if op.kind == "toeplitz":
        return _by_transforms(op)
    if op.kind == "tensor_train":
        return _by_cores(op)
    if op.kind == "inverse_fisher":
        return _inverse_fisher(op)
    if op.kind == "cuts":
        return _cuts(op)
    factors, scale = reference.stored_factors(op)
    dense = [np.abs(reference.dense_factor(f)) for f in factors]
    paths = [np.eye(dense[0].shape[0])]
    for f in dense:
        paths.append(paths[-1] @ f)
    behind, error, lost = np.eye(dense[-1].shape[1]), np.zeros(paths[-1].shape), 0.0
    lengths = np.ones(behind.shape[1]) if scale is None else np.abs(scale)
    for at in range(len(dense))[::-1]:
        k = max(factors[at].shape[1:3]) * (4 if np.dtype(op.dtype).kind == "c" else 1) + 4
        directions = getattr(op, "steps", ()) is None
        k += 16 if directions else 0
        rounding = np.sqrt(2) * (gamma(k, op.dtype) + gamma(k, np.float64)) * dense[at]
        if directions:
            rounding += decoded(op.dtype) * reference.dense_factor(np.ones(factors[at].shape))
        error += paths[at] @ rounding @ behind
        growth = max(np.max(paths[at].sum(axis=1)), np.max((behind * lengths).sum(axis=0)), 1.0)
        lost += k * growth * float(np.finfo(op.dtype).smallest_subnormal)
        behind = dense[at] @ behind
    error = (error + np.sqrt(2) * (gamma(6, op.dtype) + gamma(6, np.float64)) * behind) * lengths
    # Second-order terms: every path is bounded by what all factors may grow by.
    error, behind = (np.abs(reference.viewed(op, part)) for part in (error * 1.01, behind * lengths))
    return error, behind, 4 * lost


# Units of the largest number of a vector, by the bytes of each number: (255 + 255 / 256 + ..) / 2 in the last place.
_TOPS = {"float": 8323071.0, "half": 32511.0, "int8": 127.0}


def _dense(op: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Bounds of window codes between rotations.

    Rotations round an addition in every stage, of numbers that ``|R|``, the product of the moduli of stages, bounds.
    Each number of the rotated vector is off by half a unit, the unit being its largest number over that of units in it:
    ``max_j (|R| |x|)_j <= sum_k max_j |R|_jk |x_k|``; a transposed product rounds them times the scale of their row.
    Integer sums are exact. Real and imaginary parts of vectors, and of a complex matrix, go one by one.
    """
    from bitterfly import reference

    codes = np.abs(reference.dense_codes(op))
    sides = [_moduli(n, seed) for n, seed in zip(codes.shape, op.rotations[::-1], strict=True)]
    (outputs, after), (inputs, before) = sides
    is_double = np.dtype(op.dtype).char in "dD"
    top = _TOPS["float"] ** 3 if is_double and op.precision == "float" else _TOPS[op.precision]
    moduli = outputs.T @ codes @ inputs
    rounding = gamma(after + before + 12, op.dtype) + gamma(after + before + 12 + sum(codes.shape), np.float64)
    scale = np.ldexp(np.abs(op.codes.scale.astype(np.float64)), op.codes.exponent)
    steps = codes / np.where(scale == 0, 1, scale)[:, None]
    forward = np.outer(outputs.T @ codes.sum(axis=1), inputs.max(axis=0))
    adjoint = np.outer((scale[:, None] * outputs).max(axis=0), inputs.T @ steps.sum(axis=0))
    error = 1.01 * (rounding * moduli + (forward + adjoint) / (2 * top))
    growth = max(outputs.sum(axis=0).max(), inputs.sum(axis=0).max())
    lost = 8 * growth * float(np.finfo(op.dtype).smallest_subnormal)
    if np.dtype(op.dtype).kind == "c":
        error, moduli = (np.sqrt(2) * (part[: len(part) // 2] + part[len(part) // 2 :]) for part in (error, moduli))
        error, lost = error + gamma(4, op.dtype) * moduli, 2 * lost
    return reference.in_mode(op, error), reference.in_mode(op, moduli), lost


def _moduli(n: int, seed: int | None) -> tuple[np.ndarray, int]:
    """The product of the moduli of the stages of a rotation, and how often a number is rounded on the way."""
    from bitterfly.stores.dense.rotations import Rotation

    out, operations = np.eye(n), 0
    if seed is None:
        return out, operations
    for part in Rotation(n, seed).parts:
        stage, own = np.eye(n), slice(part.first, part.first + part.size)
        stage[own, own] = 1 / np.sqrt(part.size)
        out, operations = stage @ out, operations + part.width.bit_length() + part.order + 3
    return out, operations


def _sparse(op: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Bounds of sparse matrices: sums of the entries of a row, or of a column, each product rounded as well."""
    from bitterfly import reference

    moduli = np.abs(reference.dense(op))
    k = max(np.count_nonzero(moduli, axis=axis).max() for axis in (0, 1)) + 2
    planes = 4 if np.dtype(op.dtype).kind == "c" else 1
    rounding = np.sqrt(2) * (gamma(planes * k, op.dtype) + gamma(planes * max(moduli.shape), np.float64))
    return rounding * moduli, moduli, 4 * planes * k * float(np.finfo(op.dtype).smallest_subnormal)


def _by_cores(op: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Bounds of tensor trains, from the moduli of all cores: each of their sums rounds its terms."""
    from bitterfly import reference

    moduli, error, lost = np.ones((1, 1, 1)), np.zeros((1, 1, 1)), 0.0
    for core in op.stored_cores:
        (m, e, u), before = _of_core(core, op.dtype), moduli
        growth = max(1.0, float(m.sum() + e.sum()))
        moduli, error = _contracted(before, m), _contracted(error, m + e) + _contracted(before, e)
        lost = 32 * (lost * growth + u * max(1.0, float(before.sum())))
    moduli, error = (x[:, :, 0] if op.stored_rows is None else x[op.stored_rows, :, 0] for x in (moduli, error))
    rounding = np.sqrt(2) * (gamma(16, op.dtype) + gamma(16 + sum(moduli.shape), np.float64))
    error, moduli = (reference.in_mode(op, x) for x in (error + rounding * moduli, moduli))
    return error, moduli, lost


def _contracted(left: np.ndarray, core: np.ndarray) -> np.ndarray:
    out = np.einsum("mnr,rpqs->mpnqs", left, core)
    return out.reshape(out.shape[0] * out.shape[1], out.shape[2] * out.shape[3], -1)


def _of_core(core: Any, dtype: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Moduli and bounds of a core: of codes those of their operator, of arrays of sums over a rank and a digit."""
    if not isinstance(core, np.ndarray):
        error, moduli, lost = products(core.matrix)
        return moduli.reshape(core.shape), error.reshape(core.shape), lost
    wide = np.abs(core.astype(np.result_type(core.dtype, np.float64)))
    planes = 4 if np.dtype(dtype).kind == "c" else 1
    k = planes * (max(core.shape[0], core.shape[3]) * max(core.shape[1:3]) + 2)
    rounding = np.sqrt(2) * (gamma(k, dtype) + gamma(k, np.float64))
    return wide, rounding * wide, 8 * k * float(np.finfo(dtype).smallest_subnormal)


def _inverse_fisher(op: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Bounds of inverses of damped sums, in units of 1 / damping and of the length of the vector.

    Three sums in double precision with matrices of r columns of length one, a result in the precision of the operator;
    and what a QR factorization in double precision, off by E, makes of the inverse: ``2 |E| max(s / (damping + s^2))``
    and terms in ``|E|^2 / damping``, s the singular values of the gradients over the root of their number; or, where
    the least of them is larger than E, the angle ``|E| / s`` between both ranges, and ``damping / s^2`` on them.
    """
    import strategies
    from bitterfly import reference

    moduli, (m, d) = np.abs(reference.dense(op)), op.gradients.shape
    g, exponent = strategies.wide(op.gradients)
    s, damping = np.linalg.svd(g / np.sqrt(m), compute_uv=False), float(np.ldexp(op.damping, -2 * exponent))
    off = 16 * (np.sqrt(2 * m * d) + 2 * m) * eps(np.float64) * float(np.linalg.norm(s))
    r = min(2 * m, d)
    spanned = min(1.0, 2 * off * float(np.max(s / (damping + s**2))) + 6 * off**2 / damping)
    least = float(s[-1]) - 3 * off
    spanned = min(spanned, off / least + 2 * damping / least**2) if least > 0 else spanned
    sums = 8 * np.sqrt(r) * (d + 2 * r + 12) * eps(np.float64)
    error = np.full(moduli.shape, (spanned + sums + 4 * eps(op.dtype)) / op.damping)
    return error + gamma(4 * d, np.float64) * moduli, moduli, 8 * d * float(np.finfo(op.dtype).smallest_subnormal)


def _by_transforms(op: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Bounds of products by Fourier transforms: of all of the vector, whatever meets what.

    A transform of L numbers rounds ``4 log2(L) eps`` of their length, three of them and what stands between them; the
    transform of the coefficients is at most ``sqrt(L) |t|``. L is at most twice ``N + K``, along each axis.
    """
    from bitterfly import reference

    t, moduli = op.coefficients, np.abs(reference.dense(op))
    sizes = [2 * (n + k) for n, k in zip(op.sizes[1], t.shape[2:], strict=True)]
    roundings = 12 * np.log2(2 * np.prod(sizes)) + t.shape[1] + 16
    length = float(np.linalg.norm(t.astype(np.result_type(t.dtype, np.float64)))) * np.sqrt(np.prod(sizes))
    error = roundings * eps(op.dtype) * length * np.ones(moduli.shape) + gamma(sum(moduli.shape), np.float64) * moduli
    return error, moduli, 64 * float(np.prod(sizes)) * float(np.finfo(op.dtype).smallest_subnormal)


def _cuts(op: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Bounds of signed cuts, whose paths all have the modulus ``C = sum |c|``.

    Each number of x is off by half a unit, of which the largest has more than 2^27 in single precision: of n such
    numbers, and of `width` sums of cuts, each at most ``max |c| sum |x|``. What integers give is rounded a few times.
    In double precision what is left is rounded likewise once more.
    """
    moduli = np.full(op.shape, float(np.sum(np.abs(op.coefficients.astype(np.float64)))))
    units = sum(op.shape) + op.width
    missed = units * 2.0**-28 if op.dtype == np.float32 else units * 2.0**-56
    rounding = gamma(8, op.dtype) + gamma(8 + op.shape[1] + op.width, np.float64)
    return (rounding + missed) * moduli, moduli, 4 * float(np.finfo(op.dtype).smallest_subnormal)


def _summed(op: Any, members: list[tuple[np.ndarray, np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray, float]:
    """Bounds of sums and stacks: those of members, and of additions and products with coefficients.

    A coefficient and its product round four times in complex arithmetic, as often in the reference, and may lose half
    a subnormal number.
    """
    from bitterfly import reference

    sizes = [abs(c) for c in getattr(op, "coefficients", [1] * len(members))]
    weighted = [[size * part for part in m] for size, m in zip(sizes, members, strict=True)]
    if op.kind == "sum":
        errors, moduli = (np.sum([m[at] for m in weighted], axis=0) for at in (0, 1))
    else:
        errors, moduli = (reference.together(op, [m[at] for m in weighted]) for at in (0, 1))
    sums = gamma(len(members) + 5, op.dtype) + gamma(len(members) + 5, np.float64)
    lost = len(members) * float(np.finfo(op.dtype).smallest_subnormal) if op.kind == "sum" else 0.0
    return errors + sums * moduli, moduli, sum(m[2] for m in weighted) + lost


def _multiplied(kind: str, members: list[tuple[np.ndarray, np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray, float]:
    """Bounds of products from left to right, and of Kronecker products, which are those of ``A x I`` and ``I x B``.

    ``|fl(A fl(B x)) - A B x| <= E_A (M_B + E_B) |x| + M_A E_B |x|``. What is lost to underflow counts beside the
    largest number, 32 times what vectors of modulus up to 32 may grow by, and grows with what follows; of the adjoint
    too. The reference sums up all columns in double precision.
    """
    times = np.kron if kind == "kron" else np.matmul
    error, moduli, lost = members[0]
    for e, m, u in members[1:]:
        left, right = (max(1.0, x.sum(axis=0).max(), x.sum(axis=1).max()) for x in (moduli + error, m + e))
        rounding = gamma(sum(m.shape) + moduli.shape[1], np.float64)
        error, lost = times(error, m + e) + times(moduli, e), 32 * (lost * right + u * left)
        moduli = times(moduli, m)
        error = error + rounding * moduli
    return error, moduli, lost


def of_sums(factors: list, dtype: str) -> float:
    """gamma of the sums of all factors, twice for complex numbers, over the norm of |F_1| ... |F_L|."""
    terms = sum(f.shape[2] + 2 for f in factors) * (4 if dtype[0] == "c" else 1)
    return terms * float(np.finfo(dtype).eps)
