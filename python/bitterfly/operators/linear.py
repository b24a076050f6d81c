"""What both operators share: the contract with SciPy, products, views, and the dense matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self, cast

import numpy as np
from scipy.sparse.linalg import LinearOperator

from bitterfly import _core
from bitterfly.accuracy.known import ERROR_KINDS, ErrorKind
from bitterfly.bits import Numbers, Stored, in_words
from bitterfly.chains.chain import Chain
from bitterfly.inputs import Array, Permutations, Side, as_floating, as_permutation
from bitterfly.operators.pictures import plot_ranks
from bitterfly.operators.views import FLAGS, MODES, Mode, fitting_shape, reversed_order
from bitterfly.panels import identity_panel
from bitterfly.powers import powers_to_one, times_powers
from bitterfly.workers import as_workers

_PANEL = 256


class Products(LinearOperator):  # type: ignore[misc]
    """SciPy's products, of vectors, matrices and batches (..., n, k), alike with every SciPy.

    Up to SciPy 1.17 there are no batches, and messages print whole arrays, or no shapes.
    """

    def apply(self, x: Any, out: Array | None = None, workers: int | None = None) -> Array:
        """Return the product with a vector, a matrix or a batch of matrices."""
        raise NotImplementedError

    def _vectors(self, x: Any, adjoint: bool) -> Array:
        """Product with x of shape (n,), (n, 1) or, for batches, (..., n)."""
        raise NotImplementedError

    def _columns(self, x: Any, adjoint: bool) -> Array:
        """Product with the columns of x of shape (..., n, k)."""
        raise NotImplementedError

    # ---- the dense matrix ----

    def _panels(self) -> Iterator[tuple[slice, Array]]:
        n = self.shape[1]
        for first in range(0, n, _PANEL):
            columns = slice(first, min(first + _PANEL, n))
            width = columns.stop - first
            yield columns, self.apply(identity_panel(n, first, width, self.dtype))

    def todense(self) -> Array:
        """Return the dense matrix, an ndarray of shape (m, n)."""
        out = np.empty(self.shape, self.dtype)
        for columns, panel in self._panels():
            out[:, columns] = panel
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("copy=False: the dense matrix of an operator is always a new array")
        return self.todense().astype(dtype or self.dtype, copy=False)

    def trace(self) -> Any:
        """Return the sum of the diagonal, from products with panels of the identity."""
        if self.shape[0] != self.shape[1]:
            raise ValueError(f"trace: expected a square operator, got shape {self.shape}")
        parts = [np.trace(panel[columns]) for columns, panel in self._panels()]
        return np.sum(np.asarray(parts))

    def rows(self, index: Any) -> Array:
        """Return some rows as a dense array of shape (k, n).

        Parameters
        ----------
        index : int, slice or array of k integers
            Negative ones count from the end.

        Raises
        ------
        IndexError, ValueError
            Where there is no such row, and for indices of more dimensions.
        """
        picked = np.atleast_1d(np.arange(self.shape[0])[index])
        if picked.ndim > 1:
            raise ValueError(f"index: expected one dimension, got shape {picked.shape}")
        return self._rows(picked) if picked.size else np.zeros((0, self.shape[1]), self.dtype)

    def _rows(self, index: Array) -> Array:
        unit = np.zeros((self.shape[0], len(index)), self.dtype)
        unit[index, np.arange(len(index))] = 1
        return np.ascontiguousarray((self.T @ unit).T)

    def dot(self, x: Any) -> Any:
        """Return ``A x`` for x of shape (n,), (n, k) or (..., n, k), or the product with an operator or a number."""
        if isinstance(x, LinearOperator) or np.ndim(x) == 0:
            return super().dot(x)
        check_columns(np.shape(x), self.shape[1])
        return super().dot(x) if np.ndim(x) <= 2 else self.apply(x)

    def __rmul__(self, x: Any) -> Any:
        if isinstance(x, LinearOperator) or np.ndim(x) == 0:
            return super().__rmul__(x)
        rows = self.shape[0]
        if np.shape(x)[-1] != rows:
            raise ValueError(f"x: expected shape ({rows},), (k, {rows}) or (..., k, {rows}), got {np.shape(x)}")
        if np.ndim(x) <= 2:
            return super().__rmul__(x)
        return np.swapaxes(self.T.apply(np.swapaxes(x, -1, -2)), -1, -2)

    def matvec(self, x: Any) -> Any:
        """Return ``A x`` for x of shape (n,) or (n, 1), or for each vector of a batch (..., n)."""
        return super().matvec(x) if _is_vector(x, self.shape[1]) else self._vectors(x, adjoint=False)

    def rmatvec(self, x: Any) -> Any:
        """Return ``A^H x`` for x of shape (m,) or (m, 1), or for each vector of a batch (..., m)."""
        return super().rmatvec(x) if _is_vector(x, self.shape[0]) else self._vectors(x, adjoint=True)

    def matmat(self, X: Any) -> Any:
        """Return ``A X`` for X of shape (n, k) or (..., n, k)."""
        check_columns(np.shape(X), self.shape[1], least=2)
        return super().matmat(X) if np.ndim(X) == 2 else self._columns(X, adjoint=False)

    def rmatmat(self, X: Any) -> Any:
        """Return ``A^H X`` for X of shape (m, k) or (..., m, k)."""
        check_columns(np.shape(X), self.shape[0], least=2)
        return super().rmatmat(X) if np.ndim(X) == 2 else self._columns(X, adjoint=True)


def check_columns(shape: tuple[int, ...], n: int, least: int = 1) -> None:
    """Raise a ValueError unless the shape is (n,), (n, k) or (..., n, k), of at least so many dimensions."""
    if len(shape) < least or shape[-2:][0] != n:
        expected = f"({n},), " if least == 1 else ""
        raise ValueError(f"x: expected shape {expected}({n}, k) or (..., {n}, k), got {tuple(shape)}")


def _is_vector(x: Any, n: int) -> bool:
    """Tell a vector, (n,) or (n, 1), from a batch of them, (..., n); raise a ValueError for anything else."""
    shape = np.shape(x)
    if shape not in ((n,), (n, 1)) and shape[-1:] != (n,):
        raise ValueError(f"x: expected shape ({n},), ({n}, 1) or (..., {n}), got {shape}")
    return shape in ((n,), (n, 1))


class Store(Protocol):
    """The factors or codes of an operator."""

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that each factor stores, and their bits."""


class Butterfly(Stored, Products):
    """What both operators share: an immutable view (mode) of a butterfly ``A``.

    ``A[rows][:, columns]`` is the product of the factors, where ``A`` is padded with zeros if the chain is larger than
    it; ``op.T``, ``op.H`` and ``op.conj()`` are views of the same buffers.
    """

    __array_priority__ = 20.0
    _kernel: _core.Core
    _base: Permutations
    _chain: Chain
    _store: Store
    relative_error: float
    error_kind: ErrorKind
    mode: Mode

    def __init__(
        self,
        chain: Chain,
        shape: tuple[int, int] | None,
        dtype: np.dtype[Any],
        permutations: tuple[Side, Side],
        relative_error: float,
        error_kind: str,
        mode: str,
    ) -> None:
        self._stored_shape = fitting_shape(shape, chain)
        super().__init__(np.dtype(dtype.type), self._stored_shape)
        rows, columns = permutations
        base = (
            as_permutation(rows, chain.row_digits, "permutations[0]"),
            as_permutation(columns, chain.column_digits, "permutations[1]"),
        )
        for order in base:
            if order is not None:
                order.flags.writeable = False
        if error_kind not in ERROR_KINDS:
            raise ValueError(f"error_kind: expected one of {', '.join(ERROR_KINDS)}, got {error_kind!r}")
        if float(relative_error) < 0:
            raise ValueError(f"relative_error: expected a number >= 0 or nan (unknown), got {relative_error!r}")
        self._base = base
        self._chain = chain
        self.relative_error = float(relative_error)
        self.error_kind = cast(ErrorKind, error_kind)
        self.mode = self._normal_mode(mode, dtype)
        self.shape = self._stored_shape[::-1] if FLAGS[self.mode][0] else self._stored_shape

    @staticmethod
    def _normal_mode(mode: str, dtype: np.dtype[Any]) -> Mode:
        if mode not in FLAGS:
            raise ValueError(f"mode: expected one of {', '.join(FLAGS)}, got {mode!r}")
        transposed, conjugated = FLAGS[mode]
        return MODES[transposed, conjugated and dtype.kind == "c"]

    def __setattr__(self, name: str, value: Any) -> None:
        if "_kernel" in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is immutable: cannot set {name!r}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot delete {name!r}")

    # ---- what the operator is ----

    @property
    def base_permutations(self) -> Permutations:
        """Index arrays (rows, columns) of the stored, forward operator; None is the identity."""
        return self._base

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        return self._stored_shape

    @property
    def stored_chain(self) -> Chain:
        """The sparsity patterns of the stored, forward factors."""
        return self._chain

    @property
    def permutations(self) -> Permutations:
        """Index arrays (rows, columns): ``op[rows][:, columns]`` is the product of the factors; None: identity."""
        if not FLAGS[self.mode][0]:
            return self._base
        rows, columns = self._base
        return reversed_order(columns, self._chain.column_digits), reversed_order(rows, self._chain.row_digits)

    @property
    def chain(self) -> Chain:
        """The sparsity patterns of the factors."""
        return self._chain.T if FLAGS[self.mode][0] else self._chain

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers: factors or codes, scale vector, padding and index arrays (32-bit)."""
        return self._buffer_bytes() + sum(4 * p.size for p in self._base if p is not None)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that each stored factor holds, and their bits."""
        return self._store.numbers

    def _buffer_bytes(self) -> int:
        raise NotImplementedError

    def _with_mode(self, mode: Mode) -> Self:
        """Return a view: everything but the mode is shared."""
        view = object.__new__(type(self))
        mode = self._normal_mode(mode, self.dtype)
        shape = self._stored_shape[::-1] if FLAGS[mode][0] else self._stored_shape
        view.__dict__.update(self.__dict__, mode=mode, shape=shape)
        return view

    def __repr__(self) -> str:
        return (
            f"<{self.shape[0]} x {self.shape[1]} {type(self).__name__} of {self.dtype}, "
            f"{self.mean_bits:.3g} bits per stored number, "
            f"relative error {self.relative_error:.2e} ({self.error_kind})>"
        )

    def _repr_html_(self) -> str:
        facts = {
            "shape": f"{self.shape[0]} x {self.shape[1]}",
            "dtype": str(self.dtype),
            "relative error": f"{self.relative_error:.2e} ({self.error_kind})",
            "bytes": f"{self.nbytes:,} ({self.bits_per_entry:.3g} bits per entry of the matrix)",
            "bits": in_words(self.mean_bits, self.bits_per_number),
        }
        rows = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in facts.items())
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"

    # ---- products ----

    def apply(self, x: Any, out: Array | None = None, workers: int | None = None) -> Array:
        """Return the product with a vector, a matrix or a batch of matrices.

        Parameters
        ----------
        x : array_like, shape (n,), (n, k) or (..., n, k)
            Numbers of any dtype and strides; the operator has the shape (m, n).
        out : ndarray, optional
            Takes the result: shape (m,), (m, k) or (..., m, k), dtype ``result_type(op.dtype, x.dtype)``, writable.
        workers : int, optional
            Threads, see `bitterfly.set_workers`; results do not depend on it.

        Returns
        -------
        ndarray
            `out`, or a new array. Sums are accumulated in the operator's precision; where `x` is wider than that,
            columns far from one are scaled by powers of two on the way in and back, so that they have the range of
            `x`, and entries below about 1e-45 of the largest of their column (float32) count as zero.

        Raises
        ------
        ValueError, TypeError
            Where shapes or dtypes do not match.
        """
        if type(x) is not np.ndarray or x.dtype != self.dtype or not x.flags.aligned:
            x = as_floating(x, "x")
        check_columns(x.shape, self.shape[1])
        dtype = self.dtype if x.dtype == self.dtype else np.result_type(self.dtype, x.dtype)
        shape = product_shape(self.shape[0], x.shape)
        if out is None:
            out = np.empty(shape, dtype)
        else:
            check_out(out, shape, dtype)
            x = x.copy() if np.may_share_memory(x, out) else x
        if x.ndim <= 2:
            return self._run(x, out, False, False, workers)
        for index in np.ndindex(x.shape[:-2]):
            self._run(x[index], out[index], False, False, workers)
        return out

    def _run(self, x: Array, out: Array, transpose: bool, conjugate: bool, workers: int | None = None) -> Array:
        """Write the product with a vector or the columns of a matrix into `out`."""
        transposed, conjugated = FLAGS[self.mode]
        powers = powers_to_one(x) if self.dtype.char in "fF" and x.dtype.char in "dD" else None
        x = x if powers is None else times_powers(x, powers, np.empty_like(x))
        self._kernel.apply(x, out, transposed ^ transpose, conjugated ^ conjugate, as_workers(workers))
        return out if powers is None else times_powers(out, 1 / powers, out)

    def _columns(self, x: Any, adjoint: bool) -> Array:
        """Product with the columns of x of shape (..., n, k)."""
        x = as_floating(x, "x")
        rows = self.shape[1 if adjoint else 0]
        out = np.empty((*x.shape[:-2], rows, x.shape[-1]), np.result_type(self.dtype, x.dtype))
        for index in np.ndindex(x.shape[:-2]):
            self._run(x[index], out[index], adjoint, adjoint)
        return out

    def _vectors(self, x: Any, adjoint: bool) -> Array:
        """Product with x of shape (n,), (n, 1) or, for batches, (..., n)."""
        x = as_floating(x, "x")
        rows, columns = self.shape[::-1] if adjoint else self.shape
        if x.shape[0] == columns and x.ndim <= 2 and x.size == columns:
            shape = (rows, *x.shape[1:])
            return self._run(x, np.empty(shape, np.result_type(self.dtype, x.dtype)), adjoint, adjoint)
        flat = x.reshape(-1, columns)
        return self._columns(flat.T, adjoint).T.reshape(*x.shape[:-1], rows)

    def _matvec(self, x: Any) -> Array:
        return self._vectors(x, adjoint=False)

    def _rmatvec(self, x: Any) -> Array:
        return self._vectors(x, adjoint=True)

    def _matmat(self, X: Any) -> Array:
        return self._columns(X, adjoint=False)

    def _rmatmat(self, X: Any) -> Array:
        return self._columns(X, adjoint=True)

    def __matmul__(self, other: Any) -> Any:
        if type(other) is np.ndarray and other.ndim in (1, 2) and other.shape[0] == self.shape[1]:
            return self.apply(other)
        return super().__matmul__(other)

    def _flipped(self, transpose: bool, conjugate: bool) -> Self:
        transposed, conjugated = FLAGS[self.mode]
        return self._with_mode(MODES[transposed ^ transpose, conjugated ^ conjugate])

    def _transpose(self) -> Self:
        return self._flipped(transpose=True, conjugate=False)

    def _adjoint(self) -> Self:
        return self._flipped(transpose=True, conjugate=True)

    def conj(self) -> Self:
        """Return the complex conjugate, a view of the same buffers."""
        return self._flipped(transpose=False, conjugate=True)

    def plot(self, ax: Any = None) -> Any:
        """Draw the ranks of all levels on matplotlib axes and return these, see `bitterfly.plots.plot_ranks`."""
        return plot_ranks(self, ax)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: Any) -> Self:
        return self


def product_shape(rows: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the product of `rows` rows with an array of shape (n,), (n, k) or (..., n, k)."""
    return (*shape[:-2], rows, *shape[-1:]) if len(shape) > 1 else (rows,)


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an `out` that cannot take a product of this shape and dtype."""
    if not isinstance(out, np.ndarray) or out.dtype != dtype or not out.flags.aligned:
        raise TypeError(f"out: expected an aligned array of {dtype}, got {getattr(out, 'dtype', type(out).__name__)}")
    if out.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out: expected a writable array, got a read-only one")
