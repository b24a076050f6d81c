"""Where the entries of a matrix come from: arrays, memory maps and other sliceable data, entry functions."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any, Protocol, cast

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from bitterfly.inputs import Array, IndexArray, as_floating, working_dtype

_SMALL_ENTRIES = 1 << 16
_KEPT_BYTES = 1 << 29
_SMALL_SIDE = 4096  # of an operator: columns one by one are fewer products than what recovers its blocks

Entry = Callable[[IndexArray, IndexArray], Any]


class Source(Protocol):
    """A matrix that is read in blocks."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def rows(self, index: IndexArray) -> Array:
        """Return whole rows."""

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        """Return the entries at ``rows x columns``."""


class ArraySource:
    """An array in memory, or mapped into it."""

    def __init__(self, a: Any) -> None:
        self.array = as_floating(a, "a")
        if self.array.ndim != 2:
            raise ValueError(f"a: expected a matrix (two dimensions), got {self.array.ndim} dimension(s)")
        self.shape = _checked_shape(self.array.shape)
        self.dtype = self.array.dtype

    def rows(self, index: IndexArray) -> Array:
        step = int(index[1] - index[0]) if len(index) > 1 else 1
        if step > 0 and np.array_equal(index, index[0] + step * np.arange(len(index))):
            return self.array[index[0] : index[-1] + 1 : step]
        return self.array[index]

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        return self.array[np.ix_(rows, columns)]


class SliceableSource:
    """Anything with a shape, a dtype and slices of rows (zarr, h5py, ...): rows are read in contiguous runs."""

    def __init__(self, a: Any) -> None:
        self._a = a
        self.shape = _checked_shape(tuple(a.shape))
        self.dtype = working_dtype(np.dtype(a.dtype))

    def rows(self, index: IndexArray) -> Array:
        order = np.argsort(index, kind="stable")
        runs = np.split(order, np.flatnonzero(np.diff(index[order]) != 1) + 1)
        out = np.empty((len(index), self.shape[1]), self.dtype)
        for run in runs:
            part = np.asarray(self._a[int(index[run[0]]) : int(index[run[-1]]) + 1])
            if part.shape != out[run].shape:
                raise ValueError(f"a: expected {len(run)} rows of {self.shape[1]} numbers, a slice has {part.shape}")
            out[run] = _kept(part, self.dtype)
        return out

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        return self.rows(rows)[:, columns]


class EntrySource:
    """A vectorized function ``entry(rows, cols) -> block``; every block that it returns is checked."""

    def __init__(self, entry: Entry, shape: tuple[int, int]) -> None:
        self._entry = entry
        self.shape = _checked_shape(shape)
        self.entries = 0
        self.dtype = self._probed_dtype()

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        block = np.asarray(self._entry(rows, columns))
        expected = (len(rows), len(columns))
        if block.shape != expected:
            raise ValueError(
                f"entry: expected a block of shape {expected} for these rows and columns, got {block.shape}"
            )
        if block.dtype.kind not in "fciub":
            raise TypeError(f"entry: expected real or complex numbers, got dtype {block.dtype}")
        self.entries += block.size
        if not np.isfinite(np.sum(block)) and not np.all(np.isfinite(block)):
            i, j = np.argwhere(~np.isfinite(block))[0]
            raise ValueError(f"entry: expected finite entries, got {block[i, j]} at ({rows[i]}, {columns[j]})")
        return block

    def rows(self, index: IndexArray) -> Array:
        return self.block(index, np.arange(self.shape[1])).astype(self.dtype, copy=False)

    def _probed_dtype(self) -> np.dtype[Any]:
        rows, columns = (np.unique([0, size // 2, size - 1]) for size in self.shape)
        first, again = self.block(rows, columns), self.block(rows, columns)
        if not np.array_equal(first, again):
            raise ValueError("entry: expected the same block for the same rows and columns, got two different ones")
        transposed = np.array(
            [
                [self.block(rows[i : i + 1], columns[j : j + 1])[0, 0] for j in range(len(columns))]
                for i in range(len(rows))
            ]
        )
        if not np.allclose(first, transposed, rtol=1e-4, atol=1e-6 * float(np.max(np.abs(first)))):
            raise ValueError(
                "entry: expected block[i, j] to be the entry at (rows[i], cols[j]); blocks and single entries differ"
            )
        return working_dtype(first.dtype)


class OperatorSource:
    """A LinearOperator with an adjoint: rows and columns are products with unit vectors."""

    def __init__(self, a: Any) -> None:
        self.operator = aslinearoperator(a)
        self.shape = _checked_shape(tuple(self.operator.shape))
        self.dtype = working_dtype(np.dtype(self.operator.dtype))
        self._seen: dict[bytes, Array] = {}

    def rows(self, index: IndexArray) -> Array:
        return self.times(_units(self.shape[0], index, self.dtype), adjoint=True).conj().T

    def columns(self, index: IndexArray) -> Array:
        """Return whole columns."""
        return self.times(_units(self.shape[1], index, self.dtype))

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        """Return the entries at ``rows x columns``, of columns that are kept for the next call."""
        key = columns.tobytes()
        if key not in self._seen:
            columns_bytes = self.shape[0] * len(columns) * self.dtype.itemsize
            while self._seen and (len(self._seen) + 1) * columns_bytes > _KEPT_BYTES:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = self.columns(columns)
        return self._seen[key][rows]

    def forget(self) -> None:
        """Free the columns that were kept."""
        self._seen.clear()

    def times(self, x: Array, *, adjoint: bool = False) -> Array:
        """Return the product, or that of the adjoint, with a block of vectors."""
        try:
            out = np.asarray(self.operator.rmatmat(x) if adjoint else self.operator.matmat(x))
        except (NotImplementedError, TypeError) as error:  # SciPy raises either where there is none
            side = "rmatvec or rmatmat" if adjoint else "matvec or matmat"
            why = f": {error}" if str(error) else ""
            raise TypeError(f"a: expected an operator with {side}, got none, or it failed{why}") from error
        if not np.all(np.isfinite(out)):
            raise ValueError("a: expected finite products, the operator returned NaN or infinity")
        return _kept(out, self.dtype)


def _kept(a: Array, dtype: np.dtype[Any]) -> Array:
    """Return the numbers in a dtype that holds them."""
    if a.dtype.kind == "c" and dtype.kind != "c":
        raise TypeError(f"a: expected real numbers, its dtype being {dtype}, got {a.dtype}")
    return a.astype(dtype, copy=False)


def _units(size: int, index: IndexArray, dtype: np.dtype[Any]) -> Array:
    out = np.zeros((size, len(index)), dtype)
    out[index, np.arange(len(index))] = 1
    return out


def whole_if_small(source: Source) -> ArraySource | None:
    """Return what an entry function or an operator stands for as an array, where that is little or the least work."""
    m, n = source.shape
    if isinstance(source, EntrySource) and m * n <= _SMALL_ENTRIES:
        return ArraySource(source.block(np.arange(m), np.arange(n)))
    if isinstance(source, OperatorSource) and min(m, n) <= _SMALL_SIDE:
        width = max(1, _SMALL_ENTRIES // max(m, n))
        parts = [np.arange(i, min(i + width, min(m, n))) for i in range(0, min(m, n), width)]
        if n <= m:
            return ArraySource(np.concatenate([source.columns(part) for part in parts], axis=1))
        return ArraySource(np.concatenate([source.rows(part) for part in parts]))
    return None


def as_source(a: Any, shape: tuple[int, int] | None) -> Source:
    """Return a source for an array, something sliceable, an operator, or an entry function.

    Raises
    ------
    TypeError, ValueError
        Where `a` is none of these, and for shapes that do not fit.
    """
    if isinstance(a, (ArraySource, SliceableSource, EntrySource, OperatorSource)):
        return a
    if callable(a) and not hasattr(a, "__array__") and not hasattr(a, "matvec"):
        shape = getattr(a, "shape", None) if shape is None else shape
        if shape is None:
            raise ValueError("shape: expected (m, n) beside an entry function")
        return EntrySource(a, cast("tuple[int, int]", tuple(index(size) for size in shape)))
    if hasattr(a, "matvec"):
        operator = OperatorSource(a)
        if shape is not None and tuple(shape) != operator.shape:
            raise ValueError(f"shape: expected {operator.shape}, that of a, got {tuple(shape)}")
        return operator
    lazy = not isinstance(a, np.ndarray) and not sparse.issparse(a) and _is_sliceable(a)
    source: Source = SliceableSource(a) if lazy else ArraySource(a)
    if shape is not None and tuple(shape) != source.shape:
        raise ValueError(f"shape: expected {source.shape}, that of a, got {tuple(shape)}")
    return source


def _is_sliceable(a: Any) -> bool:
    has_shape = isinstance(getattr(a, "shape", None), tuple) and len(a.shape) == 2
    return has_shape and hasattr(a, "dtype") and hasattr(a, "__getitem__") and not hasattr(a, "matvec")


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"a: expected a matrix with at least one row and one column, got shape {shape}")
    return int(shape[0]), int(shape[1])
