"""Turns a dense matrix into float butterfly factors, left to right, with the error known from the ledger."""

from __future__ import annotations

import logging
from typing import Any, Literal, cast

import numpy as np

from bitterfly import _core
from bitterfly.chain import Chain
from bitterfly.inputs import (
    Array,
    Permutations,
    Side,
    as_matrix,
    as_number,
    as_permutation,
    as_uint32,
)
from bitterfly.operator import ButterflyOperator
from bitterfly.ordering import bit_reversal
from bitterfly.precision import rounding_term

_log = logging.getLogger("bitterfly")

_PROBE_BLOCKS = 12
_DEFAULT_SEED = 0

Permute = Literal["auto"] | tuple[Side, Side] | None


def factorize(
    a: Any,
    chain: Chain | None = None,
    *,
    rtol: float | None = None,
    permute: Permute = "auto",
    rng: np.random.Generator | int | None = None,
) -> ButterflyOperator:
    """Approximate a matrix by a product of butterfly factors.

    Parameters
    ----------
    a : array_like, shape (n, n)
        Real or complex matrix, `n` a power of two. float32, float64, complex64 and complex128 are worked on as they
        are, with any strides, read-only or memory-mapped; other types are converted (float16 to float32, integers to
        float64). Beyond the factors, the work takes half of the size of `a`.
    chain : Chain, optional
        The sparsity patterns of the factors. Only ``Chain.square_dyadic(n)``, the default, is available.
    rtol : float, optional
        Largest relative error, in the Frobenius norm, that is accepted.
    permute : "auto", None or (rows, columns)
        Permutation of the matrix before it is factorized. "auto" compares identity and bit reversal of rows and of
        columns on a few blocks of the matrix and keeps the best. A pair gives each side as None (identity),
        "bit_reversal" or an index array: ``a[rows][:, columns]`` is factorized.
    rng : numpy.random.Generator or int, optional
        Chooses the blocks that "auto" looks at. Default: a fixed seed, so that results are reproducible.

    Returns
    -------
    ButterflyOperator
        Its ``relative_error`` is ``||a - op||_F / ||a||_F``: the energy discarded by all splits plus a bound on the
        rounding errors; it never lies below the true error.

    Raises
    ------
    TypeError, ValueError
        For input that is no finite square matrix of a size that fits, or where `rtol` cannot be met.

    Notes
    -----
    Each split replaces 2 x k blocks by their best rank-one approximation ``u (u^H block)`` with unit ``u``, the
    hierarchical algorithm of Zheng, Riccietti and Gribonval, *Efficient identification of butterfly sparse matrix
    factorizations*, SIAM J. Math. Data Sci. 5 (2023). Since the left factors have orthonormal columns, the discarded
    energies add up exactly to the squared error, and the error is at most ``sqrt(log2(n) - 1)`` times the best
    possible one.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> a = np.fft.fft(np.eye(256))
    >>> op = bitterfly.factorize(a)
    >>> op.relative_error < 1e-13
    True
    """
    matrix = as_matrix(a)
    n = matrix.shape[0]
    rtol = None if rtol is None else as_number(rtol, "rtol")
    if chain is not None and chain != Chain.square_dyadic(n):
        raise ValueError(f"chain: only Chain.square_dyadic({n}) is available for a {n} x {n} matrix")
    permutations = _permutations(matrix, permute, rng)
    values, discarded = _core.factorize(matrix, *(as_uint32(p) for p in permutations))
    error = float(discarded) + rounding_term(n, matrix.dtype)
    _log.info("factorized %s x %s: relative error %.2e", n, n, error)
    if rtol is not None and not error <= rtol:
        raise ValueError(
            f"rtol: the relative error reached is {error:.3g}, more than the {rtol:.3g} asked for; "
            "the matrix is not that close to a rank-one butterfly in the orderings tried"
        )
    return ButterflyOperator.from_values(values, permutations=permutations, relative_error=error, error_kind="ledger")


def _permutations(a: Array, permute: Permute, rng: np.random.Generator | int | None) -> Permutations:
    n = a.shape[0]
    if permute is None:
        return None, None
    if isinstance(permute, str):
        if permute != "auto":
            raise ValueError(f"permute: expected 'auto', None or a pair (rows, columns), got {permute!r}")
        return _best_permutations(a, np.random.default_rng(_DEFAULT_SEED if rng is None else rng))
    if not isinstance(permute, (tuple, list)) or len(permute) != 2:
        raise ValueError("permute: expected 'auto', None or a pair (rows, columns)")
    rows, columns = permute
    return as_permutation(rows, n, "permute[0]"), as_permutation(columns, n, "permute[1]")


def _best_permutations(a: Array, rng: np.random.Generator) -> Permutations:
    """Return the pair of {identity, bit reversal} that leaves the least energy on the blocks of a few splits."""
    n = a.shape[0]
    if n == 2:
        return None, None
    splits = sorted({1, (n.bit_length() - 1) // 2, n.bit_length() - 2})
    places = [(split, rng.random((_PROBE_BLOCKS, 2))) for split in splits]
    reversal = bit_reversal(n)
    choices: list[Permutations] = [(None, None), (None, reversal), (reversal, None), (reversal, reversal)]
    scores = [_discarded_fraction(a, choice, places) for choice in choices]
    _log.debug("energy fraction discarded on probed blocks (none, columns, rows, both): %s", scores)
    return choices[int(np.argmin(scores))]


def _discarded_fraction(a: Array, choice: Permutations, places: list[tuple[int, Array]]) -> float:
    lost = total = 0.0
    for split, at in places:
        blocks = _blocks(a, choice, split, at)
        s = np.linalg.svd(blocks, compute_uv=False).astype(np.float64)
        lost += float(np.sum(s[:, 1:] ** 2))
        total += float(np.sum(s**2))
    # Differences at rounding level are ties: the first choice, the identity, wins them.
    return round(lost / total, 9) if total > 0 else 0.0


def _blocks(a: Array, choice: Permutations, split: int, at: Array) -> Array:
    """Return the blocks behind `split`: rows of one residue, a contiguous run of columns, scaled to at most 1."""
    n = a.shape[0]
    height = 1 << split
    length = n // height
    rows = (at[:, 0] * length).astype(np.intp)[:, None] + length * np.arange(height)
    columns = length * (at[:, 1] * height).astype(np.intp)[:, None] + np.arange(length)
    row_order, column_order = choice
    rows = rows if row_order is None else row_order[rows]
    columns = columns if column_order is None else column_order[columns]
    sample = a[rows[:, :, None], columns[:, None, :]]
    sample = np.ascontiguousarray(sample, np.result_type(sample.dtype, np.float64))
    parts = sample.view(np.float64)
    largest = np.max(np.abs(parts), initial=0.0)
    if not np.isfinite(largest):
        raise ValueError("a: expected finite entries, got NaN or infinity")
    return cast(Array, np.ldexp(parts, -np.frexp(largest)[1]).view(sample.dtype))
