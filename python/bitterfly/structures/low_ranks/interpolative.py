"""Matrices from some of their own columns and rows, which pivoted QR chooses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import numpy as np
from scipy.linalg import pinv

from bitterfly import _core
from bitterfly.inputs import Array, IndexArray, UnmetError
from bitterfly.powers import near_one, scaled
from bitterfly.sources.given import ArraySource
from bitterfly.structures.low_ranks.errors import as_array, measured, product_of
from bitterfly.structures.low_ranks.factors import Asked, as_asked, fewest
from bitterfly.structures.low_ranks.selected import Selected
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator
from bitterfly.workers import get_workers

_MORE = 0.5  # of the error that is asked for: columns that leave less are not looked for


def interpolative(a: Any, *, rank: int | None = None, rtol: float | None = None, axis: Literal[0, 1] = 1) -> Selected:
    """Return a matrix as combinations of some of its columns, or of its rows.

    Parameters
    ----------
    a : array_like, shape (m, n)
    rank : int, optional
        The most columns.
    rtol : float, optional
        Relative error that must not be exceeded, by as few columns as pivoted QR finds.
    axis : {1, 0}, optional
        1: ``A = A[:, columns] T``; 0: ``A = T A[rows]``.

    Returns
    -------
    Selected
        Its operator is a tensor train of two cores, in the precision of `a`: columns as they are, and T with the
        identity in it and other entries of at most about 1.25. The ``relative_error`` is measured.

    Raises
    ------
    UnmetError
        Where `rtol` is not met.
    ValueError, TypeError
        Where neither `rank` nor `rtol` is given, or a bad one, and where `a` is no matrix of finite numbers.

    Notes
    -----
    Cheng, Gimbutas, Martinsson, Rokhlin, *On the compression of low rank matrices* (SIAM J. Sci. Comput. 26, 2005),
    with strong pivoting (Gu, Eisenstat, 1996): with r of n columns the error is at most ``sqrt(1 + 1.25^2 r (n - r))``
    times the least of that rank, and seldom twice as large.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.arange(100) / 100
    >>> a = 1 / (1 + np.add.outer(x, x))
    >>> found = bitterfly.structures.interpolative(a, rank=3)
    >>> found.operator.relative_error < 1e-3, np.array_equal(found.operator.cores[0][0, :, 0], a[:, found.columns])
    (True, True)
    """
    asked = as_asked(rank, rtol)
    if axis not in (0, 1):
        raise ValueError(f"axis: expected 1 (columns) or 0 (rows), got {axis!r}")
    source = as_array(a)
    x = source.array if axis == 1 else source.array.T
    found: dict[int, IndexArray] = {}
    lines = _lines(x)

    def make(count: int) -> TensorTrainOperator:
        found[0], t = _chosen(lines, count)
        t = t.astype(x.dtype)
        factors = (x[:, found[0]], t) if axis == 1 else (t.T, x[:, found[0]].T)
        return _measured(factors, source)

    op = _made(make, asked, x.shape, lambda enough: _tails(lines, enough))
    columns, rows = (found[0], None) if axis == 1 else (None, found[0])
    return Selected(op, rows, columns, x.size)


def cur(a: Any, *, rank: int | None = None, rtol: float | None = None) -> Selected:
    """Return a matrix as ``C U R``, of some of its columns and some of its rows, with the best U in between.

    Parameters
    ----------
    a : array_like, shape (m, n)
    rank : int, optional
        The most columns and rows.
    rtol : float, optional
        Relative error that must not be exceeded.

    Returns
    -------
    Selected
        Its operator is a tensor train of three cores, in the precision of `a`: columns and rows as they are, and
        ``U = C^+ A R^+``, which leaves the least for them. The ``relative_error`` is measured.

    Raises
    ------
    UnmetError
        Where `rtol` is not met. The entries of U grow as singular values fall, and so does what rounding them leaves:
        where that is more than they are worth, singular values of C and R below ``sqrt(eps)`` of the largest count for
        nothing.
    OverflowError
        Where U leaves the range of the precision.
    ValueError, TypeError
        Where neither `rank` nor `rtol` is given, or a bad one, and where `a` is no matrix of finite numbers.

    Notes
    -----
    Stewart, *Four algorithms for the efficient computation of truncated pivoted QR approximations to a sparse matrix*
    (1999); Mahoney, Drineas, *CUR matrix decompositions for improved data analysis* (PNAS 106, 2009). Columns and rows
    are those of `interpolative`: squared errors are at most the sums of theirs.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.arange(100) / 100
    >>> a = 1 / (1 + np.add.outer(x, x))
    >>> found = bitterfly.structures.cur(a, rtol=1e-4)
    >>> found.operator.ranks, bool(np.all(found.operator.cores[2][:, 0, :, 0] == a[found.rows]))
    ((1, 3, 3, 1), True)
    """
    asked = as_asked(rank, rtol)
    source = as_array(a)
    x = source.array
    sides = _lines(x), _lines(x.T)
    near, exponent = near_one(x)
    root = float(np.sqrt(np.finfo(x.dtype).eps))
    found: dict[str, IndexArray] = {}

    def make(count: int) -> TensorTrainOperator:
        found["columns"], found["rows"] = (_chosen(side, count)[0] for side in sides)
        left, right = x[:, found["columns"]], x[found["rows"]]
        (c, power), (r, other) = near_one(left), near_one(right)
        made: list[TensorTrainOperator] = []
        for cutoff in (None, root):
            middle = pinv(c, rtol=cutoff) @ near @ pinv(r, rtol=cutoff)
            with np.errstate(over="ignore"):
                kept = scaled(np.ascontiguousarray(middle), exponent - power - other).astype(x.dtype)
            made += [_measured((left, kept, right), source)] if np.all(np.isfinite(kept)) else []
            if made and made[0].relative_error <= root:
                break
        if not made:
            raise OverflowError(f"a: the middle of C U R leaves the range of {x.dtype}; scale the matrix up")
        return min(made, key=_error)

    def tails(enough: float) -> Array:
        return np.hypot(*(_tails(side, enough) for side in sides))

    op = _made(make, asked, x.shape, tails)
    return Selected(op, found["rows"], found["columns"], x.size)


def _measured(factors: tuple[Array, ...], source: ArraySource) -> TensorTrainOperator:
    return product_of(factors)._viewed(_fact=measured(factors, source))


def _made(
    make: Callable[[int], TensorTrainOperator], asked: Asked, shape: tuple[int, ...], tails: Callable[[float], Array]
) -> TensorTrainOperator:
    """Return the operator of the rank asked for, or of the least that meets the error."""
    if asked.rtol is None:
        return make(min(asked.rank or 1, *shape))
    with suppress(UnmetError):
        return fewest(make, _error, tails(_MORE * asked.rtol), asked)
    return fewest(make, _error, tails(0.0), asked)


def _error(op: TensorTrainOperator) -> float:
    return op.relative_error


def _lines(x: Array) -> Array:
    """Return the columns of a matrix as rows, near one, as the core takes them."""
    return near_one(x.T)[0][None]


def _tails(lines: Array, enough: float) -> Array:
    """Return what the first 0, 1, .. pivots leave, relative to all, down to what is enough."""
    energies = _core.pivot_tails(lines, enough**2, False, get_workers())[0][: min(lines.shape[1:]) + 1]
    return np.asarray(np.sqrt(energies / (energies[0] or 1.0)))


def _chosen(lines: Array, count: int) -> tuple[IndexArray, Array]:
    """Return which rows are pivots, and combinations of these that all rows are, (count, rows)."""
    flags, combinations, _ = _core.skeletonize(lines, count, get_workers())
    is_pivot = flags[0].astype(bool)
    t = np.zeros((count, lines.shape[1]), lines.dtype)
    t[:, ~is_pivot] = combinations[0].T
    t[:, is_pivot] = np.eye(count)
    return np.flatnonzero(is_pivot), t
