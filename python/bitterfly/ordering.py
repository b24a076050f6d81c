"""Orders of rows and columns in which matrices become butterflies, as index arrays."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt


def bit_reversal(n: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the bit-reversed order of ``range(n)``.

    Parameters
    ----------
    n : int
        A power of two, at least 1.

    Returns
    -------
    ndarray of intp, shape (n,)
        Entry `i` is `i` with its ``log2(n)`` binary digits read backwards; the permutation is its
        own inverse.

    Raises
    ------
    ValueError
        Where `n` is not a power of two.

    Examples
    --------
    >>> bit_reversal(8)
    array([0, 4, 2, 6, 1, 5, 3, 7])
    """
    n = index(n)
    if n < 1 or n & (n - 1):
        raise ValueError(f"n: expected a power of two, got {n}")
    order = np.zeros(1, dtype=np.intp)
    while order.size < n:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def digit_reversal(digits: Sequence[int]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the digit-reversed order for mixed radices.

    Parameters
    ----------
    digits : sequence of int
        Radices, most significant first, each at least 1.

    Returns
    -------
    ndarray of intp, shape (prod(digits),)
        Entry `i`, of digits ``(x_1, ..., x_k)``, is the number with the digits ``(x_k, ..., x_1)`` in the reversed
        radices. Its inverse is the order of the reversed radices; for radices 2 it is `bit_reversal`.

    Examples
    --------
    >>> digit_reversal([3, 2])
    array([0, 3, 1, 4, 2, 5])
    """
    radices = [index(x) for x in digits]
    if not radices or min(radices) < 1:
        raise ValueError(f"digits: expected radices of at least 1, got {list(digits)}")
    n = int(np.prod(radices))
    return np.arange(n, dtype=np.intp).reshape(radices[::-1]).transpose().reshape(-1)


def morton(points: npt.ArrayLike) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the order of points along the Z-curve.

    Parameters
    ----------
    points : array_like, shape (n, dim)
        Finite coordinates, dim from 1 to 63. Each is quantized to ``63 // dim`` bits of its range.

    Returns
    -------
    ndarray of intp, shape (n,)
        Stable: points of one cell keep their order. ``points[order]`` has neighbours near each other.

    Raises
    ------
    ValueError
        Where `points` is no matrix of finite numbers.

    Notes
    -----
    G. M. Morton, *A computer oriented geodetic data base* (1966).

    Examples
    --------
    >>> morton([[0, 0], [1, 1], [0, 1], [1, 0]])
    array([0, 2, 3, 1])
    """
    x = _as_points(points)
    count, dim = x.shape
    bits = 63 // dim
    low, high = x.min(axis=0, initial=np.inf), x.max(axis=0, initial=-np.inf)
    span = np.where(high > low, high - low, 1.0) if count else np.ones(dim)
    cells = np.minimum((x - low) / span * 2.0**bits, 2.0**bits - 1).astype(np.uint64) if count else x.astype(np.uint64)
    code = np.zeros(count, np.uint64)
    for bit in range(bits - 1, -1, -1):
        for axis in range(dim):
            code = (code << np.uint64(1)) | ((cells[:, axis] >> np.uint64(bit)) & np.uint64(1))
    return np.argsort(code, kind="stable")


def kd_tree(points: npt.ArrayLike) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the order of points by recursive halving at the median of the longest side.

    Every half of half ... of the order is a box of a balanced k-d tree, whatever the density of the points (J. L.
    Bentley, Comm. ACM 18, 1975), so that the runs of a butterfly of n = 2^p points are its boxes.

    Parameters
    ----------
    points : array_like, shape (n, dim)
        Finite coordinates.

    Returns
    -------
    ndarray of intp, shape (n,)

    Raises
    ------
    ValueError
        Where `points` is no matrix of finite numbers.

    Examples
    --------
    >>> kd_tree([[3.0], [1.0], [2.0], [0.0]])
    array([3, 1, 2, 0])
    """
    x = _as_points(points)
    order = np.arange(len(x), dtype=np.intp)
    cuts = np.array([0, len(x)])
    while np.max(np.diff(cuts), initial=0) > 1:
        sizes = np.diff(cuts)
        box = np.repeat(np.arange(len(sizes)), sizes)
        sides = np.maximum.reduceat(x[order], cuts[:-1]) - np.minimum.reduceat(x[order], cuts[:-1])
        axis = np.argmax(sides, axis=1)[box]
        order = order[np.lexsort((x[order, axis], box))]
        middles = cuts[:-1] + (sizes + 1) // 2
        cuts = np.unique(np.concatenate([cuts, middles[sizes > 1]]))
    return order


def recursive(n: int) -> dict[str, np.ndarray[Any, np.dtype[np.intp]]]:
    """Return the eight classical recursive permutations of ``range(n)``.

    Each level may separate even from odd places, reverse the first half, and reverse the second half, with the same
    choice at all levels (Dao et al., *Kaleidoscope*, 2020): among them the identity and bit reversal.

    Parameters
    ----------
    n : int
        A power of two, at least 1.

    Returns
    -------
    dict of str to ndarray of intp
        Keys join what is done: "identity", "separate" (bit reversal), "reverse_first", ...

    Raises
    ------
    ValueError
        Where `n` is not a power of two.

    Examples
    --------
    >>> sorted(recursive(4))[:2]
    ['identity', 'reverse_first']
    >>> recursive(8)["separate"]
    array([0, 4, 2, 6, 1, 5, 3, 7])
    """
    n = index(n)
    if n < 1 or n & (n - 1):
        raise ValueError(f"n: expected a power of two, got {n}")
    out = {}
    for choice in range(8):
        steps = [name for bit, name in enumerate(("separate", "reverse_first", "reverse_second")) if choice >> bit & 1]
        out["_".join(steps) or "identity"] = _recursive(np.arange(n, dtype=np.intp), steps)
    return out


def _recursive(x: np.ndarray[Any, np.dtype[np.intp]], steps: list[str]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Permute each of the rows of a growing stack, level by level."""
    rows = x.reshape(1, -1)
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        first, second = (rows[:, ::2], rows[:, 1::2]) if "separate" in steps else (rows[:, :half], rows[:, half:])
        first = first[:, ::-1] if "reverse_first" in steps else first
        second = second[:, ::-1] if "reverse_second" in steps else second
        rows = np.stack([first, second], axis=1).reshape(-1, half)
    return rows.reshape(-1)


def _as_points(points: npt.ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    x = np.asarray(points, dtype=np.float64)
    if x.ndim != 2 or not 1 <= x.shape[1] <= 63 or not np.all(np.isfinite(x)):
        raise ValueError(f"points: expected finite coordinates of shape (n, dim), dim 1 to 63, got shape {x.shape}")
    return x
