"""Tensor trains from entries: cross approximation, which looks at a few fibres of a table that nobody could store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from scipy.linalg import qr, solve, svd

from bitterfly.inputs import Array, UnmetError, as_count, check_rtol
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_log = logging.getLogger("bitterfly")

_FIRST, _KICK = 2, 2  # ranks to begin with, and random fibres that join in each sweep
_SAMPLES = 2000  # entries that tell the error
_SHARE = 0.1  # of the tolerance, that truncation may take
_DEVIATIONS = 2.0

Entries = Callable[[Array, Array], Any]


def tensor_train_of_entries(
    entries: Entries,
    rows: Sequence[int],
    columns: Sequence[int] | None = None,
    *,
    rtol: float,
    rank: int = 64,
    sweeps: int = 20,
    rng: np.random.Generator | int | None = None,
) -> TensorTrainOperator:
    """Return a tensor train of a table that is known by its entries.

    Parameters
    ----------
    entries : callable
        ``entries(i, j)`` of two arrays of digits, (k, d) each, returns the k entries there: row digit t of entry s is
        ``i[s, t]``, below ``rows[t]``.
    rows, columns : sequence of d integers
        Sizes of the digits of rows and columns. Without columns, these are all one: a table of d variables.
    rtol : float
        Relative error that is aimed at.
    rank : int, optional
        The largest rank.
    sweeps : int, optional
        The most sweeps, there and back.
    rng : numpy.random.Generator or int, optional
        Draws the first fibres, those that join, and the entries that tell the error.

    Returns
    -------
    TensorTrainOperator
        float64 or complex128. Its ``relative_error`` is estimated from 2000 random entries, two standard deviations
        added: what they do not see, nothing says.

    Raises
    ------
    UnmetError
        Where the error is not reached.
    ValueError, TypeError
        Where entries are not finite numbers, or sizes do not fit.

    Notes
    -----
    Each sweep takes, for every digit, the entries where rows and columns chosen so far meet, and chooses anew those
    that span a large volume (Oseledets, Tyrtyshnikov, *TT-cross approximation for multidimensional arrays*, 2010), here
    by QR with pivoting; random fibres join until the error is met.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> def entries(i, j):
    ...     return 1 / (1 + i.sum(axis=1))
    >>> op = bitterfly.structures.tensor_train_of_entries(entries, [32] * 6, rtol=1e-6, rng=0)
    >>> row = np.ravel_multi_index((1, 2, 3, 4, 5, 6), [32] * 6)
    >>> op.shape, op.nbytes < 2e5, bool(np.isclose(op.entries(row, 0), 1 / 22, rtol=1e-3))
    ((1073741824, 1), True, True)
    """
    heights = [int(size) for size in rows]
    widths = [1] * len(heights) if columns is None else [int(size) for size in columns]
    if not heights or len(widths) != len(heights) or min(*heights, *widths) < 1:
        raise ValueError(f"rows, columns: expected as many positive sizes of both, got {heights} and {widths}")
    if max(prod(heights), prod(widths)) >= 1 << 62:
        raise ValueError("rows, columns: expected products of sizes below 2**62")
    check_rtol(rtol)
    if rtol <= 0:
        raise ValueError(f"rtol: expected a positive number, got {rtol}")
    table = _Table(entries, heights, widths)
    cross = _Cross(table, rtol, as_count(rank, "rank"), np.random.default_rng(rng))
    error = float("inf")
    for sweep in range(1, as_count(sweeps, "sweeps") + 1):
        op = TensorTrainOperator(cross.sweep())
        error = cross.error(op)
        _log.info("sweep %d: ranks %s, %d entries, relative error about %.3g", sweep, op.ranks, table.count, error)
        if error <= rtol:
            return op.replaced(relative_error=error, error_kind="estimated")
    raise UnmetError(f"rtol: {rtol:.3g} is not met: ranks {op.ranks} reach about {error:.3g}")


class _Table:
    """Entries by one digit for row and column together, counted."""

    def __init__(self, entries: Entries, heights: list[int], widths: list[int]) -> None:
        self._entries, self._widths = entries, np.array(widths)
        self.heights, self.widths = heights, widths
        self.sizes = [m * n for m, n in zip(heights, widths, strict=True)]
        self.count = 0

    def __call__(self, digits: Array) -> Array:
        found = np.asarray(self._entries(digits // self._widths, digits % self._widths))
        if found.shape != (len(digits),) or found.dtype.kind not in "fciub":
            raise TypeError(f"entries: expected {len(digits)} numbers, got {found.dtype} of shape {found.shape}")
        if not np.all(np.isfinite(found)):
            raise ValueError("entries: expected finite numbers, got infinities or NaNs")
        self.count += len(digits)
        return found.astype(np.result_type(found.dtype, np.float64))


class _Cross:
    """Chosen digits before (left) and after (right) each junction, a row each."""

    def __init__(self, table: _Table, rtol: float, rank: int, rng: np.random.Generator) -> None:
        self._table, self._rank, self._rng = table, max(rank, 1), rng
        self._d = len(table.sizes)
        self._least = _SHARE * rtol / np.sqrt(max(self._d - 1, 1))
        self._left: list[Array] = [np.zeros((1, 0), np.int64)] + [np.zeros((0, k), np.int64) for k in range(1, self._d)]
        self._right = [self._random(_FIRST, slice(k + 1, self._d)) for k in range(self._d)]
        self._samples = self._random(_SAMPLES, slice(0, self._d))
        self._values = table(self._samples)

    def _random(self, count: int, digits: slice) -> Array:
        sizes = self._table.sizes[digits]
        if not sizes:
            return np.zeros((1, 0), np.int64)
        drawn = np.stack([self._rng.integers(0, size, count) for size in sizes], axis=1)
        return np.unique(drawn, axis=0)

    def _fibres(self, k: int) -> Array:
        """Return the entries of chosen rows, digit k and chosen columns, (r, size, s)."""
        left, right, size = self._left[k], self._right[k], self._table.sizes[k]
        shape = len(left), size, len(right)
        i, j, after = (x.ravel() for x in np.indices(shape))
        return self._table(np.concatenate([left[i], j[:, None], right[after]], axis=1)).reshape(shape)

    def sweep(self) -> list[Array]:
        """Choose all columns anew, from the right, then all rows; return the cores."""
        if self._left[-1].size:  # not the first one
            for k in range(self._d - 1, 0, -1):
                self._left[k] = self._joined(self._left[k], slice(0, k))
                fibres = self._fibres(k)
                basis = self._basis(fibres.reshape(len(fibres), -1).T)
                some = self._pivots(basis)
                j, after = np.divmod(some, fibres.shape[2])
                self._right[k - 1] = np.concatenate([j[:, None], self._right[k][after]], axis=1)
        cores = []
        for k in range(self._d - 1):
            self._right[k] = self._joined(self._right[k], slice(k + 1, self._d))
            fibres = self._fibres(k)
            r, size, _ = fibres.shape
            basis = self._basis(fibres.reshape(r * size, -1))
            some = self._pivots(basis)
            i, j = np.divmod(some, size)
            self._left[k + 1] = np.concatenate([self._left[k][i], j[:, None]], axis=1)
            core = solve(basis[some].T, basis.T).T
            cores.append(core.reshape(r, self._table.heights[k], self._table.widths[k], -1))
        last = self._fibres(self._d - 1)
        cores.append(last.reshape(len(last), self._table.heights[-1], self._table.widths[-1], 1))
        return cores

    def _joined(self, chosen: Array, digits: slice) -> Array:
        return np.unique(np.concatenate([chosen, self._random(_KICK, digits)]), axis=0)

    def _basis(self, x: Array) -> Array:
        u, s, _ = svd(x, full_matrices=False)
        rank = int(np.count_nonzero(s > self._least * s[0])) if s[0] > 0 else 1
        return np.asarray(u[:, : max(1, min(rank, self._rank))])

    def _pivots(self, basis: Array) -> Array:
        """Return rows that span a large volume."""
        return np.asarray(qr(basis.T, mode="r", pivoting=True)[1][: basis.shape[1]])

    def error(self, op: TensorTrainOperator) -> float:
        """Return the relative error on random entries, and two standard deviations."""
        widths = np.array(self._table.widths)
        places = zip((self._samples // widths).T, (self._samples % widths).T, self._table.heights, widths, strict=True)
        i = j = np.zeros(len(self._samples), np.int64)
        for a, b, m, n in places:
            i, j = i * m + a, j * n + b
        squares = np.square(np.abs(op.entries(i, j) - self._values))
        total = float(np.mean(np.square(np.abs(self._values))))
        missed = float(np.mean(squares) + _DEVIATIONS * np.std(squares) / np.sqrt(len(squares)))
        if total == 0:
            return 0.0 if missed == 0 else float("inf")
        return float(np.sqrt(missed / total))
