"""Entries far larger than others, stored by themselves: what is left of a matrix takes fewer bits for the same error.

Dettmers, Lewis, Belkada, Zettlemoyer, LLM.int8() (NeurIPS 2022), keep columns of them apart; here it is single entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from bitterfly.inputs import Array
from bitterfly.operators.contract import Operator
from bitterfly.operators.sparse import SparseOperator
from bitterfly.powers import exponent_of

_PLACE = 32  # bits of a column, and of where a row begins
_PANEL = 1 << 20  # entries that are looked at at once
_WORTHWHILE = 0.01  # bits a number that they have to save


class Apart(NamedTuple):
    """A part of a matrix that is stored by itself, and the bits in all that this saves."""

    op: Operator
    saved: float


def worthwhile_outliers(a: Array) -> Apart | None:
    """Return the entries that save more than they take, as a sparse operator; None where these save next to nothing.

    Of N numbers with the energy E, those without entries of the energy e take ``1/2 log2(E / (E - e))`` bits less for
    the same error: one more entry is worth its b bits where it has more than ``2 ln(2) b / N`` of the energy left.
    """
    exponent, numbers = exponent_of(a), a.size * (2 if a.dtype.kind == "c" else 1)
    each = 8 * a.dtype.itemsize + _PLACE
    total = left = sum(float(squares.sum()) for _, squares in _squares(a, exponent))
    found: tuple[Array, Array] | None = None
    while left > 0:
        found, energy = _larger(a, exponent, 2 * np.log(2) * each / numbers * left)
        if not total - energy < left * (1 - 1e-6):
            break
        left = total - energy
    if found is None or not len(found[0]) or left <= 0:
        return None
    saved = 0.5 * np.log2(total / left) * numbers - each * len(found[0]) - _PLACE * (len(a) + 1)
    return Apart(_sparse(a, *found), float(saved)) if saved > _WORTHWHILE * numbers else None


def largest_entries(a: Array, count: int) -> SparseOperator:
    """Return the `count` entries of the largest moduli, of equal ones the first."""
    exponent = exponent_of(a)
    rows, columns, sizes = (np.empty(0, dtype) for dtype in (np.intp, np.intp, np.float64))
    for first, squares in _squares(a, exponent):
        flat = squares.ravel()
        some = np.argsort(-flat, kind="stable")[:count]
        i, j = np.unravel_index(some, squares.shape)
        rows, columns = np.concatenate([rows, i + first]), np.concatenate([columns, j])
        sizes = np.concatenate([sizes, flat[some]])
        best = np.argsort(-sizes, kind="stable")[:count]
        rows, columns, sizes = rows[best], columns[best], sizes[best]
    return _sparse(a, rows, columns)


def without(a: Array, part: Operator) -> Array:
    """Return a matrix less a part of it; with zeros where a sparse operator has its entries."""
    if not isinstance(part, SparseOperator):
        return np.asarray(a - part.todense())
    out = a.copy()
    out[part.matrix.nonzero()] = 0
    return out


def _squares(a: Array, exponent: int) -> Iterator[tuple[int, Array]]:
    """Yield panels of squared moduli times ``4**-exponent``, each with its first row."""
    height = max(_PANEL // a.shape[1], 1)
    for first in range(0, len(a), height):
        part = a[first : first + height]
        planes = (part.real, part.imag) if a.dtype.kind == "c" else (part,)
        yield first, sum(np.square(np.ldexp(x.astype(np.float64), -exponent)) for x in planes)  # type: ignore[misc]


def _larger(a: Array, exponent: int, least: float) -> tuple[tuple[Array, Array], float]:
    """Return the places of entries whose squared moduli are above a number, and the sum of these."""
    rows, columns, energy = [], [], 0.0
    for first, squares in _squares(a, exponent):
        i, j = np.nonzero(squares > least)
        rows.append(i + first)
        columns.append(j)
        energy += float(squares[i, j].sum())
    return (np.concatenate(rows), np.concatenate(columns)), energy


def _sparse(a: Array, rows: Array, columns: Array) -> SparseOperator:
    values: Any = a[rows, columns]
    return SparseOperator(csr_array((values, (rows, columns)), shape=a.shape, dtype=a.dtype))
