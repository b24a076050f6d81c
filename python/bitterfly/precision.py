"""Precisions: which casts are allowed, and what rounding costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitterfly.inputs import FLOATING, Array

_LEAST_SQUARE = 1e-140


def rounding_term(n: int, dtype: np.dtype[Any]) -> float:
    """Bound on the relative rounding error of the factors of an n x n matrix: 3 eps a factor, 4 eps if complex.

    On each level a direction is off by 3 units roundoff (its entries and its length), a projected row by 2 (real) or 4
    (complex, three products), and its product with the last factor by one more; an eps is two units.
    """
    return (4.0 if dtype.kind == "c" else 3.0) * (n.bit_length() - 1) * float(np.finfo(dtype).eps)


def squares_fit(mean: float, dtype: np.dtype[Any]) -> bool:
    """Whether sums of squares near `mean` are far from the limits of a precision, and so are their own squares.

    Products of two entries of a Gram matrix decide which directions are the leading ones; they are in double precision.
    """
    tiny = float(np.finfo(dtype).tiny)
    return max(tiny * 1e12, _LEAST_SQUARE) < mean < min(1e-12 / tiny, 1 / _LEAST_SQUARE)


def decoding_term(factors: int, scale: Array) -> float:
    """Bound on the relative rounding error of direction codes as float factors, the last one times the scale vector.

    The errors of all columns are orthogonal, those of factors add up. Entries of unit columns are decoded to 16 units
    roundoff of double precision, those of a complex column together to sqrt(2) times that, then rounded to the dtype;
    the scale vector takes 3 more units (a complex product), and half a subnormal number an entry.
    """
    limits, double = np.finfo(scale.dtype), np.finfo(np.float64)
    largest = float(np.max(np.abs(scale), initial=0.0))
    if largest == 0:
        return 0.0
    subnormal = float(np.sqrt(2 * len(scale))) * (float(limits.smallest_subnormal) / largest)
    return float((factors + 4) * limits.eps / 2 + 24 * factors * double.eps / 2) + subnormal


def cast_dtype(dtype: Any, current: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that an operator of dtype `current` may be cast to, else raise a TypeError."""
    target: np.dtype[Any] = np.dtype(dtype)
    if target not in FLOATING:
        raise TypeError(f"dtype: expected float32, float64, complex64 or complex128, got {target}")
    if current.kind == "c" and target.kind != "c":
        raise TypeError(f"dtype: a complex operator cannot become {target}")
    return target


def cast_scale(scale: Array, target: np.dtype[Any]) -> Array:
    """Return a scale vector in another precision, read-only.

    Raises
    ------
    OverflowError
        Where it does not fit.
    """
    with np.errstate(over="ignore"):
        numbers = scale.astype(target)
    if not np.all(np.isfinite(numbers)):
        raise OverflowError(f"dtype: the scale vector does not fit {target}")
    numbers.flags.writeable = False
    return numbers


def in_double(op: Any) -> Any:
    """Return an operator of which products are taken in double precision, by all members too: the same numbers."""
    return op if _is_double(op) else op.astype(np.result_type(op.dtype, np.float64))


def _is_double(op: Any) -> bool:
    return getattr(op, "precision", "float") == "float" and op.dtype.char in "dD" and all(map(_is_double, op.members))


def split_rounding(rows: Sequence[int], ranks: Sequence[int], dtype: np.dtype[Any], full_rows: bool = False) -> float:
    """Bound on the relative rounding error of a left-to-right factorization on any chain.

    A split with blocks of `b` rows at rank `r` rounds its directions U, by one unit roundoff an entry, ``sqrt(r)``
    units in the norm, and sums ``U^H X`` row by row: each partial sum is ``U_j^H X_j`` with some rows of both, no
    longer than X since U is orthonormal, so that `b` additions cost `b` units of the norm of X. In all ``b + 2 +
    sqrt(r)`` units (2 for the products), with twice the rows for complex numbers; an eps is two units. `rows` are the
    radices of the rows, or with `full_rows` those times the rank of the junction before.
    """
    left = (1, *ranks) if not full_rows else (1,) * len(rows)
    heights = [p * r for p, r in zip(rows, left, strict=True)]
    terms = sum(b + 2 + np.sqrt(r) for b, r in zip(heights, (*ranks, 1), strict=True))
    return float(terms * (1.0 if dtype.kind == "c" else 0.5) * np.finfo(dtype).eps)
