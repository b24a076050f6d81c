"""Operators made of butterflies: sums, and stacks of rows and of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from bitterfly.inputs import Array


class ButterflySum(LinearOperator):  # type: ignore[misc]
    """The sum of operators of one shape: the forward product is ``sum A_t x``, the adjoint ``sum A_t^H y``.

    Attributes
    ----------
    terms : tuple of operators
    relative_error : float
    nbytes : int
    """

    def __init__(self, terms: Sequence[Any], relative_error: float = float("nan")) -> None:
        if not terms or any(t.shape != terms[0].shape for t in terms):
            raise ValueError("terms: expected at least one operator, all of one shape")
        super().__init__(np.result_type(*(t.dtype for t in terms)), terms[0].shape)
        self.terms = tuple(terms)
        self.relative_error = relative_error

    @property
    def nbytes(self) -> int:
        """Bytes of all terms."""
        return sum(t.nbytes for t in self.terms)

    def _matvec(self, x: Any) -> Any:
        return sum(t.matvec(x) for t in self.terms)

    def _rmatvec(self, x: Any) -> Any:
        return sum(t.rmatvec(x) for t in self.terms)

    def _matmat(self, X: Any) -> Any:
        return sum(t.matmat(X) for t in self.terms)

    def _rmatmat(self, X: Any) -> Any:
        return sum(t.rmatmat(X) for t in self.terms)

    def _adjoint(self) -> ButterflySum:
        return ButterflySum([t.H for t in self.terms], self.relative_error)

    def _transpose(self) -> ButterflySum:
        return ButterflySum([t.T for t in self.terms], self.relative_error)

    def todense(self) -> Array:
        """Return the dense matrix."""
        return np.asarray(sum(t.todense() for t in self.terms))


class ButterflyStack(LinearOperator):  # type: ignore[misc]
    """Operators with equal numbers of columns, one above the other.

    Attributes
    ----------
    parts : tuple of operators
    nbytes : int
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        if not parts or any(p.shape[1] != parts[0].shape[1] for p in parts):
            raise ValueError("ops: expected at least one operator, all with the same number of columns")
        shape = (sum(p.shape[0] for p in parts), parts[0].shape[1])
        super().__init__(np.result_type(*(p.dtype for p in parts)), shape)
        self.parts = tuple(parts)
        self._cuts = np.cumsum([p.shape[0] for p in parts])[:-1]

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(p.nbytes for p in self.parts)

    def _matvec(self, x: Any) -> Any:
        return np.concatenate([p.matvec(np.ravel(x)) for p in self.parts])

    def _rmatvec(self, x: Any) -> Any:
        return sum(p.rmatvec(y) for p, y in zip(self.parts, np.split(np.ravel(x), self._cuts), strict=True))

    def _matmat(self, X: Any) -> Any:
        return np.concatenate([p.matmat(X) for p in self.parts])

    def _rmatmat(self, X: Any) -> Any:
        return sum(p.rmatmat(Y) for p, Y in zip(self.parts, np.split(X, self._cuts), strict=True))

    def todense(self) -> Array:
        """Return the dense matrix."""
        return np.concatenate([p.todense() for p in self.parts])


def vstack(ops: Sequence[Any]) -> ButterflyStack:
    """Return operators one above the other.

    Raises
    ------
    ValueError
        Where there are none, or their numbers of columns differ.
    """
    return ButterflyStack(ops)


def hstack(ops: Sequence[Any]) -> LinearOperator:
    """Return operators side by side, the adjoint of their stacked adjoints.

    Raises
    ------
    ValueError
        Where there are none, or their numbers of rows differ.
    """
    if not ops or any(op.shape[0] != ops[0].shape[0] for op in ops):
        raise ValueError("ops: expected at least one operator, all with the same number of rows")
    return ButterflyStack([op.H for op in ops]).H
