"""Where the entries of a matrix come from: arrays, memory maps and other sliceable data, entry functions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from itertools import permutations, product
from operator import index
from typing import Any, Protocol, cast

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from bitterfly.inputs import (
    Array,
    IndexArray,
    as_floating,
    conversion_bound,
    conversion_error,
    numpy_dtype,
    working_dtype,
)
from bitterfly.powers import near_one, scaled

# An entry function is evaluated once, and what it stands for goes the way of arrays, up to so many bytes: 1024 x 1024
# complex128. Beyond, skeletons evaluate fewer entries, and take less time (docs/general.md).
_EVALUATED_BYTES = 1 << 24
_AT_ONCE = 1 << 20  # entries of one call
_HELD_BYTES = 1 << 30  # of a file that is read into memory; larger ones are copied to a temporary file
_PANEL_BYTES = 1 << 25  # of a file, read at once
_COLUMN_BYTES = 1 << 29  # of columns of an operator that are kept
_COLUMN_ENTRIES = 1 << 16  # of a block of unit vectors
_SMALL_SIDE = 4096  # of an operator: columns one by one are fewer products than what recovers its blocks
_CONTRADICTION = 1e-2  # no rounding makes products differ by so much
_VECTORS = 4  # that compare an operator with its adjoint

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

    def __init__(self, a: Any, rounding: float = 0.0) -> None:
        """Take an array; `rounding` bounds what a conversion before has rounded, relative to it."""
        self.array = as_floating(a, "a")
        self.rounding = rounding or conversion_error(a, self.array)
        self.shape = _checked_shape(self.array.shape)
        self.dtype = self.array.dtype

    def transposed(self) -> ArraySource:
        """Return the transpose, a view."""
        out = copy(self)
        out.array, out.shape = self.array.T, self.shape[::-1]
        return out

    def rows(self, index: IndexArray) -> Array:
        step = int(index[1] - index[0]) if len(index) > 1 else 1
        if step > 0 and np.array_equal(index, index[0] + step * np.arange(len(index))):
            return self.array[index[0] : index[-1] + 1 : step]
        return self.array[index]

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        return self.array[rows[:, None], columns]


class SliceableSource:
    """Anything with a shape, a dtype and slices (zarr, h5py, ...), read once as a whole."""

    def __init__(self, a: Any) -> None:
        self._a = a
        self.shape = _checked_shape(tuple(a.shape))
        self._stored = np.dtype(a.dtype)
        if self._stored.kind not in "fciub":
            raise TypeError(f"a: expected real or complex numbers, got dtype {self._stored}")
        self.dtype = working_dtype(self._stored)
        self.rounding = conversion_bound(self._stored)

    def whole(self) -> Array:
        """Return all entries; those of a large file in a copy on disk that vanishes with the array."""
        out = _room(self.shape, self.dtype, on_disk=isinstance(self._a, np.memmap))
        for part in self._panels():
            read = np.asarray(self._a[part[0]] if part[1] == slice(None) else self._a[part])
            if read.shape != out[part].shape:
                raise ValueError(f"a: expected a slice of shape {out[part].shape}, as a.shape says, got {read.shape}")
            _check_kind(read, self.dtype)
            out[part] = read
        return out

    def _panels(self) -> Iterator[tuple[slice, slice]]:
        """Yield panels of rows, or of columns where whole chunks are smaller that way: each chunk is read once."""
        (m, n), (height, width) = self.shape, self._chunk()
        size = self._stored.itemsize
        if height * n <= width * m:
            height *= max(1, _PANEL_BYTES // (height * n * size))
            yield from ((slice(i, min(i + height, m)), slice(None)) for i in range(0, m, height))
        else:
            width *= max(1, _PANEL_BYTES // (width * m * size))
            yield from ((slice(0, m), slice(j, min(j + width, n))) for j in range(0, n, width))

    def _chunk(self) -> tuple[int, int]:
        """Return the shape of what is stored, or computed, as one piece; single rows where that is not said."""
        chunks = getattr(self._a, "chunks", None)
        if not isinstance(chunks, tuple) or len(chunks) != 2:
            return 1, self.shape[1]
        sides = [side[0] if isinstance(side, tuple) else side for side in chunks]  # dask lists all along each side
        height, width = (max(1, min(int(side), size)) for side, size in zip(sides, self.shape, strict=True))
        return height, width


def _room(shape: tuple[int, int], dtype: np.dtype[Any], on_disk: bool = False) -> Array:
    """Return an array to be filled, in memory or, where it is large, in a file without a name."""
    nbytes = shape[0] * shape[1] * dtype.itemsize
    if nbytes <= _HELD_BYTES and not (on_disk and nbytes > _PANEL_BYTES):
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        try:  # a map of a file without its blocks would end the process where the disk is full
            os.posix_fallocate(file.fileno(), 0, nbytes) if hasattr(os, "posix_fallocate") else file.truncate(nbytes)
        except OSError as error:
            message = f"a: {nbytes} bytes are read from slices once and kept in {tempfile.gettempdir()} (TMPDIR)"
            raise OSError(error.errno, f"{message}: {error.strerror}") from error
        return np.memmap(file, dtype, "r+", shape=shape)


class EntrySource:
    """A vectorized function ``entry(rows, cols) -> block``; every block that it returns is checked."""

    def __init__(self, entry: Entry, shape: tuple[int, int]) -> None:
        self._entry = entry
        self.shape = _checked_shape(shape)
        self.entries = 0
        self.rounding = 0.0
        self.dtype = self._probed_dtype()

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        block = self._evaluated(rows, columns)
        if block.dtype.kind in "fc" and not np.can_cast(working_dtype(block.dtype), self.dtype):
            raise TypeError(
                f"entry: expected {self.dtype}, as in the first block, got {block.dtype} at rows {rows[0]} to "
                f"{rows[-1]}, columns {columns[0]} to {columns[-1]}; return all blocks in one dtype"
            )
        self.rounding = max(self.rounding, conversion_bound(block.dtype))
        return block.astype(self.dtype, copy=False)

    def rows(self, index: IndexArray) -> Array:
        return self.block(index, np.arange(self.shape[1]))

    def whole(self) -> Array:
        """Return all entries, evaluated in panels of rows."""
        (m, n), out = self.shape, np.empty(self.shape, self.dtype)
        height = max(1, _AT_ONCE // n)
        for first in range(0, m, height):
            rows = np.arange(first, min(first + height, m))
            out[rows] = self.rows(rows)
        return out

    def _evaluated(self, rows: IndexArray, columns: IndexArray) -> Array:
        block = np.asarray(self._entry(rows, columns))
        expected = (len(rows), len(columns))
        if block.shape != expected:
            raise ValueError(
                f"entry: expected a block of shape {expected} for these rows and columns, got {block.shape}"
            )
        if block.dtype.kind not in "fciub":
            raise TypeError(f"entry: expected real or complex numbers, got dtype {block.dtype}")
        self.entries += block.size
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.sum(block)
        if not np.isfinite(total) and not np.all(np.isfinite(block)):
            i, j = np.argwhere(~np.isfinite(block))[0]
            raise ValueError(f"entry: expected finite entries, got {block[i, j]} at ({rows[i]}, {columns[j]})")
        return block

    def _probed_dtype(self) -> np.dtype[Any]:
        (m, n), between = self.shape, (2, 3)  # rows taken for columns are other entries
        rows, columns = (np.unique([0, size // part, size - 1]) for size, part in zip((m, n), between, strict=True))
        first, again = self._evaluated(rows, columns), self._evaluated(rows, columns)
        if not np.array_equal(first, again):
            raise ValueError("entry: expected the same block for the same rows and columns, got two different ones")
        single = [self._evaluated(rows[i : i + 1], columns[j : j + 1]) for i, j in np.ndindex(*first.shape)]
        if _is_other(first, np.array(single).reshape(first.shape)):
            raise ValueError(
                "entry: expected block[i, j] to be the entry at (rows[i], cols[j]); blocks and single entries differ"
            )
        return working_dtype(first.dtype)


def _is_other(block: Array, single: Array) -> bool:
    """Return whether a block is another one than that of the single entries, beyond rounding.

    Formulas that cancel may lose three quarters of the digits, and lose others in a block than in single entries. Below
    that, a block in a wrong order is told by being ten times nearer to the single entries in that order.
    """
    eps = max(float(np.finfo(working_dtype(part.dtype)).eps) for part in (block, single))
    wide, exponent = near_one(single)
    block = scaled(block.astype(np.result_type(block, np.float64)), -exponent)
    apart, largest = float(np.max(np.abs(block - wide))), float(np.max(np.abs(wide)))
    nearest = min(float(np.max(np.abs(block - other))) for other in _orders(wide))
    return apart > eps**0.25 * largest or (apart > 100 * eps * largest and 10 * nearest < apart)


def _orders(a: Array) -> Iterator[Array]:
    """Yield a small matrix in all other orders of rows and columns, transposed, and its rows and columns repeated."""
    for turned in (a, a.T):
        if turned.shape == a.shape:
            yield from (turned[np.ix_(*order)] for order in product(*(permutations(range(size)) for size in a.shape)))
    if a.shape[0] == a.shape[1]:
        yield from (np.broadcast_to(part, a.shape) for part in (np.diag(a), np.diag(a)[:, None]))


class OperatorSource:
    """A LinearOperator with an adjoint: rows and columns are products with unit vectors.

    What its products say is compared before they are used: of vectors with blocks of vectors, sums with the product of
    a sum, and with those of the adjoint.
    """

    def __init__(self, a: Any) -> None:
        operator = aslinearoperator(a)
        self.shape = _checked_shape(tuple(operator.shape))
        self.dtype = working_dtype(np.dtype(operator.dtype))
        self._forward = _Products(operator.matvec, operator.matmat, "", self.shape, self.dtype)
        self._adjoint = _Products(operator.rmatvec, operator.rmatmat, "r", self.shape[::-1], self.dtype)
        self._apart: float | None = None
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
            while self._seen and (len(self._seen) + 1) * columns_bytes > _COLUMN_BYTES:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = self.columns(columns)
        return self._seen[key][rows]

    def forget(self) -> None:
        """Free the columns that were kept."""
        self._seen.clear()

    def times(self, x: Array, *, adjoint: bool = False) -> Array:
        """Return the product, or that of the adjoint, with a block of vectors."""
        if adjoint:
            self.apart()
        return (self._adjoint if adjoint else self._forward)(x)

    def whole(self) -> Array:
        """Return all entries, from unit vectors on the smaller side.

        From the other one where there is no adjoint, or where it is that of the operator but roughly: an operator is
        what it does to vectors.
        """
        m, n = self.shape
        by_rows = m < n and self._has_adjoint() and self.apart() <= rounding_of_products(self)
        size, most = (m if by_rows else n), max(1, _COLUMN_ENTRIES // max(m, n))
        out = np.empty(self.shape, self.dtype)
        for first in range(0, size, most):
            part = np.arange(first, min(first + most, size))
            if by_rows:
                out[part] = self.rows(part)
            else:
                out[:, part] = self.columns(part)
        return out

    def _has_adjoint(self) -> bool:
        try:
            self.apart()
        except TypeError:
            return False
        return True

    def apart(self) -> float:
        """Return how far the adjoint is from that of the operator, relative to its norm, from a few random vectors.

        For `x` and `y` of independent entries, the mean of ``|y^H A x - (B y)^H x|^2`` is ``||A - B^H||_F^2``.

        Raises
        ------
        ValueError
            Where that is no matter of rounding.
        """
        if self._apart is None:
            rng = np.random.default_rng(0)
            x, y = (_random((size, _VECTORS), self.dtype, rng) for size in self.shape[::-1])
            ax, exponent = near_one(self._forward(x))
            by = scaled(self._adjoint(y).astype(ax.dtype), -exponent)
            norm = float(np.linalg.norm(ax)) * _VECTORS**0.5 or float(np.finfo(float).tiny)
            apart, transposed = (
                float(np.linalg.norm(turn(y).T @ ax - turn(by).T @ x)) / norm for turn in (np.conj, np.asarray)
            )
            if not apart <= _CONTRADICTION:
                named = ", it multiplies by the transpose" if transposed <= _CONTRADICTION else ""
                raise ValueError(
                    f"a: expected rmatvec to multiply by the adjoint of what matvec multiplies by{named}; for random "
                    f"vectors y^H (A x) and (A^H y)^H x differ by {apart:.2g} of the norm"
                )
            self._apart = apart
        return self._apart


class _Products:
    """The products of an operator, or of its adjoint: of single vectors, and of blocks of them where these agree."""

    def __init__(
        self,
        one: Callable[[Array], Any],
        block: Callable[[Array], Any],
        prefix: str,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
    ) -> None:
        self._one, self._block, self._prefix, self._shape, self._dtype = one, block, prefix, shape, dtype
        self._singly: bool | None = None

    def __call__(self, x: Array) -> Array:
        if self._singly is None:
            self._singly = self._needs_single_vectors()
        if not self._singly:
            return self._product(self._block, x)
        columns = np.ascontiguousarray(x.T)
        return np.stack([self._product(self._one, column) for column in columns], axis=1)

    def _product(self, times: Callable[[Array], Any], x: Array) -> Array:
        try:
            out = np.asarray(times(x))
        except (NotImplementedError, TypeError) as error:  # SciPy raises either where there is none
            side = "rmatvec or rmatmat" if self._prefix else "matvec or matmat"
            why = f": {error}" if str(error) else ""
            raise TypeError(f"a: expected an operator with {side}, got none, or it failed{why}") from error
        if out.shape != (self._shape[0], *x.shape[1:]):
            expected = (self._shape[0], *x.shape[1:])
            raise ValueError(f"a: expected products of shape {expected} with vectors {x.shape}, got {out.shape}")
        if not np.all(np.isfinite(out)):
            raise ValueError("a: expected finite products, the operator returned NaN or infinity")
        return _kept(out, self._dtype)

    def _needs_single_vectors(self) -> bool:
        """Return whether only products of single vectors are those of the operator.

        SciPy's own products of blocks (as of 1.17) hand columns of shape (n, 1) to a function that may be right for
        vectors of shape (n,) alone: FFTs along the last axis, products entry by entry.

        Raises
        ------
        ValueError
            Where single vectors are not multiplied by a matrix, or blocks by another one.
        """
        parts = np.random.default_rng(1).standard_normal((self._shape[1], 2)).astype(self._dtype)
        weights = np.array([1, 1j if self._dtype.kind == "c" else 1], self._dtype)
        try:
            y = self._product(self._one, parts @ weights)
        except Exception:  # blocks alone, which fail as well or are right
            return False
        columns: Array | None = None
        with suppress(Exception):  # whatever a function of vectors does with a column
            columns = self._product(self._block, parts)
        if columns is not None and _near(columns @ weights, y):
            return False
        name = f"{self._prefix}matvec"
        singly = np.stack([self._product(self._one, part) for part in np.ascontiguousarray(parts.T)], axis=1)
        if not _near(singly @ weights, y):
            over = " over the complex numbers" if self._dtype.kind == "c" else ""
            raise ValueError(
                f"a: expected {name} to be linear{over}, but its product with x + {'i ' if over else ''}y is not the "
                f"one with x plus {'i times ' if over else ''}the one with y"
            )
        if columns is not None and not _near(self._product(self._one, parts[:, :1]), columns[:, :1]):
            raise ValueError(f"a: expected {self._prefix}matmat to multiply as {name} does, they contradict each other")
        return True


def _random(shape: tuple[int, int], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """Return independent numbers of mean square one."""
    out = rng.standard_normal(shape)
    return ((out + 1j * rng.standard_normal(shape)) / 2**0.5 if dtype.kind == "c" else out).astype(dtype)


def _near(a: Array, b: Array) -> bool:
    """Return whether two arrays differ by rounding, or a little more, in the norm."""
    wide, exponent = near_one(b)
    difference = scaled(a.astype(wide.dtype), -exponent) - wide
    return bool(np.linalg.norm(difference) <= _CONTRADICTION * np.linalg.norm(wide))


def _kept(a: Array, dtype: np.dtype[Any]) -> Array:
    """Return the numbers in a dtype that holds them."""
    _check_kind(a, dtype)
    return a.astype(dtype, copy=False)


def _check_kind(a: Array, dtype: np.dtype[Any]) -> None:
    if a.dtype.kind == "c" and dtype.kind != "c":
        raise TypeError(f"a: expected real numbers, its dtype being {dtype}, got {a.dtype}")


def _units(size: int, index: IndexArray, dtype: np.dtype[Any]) -> Array:
    out = np.zeros((size, len(index)), dtype)
    out[index, np.arange(len(index))] = 1
    return out


def rounding_of_products(source: OperatorSource) -> float:
    """Return what rounding may make of the distance between products and those that an adjoint promises."""
    return 16 * float(np.finfo(source.dtype).eps) * float(np.sqrt(max(source.shape)))


def at_hand(source: Source | SliceableSource) -> Source:
    """Return a source as an array where reading all of it, once, is the least work; else as it is."""
    if isinstance(source, SliceableSource):
        return ArraySource(source.whole(), source.rounding)
    m, n = source.shape
    if isinstance(source, EntrySource) and m * n * source.dtype.itemsize <= _EVALUATED_BYTES:
        return ArraySource(source.whole(), source.rounding)
    if isinstance(source, OperatorSource) and min(m, n) <= _SMALL_SIDE:
        return ArraySource(source.whole())
    return source


def as_source(a: Any, shape: tuple[int, int] | None) -> Source | SliceableSource:
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
    # A map in another byte order or type is converted in panels, to a map again: it may be larger than the memory.
    lazy = lazy or (isinstance(a, np.memmap) and a.dtype.kind in "fciub" and working_dtype(a.dtype) != a.dtype)
    source: Source | SliceableSource = SliceableSource(a) if lazy else ArraySource(a)
    if shape is not None and tuple(shape) != source.shape:
        raise ValueError(f"shape: expected {source.shape}, that of a, got {tuple(shape)}")
    return source


def _is_sliceable(a: Any) -> bool:
    """Return whether `a` has what arrays have; tensors whose dtype NumPy does not know are converted as a whole."""
    has_shape = isinstance(getattr(a, "shape", None), tuple) and hasattr(a, "__getitem__")
    return has_shape and numpy_dtype(getattr(a, "dtype", None)) is not None


def _checked_shape(shape: tuple[Any, ...]) -> tuple[int, int]:
    if len(shape) != 2:
        raise ValueError(f"a: expected a matrix (two dimensions), got {len(shape)} dimension(s)")
    try:
        m, n = (index(size) for size in shape)
    except TypeError:
        raise ValueError(
            f"a: expected a shape of integers, got {shape}; compute it first (dask: compute_chunk_sizes)"
        ) from None
    if min(m, n) < 1:
        raise ValueError(f"a: expected a matrix with at least one row and one column, got shape {shape}")
    return m, n
