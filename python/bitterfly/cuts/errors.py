"""How far the first cuts of many are from a matrix or a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure
from bitterfly.cuts.terms import inner_products, unfolded_cuts
from bitterfly.inputs import Array
from bitterfly.operators.cuts import SignedCut


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

    Notes
    -----
    Rows are summed first, then their sums: of N numbers in r rows none goes through more than ``r + N / r`` additions,
    and any sum errs by at most so many unit roundoffs times ``(||A|| + sum |c| sqrt(N))^2``, w more for w cuts.
    """
    unfolded = a.reshape(len(a), -1)
    total = float(np.sum(np.einsum("ij,ij->i", unfolded, unfolded)))
    if total == 0:
        return np.zeros(len(c))
    gram = inner_products(sides)
    held = [np.einsum("wm,wm->w", sides[0][part], rest @ unfolded.T) for part, rest in unfolded_cuts(sides)]
    squares = total + np.cumsum(c * (c * a.size - 2 * np.concatenate(held) + 2 * (np.tril(gram, -1) @ c)))
    size, eps = np.cumsum(np.abs(c)) * np.sqrt(a.size), float(np.finfo(np.float64).eps)
    slack = eps * (sum(unfolded.shape) + len(c) + 4) * (np.sqrt(total) + size) ** 2
    return np.asarray(np.sqrt(np.maximum(squares, 0) + slack) / np.sqrt(total) * (1 + eps * sum(unfolded.shape)))


def measured(a: Array, c: Array, sides: Sequence[Array]) -> Known:
    """Return the error of all cuts of a matrix or tensor, by products of its unfolding along the first axis."""
    if not a.any():
        return Known(0.0, "exact")
    left = np.packbits(sides[0] < 0, axis=1, bitorder="little")
    right = np.concatenate([np.packbits(rest < 0, axis=1, bitorder="little") for _, rest in unfolded_cuts(sides)])
    unfolded = a.reshape(len(a), -1)
    return Known(measure(unfolded, SignedCut.from_bits(unfolded.shape, c, left, right)), "measured")
