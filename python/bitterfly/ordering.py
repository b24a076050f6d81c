"""Orders of rows and columns in which matrices become butterflies, as index arrays."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

Order = np.ndarray[Any, np.dtype[np.intp]]
Points = np.ndarray[Any, np.dtype[np.float64]]
_REACH = 4  # times the width of 7/8 of the points: what lies further from them does not widen the range of cells
_SIGNIFICAND = 52  # as a float64, the number of the last cell, 2**bits - 1, is exact


def bit_reversal(n: int) -> Order:
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
    n = _power_of_two(n)
    order = np.zeros(1, dtype=np.intp)
    while order.size < n:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def digit_reversal(digits: Sequence[int]) -> Order:
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

    Raises
    ------
    ValueError
        Where there is no radix, or one below 1.

    Examples
    --------
    >>> digit_reversal([3, 2])
    array([0, 3, 1, 4, 2, 5])
    >>> digit_reversal([3, 2])[digit_reversal([2, 3])]
    array([0, 1, 2, 3, 4, 5])
    """
    radices = [index(x) for x in digits]
    if not radices or min(radices) < 1:
        raise ValueError(f"digits: expected radices of at least 1, got {list(digits)}")
    return np.arange(prod(radices), dtype=np.intp).reshape(radices[::-1]).transpose().reshape(-1)


def morton(points: npt.ArrayLike, bits: int | None = None) -> Order:
    """Return the order of points along the Z-curve.

    Parameters
    ----------
    points : array_like, shape (n, dim)
        Finite real coordinates, dim from 1 to 63.
    bits : int, optional
        Each coordinate is cut into ``2**bits`` cells of its range; from 1 to the default, ``min(52, 63 // dim)``. Of
        each coordinate, a sixteenth of the points on either side may be outliers (a number that stands for a missing
        one, say): further from the others than four times their width, they fall into the first or the last cell.

    Returns
    -------
    ndarray of intp, shape (n,)
        Stable: points of one cell keep their order. ``points[order]`` has neighbours near each other. The first
        coordinate decides first.

    Raises
    ------
    ValueError
        Where `points` is no matrix of finite numbers, or `bits` is out of range.
    TypeError
        Where `points` are not real numbers.

    Notes
    -----
    G. M. Morton, *A computer oriented geodetic data base* (1966).

    Examples
    --------
    >>> morton([[0, 0], [1, 1], [0, 1], [1, 0]])
    array([0, 2, 3, 1])
    """
    x = _as_points(points)
    most = min(_SIGNIFICAND, 63 // x.shape[1])
    bits = most if bits is None else index(bits)
    if not 1 <= bits <= most:
        raise ValueError(f"bits: expected 1 to {most} for {x.shape[1]} coordinates, got {bits}")
    cells = _cells(x, bits)
    code = np.zeros(len(x), np.uint64)
    for bit in range(bits - 1, -1, -1):
        for axis in cells.T:
            code = (code << np.uint64(1)) | ((axis >> np.uint64(bit)) & np.uint64(1))
    return np.argsort(code, kind="stable")


def kd_tree(points: npt.ArrayLike, leaf: int = 1) -> Order:
    """Return the order of points by recursive median splits, each along the longest side of its box.

    Parameters
    ----------
    points : array_like, shape (n, dim)
        Finite real coordinates, dim from 1 to 63.
    leaf : int
        Boxes of at most so many points are not split; inside them, points keep the order of the last split.

    Returns
    -------
    ndarray of intp, shape (n,)
        The first half of a box, the larger one where its count is odd, comes before the second half; equal points
        keep their order.

    Raises
    ------
    ValueError
        Where `points` is no matrix of finite numbers, or `leaf` is below 1.
    TypeError
        Where `points` are not real numbers.

    Notes
    -----
    J. L. Bentley, *Multidimensional binary search trees used for associative searching* (1975). All boxes of a level
    are split at once: one sort a level, of integers.

    Examples
    --------
    >>> kd_tree([[3.0], [1.0], [2.0], [0.0]])
    array([3, 1, 2, 0])
    """
    x, leaf = _as_points(points), index(leaf)
    halved = x / 2  # no side of a box overflows
    if leaf < 1:
        raise ValueError(f"leaf: expected at least 1, got {leaf}")
    order = np.arange(len(x), dtype=np.intp)
    place = np.stack([_places(column) for column in x.T], axis=1)
    cuts = np.array([0, len(x)])
    while np.any(large := np.diff(cuts) > leaf):
        order = _sorted_boxes(halved, place, order, cuts, large)
        middles = (cuts[:-1] + cuts[1:] + 1) // 2
        cuts = np.sort(np.concatenate([cuts, middles[large]]))
    return order


def recursive(n: int) -> dict[str, Order]:
    """Return the eight classical recursive permutations of ``range(n)``.

    Each level may separate even from odd places, reverse the first half, and reverse the second half, with the same
    choice at all levels: among them the identity and bit reversal. They are eight different ones from ``n = 8`` on.

    Parameters
    ----------
    n : int
        A power of two, at least 1.

    Returns
    -------
    dict of str to ndarray of intp
        Keys join what is done: "identity", "separate" (bit reversal), "reverse_first", "separate_reverse_first", ...
        Entry `i` of each is the index that comes to place `i`.

    Raises
    ------
    ValueError
        Where `n` is not a power of two.

    Notes
    -----
    Dao et al., *Learning fast algorithms for linear transforms using butterfly factorizations* (2019) and
    *Kaleidoscope* (2020).

    Examples
    --------
    >>> sorted(recursive(4))[:2]
    ['identity', 'reverse_first']
    >>> recursive(8)["separate"]
    array([0, 4, 2, 6, 1, 5, 3, 7])
    """
    n = _power_of_two(n)
    out = {}
    for choice in range(8):
        steps = [name for bit, name in enumerate(("separate", "reverse_first", "reverse_second")) if choice >> bit & 1]
        out["_".join(steps) or "identity"] = _recursive(np.arange(n, dtype=np.intp), steps)
    return out


def _power_of_two(n: int) -> int:
    n = index(n)
    if n < 1 or n & (n - 1):
        raise ValueError(f"n: expected a power of two, got {n}")
    return n


def _recursive(x: Order, steps: list[str]) -> Order:
    """Permute each of the rows of a growing stack, level by level."""
    rows = x.reshape(1, -1)
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        first, second = (rows[:, ::2], rows[:, 1::2]) if "separate" in steps else (rows[:, :half], rows[:, half:])
        first = first[:, ::-1] if "reverse_first" in steps else first
        second = second[:, ::-1] if "reverse_second" in steps else second
        rows = np.stack([first, second], axis=1).reshape(-1, half)
    return rows.reshape(-1)


def _as_points(points: npt.ArrayLike) -> Points:
    x = np.asarray(points)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"points: expected real coordinates, got {x.dtype}")
    if x.ndim != 2 or not 1 <= x.shape[1] <= 63:
        raise ValueError(f"points: expected shape (n, dim), dim 1 to 63, got shape {x.shape}")
    if not np.all(np.isfinite(x)):
        raise ValueError("points: expected finite coordinates, got NaN or infinity")
    return x.astype(np.float64)


def _cells(x: Points, bits: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Cut the range of each column, far outliers aside, into 2**bits cells; return their numbers.

    Halved, no range overflows.
    """
    if not len(x):
        return x.astype(np.uint64)
    rest = len(x) // 16
    x = x / 2
    ends = np.partition(x, (rest, len(x) - 1 - rest), axis=0)
    low, high = ends[rest], ends[len(x) - 1 - rest]
    with np.errstate(over="ignore"):  # a reach that overflows leaves all points where they are
        reach = np.where(high > low, _REACH * (high - low), np.inf)
        from_low = np.clip(x, low - reach, high + reach)
    from_low -= from_low.min(axis=0)
    span = from_low.max(axis=0)
    scaled = from_low / np.where(span > 0, span, 1.0) * 2.0**bits
    cells: np.ndarray[Any, np.dtype[np.uint64]] = np.minimum(scaled, 2.0**bits - 1).astype(np.uint64)
    return cells


def _places(column: Points) -> Order:
    """Return the place of each number in the stable sort of a column."""
    out = np.empty(len(column), dtype=np.intp)
    out[np.argsort(column, kind="stable")] = np.arange(len(column), dtype=np.intp)
    return out


def _sorted_boxes(x: Points, place: Order, order: Order, cuts: Order, large: np.ndarray[Any, Any]) -> Order:
    """Sort each large box, ``order[cuts[i]:cuts[i + 1]]``, along its longest side."""
    box = np.repeat(np.arange(len(large)), np.diff(cuts))
    inside = x[order]
    sides = np.maximum.reduceat(inside, cuts[:-1]) - np.minimum.reduceat(inside, cuts[:-1])
    along = np.where(large[box], place[order, np.argmax(sides, axis=1)[box]], np.arange(len(x)))
    return order[np.argsort(box * len(x) + along)]
