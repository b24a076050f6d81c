"""The balanced factorization on any chain: split in the middle first, then each half."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.energy import Energy
from bitterfly.chains.radices import Radices
from bitterfly.factorization.splits import Ledger, PaddedRows
from bitterfly.inputs import Array, Permutations
from bitterfly.precision import squares_fit
from bitterfly.sources.given import ArraySource, Source
from bitterfly.workers import threaded

_PANEL = 1 << 19  # numbers that are worked on at a time
_PARTS = 16  # of a large split, whatever the number of threads: sums of energies depend on where they are cut
_FAR = 1e100  # times the largest number on the support: what is outside is the whole error in double precision


def balanced(
    source: Source, permutations: Permutations, radices: Radices, ranks: tuple[int, ...]
) -> tuple[list[Array], tuple[int, ...], Ledger]:
    """Factorize with the ranks given: the middle split first, then its left half, then what that leaves of the right.

    A half is split while the other one is orthonormal, so that each split is the best for the product. Once the left
    half is done, its factors are orthonormalized and the matrix is projected on them anew; the energies that these
    projections miss are orthogonal and add up exactly to the squared error. The whole matrix is held in memory.
    """
    ledger = Ledger()
    stack, inside, outside = _on_support(source, permutations, radices)
    scale = _scale(inside.scale or outside.scale, source.dtype)
    if scale != 1:
        stack = np.multiply(stack, np.asarray(scale, stack.real.dtype), out=stack if stack.base is None else None)
    ledger.outside = outside.sum * min(outside.scale * scale, _FAR) ** 2
    ledger.total = inside.sum * (inside.scale * scale) ** 2 + ledger.outside
    factors = _split(stack, Radices(radices.rows, radices.columns), ranks, ledger)
    if scale != 1:
        factors[-1] = _unscaled(factors[-1], scale, ledger)
    return [f.reshape(-1, *f.shape[2:]) for f in (_d_last(f, radices.d) for f in factors)], ranks, ledger


def _scale(largest: float, dtype: np.dtype[Any]) -> float:
    """Return 1 where squares of numbers as large as `largest` are far from the limits, else what brings it near 1."""
    if largest == 0 or (1e-150 < largest < 1e150 and squares_fit(largest**2, dtype)):
        return 1.0
    return float(np.ldexp(1.0, min(-int(np.frexp(largest)[1]), np.finfo(dtype).maxexp - 1)))


def _unscaled(last: Array, scale: float, ledger: Ledger) -> Array:
    """Divide the last factor; what rounding to subnormal numbers loses is orthogonal to what splits discard."""
    power = np.asarray(scale, last.real.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        out: Array = last / power
    if not np.all(np.isfinite(out)):
        raise ValueError("a: the factors overflow the range of the dtype; scale the matrix down")
    ledger.splits.append(_energy(out * power - last))
    return out


def _on_support(source: Source, permutations: Permutations, radices: Radices) -> tuple[Array, Energy, Energy]:
    """Return the matrices (a*d, m/(a*d), n/(a*d)) on the support of the product, and the energies in it and outside.

    An array is not copied where it can be taken as it is.
    """
    (m, n), a, d = radices.shape, radices.a, radices.d
    plain = _as_it_is(source, permutations, radices)
    stack = np.empty((a * d, m // (a * d), n // (a * d)), source.dtype) if plain is None else plain[None]
    inside, outside = Energy(), Energy()
    for first, block in _row_panels(source, permutations, radices):
        rows = np.arange(first, first + len(block))
        _check_finite(block, rows, permutations)
        if a == d == 1:
            inside.add(_wide(block))
            if plain is None:
                stack[0, rows] = block
            continue
        (i, rest), r = np.divmod(rows, m // a), np.arange(len(rows))
        (j, t), parts = np.divmod(rest, d), block.reshape(len(rows), a, -1, d).copy()
        stack[i * d + t, j] = kept = parts[r, i, :, t]
        parts[r, i, :, t] = 0
        inside.add(_wide(kept))
        outside.add(_wide(parts))
    return stack, inside, outside


def _as_it_is(source: Source, permutations: Permutations, radices: Radices) -> Array | None:
    """Return the array of the source where it is what is factorized, with rows one after the other."""
    if not isinstance(source, ArraySource) or any(p is not None for p in permutations) or radices.a * radices.d > 1:
        return None
    return source.array if source.shape == radices.shape and source.array.flags.c_contiguous else None


def _row_panels(source: Source, permutations: Permutations, radices: Radices) -> Iterator[tuple[int, Array]]:
    """Yield (first, rows) of the permuted, padded matrix."""
    m, n = radices.shape
    height = max(1, _PANEL // n)
    for first, block in PaddedRows(source, permutations, Radices((1, m), (1, n)), Ledger()).chunks():
        for start in range(0, block.shape[2], height):
            yield first + start, block[0, 0, start : start + height]


def _check_finite(block: Array, rows: Array, permutations: Permutations) -> None:
    finite = np.isfinite(block)
    if np.all(finite):
        return
    i, j = np.argwhere(~finite)[0]
    i, j = (at if order is None else order[at] for at, order in zip((rows[i], j), permutations, strict=True))
    raise ValueError(f"a: expected finite entries, got NaN or infinity at ({i}, {j})")


def _split(x: Array, radices: Radices, ranks: tuple[int, ...], ledger: Ledger | None) -> list[Array]:
    """Factorize a stack of matrices (count, m, n) to factors (count, a, b, c, d), all but the last orthonormal."""
    if len(radices.rows) == 1:
        return [x[:, None, :, :, None]]
    at = len(radices.rows) // 2
    rank = ranks[at - 1]
    count, m, n = x.shape
    b, groups = int(np.prod(radices.rows[:at])), int(np.prod(radices.columns[:at]))
    d = m // b
    blocks = x.reshape(count, b, d, n)
    left, right, lost = _middle(blocks, groups, rank)
    if at == 1:
        done = [left[:, None]]
    else:
        # In the norms of the rows of `right`, which are orthogonal.
        weights = np.linalg.norm(right, axis=4)[:, None]
        stack = np.ascontiguousarray((left.reshape(count, b, groups, rank, d) * weights).transpose(0, 4, 1, 2, 3))
        columns = (*radices.columns[: at - 1], radices.columns[at - 1] * rank)
        parts = _split(
            stack.reshape(count * d, b, groups * rank), Radices(radices.rows[:at], columns), ranks[: at - 1], None
        )
        done = [_d_last(f, d) for f in parts]
        done[-1] = _orthonormal(done[-1], rank)
        right, lost = _projected(blocks, _composed(done, ranks[:at]).reshape(count, b, groups, rank, d))
    if ledger is not None:
        ledger.splits.append(lost)
    rows = (rank * radices.rows[at], *radices.rows[at + 1 :])
    rest = right.reshape(count * groups, rank * d, n // groups)
    others = _split(rest, Radices(rows, radices.columns[at:]), ranks[at:], ledger)
    return done + [f.reshape(count, -1, *f.shape[2:]) for f in others]


def _middle(x: Array, groups: int, rank: int) -> tuple[Array, Array, float]:
    """Split (count, b, d, n): orthonormal (count, b, groups*rank, d), its adjoint times x, the energy that is lost."""
    count, b, d, n = x.shape
    left = _core.aligned_empty([count, b, groups * rank, d], x.dtype)
    right = _core.aligned_empty([count, groups, rank, d, n // groups], x.dtype)

    def work(cut: tuple[int, int]) -> float:
        return _core.split(x[:, :, slice(*cut)], groups, rank, cut[0], left, right, 1.0)[1]

    parts = min(_PARTS, d) if x.size >= _PANEL else 1
    cuts = list(pairwise(np.linspace(0, d, parts + 1).astype(int).tolist()))
    return left, right, sum(threaded(work, cuts))


def _orthonormal(factor: Array, rank: int) -> Array:
    """Make the columns of all blocks of a factor (count, a, b, c, d) orthonormal, `rank` columns each."""
    count, a, b, c, d = factor.shape
    blocks = factor.reshape(count, a, b, c // rank, rank, d)
    if rank == 1:
        lengths = np.linalg.norm(blocks.astype(np.result_type(factor, np.float64), copy=False), axis=2, keepdims=True)
        out = blocks / np.where(lengths > 0, lengths, 1).astype(factor.real.dtype)
        out[:, :, 0][lengths[:, :, 0] == 0] = 1
        return np.asarray(out).reshape(factor.shape)
    q = np.linalg.qr(blocks.transpose(0, 1, 3, 5, 2, 4))[0]
    return np.ascontiguousarray(q.transpose(0, 1, 4, 2, 5, 3)).reshape(factor.shape)


def _composed(factors: list[Array], ranks: tuple[int, ...]) -> Array:
    """Return the product of factors (count, a, b, c, d), the first with a = 1, as (count, b, c, d)."""
    product = factors[0][:, 0]
    for following, rank in zip(factors[1:], ranks, strict=False):
        count, groups, rows, columns, d = following.shape
        p = rows // rank
        left = product.reshape(count, -1, groups, rank, p, d).transpose(0, 2, 4, 5, 1, 3)
        right = following.reshape(count, groups, rank, p, columns, d).transpose(0, 1, 3, 5, 2, 4)
        product = (left @ right).transpose(0, 4, 2, 1, 5, 3).reshape(count, -1, groups * columns, d)
    return product


def _projected(x: Array, u: Array) -> tuple[Array, float]:
    """Project (count, b, d, n) on orthonormal (count, b, groups, rank, d).

    Returns an array of shape (count, groups, rank, d, width), and the energy that is missed.
    """
    count, b, d, n = x.shape
    groups, rank = u.shape[2:4]
    blocks = x.reshape(count, b, d, groups, n // groups).transpose(0, 2, 3, 1, 4)
    basis = np.ascontiguousarray(u.transpose(0, 4, 2, 1, 3))
    out = np.empty((count, groups, rank, d, n // groups), x.dtype)
    lost = 0.0
    many, width = max(1, _PANEL // (b * d * n)), max(1, _PANEL // (b * n))
    for first in range(0, count, many):
        for t in range(0, d, width):
            part = slice(first, first + many), slice(t, t + width)
            kept = np.swapaxes(basis[part], 3, 4).conj() @ blocks[part]
            lost += _energy(blocks[part] - basis[part] @ kept)
            out[part[0], :, :, part[1]] = kept.transpose(0, 2, 3, 1, 4)
    return out, lost


def _d_last(factor: Array, d: int) -> Array:
    """Turn a stack (count*d, a, b, c, d') into one with that index last, (count, a, b, c, d'*d)."""
    split = factor.reshape(-1, d, *factor.shape[1:]).transpose(0, 2, 3, 4, 5, 1)
    return np.ascontiguousarray(split).reshape(*split.shape[:4], -1)


def _wide(x: Array) -> Array:
    return np.ascontiguousarray(x, np.result_type(x.dtype, np.float64))


def _energy(x: Array) -> float:
    parts = _wide(x).view(np.float64).ravel()
    return float(parts @ parts)
