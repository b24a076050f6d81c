"""The true relative error of an operator against a dense matrix, panel by panel, and what measuring it rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bitterfly.accuracy.energy import Energy
from bitterfly.inputs import Array
from bitterfly.panels import identity_panel
from bitterfly.precision import in_double

_PANEL_ENTRIES = 1 << 17  # in double precision a megabyte: panels stay in the cache
_PRODUCT_ENTRIES = 1 << 22  # of a product with unit vectors along the smaller side
_LARGEST = 2.0**1000  # entries from which products and differences may leave the range of double precision
_LONGER = 4  # times the smaller side, up to which the matrix is read in its own order


def measure(
    a: Array,
    op: Any,
    progress: Callable[[float], None] | None = None,
) -> float:
    """Return a bound on ``||a - op||_F / ||a||_F``, which is that but for rounding errors.

    `op` is multiplied with panels of unit vectors, or looked up where that is quicker; it is not formed as a dense
    matrix.

    Parameters
    ----------
    a : ndarray, shape (m, n)
        Memory maps are read once, along their rows or columns as they lie in memory; where the other side is much
        shorter, in as few strided panels as products of 32 MB allow.
    op : ButterflyOperator, PackedButterfly or ButterflySum
        In double precision, whatever its own.
    progress : callable, optional
        Called with the share that is done.

    Notes
    -----
    Products round by at most ``r`` (`bitterfly.accuracy.rounding`), an entry of the difference by one unit roundoff,
    a sum of N squares by N of them: ``||a - op|| <= (1 + (N + 2) u) ||fl(a - fl(op))|| + r``.
    """
    wide = in_double(op)
    missed, total = _energies(a, wide._with_quick_columns(), 1.0, progress)
    if total.scale > _LARGEST and not missed.scale + missed.sum < np.inf:
        missed, total = _energies(a, wide, 0.25, progress)
    return missed.bound_over(total, [wide])


def _energies(a: Array, op: Any, unit: float, progress: Callable[[float], None] | None) -> tuple[Energy, Energy]:
    """Return the energies of the differences and of the matrix, all times `unit`."""
    missed, total = Energy(), Energy()
    for columns, product, done in _panels(a, op, unit):
        total.add(columns)
        with np.errstate(over="ignore", invalid="ignore"):
            missed.add(columns - product)
        if progress is not None:
            progress(done)
    return missed, total


def _panels(a: Array, op: Any, unit: float) -> Iterator[tuple[Array, Array, float]]:
    """Yield parts of the matrix and of the operator, in double precision times `unit`, and the share that is done."""
    if not a.flags.f_contiguous:
        a, op = a.T, op.T
    m, n = a.shape  # columns are contiguous
    if n > _LONGER * m:
        yield from _long_panels(a, op, unit)
        return
    width = max(_PANEL_ENTRIES // max(m, n), 1)
    for start in range(0, n, width):
        part = _wide(a[:, start : start + width], unit)
        end = start + part.shape[1]
        yield part, _columns(op, start, end, unit), end / n


def _long_panels(a: Array, op: Any, unit: float) -> Iterator[tuple[Array, Array, float]]:
    """Yield panels of the rows, for matrices of far more columns than rows."""
    m, n = a.shape
    height, width = max(_PRODUCT_ENTRIES // n, 1), max(_PANEL_ENTRIES // m, 1)
    for first in range(0, m, height):
        rows = slice(first, min(first + height, m))
        product = _columns(op.T, first, rows.stop, unit).T
        for start in range(0, n, width):
            columns = slice(start, min(start + width, n))
            done = (rows.start + (rows.stop - rows.start) * columns.stop / n) / m
            yield _wide(a[rows, columns], unit), product[:, columns], done


def _columns(op: Any, first: int, end: int, unit: float) -> Array:
    if unit == 1:
        return op._some_columns(first, end)  # type: ignore[no-any-return]
    return op @ (unit * identity_panel(op.shape[1], first, end - first, op.dtype))  # type: ignore[no-any-return]


def _wide(a: Array, unit: float) -> Array:
    part = np.asarray(a)
    part = part.astype(np.result_type(part.dtype, np.float64))
    return part if unit == 1 else unit * part
