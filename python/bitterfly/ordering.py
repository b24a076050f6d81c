"""Orders of rows and columns in which matrices become butterflies, as index arrays."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np


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
