"""What all operators share: the contract with SciPy and NumPy, arithmetic, and what arithmetic makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from numbers import Complex, Real
from typing import Any, ClassVar, Self, cast

import numpy as np
from scipy.sparse.linalg import LinearOperator

from bitterfly.accuracy.change import after_cast
from bitterfly.accuracy.derived import Derived, OfProduct, OfSum, Rounded
from bitterfly.accuracy.known import ERROR_KINDS, ErrorKind, Known, weakest
from bitterfly.bits import Numbers, Stored, in_words
from bitterfly.inputs import Array, IndexArray, as_floating
from bitterfly.operators.report import CompressReport
from bitterfly.operators.views import FLAGS, MODES, Mode, checked_mode
from bitterfly.panels import identity_panel, unit_panel
from bitterfly.precision import cast_dtype

MetricErrors = tuple[float, float]  # in a metric of the inputs, and in one of those of the transpose

UNKNOWN: MetricErrors = (float("nan"), float("nan"))

_PANEL = 256
_UNIT = float(np.finfo(np.float64).eps) / 2


class Operator(Stored, LinearOperator):  # type: ignore[misc]
    """A linear operator that does not change, with what is known of its error.

    Attributes
    ----------
    report : CompressReport or None
        How `compress` made the operator, kept by views, casts, copies and pickles of it.

    Notes
    -----
    A kind of operators supplies `_multiply`, `_flipped`, `astype`, and the facts `nbytes` and `numbers`. Products are
    those of SciPy, of vectors, matrices and batches (..., n, k), alike with every SciPy: up to 1.17 there are no
    batches, and messages print whole arrays, or no shapes.
    """

    __array_priority__ = 20.0
    kind: ClassVar[str]
    report: CompressReport | None = None
    _fact: Known | Derived
    _metric_errors: MetricErrors = UNKNOWN

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, int], fact: Known | Derived) -> None:
        """Set the common facts. It comes last: nothing can be set from here on."""
        super().__init__(np.dtype(dtype.type), shape)
        self._fact = fact

    def __setattr__(self, name: str, value: Any) -> None:
        if "_fact" in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is immutable: cannot set {name!r}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot delete {name!r}")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: Any) -> Self:
        return self

    def _viewed(self, **facts: Any) -> Self:
        """Return a view with other facts, which have been checked: all else is shared."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__, **facts)
        return view

    # ---- what is known of the error ----

    @property
    def relative_error(self) -> float:
        """What is known of ``||A - op||_F / ||A||_F``, A the original matrix: an upper bound; NaN if nothing is."""
        return self._known_error().error

    @property
    def error_kind(self) -> ErrorKind:
        """How the error is known: "exact", "ledger", "measured" or "estimated"."""
        return self._known_error().kind

    @property
    def metric_error(self) -> float:
        """Bound on the error in the metric G of the inputs that codes were chosen for.

        That is the root of ``tr(D G D^H) / tr(A G A^H)``, D the difference to the matrix A; NaN without a metric, where
        it is not known, and of the transpose, whose inputs are others.
        """
        return self._metric_errors[0]

    def _known_error(self) -> Known:
        return self._fact if isinstance(self._fact, Known) else self._fact.known(self)

    # ---- what a kind supplies ----

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        """Write the product of this, its transpose, conjugate or adjoint, into `out`, and return it.

        `x` has one or two dimensions and numbers of a working precision; `out` shares no memory with it and has the
        dtype ``result_type(self.dtype, x.dtype)``. Both have any strides.
        """
        raise NotImplementedError

    def _flipped(self, transposed: bool, conjugated: bool) -> Self:
        """Return the transpose, the conjugate or the adjoint, a view of the same buffers."""
        raise NotImplementedError

    def astype(self, dtype: Any) -> Self:
        """Return the operator in another precision; to a narrower one, the change is added to the error."""
        raise NotImplementedError

    @property
    def members(self) -> tuple[Operator, ...]:
        """The operators that this one is made of, if it is made of others."""
        return ()

    # ---- views ----

    def _transpose(self) -> Self:
        return self._flipped(transposed=True, conjugated=False)

    def _adjoint(self) -> Self:
        return self._flipped(transposed=True, conjugated=True)

    def conj(self) -> Self:
        """Return the complex conjugate, a view of the same buffers."""
        return self._flipped(transposed=False, conjugated=True)

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
        shape = _product_shape(self.shape[0], x.shape)
        if out is None:
            out = np.empty(shape, dtype)
        else:
            _check_out(out, shape, dtype)
            x = x.copy() if np.may_share_memory(x, out) else x
        if x.ndim <= 2:
            return self._multiply(x, out, False, False, workers)
        for index in np.ndindex(x.shape[:-2]):
            self._multiply(x[index], out[index], False, False, workers)
        return out

    def _is_plain(self, x: Any, side: int) -> bool:
        """Whether x is one vector in the operator's precision: most products are, and kernels take it as it is."""
        return (
            type(x) is np.ndarray
            and x.dtype is self.dtype
            and x.ndim == 1
            and len(x) == self.shape[side]
            and x.flags.aligned
        )

    def _product(
        self, x: Array, transposed: bool = False, conjugated: bool = False, workers: int | None = None
    ) -> Array:
        """Return the product with x of one or two dimensions, a new array."""
        out = np.empty((self.shape[1 if transposed else 0], *x.shape[1:]), np.result_type(self.dtype, x.dtype))
        return self._multiply(x, out, transposed, conjugated, workers)

    def _write(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> None:
        """Write the product into `out`, which may have a wider dtype than it."""
        if out.dtype == np.result_type(self.dtype, x.dtype):
            self._multiply(x, out, transposed, conjugated, workers)
        else:
            out[...] = self._product(x, transposed, conjugated, workers)

    def _columns(self, x: Any, adjoint: bool) -> Array:
        """Product with the columns of x of shape (..., n, k)."""
        x = as_floating(x, "x")
        rows = self.shape[1 if adjoint else 0]
        out = np.empty((*x.shape[:-2], rows, x.shape[-1]), np.result_type(self.dtype, x.dtype))
        for index in np.ndindex(x.shape[:-2]):
            self._multiply(x[index], out[index], adjoint, adjoint, None)
        return out

    def _vectors(self, x: Any, adjoint: bool) -> Array:
        """Product with x of shape (n,), (n, 1) or, for batches, (..., n)."""
        x = as_floating(x, "x")
        rows, columns = self.shape[::-1] if adjoint else self.shape
        if x.shape[0] == columns and x.ndim <= 2 and x.size == columns:
            return self._product(x, adjoint, adjoint)
        return self._columns(x.reshape(-1, columns).T, adjoint).T.reshape(*x.shape[:-1], rows)

    def _matvec(self, x: Any) -> Array:
        return self._vectors(x, adjoint=False)

    def _rmatvec(self, x: Any) -> Array:
        return self._vectors(x, adjoint=True)

    def _matmat(self, X: Any) -> Array:
        return self._columns(X, adjoint=False)

    def _rmatmat(self, X: Any) -> Array:
        return self._columns(X, adjoint=True)

    def matvec(self, x: Any) -> Any:
        """Return ``A x`` for x of shape (n,) or (n, 1), or for each vector of a batch (..., n)."""
        if type(x) is np.ndarray and x.shape == self.shape[1:]:  # SciPy looks at it for longer than short products take
            return self._product(as_floating(x, "x"))
        return super().matvec(x) if _is_vector(x, self.shape[1]) else self._vectors(x, adjoint=False)

    def rmatvec(self, x: Any) -> Any:
        """Return ``A^H x`` for x of shape (m,) or (m, 1), or for each vector of a batch (..., m)."""
        if type(x) is np.ndarray and x.shape == self.shape[:1]:
            return self._product(as_floating(x, "x"), True, True)
        return super().rmatvec(x) if _is_vector(x, self.shape[0]) else self._vectors(x, adjoint=True)

    def matmat(self, X: Any) -> Any:
        """Return ``A X`` for X of shape (n, k) or (..., n, k)."""
        check_columns(np.shape(X), self.shape[1], least=2)
        return super().matmat(X) if np.ndim(X) == 2 else self._columns(X, adjoint=False)

    def rmatmat(self, X: Any) -> Any:
        """Return ``A^H X`` for X of shape (m, k) or (..., m, k)."""
        check_columns(np.shape(X), self.shape[0], least=2)
        return super().rmatmat(X) if np.ndim(X) == 2 else self._columns(X, adjoint=True)

    # ---- arithmetic ----

    def dot(self, x: Any) -> Any:
        """Return ``A x`` for x of shape (n,), (n, k) or (..., n, k), or the product with an operator or a number."""
        if isinstance(x, Operator):
            return _product_of(self, x)
        if isinstance(x, LinearOperator):
            return super().dot(x)
        if _is_number(x):
            return self._scaled(*_as_coefficient(x))
        check_columns(np.shape(x), self.shape[1])
        return super().dot(x) if np.ndim(x) <= 2 else self.apply(x)

    def __matmul__(self, other: Any) -> Any:
        if type(other) is np.ndarray and other.ndim in (1, 2) and other.shape[0] == self.shape[1]:
            return self.apply(other)
        return super().__matmul__(other)

    def __rmul__(self, x: Any) -> Any:
        if isinstance(x, LinearOperator):
            return super().__rmul__(x)
        if _is_number(x):
            return self._scaled(*_as_coefficient(x))
        rows = self.shape[0]
        if np.shape(x)[-1:] != (rows,):
            raise ValueError(f"x: expected shape ({rows},), (k, {rows}) or (..., k, {rows}), got {np.shape(x)}")
        if np.ndim(x) <= 2:
            return super().__rmul__(x)
        return np.swapaxes(self.T.apply(np.swapaxes(x, -1, -2)), -1, -2)

    def __truediv__(self, x: Any) -> Any:
        if not _is_number(x):
            raise TypeError(f"x: an operator is divided by numbers only, got {type(x).__name__}")
        return self._scaled(*_reciprocal(*_as_coefficient(x)))

    def __neg__(self) -> ButterflySum:
        return self._scaled(-1.0)

    def __pos__(self) -> Self:
        return self

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Operator):
            return _sum_of(self, other, 1.0)
        return super().__add__(other) if isinstance(other, LinearOperator) else _not_added(other)

    def __radd__(self, other: Any) -> Any:
        return self if _is_number(other) and other == 0 else _not_added(other)  # sum() begins with 0

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Operator):
            return _sum_of(self, other, -1.0)
        return super().__sub__(other) if isinstance(other, LinearOperator) else _not_added(other)

    def __rsub__(self, other: Any) -> Any:
        return _not_added(other)

    def __pow__(self, p: Any) -> Any:
        if not isinstance(p, (int, np.integer)) or isinstance(p, bool) or p < 1:
            raise ValueError(f"p: expected a positive integer, got {p!r}")
        if self.shape[0] != self.shape[1]:
            raise ValueError(f"op: only square operators have powers, got shape {self.shape}")
        return ButterflyProduct([self] * int(p)) if p > 1 else self

    def _scaled(self, factor: complex, rounding: float = 0.0) -> ButterflySum:
        """Return the operator times a number that has been rounded by so much."""
        multiple = ButterflySum([self], coefficients=[factor])
        return multiple._viewed(_fact=Rounded(self, rounding)) if rounding else multiple

    # ---- the dense matrix ----

    def _panels(self) -> Iterator[tuple[slice, Array]]:
        n = self.shape[1]
        for first in range(0, n, _PANEL):
            columns = slice(first, min(first + _PANEL, n))
            yield columns, self._some_columns(first, columns.stop)

    def _some_columns(self, first: int, end: int) -> Array:
        """Return some columns, of which no more is rounded than the bounds say of the product with unit vectors."""
        return self.apply(identity_panel(self.shape[1], first, end - first, self.dtype))

    def _with_quick_columns(self) -> Operator:
        """Return the operator in the form whose columns take the least time, within the bounds of this one."""
        return self

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
        unit = unit_panel(self.shape[0], index, self.dtype)
        return np.ascontiguousarray(self._product(unit, transposed=True).T)

    def __getitem__(self, key: Any) -> Any:
        """Return entries, rows or columns as NumPy does of the dense matrix, from as few products as they take.

        Parameters
        ----------
        key : one or two of: int, slice, array of integers or, along one side, of booleans
            Two arrays are taken together, as those of NumPy are: ``op[numpy.ix_(rows, columns)]`` is a block.

        Returns
        -------
        scalar or ndarray

        Raises
        ------
        IndexError
            Where there is no such entry, and for keys of other kinds.
        """
        keys = _two_keys(key)
        rows, columns = (np.arange(size)[each] for size, each in zip(self.shape, keys, strict=True))
        if any(isinstance(each, slice) for each in keys):  # every row meets every column, else they go in pairs
            rows = rows.reshape(rows.shape + (1,) * columns.ndim)
        some_rows, row_places = np.unique(rows, return_inverse=True)
        some_columns, column_places = np.unique(columns, return_inverse=True)
        block = self._block(some_rows, some_columns)
        return block[row_places.reshape(rows.shape), column_places.reshape(columns.shape)]

    def _block(self, rows: IndexArray, columns: IndexArray) -> Array:
        """Return the entries where some rows and columns meet, from products along the fewer of both."""
        out = np.empty((len(rows), len(columns)), self.dtype)
        by_rows = len(rows) <= len(columns)
        for first in range(0, min(out.shape), _PANEL):
            part = slice(first, first + _PANEL)
            if by_rows:
                out[part] = self._rows(rows[part])[:, columns]
            else:
                out[:, part] = self._product(unit_panel(self.shape[1], columns[part], self.dtype))[rows]
        return out

    # ---- words ----

    def __repr__(self) -> str:
        made_of = f"{len(self.members)} operators of " if self.members else ""
        return (
            f"<{self.shape[0]} x {self.shape[1]} {type(self).__name__} of {made_of}{self.dtype}, "
            f"{self.mean_bits:.3g} bits per stored number, "
            f"relative error {self.relative_error:.2e} ({self.error_kind})>"
        )

    def _repr_html_(self) -> str:
        facts = {
            "shape": f"{self.shape[0]} x {self.shape[1]}",
            "dtype": str(self.dtype),
            **({"operators": str(len(self.members))} if self.members else {}),
            "relative error": f"{self.relative_error:.2e} ({self.error_kind})",
            "bytes": f"{self.nbytes:,} ({self.bits_per_entry:.3g} bits per entry of the matrix)",
            "bits": in_words(self.mean_bits, self.bits_per_number),
        }
        rows = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in facts.items())
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


class StoredOperator(Operator):
    """An operator of buffers of its own, in a mode: transposes and conjugates share them."""

    mode: Mode

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        raise NotImplementedError

    def _flipped(self, transposed: bool, conjugated: bool) -> Self:
        transpose, conjugate = FLAGS[self.mode]
        mode = checked_mode(MODES[transpose ^ transposed, conjugate ^ conjugated], self.dtype)
        shape = self.stored_shape[::-1] if FLAGS[mode][0] else self.stored_shape
        return self._viewed(mode=mode, shape=shape, _metric_errors=swapped(self._metric_errors, transposed))

    def replaced(
        self,
        *,
        relative_error: float | None = None,
        error_kind: str | None = None,
        metric_error: float | None = None,
        report: CompressReport | None = None,
    ) -> Self:
        """Return a view of the same buffers with another error or report; what is not given stays as it is."""
        error = self.relative_error if relative_error is None else relative_error
        known = checked_error(error, error_kind or self.error_kind)
        errors = self._metric_errors
        if metric_error is not None:
            errors = checked_metric_error(metric_error), errors[1]
        return self._viewed(_fact=known, _metric_errors=errors, report=report or self.report)


def checked_error(error: float, kind: str) -> Known:
    """Return what is stated of an error, or raise a ValueError for what is none."""
    if kind not in ERROR_KINDS:
        raise ValueError(f"error_kind: expected one of {', '.join(ERROR_KINDS)}, got {kind!r}")
    if float(error) < 0:
        raise ValueError(f"relative_error: expected a number >= 0 or nan (unknown), got {error!r}")
    return Known(float(error), cast(ErrorKind, kind))


def checked_metric_error(error: float) -> float:
    """Return what is stated of an error in a metric, or raise a ValueError for what is none."""
    if float(error) < 0:
        raise ValueError(f"metric_error: expected a number >= 0 or nan (unknown), got {error!r}")
    return float(error)


def swapped(errors: MetricErrors, transposed: bool) -> MetricErrors:
    """Return the errors of the transpose, or these."""
    return (errors[1], errors[0]) if transposed else errors


def check_columns(shape: tuple[int, ...], n: int, least: int = 1) -> None:
    """Raise a ValueError unless the shape is (n,), (n, k) or (..., n, k), of at least so many dimensions."""
    if len(shape) < least or shape[-2:][:1] != (n,):
        expected = f"({n},), " if least == 1 else ""
        raise ValueError(f"x: expected shape {expected}({n}, k) or (..., {n}, k), got {tuple(shape)}")


def _is_vector(x: Any, n: int) -> bool:
    """Tell a vector, (n,) or (n, 1), from a batch of them, (..., n); raise a ValueError for anything else."""
    shape = np.shape(x)
    if shape not in ((n,), (n, 1)) and shape[-1:] != (n,):
        raise ValueError(f"x: expected shape ({n},), ({n}, 1) or (..., {n}), got {shape}")
    return shape in ((n,), (n, 1))


def _product_shape(rows: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the product of `rows` rows with an array of shape (n,), (n, k) or (..., n, k)."""
    return (*shape[:-2], rows, *shape[-1:]) if len(shape) > 1 else (rows,)


def _check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an `out` that cannot take a product of this shape and dtype."""
    if not isinstance(out, np.ndarray) or out.dtype != dtype or not out.flags.aligned:
        raise TypeError(f"out: expected an aligned array of {dtype}, got {getattr(out, 'dtype', type(out).__name__)}")
    if out.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out: expected a writable array, got a read-only one")


def _two_keys(key: Any) -> tuple[Any, Any]:
    """Return what is asked of rows and of columns: slices, or integers and arrays of them."""
    keys = key if isinstance(key, tuple) else (key,)
    if len(keys) > 2:
        raise IndexError(f"index: expected one or two, rows and columns, got {len(keys)}")
    if any(each is None or isinstance(each, (bool, np.bool_)) for each in keys):
        raise IndexError(f"index: expected integers, slices or arrays of rows and columns, got {key!r}")
    rows, columns = (slice(None) if each is Ellipsis else each for each in (*keys, slice(None), slice(None))[:2])
    return rows, columns


# ---- numbers ----


def _not_added(other: Any) -> Any:
    """Refuse to add numbers and arrays to operators; leave all else to what it says itself."""
    if _is_number(other) or isinstance(other, (np.ndarray, list)):
        raise TypeError(
            f"op: expected another operator to add or subtract, got {type(other).__name__}; op.todense() is an array"
        )
    return NotImplemented


def _is_number(x: Any) -> bool:
    """Whether x is a number, or an array of no dimensions that holds one."""
    return isinstance(x, Complex) or (isinstance(x, np.ndarray) and x.ndim == 0 and isinstance(x[()], Complex))


def _as_coefficient(x: Any) -> tuple[complex, float]:
    """Return a number in double precision, and what rounding it changed, relative to it."""
    x = x[()] if isinstance(x, np.ndarray) else x
    number = float(x) if isinstance(x, Real) else complex(x)
    return number, 0.0 if number == x or number != number else _UNIT


def _reciprocal(x: complex, rounding: float) -> tuple[complex, float]:
    """Return 1 / x, and what rounding it changed: a unit of real numbers, fewer than 8 of complex ones."""
    if x == 0:
        raise ZeroDivisionError("x: an operator is divided by zero")
    if not np.isfinite(x):
        raise ValueError(f"x: expected a finite number, got {x}")
    number = 1 / x
    if isinstance(number, complex):
        return number, rounding + 8 * _UNIT
    exact = np.isfinite(number) and Fraction(x) * Fraction(number) == 1
    return number, rounding + (0.0 if exact else 2 * _UNIT)


def _fitting(coefficient: complex, dtype: np.dtype[Any]) -> complex:
    """Return a coefficient of terms of a dtype; refuse those that it cannot hold."""
    limits = np.finfo(dtype)
    if not np.isfinite(coefficient):
        raise ValueError(f"coefficients: expected finite numbers, got {coefficient}")
    if coefficient != 0 and not float(limits.tiny) <= abs(coefficient) <= float(limits.max):
        raise OverflowError(f"coefficients: {coefficient:.3g} does not fit {dtype}; use op.astype of a wider one")
    return coefficient


# ---- operators made of operators ----


class Composite(Operator):
    """What operators share that are made of others: their members are kept as they are, and so are their buffers."""

    def __init__(
        self,
        members: tuple[Operator, ...],
        shape: tuple[int, int],
        relative_error: float | None,
        error_kind: str | None,
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        self._members = members
        dtype = np.result_type(*(op.dtype for op in members)) if dtype is None else dtype
        super().__init__(dtype, shape, self._derived())
        if relative_error is not None or error_kind is not None:
            self.__dict__["_fact"] = self._stated(relative_error, error_kind)

    def _derived(self) -> Derived:
        """Return what follows for the error from the members, found when it is asked for."""
        raise NotImplementedError

    def _stated(self, error: float | None, kind: str | None) -> Known:
        """Return what is stated of the error; how it is known follows from all members unless that is stated too."""
        if error is None:
            return checked_error(self.relative_error, cast(str, kind))
        kinds = [op.error_kind for op in self._members] if kind is None and error == error else ["estimated"]
        return checked_error(error, kind or weakest(kinds))

    def _remade(self, members: Sequence[Operator], transposed: bool = False, conjugated: bool = False) -> Self:
        """Return the same of other members, transposed or conjugated ones; the error follows from them."""
        raise NotImplementedError

    @property
    def members(self) -> tuple[Operator, ...]:
        """The operators that this one is made of."""
        return self._members

    @property
    def nbytes(self) -> int:
        """Bytes of all members; what several of them share counts for each."""
        return sum(op.nbytes for op in self._members)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that each factor of all members stores, and their bits."""
        return tuple(part for op in self._members for part in op.numbers)

    def _flipped(self, transposed: bool, conjugated: bool) -> Self:
        members = [op._flipped(transposed, conjugated) for op in self._members]
        errors = swapped(self._metric_errors, transposed)
        view = self._remade(members, transposed, conjugated)
        return view._viewed(_fact=self._fact, report=self.report, _metric_errors=errors)

    def astype(self, dtype: Any) -> Self:
        """Return the operator with members of another precision.

        To a narrower one, the error is that which follows from those of the members, where it does directly; else the
        change is measured as for `ButterflyOperator.astype`.
        """
        target = cast_dtype(dtype, self.dtype)
        cast = self._remade(self._members_as(target))._viewed(report=self.report)
        if np.finfo(target).eps <= np.finfo(self.dtype).eps:
            return cast._viewed(_fact=self._fact, _metric_errors=self._metric_errors)
        if isinstance(self._fact, Derived) and self._fact.is_direct(self) and cast._derived().is_direct(cast):
            return cast
        known = Known.of(self)
        return cast._viewed(_fact=after_cast(self, cast) if known.error == known.error else known)

    def _members_as(self, target: np.dtype[Any]) -> list[Operator]:
        """Return the members in another precision; real ones of a complex operator stay real."""
        real = target.type(0).real.dtype
        stay = self.dtype.kind == "c"
        return [op.astype(real if stay and op.dtype.kind != "c" else target) for op in self._members]


class ButterflySum(Composite):
    """A linear combination of operators of one shape: ``sum c_t A_t``.

    The forward product is ``sum c_t A_t x``, the adjoint ``sum conj(c_t) A_t^H y``. A multiple of an operator is a sum
    of one term.

    Parameters
    ----------
    terms : iterable of operators
    relative_error : float, optional
        Of the sum against an original matrix. Default: what follows from the terms, found when it is asked for: that of
        a single term, 0 where that of all terms is, else a bound from the norms of the terms and of the sum; NaN, not
        known, where terms cancel so far that it could be all of the sum.
    error_kind : str, optional
        How it is known. Default: the weakest kind of all terms, and of how the norms are: "measured" of up to 2^21
        entries, "estimated" of more; "estimated" where the error is not known.
    coefficients : sequence of numbers, optional
        One for each term, in double precision. Default: all one. Real ones keep the dtype of the terms, complex ones
        make it complex.

    Raises
    ------
    TypeError, ValueError
        Where there are no terms, some are no operators, or their shapes differ.
    OverflowError
        Where a coefficient does not fit the dtype.
    """

    kind = "sum"

    def __init__(
        self,
        terms: Iterable[Any],
        relative_error: float | None = None,
        error_kind: str | None = None,
        *,
        coefficients: Iterable[complex] | None = None,
    ) -> None:
        members = operators_of(terms, "terms")
        shapes = list(dict.fromkeys(op.shape for op in members))
        if len(shapes) != 1:
            got = f"got {shapes[0]} and {shapes[1]}" if shapes else "got none"
            raise ValueError(f"terms: expected at least one operator, all of one shape, {got}")
        numbers = [1.0] * len(members) if coefficients is None else [_as_coefficient(c)[0] for c in coefficients]
        if len(numbers) != len(members):
            raise ValueError(f"coefficients: expected {len(members)}, one for each term, got {len(numbers)}")
        dtypes = [np.complex64 if isinstance(c, complex) else np.float32 for c in numbers]
        dtype = np.result_type(*(op.dtype for op in members), *dtypes)
        self._coefficients = tuple(_fitting(c, dtype) for c in numbers)
        super().__init__(members, shapes[0], relative_error, error_kind, dtype)

    def _derived(self) -> Derived:
        return OfSum()

    @property
    def terms(self) -> tuple[Operator, ...]:
        """The operators that are added."""
        return self._members

    @property
    def coefficients(self) -> tuple[complex, ...]:
        """The numbers that the terms are multiplied with."""
        return self._coefficients

    def _remade(self, members: Sequence[Operator], transposed: bool = False, conjugated: bool = False) -> Self:
        numbers = [c.conjugate() if conjugated else c for c in self._coefficients]
        return type(self)(members, coefficients=numbers)

    def _scaled(self, factor: complex, rounding: float = 0.0) -> ButterflySum:
        if factor not in (1, -1) and (_has_operands(self) or any(c not in (1, -1) for c in self._coefficients)):
            return super()._scaled(factor, rounding)
        multiple = type(self)(self.terms, coefficients=[factor * c for c in self._coefficients])  # exact products
        return multiple._viewed(_fact=Rounded(self, rounding) if rounding else self._fact)

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        numbers = [c.conjugate() if conjugated else c for c in self._coefficients]
        self.terms[0]._write(x, out, transposed, conjugated, workers)
        with np.errstate(over="ignore", invalid="ignore"):  # as the products of all terms
            if numbers[0] != 1:
                out *= numbers[0]
            for term, c in zip(self.terms[1:], numbers[1:], strict=True):
                y = np.empty_like(out, np.result_type(term.dtype, x.dtype))  # of the layout of what it is added to
                term._multiply(x, y, transposed, conjugated, workers)
                out += y if c == 1 else np.multiply(y, c, dtype=out.dtype)
        return out

    def _rows(self, index: Array) -> Array:
        out = np.zeros((len(index), self.shape[1]), self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for term, c in zip(self.terms, self._coefficients, strict=True):
                rows = term._rows(index)
                out += rows if c == 1 else np.multiply(rows, c, dtype=self.dtype)
        return out


class ButterflyProduct(Composite):
    """The product of operators: ``A_1 A_2 ... A_L``; the adjoint is ``A_L^H ... A_2^H A_1^H``.

    Parameters
    ----------
    operators : iterable of operators
        From left to right; each has as many columns as the next one has rows.
    relative_error, error_kind : float, str, optional
        As for `ButterflySum`.

    Raises
    ------
    TypeError, ValueError
        Where there are no operators, some are none, or their shapes do not fit.
    """

    kind = "product"

    def __init__(
        self, operators: Iterable[Any], relative_error: float | None = None, error_kind: str | None = None
    ) -> None:
        members = operators_of(operators, "operators")
        if not members:
            raise ValueError("operators: expected at least one, got none")
        for left, right in pairwise(members):
            if left.shape[1] != right.shape[0]:
                raise ValueError(f"operators: expected shapes (m, k) and (k, n), got {left.shape} and {right.shape}")
        shape = members[0].shape[0], members[-1].shape[1]
        super().__init__(members, shape, relative_error, error_kind)

    def _derived(self) -> Derived:
        return OfProduct()

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators that are multiplied, from left to right."""
        return self._members

    def _remade(self, members: Sequence[Operator], transposed: bool = False, conjugated: bool = False) -> Self:
        return type(self)(members[::-1] if transposed else members)

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        first, *others = self.operators if transposed else self.operators[::-1]
        for following in others:
            x, first = first._product(x, transposed, conjugated, workers), following
        return first._multiply(x, out, transposed, conjugated, workers)

    def _rows(self, index: Array) -> Array:
        first, *others = self.operators
        x = np.ascontiguousarray(first._rows(index).T)
        for following in others:
            x = following._product(x, transposed=True)
        return np.ascontiguousarray(x.T, self.dtype)


def _product_of(left: Operator, right: Operator) -> ButterflyProduct:
    """Return ``left @ right``, products of products as one."""
    factors: list[Operator] = []
    operands: list[Operator] = []
    for op in (left, right):
        parts = op.operators if isinstance(op, ButterflyProduct) else (op,)
        factors += parts
        operands += parts if _follows_from_members(op) else (op,)
    whole = ButterflyProduct(factors)
    return whole if operands == factors else whole._viewed(_fact=OfProduct(operands))


def _sum_of(left: Operator, right: Operator, sign: float) -> ButterflySum:
    """Return ``left + sign * right``, sums of sums as one."""
    if left.shape != right.shape:
        raise ValueError(f"op: expected operators of one shape, got {left.shape} and {right.shape}")
    terms: list[tuple[complex, Operator]] = []
    operands: list[tuple[complex, Operator]] = []
    for op, s in ((left, 1.0), (right, sign)):
        parts: list[tuple[complex, Operator]] = [(s, op)]
        if isinstance(op, ButterflySum):
            parts = [(s * c, term) for c, term in zip(op.coefficients, op.terms, strict=True)]
        terms += parts
        operands += parts if _follows_from_members(op) else [(s, op)]
    whole = ButterflySum([term for _, term in terms], coefficients=[c for c, _ in terms])
    return whole if operands == terms else whole._viewed(_fact=OfSum(operands))


def _has_operands(op: Operator) -> bool:
    """Whether the error of a sum or a product follows from what was added or multiplied, not from its members."""
    return isinstance(op._fact, (OfSum, OfProduct)) and op._fact.operands is not None


def _follows_from_members(op: Operator) -> bool:
    """Whether no more is known of the error of a sum or a product than what follows from those of its members."""
    return isinstance(op._fact, (OfSum, OfProduct)) and op._fact.operands is None


def operators_of(ops: Any, name: str) -> tuple[Operator, ...]:
    """Return the operators of an iterable, or raise a TypeError that names what is none."""
    if not isinstance(ops, Iterable) or isinstance(ops, (np.ndarray, LinearOperator)):
        raise TypeError(f"{name}: expected operators in a list or other iterable, got {type(ops).__name__}")
    members = tuple(ops)
    for at, op in enumerate(members):
        if not isinstance(op, Operator):
            raise TypeError(f"{name}[{at}]: expected an operator of this package, got {type(op).__name__}")
    return members
