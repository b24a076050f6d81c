"""The true relative error of an operator against a dense matrix, panel by panel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitterfly.inputs import Array
from bitterfly.linear import identity_panel
from bitterfly.operator import ButterflyOperator, PackedButterfly

_PANEL_ENTRIES = 1 << 17  # in double precision a megabyte: panels stay in the cache


def measure(
    a: Array,
    op: ButterflyOperator | PackedButterfly,
    progress: Callable[[float], None] | None = None,
) -> float:
    """Return ``||a - op||_F / ||a||_F``, panel by panel, without forming `op` as a dense matrix.

    Parameters
    ----------
    a : ndarray, shape (m, n)
        Memory maps are read once, along their rows or columns as they lie in memory.
    op : ButterflyOperator or PackedButterfly
        Applied in its own precision; differences and sums are in double precision.
    progress : callable, optional
        Called with the share that is done.
    """
    if not a.flags.f_contiguous:
        a, op = a.T, op.T
    n = a.shape[1]
    width = max(_PANEL_ENTRIES // max(a.shape), 1)
    missed, total = Energy(), Energy()
    for start in range(0, n, width):
        columns = np.asarray(a[:, start : start + width])
        columns = columns.astype(np.result_type(columns.dtype, np.float64))
        total.add(columns)
        missed.add(columns - op @ identity_panel(n, start, columns.shape[1], np.dtype(op.dtype)))
        if progress is not None:
            progress(min(start + width, n) / n)
    return missed.over(total)


class Energy:
    """A sum of squared moduli that neither overflows nor underflows: ``scale**2 * sum``."""

    def __init__(self) -> None:
        self.scale = 0.0
        self.sum = 0.0

    def add(self, block: Array) -> None:
        """Add numbers in double precision."""
        real = np.ravel(block, order="K").view(np.float64)
        largest = max(float(real.max()), -float(real.min()))
        if not largest <= self.scale:  # NaN goes in as well, and stays
            self.sum *= (self.scale / largest) ** 2
            self.scale = largest
        if 1e-100 < self.scale < 1e100:
            self.sum += float(np.einsum("i,i", real, real)) / self.scale**2
        elif self.scale != 0:
            with np.errstate(invalid="ignore"):
                real = real / self.scale
            self.sum += float(np.einsum("i,i", real, real))

    def over(self, other: Energy) -> float:
        """Return the ratio of the square roots; 0 / 0 is 0."""
        if self.sum == 0:
            return 0.0
        if other.sum == 0:
            return float("inf")
        return self.scale / other.scale * float(np.sqrt(self.sum / other.sum))
