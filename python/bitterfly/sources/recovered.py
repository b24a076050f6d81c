"""The blocks in the middle of a chain, recovered from products with random vectors."""

from __future__ import annotations

import logging

import numpy as np
from scipy.linalg import solve_triangular

from bitterfly.chains.radices import Radices
from bitterfly.inputs import Array, IndexArray, Permutations
from bitterfly.sources.given import OperatorSource

_log = logging.getLogger("bitterfly")

_BLOCK_BYTES = 1 << 27  # of the vectors of one product


class RecoveredBlocks:
    """The permuted, padded matrix as one level of low-rank blocks: rows t + i*d against runs of columns, left @ right.

    Parameters
    ----------
    left : array, shape (d, groups, b, rank)
    right : array, shape (d, groups, rank, width)
    """

    def __init__(self, left: Array, right: Array) -> None:
        self._left, self._right = left, right
        d, groups, b, _ = left.shape
        self.shape = b * d, groups * right.shape[3]
        self.dtype = left.dtype

    def rows(self, index: IndexArray) -> Array:
        """Return whole rows."""
        return self.block(index, np.arange(self.shape[1]))

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        """Return the entries at ``rows x columns``."""
        d, width = self._left.shape[0], self._right.shape[3]
        out = np.empty((len(rows), len(columns)), self.dtype)
        by_residue, by_group = _parts(rows % d), _parts(columns // width)
        for t, at in by_residue:
            for g, where in by_group:
                out[np.ix_(at, where)] = self._left[t, g, rows[at] // d] @ self._right[t, g][:, columns[where] % width]
        return out


def _parts(keys: IndexArray) -> list[tuple[int, IndexArray]]:
    order = np.argsort(keys, kind="stable")
    values, starts = np.unique(keys[order], return_index=True)
    return list(zip(values.tolist(), np.split(order, starts[1:]), strict=True))


def recovered(
    source: OperatorSource, permutations: Permutations, radices: Radices, samples: int, rng: np.random.Generator
) -> RecoveredBlocks:
    """Recover the blocks of the middle junction from their action on random vectors.

    Each run of columns is multiplied with `samples` random vectors, and each class of rows with half as many again from
    the left; a block is then ``Y (W^H Y)^+ (W^H A)`` with its part of both. Nakatsukasa, *Fast and stable randomized
    low-rank matrix approximation* (2020), for each block.
    """
    m, n = radices.shape
    at = (len(radices.rows) + 1) // 2
    b, groups = int(np.prod(radices.rows[:at])), int(np.prod(radices.columns[:at]))
    d, width = m // b, n // groups
    samples = min(samples, b, width)
    more = min(b, samples + max(4, samples // 2))
    w = rng.standard_normal((b, more)).astype(source.dtype)
    y = _sketches(source, permutations, (m, n), np.arange(n).reshape(groups, width), samples, False, rng)
    z = _sketches(source, permutations[::-1], (n, m), np.arange(m).reshape(b, d).T, w, True, rng)
    _log.info("recovered %d x %d blocks from %d products", d, groups, groups * samples + d * more)
    y = y.reshape(groups, b, d, samples).transpose(2, 0, 1, 3)
    z = z.reshape(d, groups, width, more).conj().swapaxes(2, 3)
    q, _ = np.linalg.qr(y)
    small_q, small_r = np.linalg.qr(w.conj().T @ q)
    right = small_q.conj().swapaxes(2, 3) @ z
    for t in range(d):
        for g in range(groups):
            right[t, g] = solve_triangular(small_r[t, g], right[t, g], check_finite=False)
    return RecoveredBlocks(q, right)


def _sketches(
    source: OperatorSource,
    permutations: Permutations,
    shape: tuple[int, int],
    parts: IndexArray,
    vectors: int | Array,
    adjoint: bool,
    rng: np.random.Generator,
) -> Array:
    """Return the products with vectors on each part of the columns, (parts, rows, vectors) in permuted order."""
    m, n = shape
    own_m, own_n = source.shape[::-1] if adjoint else source.shape
    rows = np.arange(m) if permutations[0] is None else permutations[0]
    columns = np.arange(n) if permutations[1] is None else permutations[1]
    count = vectors if isinstance(vectors, int) else vectors.shape[1]
    out = np.zeros((len(parts), m, count), source.dtype)
    inside = rows < own_m
    at_once = max(1, _BLOCK_BYTES // (own_n * count * source.dtype.itemsize))
    for first in range(0, len(parts), at_once):
        some = parts[first : first + at_once]
        x = np.zeros((own_n, len(some), count), source.dtype)
        for k, part in enumerate(some):
            drawn = rng.standard_normal((len(part), count)) if isinstance(vectors, int) else vectors
            present = columns[part] < own_n
            x[columns[part][present], k] = drawn[present]
        product = source.times(x.reshape(own_n, -1), adjoint=adjoint).reshape(own_m, len(some), count)
        out[first : first + len(some), inside] = product[rows[inside]].transpose(1, 0, 2)
    return out
