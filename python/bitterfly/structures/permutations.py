"""Permutations as operators."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, IndexArray
from bitterfly.operators.contract import Operator, checked_error
from bitterfly.operators.report import CompressReport
from bitterfly.operators.views import FLAGS, Mode, checked_mode
from bitterfly.precision import cast_dtype


class PermutationOperator(Operator):
    """The permutation matrix with ones at ``(i, order[i])``: ``(P @ x)[i] = x[order[i]]``.

    Parameters
    ----------
    order : array_like of int, shape (n,)
        Each of 0, ..., n - 1 once.
    dtype : dtype, optional
        float32 (default), float64, complex64 or complex128.
    relative_error, error_kind : float, str, optional
        What is known about the error against an original matrix. Default: none, this is the matrix.
    mode : {"forward", "transpose", "adjoint", "conjugate"}, optional
        Which view of the order the operator is.
    report : CompressReport, optional
        How :func:`compress` made the operator.

    Raises
    ------
    ValueError
        Where `order` is no permutation.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> op = bitterfly.structures.PermutationOperator([2, 0, 1])
    >>> op @ np.array([1.0, 2.0, 3.0]), op.T @ (op @ np.array([1.0, 2.0, 3.0]))
    (array([3., 1., 2.]), array([1., 2., 3.]))
    """

    kind = "permutation"

    def __init__(
        self,
        order: Any,
        *,
        dtype: Any = np.float32,
        relative_error: float = 0.0,
        error_kind: str = "exact",
        mode: str = "forward",
        report: CompressReport | None = None,
    ) -> None:
        own = cast_dtype(dtype, np.dtype(dtype))
        self._order = _checked(order)
        self._is_inverse = FLAGS[checked_mode(mode, own)][0]
        self.report = report
        n = len(self._order)
        super().__init__(own, (n, n), checked_error(relative_error, error_kind))

    @property
    def order(self) -> IndexArray:
        """The column of the one in each row."""
        return np.argsort(self._order) if self._is_inverse else self._order.astype(np.intp)

    @property
    def stored_order(self) -> Array:
        """The stored order, uint32, read-only."""
        return self._order

    @property
    def mode(self) -> Mode:
        """Which view of the stored order the operator is."""
        return "transpose" if self._is_inverse else "forward"

    @property
    def nbytes(self) -> int:
        """Bytes of the order."""
        return int(self._order.nbytes)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """None: ones are not stored."""
        return (Numbers(0, 0),)

    @property
    def log2_norm(self) -> float:
        """The logarithm to base 2 of the Frobenius norm."""
        return float(np.log2(len(self._order))) / 2

    @property
    def log2_rounding_gain(self) -> float:
        """The logarithm of what a product rounds of a vector of length one: nothing."""
        return -np.inf

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        if self._is_inverse ^ transposed:
            out[self._order] = x
        else:
            out[...] = x[self._order]
        return out

    def _flipped(self, transposed: bool, conjugated: bool) -> Self:
        return self._viewed(_is_inverse=self._is_inverse ^ transposed)

    def astype(self, dtype: Any) -> Self:
        """Return the operator in another precision."""
        return self._viewed(dtype=np.dtype(cast_dtype(dtype, self.dtype).type))

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {"dtype": self.dtype, "mode": self.mode, "report": self.report} | Known.of(self).facts
        return _rebuilt, (self._order, facts)


def _rebuilt(order: Array, facts: dict[str, Any]) -> PermutationOperator:
    return PermutationOperator(order, **facts)


def _checked(order: Any) -> Array:
    given = np.asarray(order)
    if given.ndim != 1 or given.dtype.kind not in "iu" or not 0 < given.size < 1 << 32:
        raise ValueError(f"order: expected integers of shape (n,), got {given.dtype} of shape {given.shape}")
    seen = np.zeros(given.size, bool)
    if given.min() >= 0 and given.max() < given.size:
        seen[given] = True
    if not seen.all():
        raise ValueError(f"order: expected each of 0 to {given.size - 1} once")
    out = given.astype(np.uint32)
    out.flags.writeable = False
    return out
