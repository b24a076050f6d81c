"""Stacks of operators: one above the other, side by side, or along the diagonal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

import numpy as np

from bitterfly.accuracy.derived import Derived, OfParts
from bitterfly.inputs import Array, IndexArray
from bitterfly.operators.contract import Composite, Operator, operators_of
from bitterfly.operators.dense import multiply_beside

Axis = Literal[0, 1, "diagonal"]
_TRANSPOSED: dict[Axis, Axis] = {0: 1, 1: 0, "diagonal": "diagonal"}


class ButterflyStack(Composite):
    """Operators one above the other, side by side, or along the diagonal of a matrix of zeros.

    With axis 0, ``A = [A_1; A_2; ...]``: the forward product is all ``A_t x`` one after the other, the adjoint the
    sum of ``A_t^H y_t``; with axis 1, ``A = [A_1, A_2, ...]``, the other way round. Along the diagonal, the product is
    all ``A_t x_t`` one after the other, the adjoint all ``A_t^H y_t``.

    Parameters
    ----------
    parts : iterable of operators
        With equal numbers of columns (axis 0) or of rows (axis 1).
    axis : {0, 1, "diagonal"}
    relative_error, error_kind : float, str, optional
        Default: what follows from the parts.

    Raises
    ------
    TypeError, ValueError
        Where there are no parts, some are no operators, or their sizes differ.

    Notes
    -----
    The squared error is the sum of those of all parts, and so is the energy of the matrix: relative to it, the error is
    at most the largest of the parts. That is its ``relative_error``.

    Products of dense codes one above the other that are all rotated by the same seed, of one rate each, rotate x and
    round it once.
    """

    kind = "stack"

    def __init__(
        self,
        parts: Iterable[Any],
        axis: Axis = 0,
        relative_error: float | None = None,
        error_kind: str | None = None,
    ) -> None:
        if axis not in (0, 1, "diagonal"):
            raise ValueError(f"axis: expected 0, 1 or 'diagonal', got {axis!r}")
        members = operators_of(parts, "ops")
        if not members:
            raise ValueError("ops: expected at least one operator, got none")
        rows, columns = ([p.shape[side] for p in members] for side in (0, 1))
        sides: dict[Axis, list[int]] = {0: columns, 1: rows, "diagonal": [0]}
        same = sides[axis]
        if any(size != same[0] for size in same):
            side = "columns" if axis == 0 else "rows"
            raise ValueError(f"ops: expected at least one operator, all with the same number of {side}, got {same}")
        self.axis = axis
        self._row_places = _places(rows, together=axis == 1)
        self._column_places = _places(columns, together=axis == 0)
        shape = self._row_places[-1].stop, self._column_places[-1].stop
        super().__init__(members, shape, relative_error, error_kind)

    def _derived(self) -> Derived:
        return OfParts()

    @property
    def parts(self) -> tuple[Operator, ...]:
        """The operators that are stacked."""
        return self._members

    def _remade(self, members: Sequence[Operator], transposed: bool = False, conjugated: bool = False) -> Self:
        return type(self)(members, _TRANSPOSED[self.axis] if transposed else self.axis)

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        sides = self._row_places, self._column_places
        if self.axis == (1 if transposed else 0):
            outs = (out[rows] for rows in sides[1 if transposed else 0])
            if multiply_beside(self.parts, x, outs, transposed, workers):
                return out
        added: set[int] = set()
        for part, rows, columns in zip(self.parts, *(sides[::-1] if transposed else sides), strict=True):
            if rows.start in added:
                with np.errstate(over="ignore", invalid="ignore"):  # as the products of all parts
                    out[rows] += part._product(x[columns], transposed, conjugated, workers)
            else:
                part._write(x[columns], out[rows], transposed, conjugated, workers)
                added.add(rows.start)
        return out

    def _rows(self, index: IndexArray) -> Array:
        if self.axis != 0:
            return super()._rows(index)
        out = np.empty((len(index), self.shape[1]), self.dtype)
        for part, rows in zip(self.parts, self._row_places, strict=True):
            here = (index >= rows.start) & (index < rows.stop)
            if here.any():
                out[here] = part._rows(index[here] - rows.start)
        return out


def _places(sizes: list[int], together: bool) -> list[slice]:
    """Return where the parts lie along a side: one after the other, or all in the same place."""
    if together:
        return [slice(0, sizes[0])] * len(sizes)
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def vstack(ops: Iterable[Any]) -> ButterflyStack:
    """Return operators one above the other.

    Parameters
    ----------
    ops : iterable of operators
        Of shapes (m_t, n), of any dtypes.

    Returns
    -------
    ButterflyStack
        Of shape (sum of m_t, n).

    Raises
    ------
    TypeError
        Where some are no operators.
    ValueError
        Where there are none, or their numbers of columns differ.
    """
    return ButterflyStack(ops)


def hstack(ops: Iterable[Any]) -> ButterflyStack:
    """Return operators side by side.

    Parameters
    ----------
    ops : iterable of operators
        Of shapes (m, n_t), of any dtypes.

    Returns
    -------
    ButterflyStack
        Of shape (m, sum of n_t).

    Raises
    ------
    TypeError
        Where some are no operators.
    ValueError
        Where there are none, or their numbers of rows differ.
    """
    return ButterflyStack(ops, axis=1)
