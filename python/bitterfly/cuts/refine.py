"""Signed cuts made better together: signs that flip by themselves, coefficients by least squares."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from bitterfly import _core
from bitterfly.inputs import Array

_RIDGE = 1e-10  # of the diagonal: cuts may depend on each other
_LANES = 16
_TIMES = 2


class Cuts(NamedTuple):
    """Coefficients in double precision, and signs as 1 and -1 in single precision, a row for each cut."""

    c: Array
    rows: Array
    columns: Array

    def split(self, count: int) -> tuple[Cuts, Cuts]:
        """Return so many cuts, and the others."""
        return Cuts(*(part[:count] for part in self)), Cuts(*(part[count:] for part in self))

    def dense(self) -> Array:
        """Return the matrix in single precision."""
        return (self.rows * self.c.astype(np.float32)[:, None]).T @ self.columns


def joined(parts: Iterable[Cuts]) -> Cuts:
    """Return all cuts as one."""
    return Cuts(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def none(m: int, n: int) -> Cuts:
    """Return no cuts of a matrix of this shape."""
    return Cuts(np.zeros(0), np.zeros((0, m), np.float32), np.zeros((0, n), np.float32))


def swept(rest: Array, cuts: Cuts, workers: int) -> tuple[Array, Cuts]:
    """Return what is left, and cuts whose signs have been looked at once more, and refitted.

    A row of signs against the other side is a quadratic problem of its own, of which each sign in turn takes the better
    value; its slopes are kept up to date by the Gram matrix of the other side. No step makes the error larger.

    Parameters
    ----------
    rest : ndarray of float32
        What these cuts and any others leave.
    """
    c, rows, columns = cuts
    rest = np.array(rest)
    rows, _ = _flipped(rest, c, rows, columns, columns @ columns.T, workers)
    gram, rest = rows @ rows.T, _turned(rest)
    columns, slopes = _flipped(rest, c, columns, rows, gram, workers)
    missed = np.einsum("wn,nw->w", columns, slopes, dtype=np.float64)  # c_i s_i^T R t_i
    gram *= columns @ columns.T
    change = _change(gram, c, missed)
    return _turned(rest) - Cuts(change, rows, columns).dense(), Cuts(c + change, rows, columns)


def _turned(a: Array) -> Array:
    """Return the transpose, in its own order; NumPy alone would go through a column at a time."""
    out = np.empty(a.shape[::-1], a.dtype)
    for first in range(0, len(a), _LANES):
        out[:, first : first + _LANES] = a[first : first + _LANES].T
    return out


def _flipped(rest: Array, c: Array, own: Array, other: Array, gram: Array, workers: int) -> tuple[Array, Array]:
    """Return the signs of one side after their flips, and the slopes there for each row of `rest`, which follows."""
    width, padded, single = len(c), -(-len(c) // _LANES) * _LANES, c.astype(np.float32)
    weighted = other * single[:, None]
    slopes, steps = (np.zeros((count, padded), np.float32) for count in (len(rest), width))
    np.matmul(rest, weighted.T, out=slopes[:, :width])
    np.multiply(gram, np.outer(single, single), out=steps[:, :width])
    signs = np.ones((len(rest), padded), np.float32)
    signs[:, :width] = _turned(own)
    _core.flip_signs(signs, slopes, steps, rest, weighted, _TIMES, workers)
    return _turned(signs[:, :width]), slopes[:, :width]


def _change(gram: Array, c: Array, missed: Array) -> Array:
    """Return what least squares add to coefficients, given the inner products of weighted cuts with what they miss."""
    some = c != 0
    wide = gram[np.ix_(some, some)].astype(np.float64)
    wide[np.diag_indices_from(wide)] *= 1 + _RIDGE
    out = np.zeros(len(c))
    with suppress(LinAlgError):
        out[some] = cho_solve(cho_factor(wide, overwrite_a=True, check_finite=False), missed[some] / c[some])
    return out
