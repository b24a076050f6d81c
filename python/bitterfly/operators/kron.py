"""Kronecker products of two operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from bitterfly.accuracy.derived import Derived, OfKron
from bitterfly.inputs import Array
from bitterfly.operators.contract import Composite, Operator, operators_of


class ButterflyKron(Composite):
    """The Kronecker product of two operators.

    For x as a matrix X of as many rows as A has columns, row after row: ``(A x B) x = A X B^T``, row after row; the
    adjoint is the Kronecker product of the adjoints.

    Parameters
    ----------
    operators : iterable of two operators
        A and B, of any shapes and dtypes.
    relative_error, error_kind : float, str, optional
        Default: what follows from A and B: with errors a and b, at most ``a + b + a b``.

    Raises
    ------
    TypeError, ValueError
        Where they are not two, or no operators.
    """

    kind = "kron"

    def __init__(
        self, operators: Iterable[Any], relative_error: float | None = None, error_kind: str | None = None
    ) -> None:
        members = operators_of(operators, "operators")
        if len(members) != 2:
            raise ValueError(f"operators: expected two, got {len(members)}")
        (m, n), (p, q) = (op.shape for op in members)
        super().__init__(members, (m * p, n * q), relative_error, error_kind)

    def _derived(self) -> Derived:
        return OfKron()

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The two operators."""
        return self._members

    def _remade(self, members: Sequence[Operator], transposed: bool = False, conjugated: bool = False) -> Self:
        return type(self)(members)

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        (m, n), (p, q) = (op.shape[::-1] if transposed else op.shape for op in self.operators)
        cost_a, cost_b = (op.flops for op in self.operators)
        axes = (0, 1) if cost_a * q + cost_b * m <= cost_b * n + cost_a * p else (1, 0)
        y = x.reshape(n, q, x[:1].size)
        for axis in axes:
            vectors = np.moveaxis(y, axis, 0)
            y = self.operators[axis]._product(vectors.reshape(len(vectors), -1), transposed, conjugated, workers)
            y = np.moveaxis(y.reshape(len(y), *vectors.shape[1:]), 0, axis)
        out[...] = y.reshape(out.shape)
        return out


def kron(a: Operator, b: Operator) -> ButterflyKron:
    """Return the Kronecker product of two operators: blocks ``a[i, j] * b``.

    Parameters
    ----------
    a, b : operators
        Of shapes (m, n) and (p, q), of any dtypes.

    Returns
    -------
    ButterflyKron
        Of shape (m p, n q). A product takes those of `a` with q vectors and of `b` with m, or of `b` with n and of `a`
        with p, whichever is less work.

    Raises
    ------
    TypeError
        Where one is no operator.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> f = bitterfly.transforms.dft(8)
    >>> image = np.arange(64.0).reshape(8, 8)
    >>> np.allclose(bitterfly.kron(f, f) @ image.ravel(), np.fft.fft2(image).ravel())
    True
    """
    return ButterflyKron((a, b))
