"""A real matrix in the basis in which it is coded: near one, rotated, panel by panel of rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from bitterfly.accuracy.known import rounded_up
from bitterfly.dense.feedback import STRIP
from bitterfly.inputs import Array
from bitterfly.stores.dense.rotations import Rotation

_PANEL = 1 << 21  # entries that are rotated at once
_KEPT = 1 << 23  # entries of a matrix that is rotated once and kept
_MOST_EXPONENT = 1000
_UNIT = float(np.finfo(np.float64).eps) / 2


class Basis:
    """A matrix times ``2**-exponent``, its rows and columns rotated, in double precision.

    Parameters
    ----------
    a : ndarray, shape (m, n)
        float32, float64, or complex: then the real parts of all rows come first, the imaginary ones behind.
    inputs, outputs : int, optional
        Seeds of rotations of the columns and of the rows.
    """

    def __init__(self, a: Array, inputs: int | None, outputs: int | None) -> None:
        planes = [a.real, a.imag] if a.dtype.kind == "c" else [a]
        self._planes, self.inputs, self.outputs = planes, inputs, outputs
        self.shape = len(planes) * a.shape[0], a.shape[1]
        largest = max(max(float(np.max(part)), -float(np.min(part))) for part in planes)
        self.exponent = int(np.frexp(largest)[1])

    @property
    def seeds(self) -> int:
        """How many rotations there are."""
        return (self.inputs is not None) + (self.outputs is not None)

    @cached_property
    def energies(self) -> tuple[Array, Array]:
        """Squared norms of the rows, and of the columns."""
        rows, columns = np.empty(self.shape[0]), np.zeros(self.shape[1])
        for part, x in self.panels():
            rows[part] = np.einsum("ij,ij->i", x, x)
            columns += np.einsum("ij,ij->j", x, x)
        return rows, columns

    def panels(self) -> Iterator[tuple[slice, Array]]:
        """Yield slices of rows, whole strips but for the last one, and their numbers, new arrays."""
        m, n = self.shape
        height = max(_PANEL // n // STRIP, 1) * STRIP
        for first in range(0, m, height):
            rows = slice(first, min(first + height, m))
            yield rows, self._whole[rows].copy() if self._is_kept else self._rotated(rows)

    @property
    def _is_kept(self) -> bool:
        return self.outputs is not None or self.shape[0] * self.shape[1] <= _KEPT

    @cached_property
    def _whole(self) -> Array:
        """All rows, those of the rotated matrix."""
        m, n = self.shape
        out = np.empty((m, n))
        height = max(_PANEL // n, 1)
        for first in range(0, m, height):
            rows = slice(first, min(first + height, m))
            out[rows] = self._rotated(rows)
        return Rotation(m, self.outputs).forward(out) if self.outputs is not None else out

    def _rotated(self, rows: slice) -> Array:
        """Return rows whose columns alone are rotated."""
        size = self.shape[0] // len(self._planes)
        parts = []
        for at, plane in enumerate(self._planes):
            first, last = (min(max(end - at * size, 0), size) for end in (rows.start, rows.stop))
            if first < last:
                parts.append(_times_power(plane[first:last].astype(np.float64), -self.exponent))
        x = np.concatenate(parts)
        return x if self.inputs is None else Rotation(self.shape[1], self.inputs).forward(x.T).T

    @property
    def rounding(self) -> float:
        """Bound on what the rotations round, relative to the norm of the matrix."""
        sides = zip((self.outputs, self.inputs), self.shape, strict=True)
        return rounded_up(sum(Rotation(n, seed).rounding(_UNIT) for seed, n in sides if seed is not None), 2)


def _times_power(x: Array, exponent: int) -> Array:
    """Multiply by a power of two, in place where it is a number."""
    if abs(exponent) < _MOST_EXPONENT:
        x *= 2.0**exponent
        return x
    return np.ldexp(x, exponent)
