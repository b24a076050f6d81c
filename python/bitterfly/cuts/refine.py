"""Signed cuts made better together: signs that flip by themselves, coefficients by least squares."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from bitterfly import _core
from bitterfly.cuts.terms import Cuts, blocks, images, inner_products, unfolded_cuts
from bitterfly.inputs import Array

_RIDGE = 1e-5  # of the diagonal: what single precision rounds must not grow where cuts depend on each other
_LANES = 16
_TIMES = 2


def swept(rest: Array, cuts: Cuts, workers: int) -> tuple[Array, Cuts]:
    """Return what is left, and cuts whose signs have been looked at once more, and refitted.

    A row of signs against the other side is a quadratic problem of its own, of which each sign in turn takes the better
    value; its slopes are kept up to date by the Gram matrix of the other side. No step makes the error larger.

    Parameters
    ----------
    rest : ndarray of float32
        What these cuts and any others leave.
    """
    return (_swept_matrix if rest.ndim == 2 else _swept_tensor)(rest, cuts, workers)


def _swept_matrix(rest: Array, cuts: Cuts, workers: int) -> tuple[Array, Cuts]:
    """Sweep a matrix, whose residual follows flip by flip."""
    c, (rows, columns) = cuts
    rest = np.array(rest)
    rows, _ = _flipped(rest, c, rows, columns, columns @ columns.T, workers)
    gram, rest = rows @ rows.T, _turned(rest)
    columns, slopes = _flipped(rest, c, columns, rows, gram, workers)
    missed = np.einsum("wn,nw->w", columns, slopes, dtype=np.float64)  # c_i s_i^T R t_i
    gram *= columns @ columns.T
    change = _change(gram, c, missed)
    return _turned(rest) - Cuts(change, (rows, columns)).dense(), Cuts(c + change, (rows, columns))


def _swept_tensor(rest: Array, cuts: Cuts, workers: int) -> tuple[Array, Cuts]:
    """Sweep a tensor axis by axis: flips need inner products with what the cuts are to give, not the residual."""
    c, sides, given = cuts.c, list(cuts.sides), rest + cuts.dense()
    single = c.astype(np.float32)
    nothing = np.zeros((max(given.shape), 0), np.float32), np.zeros((len(c), 0), np.float32)
    for axis, own in enumerate(sides):
        others = sides[:axis] + sides[axis + 1 :]
        gram = np.outer(single, single)
        if others:
            gram *= inner_products(others)
        slopes = _along(given, sides, axis) * single - own.T @ gram
        sides[axis], slopes = _flip(own, slopes, gram, nothing[0][: len(slopes)], nothing[1], workers)
    missed = np.einsum("wn,nw->w", sides[-1], slopes, dtype=np.float64)
    better = Cuts(c + _change(inner_products(sides), c, missed), tuple(sides))
    return given - better.dense(), better


def _along(x: Array, sides: Sequence[Array], axis: int) -> Array:
    """Return the sums of a tensor over all axes but one, times the signs of each cut: shape (n, width)."""
    out, whole = np.empty((x.shape[axis], len(sides[0])), np.float32), x.reshape(len(x), -1)
    if axis == 0:
        for part, rest in unfolded_cuts(sides):
            out[:, part] = whole @ rest.T
        return out
    for part in blocks(len(sides[0]), whole.shape[1]):
        some = [side[part] for side in sides]
        own = (some[0] @ whole).reshape(len(some[0]), *x.shape[1:])
        out[:, part] = images(own, some[1:], axis - 1).T
    return out


def _turned(a: Array) -> Array:
    """Return the transpose, in its own order; NumPy alone would go through a column at a time."""
    out = np.empty(a.shape[::-1], a.dtype)
    for first in range(0, len(a), _LANES):
        out[:, first : first + _LANES] = a[first : first + _LANES].T
    return out


def _flipped(rest: Array, c: Array, own: Array, other: Array, gram: Array, workers: int) -> tuple[Array, Array]:
    """Return the signs of one side after their flips, and the slopes there for each row of `rest`, which follows."""
    single = c.astype(np.float32)
    weighted = other * single[:, None]
    return _flip(own, rest @ weighted.T, gram * np.outer(single, single), rest, weighted, workers)


def _flip(own: Array, slopes: Array, gram: Array, rest: Array, weighted: Array, workers: int) -> tuple[Array, Array]:
    """Return signs and slopes after the flips; rows of all that kernels read are as long as whole registers."""
    padding = -len(gram) % _LANES
    signs = np.pad(_turned(own), ((0, 0), (0, padding)), constant_values=1)
    slopes, steps = (np.pad(each, ((0, 0), (0, padding))) for each in (slopes, gram))
    _core.flip_signs(signs, slopes, steps, rest, weighted, _TIMES, workers)
    return _turned(signs[:, : len(gram)]), slopes[:, : len(gram)]


def _change(gram: Array, c: Array, missed: Array) -> Array:
    """Return what least squares add to coefficients, given the inner products of weighted cuts with what they miss."""
    some = c != 0
    wide = gram[np.ix_(some, some)].astype(np.float64)
    wide[np.diag_indices_from(wide)] *= 1 + _RIDGE
    out = np.zeros(len(c))
    with suppress(LinAlgError):
        out[some] = cho_solve(cho_factor(wide, overwrite_a=True, check_finite=False), missed[some] / c[some])
    return out
