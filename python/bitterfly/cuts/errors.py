"""How far the first cuts of many are from a matrix or a tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bitterfly.inputs import Array

_AT_ONCE = 1 << 22  # numbers of cuts along all axes but the first


def errors_of_first(a: Array, c: Array, sides: Sequence[Array]) -> Array:
    """Return bounds on the relative errors of the first 1, 2, .. cuts.

    ``||A - A_k||^2`` loses twice ``c_k`` times the inner product of A with cut k, and gains ``c_k^2`` times its size
    and twice the inner products with cuts before; those of signs are exact, all others are sums in double precision.

    Parameters
    ----------
    a : ndarray of float64
        Near one.
    c : ndarray of float64
        The coefficients.
    sides : sequence of ndarrays of float32
        For each axis the signs, a row for each cut.
    """
    total = float(np.einsum("i,i", a.ravel(), a.ravel()))
    if total == 0:
        return np.zeros(len(c))
    gram = np.ones((len(c), len(c)))
    for side in sides:
        gram *= side @ side.T
    unfolded = a.reshape(len(a), -1)
    held = [np.einsum("wm,wm->w", sides[0][part], rest @ unfolded.T) for part, rest in unfolded_cuts(sides)]
    squares = total + np.cumsum(c * (c * a.size - 2 * np.concatenate(held) + 2 * (np.tril(gram, -1) @ c)))
    size, eps = np.cumsum(np.abs(c)) * np.sqrt(a.size), float(np.finfo(np.float64).eps)
    slack = eps * (sum(a.shape) + len(c)) * (np.sqrt(total) + size) ** 2
    return np.asarray(np.sqrt(np.maximum(squares, 0) + slack) / np.sqrt(total) * (1 + eps * a.size))


def unfolded_cuts(sides: Sequence[Array]) -> Iterator[tuple[slice, Array]]:
    """Yield some cuts at a time, and their signs along all axes but the first, a row for each."""
    length = int(np.prod([side.shape[1] for side in sides[1:]]))
    step = max(1, _AT_ONCE // length)
    for first in range(0, len(sides[0]), step):
        part = slice(first, first + step)
        rest = np.ones((len(sides[0][part]), 1), np.float32)
        for side in sides[1:]:
            rest = (rest[:, :, None] * side[part, None, :]).reshape(len(rest), -1)
        yield part, rest
