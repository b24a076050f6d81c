"""Truncated SVDs of blocks of the longer side of a thin array, each from one Gram matrix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bitterfly.chains.radices import Radices
from bitterfly.factorization.splits import Ledger, smallest_rank
from bitterfly.inputs import Array
from bitterfly.precision import split_rounding, squares_fit

_SLAB = 1 << 18  # numbers of the blocks that are divided together
_HUGE = float(np.finfo(np.float64).max) * 2.0**-20  # sums of products of Gram matrices with random vectors fit below it
_MORE = 6  # eigenvalues than the rank expected
_FINE = 1e3  # times the precision of double: energies below that share are lost in Gram matrices


def truncated_svds(
    a: Array, radices: Radices, rtol: float, expected: int
) -> tuple[list[Array], tuple[int, ...], Ledger] | None:
    """Factorize a wide array on a chain of truncated SVDs, as `left_to_right` does where `rtol` is spent at once.

    Returns
    -------
    factors, ranks, ledger
        None where the tolerance, or the range of the squares, is not one for Gram matrices of the rows, or these take
        more memory than the array. What is discarded is taken from the rows.
    """
    (m, n), dtype, eps = a.shape, a.dtype, float(np.finfo(np.float64).eps)
    if radices.rows != (m, 1) or radices.columns[0] * m > n:
        return None
    cuts, width = radices.columns
    wide = np.result_type(dtype, np.float64)
    allowed = rtol - 2 * split_rounding(radices.rows, (expected,), dtype)
    if not allowed**2 > _FINE * eps:
        return None
    for count in (expected + _MORE, m):
        count = m if 2 * count > m else count
        values, vectors = np.zeros((cuts, count + 1)), np.zeros((cuts, m, count), wide)
        with np.errstate(over="ignore", invalid="ignore"):
            for at, x in _blocks(a, cuts, width):
                gram = x @ x.conj().swapaxes(1, 2)
                if not np.max(np.abs(gram), initial=0.0) < _HUGE:
                    return None
                values[at], vectors[at] = _leading(gram, count)
        total = float(np.sum(values))
        if not squares_fit(total / a.size, dtype):
            return None
        rank, lost = smallest_rank(values, allowed**2 * total, count)
        if count == m or lost <= allowed**2 * total:
            break
    u = np.ascontiguousarray(vectors[:, :, :rank]).astype(dtype)
    right, lost = np.zeros((cuts, rank, width), dtype), 0.0
    for at, x in _blocks(a, cuts, width):
        right[at, :, : x.shape[2]] = u[at].conj().swapaxes(1, 2) @ x
        rest = x - u[at].astype(wide) @ right[at, :, : x.shape[2]]
        lost += float(np.vdot(rest, rest).real)
    rounded = 2 * (rank + 2) * rank**0.5 * eps  # of what is lost
    ledger = Ledger(total, 0.0, [(lost**0.5 + rounded * total**0.5) ** 2])
    factors = [u.swapaxes(0, 1).reshape(1, m, cuts * rank, 1), right[..., None]]
    return factors, (rank,), ledger


def _leading(gram: Array, count: int) -> tuple[Array, Array]:
    """Return the largest eigenvalues of Hermitian matrices (k, m, m), with the sum of all others, and their vectors.

    Where that is few of them, from their images of random vectors (Halko, Martinsson and Tropp, SIAM Review 53, 2011).
    """
    m = gram.shape[1]
    if count == m:
        values, vectors = np.linalg.eigh(gram)
    else:
        q = np.linalg.qr(gram @ np.random.default_rng(0).standard_normal((m, count)))[0]
        values, turned = np.linalg.eigh(q.conj().swapaxes(1, 2) @ (gram @ q))
        vectors = q @ turned
    values = np.maximum(values[:, ::-1], 0)
    rest = np.trace(gram, axis1=1, axis2=2).real - np.sum(values, axis=1)
    return np.append(values, np.maximum(rest, 0)[:, None], axis=1), vectors[:, :, ::-1]


def _blocks(a: Array, cuts: int, width: int) -> Iterator[tuple[slice, Array]]:
    """Yield parts of the blocks, (blocks, m, width) in double precision; the last one may be narrower."""
    (m, n), step = a.shape, max(1, _SLAB // (a.shape[0] * width))
    whole, wide = n // width, np.result_type(a.dtype, np.float64)
    for first in range(0, whole, step):
        last = min(first + step, whole)
        part = a[:, first * width : last * width].reshape(m, last - first, width)
        yield slice(first, last), part.swapaxes(0, 1).astype(wide, copy=False)
    if whole < cuts and whole * width < n:
        yield slice(whole, whole + 1), a[None, :, whole * width :].astype(wide, copy=False)
