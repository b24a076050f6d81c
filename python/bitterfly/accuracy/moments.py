"""Second moments of inputs: which errors of a matrix its products show."""

from __future__ import annotations

from collections.abc import Iterator
from operator import index
from threading import Lock
from typing import Any

import numpy as np
from scipy.linalg.blas import dsyrk

from bitterfly.inputs import Array, as_count, as_floating

_PANEL = 1 << 22  # numbers that are converted at a time
_BLOCK = 256


class SecondMoments:
    """The sum of ``x x^T`` over all inputs x that it has seen, in double precision.

    With it the error of an approximation W' of a matrix W over these inputs is known without them: the sum of
    ``||W x - W' x||^2`` is ``trace((W - W') G (W - W')^T)``. Several threads may update one.

    Parameters
    ----------
    n : int
        Numbers of an input.

    Examples
    --------
    >>> import numpy as np
    >>> from bitterfly import SecondMoments
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> moments = SecondMoments(3).update(x[:60]).update(x[60:])
    >>> moments
    SecondMoments(n=3, count=100)
    >>> np.allclose(moments.matrix, x.T @ x)
    True
    """

    def __init__(self, n: int) -> None:
        try:
            self._n = index(n)
        except TypeError:
            raise TypeError(f"n: expected an integer, got {n!r}") from None
        if self._n < 1:
            raise ValueError(f"n: expected at least 1, got {n}")
        self._count = 0
        self._sum = np.zeros((self._n, self._n), order="F")
        self._lock = Lock()

    @classmethod
    def of(cls, matrix: Any, count: int) -> SecondMoments:
        """Return moments from a sum ``X^T X`` of so many inputs.

        Raises
        ------
        ValueError
            Where it is no square matrix of finite numbers, exactly symmetric, with a diagonal that is not negative, or
            `count` is negative.
        TypeError
            Where it is no matrix of real numbers, or `count` no integer.
        """
        array = as_floating(matrix, "matrix")
        if array.dtype.kind == "c":
            raise TypeError(f"matrix: expected real numbers, got {array.dtype}")
        if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
            raise ValueError(f"matrix: expected a square one, got shape {array.shape}")
        if not np.all(np.isfinite(array)):
            raise ValueError("matrix: expected finite numbers, got infinities or NaNs")
        if not np.array_equal(array, array.T):
            raise ValueError("matrix: expected a symmetric one")
        if array.diagonal().min() < 0:
            raise ValueError(f"matrix: expected a diagonal that is not negative, got {array.diagonal().min():.3g}")
        moments = cls(len(array))
        moments._count, moments._sum = as_count(count, "count"), array.astype(np.float64, order="F")
        return moments

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"_n": self._n, "_count": self._count, "_sum": self._sum.copy(order="F")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    @property
    def n(self) -> int:
        """Numbers of an input."""
        return self._n

    @property
    def count(self) -> int:
        """How many inputs it has seen."""
        return self._count

    @property
    def matrix(self) -> Array:
        """The sum, (n, n) and symmetric: a view that cannot be written to and follows later updates."""
        view = self._sum.view()
        view.flags.writeable = False
        return view

    def update(self, x: Any) -> SecondMoments:
        """Add inputs.

        Parameters
        ----------
        x : array_like
            Real, of shape (n,) or (..., n).

        Returns
        -------
        SecondMoments
            This object.

        Raises
        ------
        ValueError
            Where the shape is another one, numbers are infinite or NaN, or the sum would overflow. Nothing is added.
        TypeError
            For complex numbers, and what is no array of numbers.
        """
        array = as_floating(x, "x")
        if array.dtype.kind == "c":
            raise TypeError(f"x: expected real numbers, got {array.dtype}")
        if array.ndim == 0 or array.shape[-1] != self._n:
            raise ValueError(f"x: expected shape (..., {self._n}), got {array.shape}")
        rows = array.reshape(-1, self._n)
        largest = max((float(np.abs(panel).max()) for panel in self._panels(rows)), default=0.0)
        if not np.isfinite(largest):
            raise ValueError("x: expected finite numbers, got infinities or NaNs")
        with np.errstate(over="ignore"):
            most = len(rows) * np.square(largest)
        with self._lock:
            self._require_room(float(most), "x", f"entries as large as {largest:.3g}")
            for panel in self._panels(rows):
                self._sum = dsyrk(1.0, panel.T, beta=1.0, c=self._sum, overwrite_c=True, lower=True)
            _mirror(self._sum)
            self._count += len(rows)
        return self

    def merge(self, other: SecondMoments) -> SecondMoments:
        """Add what another one has seen; return this one.

        Raises
        ------
        ValueError
            Where it is of other inputs, or the sum would overflow.
        TypeError
            Where it is none.
        """
        if not isinstance(other, SecondMoments):
            raise TypeError(f"other: expected SecondMoments, got {type(other).__name__}")
        if other.n != self._n:
            raise ValueError(f"other: expected moments of {self._n} inputs, got {other.n}")
        more = other.__getstate__()
        with self._lock:
            self._require_room(float(more["_sum"].diagonal().max()), "other", "moments so large")
            self._sum += more["_sum"]
            self._count += more["_count"]
        return self

    def __repr__(self) -> str:
        return f"SecondMoments(n={self._n}, count={self._count})"

    def _panels(self, rows: Array) -> Iterator[Array]:
        """Yield rows in double precision, a few at a time."""
        step = max(1, _PANEL // self._n)
        for first in range(0, len(rows), step):
            yield np.ascontiguousarray(rows[first : first + step], np.float64)

    def _require_room(self, more: float, name: str, what: str) -> None:
        """Raise where the diagonal, whose largest entry is the largest of all, may not hold so much more."""
        with np.errstate(over="ignore"):
            if not np.isfinite(self._sum.diagonal().max() + more):
                raise ValueError(f"{name}: the sum of squares overflows: {what}; scale the inputs down")


def _mirror(a: Array) -> None:
    """Write what is below the diagonal above it."""
    for first in range(0, len(a), _BLOCK):
        end = first + _BLOCK
        corner = a[first:end, first:end]
        corner[...] = np.tril(corner) + np.tril(corner, -1).T
        a[first:end, end:] = a[end:, first:end].T
