"""The balanced factorization on any chain: split in the middle first, then each half."""

from __future__ import annotations

import numpy as np

from bitterfly import _core
from bitterfly.hierarchy import Ledger, PaddedRows, Radices
from bitterfly.inputs import Array, Permutations
from bitterfly.sources import Source


def balanced(
    source: Source, permutations: Permutations, radices: Radices, ranks: tuple[int, ...]
) -> tuple[list[Array], tuple[int, ...], Ledger]:
    """Factorize with the ranks given: the middle split first, then its left half, then what that leaves of the right.

    A half is split while the other one is orthonormal, so that each split is the best for the product. Once the left
    half is done, its factors are orthonormalized and the matrix is projected on them anew; the energies that these
    projections miss are orthogonal and add up exactly to the squared error. The whole matrix is held in memory.
    """
    ledger = Ledger()
    whole = np.concatenate([block for _, block in PaddedRows(source, permutations, radices, ledger).chunks()], axis=2)
    a, _, _, columns = whole.shape
    stack = np.ascontiguousarray(whole.reshape(a, -1, radices.d, columns).transpose(0, 2, 1, 3))
    stack = stack.reshape(a * radices.d, -1, columns)
    del whole
    exponent = -int(np.frexp(np.max(np.abs(stack)))[1]) if np.any(stack) else 0
    scale = np.ldexp(np.ones((), stack.real.dtype), max(-1000, min(exponent, np.finfo(stack.dtype).maxexp - 1)))
    stack *= scale
    ledger.outside *= float(scale) ** 2
    ledger.total = _energy(stack) + ledger.outside
    factors = _split(stack, Radices(radices.rows, radices.columns), ranks, ledger)
    factors[-1] = factors[-1] / scale
    return [f.reshape(-1, *f.shape[2:]) for f in (_d_last(f, radices.d) for f in factors)], ranks, ledger


def _split(x: Array, radices: Radices, ranks: tuple[int, ...], ledger: Ledger | None) -> list[Array]:
    """Factorize a stack of matrices (count, m, n) to factors (count, a, b, c, d), all but the last orthonormal."""
    if len(radices.rows) == 1:
        return [x[:, None, :, :, None]]
    at = len(radices.rows) // 2
    rank = ranks[at - 1]
    count, m, n = x.shape
    b, groups = int(np.prod(radices.rows[:at])), int(np.prod(radices.columns[:at]))
    d, width = m // b, n // groups
    left = _core.aligned_empty([count, b, groups * rank, d], x.dtype)
    right = _core.aligned_empty([count, groups, rank, d, width], x.dtype)
    _core.split(x.reshape(count, b, d, n), groups, rank, 0, left, right, 1.0)
    if at == 1:
        done = [left[:, None]]
    else:
        stack = _weighted(left.reshape(count, b, groups, rank, d), right)
        columns = (*radices.columns[: at - 1], radices.columns[at - 1] * rank)
        parts = _split(stack, Radices(radices.rows[:at], columns), ranks[: at - 1], None)
        done = _orthonormal([_d_last(f, d) for f in parts], ranks[:at])
    rest = _projected(x, done, ranks[:at], ledger)
    rows = (rank * radices.rows[at], *radices.rows[at + 1 :])
    others = _split(rest, Radices(rows, radices.columns[at:]), ranks[at:], ledger)
    return done + [f.reshape(count, -1, *f.shape[2:]) for f in others]


def _weighted(left: Array, right: Array) -> Array:
    """Move the norms of `right` to `left`: the matrices (count*d, b, groups*rank) of the left half.

    With ``right^H = Q T`` in each block, Q orthonormal, `left` is multiplied by ``T^H``.
    """
    count, b, groups, rank, d = left.shape
    upper: Array = np.asarray(np.linalg.qr(right.transpose(0, 1, 3, 4, 2).conj(), mode="r"))
    weighted = np.zeros((count, groups, d, b, rank), left.dtype)
    weighted[..., : upper.shape[3]] = left.transpose(0, 2, 4, 1, 3) @ np.swapaxes(upper, 3, 4).conj()
    return np.ascontiguousarray(weighted.transpose(0, 2, 3, 1, 4)).reshape(count * d, b, groups * rank)


def _orthonormal(factors: list[Array], ranks: tuple[int, ...]) -> list[Array]:
    """Make the columns of all blocks orthonormal; what is right of the last factor is to be projected anew."""
    out = list(factors)
    for at, rank in enumerate(ranks):
        count, a, b, c, d = out[at].shape
        blocks = out[at].reshape(count, a, b, c // rank, rank, d).transpose(0, 1, 3, 5, 2, 4)
        q, carried = np.linalg.qr(blocks)
        out[at] = np.ascontiguousarray(q.transpose(0, 1, 4, 2, 5, 3)).reshape(count, a, b, c, d)
        if at + 1 < len(out):
            following = out[at + 1]
            p = following.shape[2] // rank
            carried = carried.reshape(count, -1, p, d // p, rank, rank)
            split = following.reshape(count, -1, rank, p, *following.shape[3:])
            out[at + 1] = np.einsum("satvkl,saltcv->saktcv", carried, split, optimize=True).reshape(following.shape)
    return out


def _projected(x: Array, factors: list[Array], ranks: tuple[int, ...], ledger: Ledger | None) -> Array:
    """Return the adjoint of orthonormal factors times `x` on the support, a stack of matrices."""
    current = x[:, None]
    for factor, rank in zip(factors, ranks, strict=True):
        count, a, b, c, d = factor.shape
        groups = c // rank
        blocks = current.reshape(count, a, b, d, groups, -1).transpose(0, 1, 4, 3, 2, 5)
        u = factor.reshape(count, a, b, groups, rank, d).transpose(0, 1, 3, 5, 2, 4)
        kept = np.swapaxes(u, 4, 5).conj() @ blocks
        if ledger is not None:
            ledger.splits.append(_energy(blocks - u @ kept))
        current = kept.transpose(0, 1, 2, 4, 3, 5).reshape(count, a * groups, rank * d, -1)
    return np.ascontiguousarray(current).reshape(-1, *current.shape[2:])


def _d_last(factor: Array, d: int) -> Array:
    """Turn a stack (count*d, a, b, c, d') into one with that index last, (count, a, b, c, d'*d)."""
    split = factor.reshape(-1, d, *factor.shape[1:]).transpose(0, 2, 3, 4, 5, 1)
    return np.ascontiguousarray(split).reshape(*split.shape[:4], -1)


def _energy(x: Array) -> float:
    return float(np.sum(np.square(np.abs(x), dtype=np.float64)))
