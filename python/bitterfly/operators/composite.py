"""Operators made of butterflies: what sums and stacks share, and sums."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from scipy.sparse.linalg import LinearOperator

from bitterfly.accuracy.change import after_cast
from bitterfly.accuracy.known import ERROR_KINDS, ErrorKind, weakest
from bitterfly.bits import Numbers, Stored
from bitterfly.inputs import Array, as_floating
from bitterfly.operators.linear import Butterfly, Products, check_columns, check_out, product_shape
from bitterfly.precision import cast_dtype
from bitterfly.workers import as_workers, set_workers


class Composite(Stored, Products):
    """What sums and stacks share: products of all members, views of all members, the dense matrix."""

    __array_priority__ = 20.0
    relative_error: float
    error_kind: ErrorKind

    def __init__(self, members: tuple[Any, ...], shape: tuple[int, int], error: float, kind: str) -> None:
        super().__init__(np.result_type(*(op.dtype for op in members)), shape)
        if kind not in ERROR_KINDS:
            raise ValueError(f"error_kind: expected one of {', '.join(ERROR_KINDS)}, got {kind!r}")
        if float(error) < 0:
            raise ValueError(f"relative_error: expected a number >= 0 or nan (unknown), got {error!r}")
        self._members = members
        self.relative_error = float(error)
        self.error_kind = weakest([kind])  # the last: nothing is set from here on

    def __setattr__(self, name: str, value: Any) -> None:
        if "error_kind" in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is immutable: cannot set {name!r}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot delete {name!r}")

    def _remade(self, members: list[Any], transposed: bool = False) -> Self:
        """Return the same of other members, or its transpose of their transposes."""
        raise NotImplementedError

    def _forward(self, x: Array) -> Array:
        raise NotImplementedError

    def _backward(self, y: Array) -> Array:
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Bytes of all members."""
        return sum(op.nbytes for op in self._members)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that each factor of all members stores, and their bits."""
        return tuple(part for op in self._members for part in op.numbers)

    def __repr__(self) -> str:
        return (
            f"<{self.shape[0]} x {self.shape[1]} {type(self).__name__} of {len(self._members)} operators of "
            f"{self.dtype}, {self.mean_bits:.3g} bits per stored number, "
            f"relative error {self.relative_error:.2e} ({self.error_kind})>"
        )

    # ---- products ----

    def apply(self, x: Any, out: Array | None = None, workers: int | None = None) -> Array:
        """Return the product with a vector, a matrix or a batch of matrices, as `ButterflyOperator.apply` does.

        Parameters
        ----------
        x : array_like, shape (n,), (n, k) or (..., n, k)
            Numbers of any dtype and strides; the operator has the shape (m, n).
        out : ndarray, optional
            Takes the result: shape (m,), (m, k) or (..., m, k), dtype ``result_type(op.dtype, x.dtype)``, writable.
        workers : int, optional
            Threads, see `bitterfly.set_workers`, which sets the default. Results do not depend on it.

        Returns
        -------
        ndarray
            `out`, or a new array.

        Raises
        ------
        ValueError, TypeError
            Where shapes or dtypes do not match.
        """
        x = as_floating(x, "x")
        check_columns(x.shape, self.shape[1])
        shape, dtype = product_shape(self.shape[0], x.shape), np.result_type(self.dtype, x.dtype)
        if out is None:
            out = np.empty(shape, dtype)
        else:
            check_out(out, shape, dtype)
            x = x.copy() if np.may_share_memory(x, out) else x
        with set_workers(as_workers(workers)):
            for index in np.ndindex(x.shape[:-2]):
                out[index] = self._forward(x[index].reshape(self.shape[1], -1)).reshape(out[index].shape)
        return out

    def _columns(self, x: Any, adjoint: bool) -> Array:
        """Product with the columns of x of shape (..., n, k)."""
        x = as_floating(x, "x")
        rows = self.shape[1 if adjoint else 0]
        out = np.empty((*x.shape[:-2], rows, x.shape[-1]), np.result_type(self.dtype, x.dtype))
        for index in np.ndindex(x.shape[:-2]):
            out[index] = self._backward(x[index]) if adjoint else self._forward(x[index])
        return out

    def _vectors(self, x: Any, adjoint: bool) -> Array:
        """Product with x of shape (n,), (n, 1) or, for batches, (..., n)."""
        x = np.asarray(x)
        rows, columns = self.shape[::-1] if adjoint else self.shape
        if x.shape[0] == columns and x.ndim <= 2 and x.size == columns:
            return self._columns(x.reshape(columns, 1), adjoint).reshape(rows, *x.shape[1:])
        return self._columns(x.reshape(-1, columns).T, adjoint).T.reshape(*x.shape[:-1], rows)

    def _matvec(self, x: Any) -> Array:
        return self._vectors(x, adjoint=False)

    def _rmatvec(self, x: Any) -> Array:
        return self._vectors(x, adjoint=True)

    def _matmat(self, X: Any) -> Array:
        return self._columns(X, adjoint=False)

    def _rmatmat(self, X: Any) -> Array:
        return self._columns(X, adjoint=True)

    # ---- views ----

    def _adjoint(self) -> Self:
        return self._remade([op.H for op in self._members], transposed=True)

    def _transpose(self) -> Self:
        return self._remade([op.T for op in self._members], transposed=True)

    def conj(self) -> Self:
        """Return the complex conjugate, views of the same buffers."""
        return self._remade([op.H.T for op in self._members])

    def astype(self, dtype: Any) -> Self:
        """Return the operator with members of another precision, see `ButterflyOperator.astype`."""
        target = cast_dtype(dtype, np.dtype(self.dtype))
        return self._remade([op.astype(target) for op in self._members])


class ButterflySum(Composite):
    """The sum of operators of one shape: the forward product is ``sum A_t x``, the adjoint ``sum A_t^H y``.

    Parameters
    ----------
    terms : iterable of operators
    relative_error : float, optional
        Of the sum against an original matrix. Default: NaN, not known.
    error_kind : str, optional
        How it is known. Default: the weakest kind of all terms; "estimated" where it is not known.

    Raises
    ------
    TypeError, ValueError
        Where there are no terms, some are no operators, or their shapes differ.
    """

    def __init__(
        self, terms: Iterable[Any], relative_error: float = float("nan"), error_kind: str | None = None
    ) -> None:
        members = operators_of(terms, "terms")
        if not members or any(t.shape != members[0].shape for t in members):
            raise ValueError("terms: expected at least one operator, all of one shape")
        kind = weakest(kinds_of(members)) if relative_error == relative_error else "estimated"
        super().__init__(members, members[0].shape, relative_error, error_kind or kind)

    @property
    def terms(self) -> tuple[Any, ...]:
        """The operators that are added."""
        return self._members

    def _remade(self, members: list[Any], transposed: bool = False) -> Self:
        return type(self)(members, self.relative_error, self.error_kind)

    def astype(self, dtype: Any) -> Self:
        """Return the sum of terms in another precision; the change is measured as for `ButterflyOperator.astype`."""
        out = super().astype(dtype)
        if np.finfo(out.dtype).eps <= np.finfo(self.dtype).eps:
            return out
        return type(self)(out.terms, **after_cast(self, out))

    def _forward(self, x: Array) -> Array:
        return np.asarray(sum(t.matmat(x) for t in self.terms))

    def _backward(self, y: Array) -> Array:
        return np.asarray(sum(t.rmatmat(y) for t in self.terms))


def operators_of(ops: Any, name: str) -> tuple[Any, ...]:
    """Return the operators of an iterable, or raise a TypeError that names what is none."""
    if not isinstance(ops, Iterable) or isinstance(ops, (np.ndarray, LinearOperator)):
        raise TypeError(f"{name}: expected operators in a list or other iterable, got {type(ops).__name__}")
    members = tuple(ops)
    for at, op in enumerate(members):
        if not isinstance(op, (Butterfly, Composite)):
            raise TypeError(f"{name}[{at}]: expected an operator of this package, got {type(op).__name__}")
    return members


def kinds_of(members: tuple[Any, ...]) -> list[str]:
    """Return how the errors of operators are known."""
    return [op.error_kind for op in members]
