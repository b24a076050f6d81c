"""Matrices of low rank from a few of their rows and columns: adaptive cross approximation."""

from __future__ import annotations

import logging

import numpy as np
from scipy.linalg import qr, svd

from bitterfly.accuracy.known import Known
from bitterfly.accuracy.sampled import one_in_each_stratum
from bitterfly.inputs import Array, IndexArray, UnmetError, as_count
from bitterfly.powers import exponent_of, scaled
from bitterfly.sources.given import ArraySource, Entry, EntrySource
from bitterfly.structures.low_ranks.errors import product_of
from bitterfly.structures.low_ranks.factors import Factors, as_asked
from bitterfly.structures.low_ranks.selected import Selected
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_log = logging.getLogger("bitterfly")

_LINES = 24  # random rows, and columns, that join what is looked at beside the crosses
_FEW = 4  # times as many lines: matrices of fewer entries are read as a whole
_ROUNDED = 4  # that crosses go along
_DEVIATIONS = 3  # standard errors that are added to what they say
_OF_CROSSES = 0.4  # of the error that is asked for; an SVD leaves out as much as the rest allows
_LESS = 0.6
_EPS = float(np.finfo(np.float64).eps)


def cross_approximation(
    entries: Entry,
    shape: tuple[int, int],
    *,
    rtol: float,
    rank: int | None = None,
    rng: np.random.Generator | int | None = None,
) -> Selected:
    """Return a matrix of low rank from a few rows and columns of a matrix that is known by its entries.

    Parameters
    ----------
    entries : callable
        ``entries(rows, cols) -> block``, as for `factorize`.
    shape : (m, n)
    rtol : float
        Relative error that is aimed at.
    rank : int, optional
        The most crosses.
    rng : numpy.random.Generator or int, optional
        Draws the rows and columns that are looked at beside the crosses.

    Returns
    -------
    Selected
        Its operator is a tensor train of two cores, in the precision of the entries. Its ``relative_error`` is
        estimated from random rows and columns that no cross has seen, three standard errors added: what they do not
        see, nothing says. `rows` and `columns` are those of the crosses, `entries` how many were looked at.

    Raises
    ------
    UnmetError
        Where the error is not reached.
    ValueError, TypeError
        Where entries are not finite numbers, the shape does not fit, or `rtol` is not positive.

    Notes
    -----
    Bebendorf, *Approximation of boundary element matrices* (Numer. Math. 86, 2000): the largest entry of what is left
    of a row, then of its column, is where the next cross lies, until a cross is small beside their sum. That sees
    nothing of blocks that no cross has met: the process begins anew where random rows and columns have most left, until
    these have little, and a random set of others as well. In the end an SVD leaves out what `rtol` allows.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> def entries(i, j):
    ...     return 1 / (1 + np.add.outer(i, 2 * j))
    >>> found = bitterfly.structures.cross_approximation(entries, (5000, 4000), rtol=1e-5, rng=0)
    >>> found.operator.relative_error < 1e-5, found.entries < 1e6
    (True, True)
    """
    asked, generator = as_asked(rank, rtol), np.random.default_rng(rng)
    if not rtol > 0:
        raise ValueError(f"rtol: expected a positive number, got {rtol}")
    source = EntrySource(entries, tuple(as_count(size, "shape") for size in shape))  # type: ignore[arg-type]
    is_small = source.shape[0] * source.shape[1] <= _FEW * _LINES * sum(source.shape)
    read = ArraySource(source.whole(), source.rounding) if is_small else source
    crosses = _Crosses(read, min(asked.rank or min(source.shape), *source.shape), generator)
    enough = _OF_CROSSES * rtol
    crosses.look()
    while True:
        while (error := crosses.error()) > enough and crosses.grow(enough):
            if crosses.is_blind:
                crosses.look()
            _log.info("%d crosses, %d entries, relative error about %.3g", crosses.count, source.entries, error)
        missed = crosses.look()
        op = crosses.operator(rtol, missed)
        if op.relative_error <= rtol:
            return Selected(op, crosses.rows, crosses.columns, source.entries)
        if error > enough or enough < _EPS * rtol:
            raise UnmetError(
                f"rtol: {rtol:.3g} is not met: {crosses.count} crosses leave about {missed:.3g} times what they make"
            )
        if crosses.error() <= enough:
            enough *= _LESS


class _Crosses:
    """``A ~ U V``, each column of U and row of V from one cross, and what they leave of random rows and columns."""

    def __init__(self, source: ArraySource | EntrySource, most: int, rng: np.random.Generator) -> None:
        self._source, self._most, self._rng = source, most, rng
        (m, n), dtype = source.shape, np.result_type(source.dtype, np.float64)
        self._u, self._v = np.zeros((m, _LINES), dtype), np.zeros((_LINES, n), dtype)
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._squared_norm = 0.0
        self._exponent: int | None = None
        self._seen = [np.zeros(0, np.intp), np.zeros(0, np.intp)]
        self._left = [np.zeros((0, n), dtype), np.zeros((0, m), dtype)]  # of rows, and of columns, a row each

    @property
    def count(self) -> int:
        """How many crosses there are."""
        return len(self._rows)

    @property
    def rows(self) -> IndexArray:
        """Those of the crosses."""
        return np.array(self._rows, np.intp)

    @property
    def columns(self) -> IndexArray:
        """Those of the crosses."""
        return np.array(self._columns, np.intp)

    @property
    def is_blind(self) -> bool:
        """Whether crosses go along all rows, or columns, that were looked at."""
        sides = zip(self._seen, (self._rows, self._columns), self._source.shape, strict=True)
        return any(self.count < size and bool(np.all(np.isin(seen, used))) for seen, used, size in sides)

    def look(self) -> float:
        """Look at more random rows and columns; return a bound on the relative error, as far as these tell."""
        u, v = self._sides()
        drawn = [self._drawn(axis) for axis in (0, 1)]
        found = self._source.rows(drawn[0]), self._source.block(np.arange(len(u)), drawn[1]).T
        if self._exponent is None and any(part.any() for part in found):
            self._exponent = max(exponent_of(part) for part in found if part.any())
        bounds = []
        for axis, (lines, own, other) in enumerate(zip(found, (u, v.T), (v, u.T), strict=True)):
            left = self._near(lines) - own[drawn[axis]] @ other
            bounds.append(self._relative(left, drawn[axis], axis, _DEVIATIONS))
            self._left[axis] = np.concatenate([self._left[axis], left])
            self._seen[axis] = np.concatenate([self._seen[axis], drawn[axis]])
        return max(bounds)

    def error(self) -> float:
        """Return about the relative error, the larger of what rows and columns say that no cross goes along."""
        return max(self._relative(self._left[axis], self._seen[axis], axis, 0.0) for axis in (0, 1))

    def grow(self, enough: float) -> bool:
        """Add crosses from where most is left, until one is small beside their sum; False where none can be added."""
        before, row = self.count, self._worst()
        while self.count < self._most:
            u, v = self._sides()
            across = self._near(self._source.rows(np.array([row])))[0] - u[row] @ v
            column = self._largest(across, self._columns)
            if column is None:
                break
            down = self._near(self._source.block(np.arange(len(u)), np.array([column])))[:, 0] - u @ v[:, column]
            if self._add(row, column, down / across[column], across) <= enough * np.sqrt(self._squared_norm):
                break
            following = self._largest(down, self._rows)
            if following is None:
                break
            row = following
        return self.count > before

    def operator(self, rtol: float, missed: float) -> TensorTrainOperator:
        """Return what the crosses make, of the least rank that is near enough if they miss so much themselves."""
        u, v = self._sides() if self.count else (self._u[:, :1], self._v[:1])
        (q, r), (p, s) = (qr(each, mode="economic", check_finite=False) for each in (u, v.conj().T))
        left, sizes, right = svd(r @ s.conj().T, check_finite=False)
        factors = Factors(q @ left, sizes[:, None] * right @ p.conj().T, sizes, self._exponent or 0)
        tails, dtype = factors.tails, self._source.dtype
        units = 1.1 * float(np.finfo(dtype).eps) + (self.count + 20) * _EPS
        rounding = units * float(np.sum(sizes) / (np.linalg.norm(sizes) or 1.0))
        rank = max(1, int(np.count_nonzero(tails[:-1] > rtol * (1 - missed) - missed - rounding)))
        error = (missed + float(tails[rank]) + rounding) / (1 - missed) if missed < 1 else float("inf")
        known = Known(error if sizes.any() or missed else 0.0, "estimated")
        if self._source.rounding:
            known = Known(self._source.rounding, "exact").then(known.error, kind="estimated")
        return product_of(factors.cores(rank, dtype))._viewed(_fact=known)

    def _sides(self) -> tuple[Array, Array]:
        return self._u[:, : self.count], self._v[: self.count]

    def _near(self, x: Array) -> Array:
        return scaled(np.ascontiguousarray(x, self._u.dtype), -(self._exponent or 0))

    def _used(self, axis: int) -> list[int]:
        return self._columns if axis else self._rows

    def _drawn(self, axis: int) -> IndexArray:
        """Draw rows or columns that no cross goes along, and a few of the others, which tell what was rounded."""
        used = np.array(self._used(axis), np.intp)
        free = np.setdiff1d(np.arange(self._source.shape[axis]), used)
        parts = zip((free, used), (_LINES, _ROUNDED), strict=True)
        return np.concatenate([part[one_in_each_stratum(len(part), min(len(part), n), self._rng)] for part, n in parts])

    def _relative(self, left: Array, index: IndexArray, axis: int, deviations: float) -> float:
        """Return the error if all rows or columns are like these, those without a cross by themselves."""
        free, is_free = self._source.shape[axis] - self.count, ~np.isin(index, self._used(axis))
        squares = np.sum(np.square(np.abs(left)), axis=1)
        missed = self.count * float(np.max(squares[~is_free], initial=0.0))
        squares = squares[is_free]
        if free and not len(squares):
            return float("inf")
        if free:
            unseen = (1 - len(squares) / free) / max(len(squares) - 1, 1)
            missed += free * float(np.mean(squares) + deviations * np.std(squares) * np.sqrt(max(unseen, 0.0)))
        if missed == 0:
            return 0.0
        return float(np.sqrt(missed / self._squared_norm)) if self._squared_norm else float("inf")

    def _worst(self) -> int:
        """Return the row of the largest entry that is left of all that was looked at."""
        of_rows, of_columns = (np.abs(left) for left in self._left)
        if of_rows.max(initial=0) >= of_columns.max(initial=0):
            return int(self._seen[0][np.unravel_index(np.argmax(of_rows), of_rows.shape)[0]])
        return int(np.unravel_index(np.argmax(of_columns), of_columns.shape)[1])

    def _largest(self, line: Array, used: list[int]) -> int | None:
        """Return where most is left of a row or column, of places that are not used; None where that is rounding."""
        sizes = np.abs(line)
        sizes[used] = 0
        at = int(np.argmax(sizes))
        return at if sizes[at] > _EPS * np.sqrt(self._squared_norm / line.size) else None

    def _add(self, row: int, column: int, u: Array, v: Array) -> float:
        """Add a cross, and return its norm."""
        before, after = self._sides()
        at, size = self.count, float(np.linalg.norm(u)) * float(np.linalg.norm(v))
        both = np.vdot(before.conj().T @ u, (after.conj() @ v).conj()) if at else 0.0
        self._squared_norm = max(self._squared_norm + size**2 + 2 * float(np.real(both)), size**2)
        if at == self._u.shape[1]:
            self._u = np.concatenate([self._u, np.zeros_like(self._u)], axis=1)
            self._v = np.concatenate([self._v, np.zeros_like(self._v)])
        self._u[:, at], self._v[at] = u, v
        self._rows.append(row)
        self._columns.append(column)
        for axis, (own, other) in enumerate(((u, v), (v, u))):
            self._left[axis] = self._left[axis] - np.multiply.outer(own[self._seen[axis]], other)
        return size
