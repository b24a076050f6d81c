"""Stacks of butterflies: one above the other, or side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from bitterfly.accuracy.known import weakest
from bitterfly.inputs import Array
from bitterfly.operators.composite import Composite, kinds_of, operators_of


class ButterflyStack(Composite):
    """Operators one above the other, or side by side.

    With axis 0, ``A = [A_1; A_2; ...]``: the forward product is all ``A_t x`` one after the other, the adjoint the
    sum of ``A_t^H y_t``; with axis 1, ``A = [A_1, A_2, ...]``, the other way round.

    Parameters
    ----------
    parts : iterable of operators
        With equal numbers of columns (axis 0) or of rows (axis 1).
    axis : {0, 1}

    Raises
    ------
    TypeError, ValueError
        Where there are no parts, some are no operators, or their sizes differ.

    Notes
    -----
    The squared error is the sum of those of all parts, and so is the energy of the matrix: relative to it, the error is
    at most the largest of the parts. That is its ``relative_error``.
    """

    def __init__(self, parts: Iterable[Any], axis: int = 0) -> None:
        if axis not in (0, 1):
            raise ValueError(f"axis: expected 0 or 1, got {axis!r}")
        members, same = operators_of(parts, "ops"), 1 - axis
        if not members or any(p.shape[same] != members[0].shape[same] for p in members):
            side = ("rows", "columns")[same]
            raise ValueError(f"ops: expected at least one operator, all with the same number of {side}")
        sizes = [p.shape[axis] for p in members]
        m, n = (sum(sizes), members[0].shape[1]) if axis == 0 else (members[0].shape[0], sum(sizes))
        error = float(np.max([getattr(p, "relative_error", np.nan) for p in members]))
        self.axis = axis
        self._cuts = np.cumsum(sizes)[:-1]
        super().__init__(members, (m, n), error, weakest(kinds_of(members)) if error == error else "estimated")

    @property
    def parts(self) -> tuple[Any, ...]:
        """The operators that are stacked."""
        return self._members

    def _remade(self, members: list[Any], transposed: bool = False) -> Self:
        return type(self)(members, self.axis ^ transposed)

    def _forward(self, x: Array) -> Array:
        return self._stacked(x) if self.axis == 0 else self._summed(x, adjoint=False)

    def _backward(self, y: Array) -> Array:
        return self._stacked(y, adjoint=True) if self.axis == 1 else self._summed(y, adjoint=True)

    def _stacked(self, x: Array, adjoint: bool = False) -> Array:
        return np.concatenate([p.rmatmat(x) if adjoint else p.matmat(x) for p in self.parts])

    def _summed(self, x: Array, adjoint: bool) -> Array:
        cut = zip(self.parts, np.split(x, self._cuts), strict=True)
        return np.asarray(sum(p.rmatmat(y) if adjoint else p.matmat(y) for p, y in cut))


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
