"""Precisions: which casts are allowed, and what rounding costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitterfly.inputs import FLOATING, Array


def rounding_term(n: int, dtype: np.dtype[Any]) -> float:
    """Bound on the relative rounding error of the factors of an n x n matrix: 3 eps a factor, 4 eps if complex.

    On each level a direction is off by 3 units roundoff (its entries and its length), a projected row by 2 (real) or 4
    (complex, three products), and its product with the last factor by one more; an eps is two units.
    """
    return (4.0 if dtype.kind == "c" else 3.0) * (n.bit_length() - 1) * float(np.finfo(dtype).eps)


def cast_dtype(dtype: Any, current: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that an operator of dtype `current` may be cast to, else raise a TypeError."""
    target: np.dtype[Any] = np.dtype(dtype)
    if target not in FLOATING:
        raise TypeError(f"dtype: expected float32, float64, complex64 or complex128, got {target}")
    if current.kind == "c" and target.kind != "c":
        raise TypeError(f"dtype: a complex operator cannot become {target}")
    return target


def relative_change(old: Array, new: Array) -> float:
    """Return ``||new - old|| / ||old||`` for vectors of any scale; 0 for the zero vector."""
    wide = np.result_type(old.dtype, new.dtype)
    parts = np.ascontiguousarray(old, wide).view(np.float64)
    largest = np.max(np.abs(parts), initial=0.0)
    if largest == 0:
        return 0.0
    scaled = np.ldexp(parts, -np.frexp(largest)[1])
    change = np.ldexp(np.ascontiguousarray(new, wide).view(np.float64), -np.frexp(largest)[1]) - scaled
    return float(np.linalg.norm(change) / np.linalg.norm(scaled))


def split_rounding(rows: Sequence[int], ranks: Sequence[int], dtype: np.dtype[Any], full_rows: bool = False) -> float:
    """Bound on the relative rounding error of a left-to-right factorization on any chain.

    A split with blocks of `b` rows at rank `r` rounds the directions (one unit roundoff an entry, in the Frobenius norm
    ``sqrt(r)``) and sums of `b` products: ``(b + 2) sqrt(r)`` units, twice that for complex numbers; an eps is two
    units. `rows` are the radices of the rows, or with `full_rows` those times the rank of the junction before.
    """
    left = (1, *ranks) if not full_rows else (1,) * len(rows)
    heights = [p * r for p, r in zip(rows, left, strict=True)]
    terms = sum((b + 2) * np.sqrt(r) for b, r in zip(heights, (*ranks, 1), strict=True))
    return float(terms * (1.0 if dtype.kind == "c" else 0.5) * np.finfo(dtype).eps)
