"""Toeplitz and circulant matrices, in one dimension and more, of numbers and of blocks; convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index
from typing import Any, Self

import numpy as np
import scipy.fft

from bitterfly.accuracy.change import after_cast
from bitterfly.accuracy.known import Known
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, as_floating
from bitterfly.operators.contract import StoredOperator, checked_error
from bitterfly.operators.report import CompressReport
from bitterfly.operators.views import FLAGS, Mode, checked_mode
from bitterfly.powers import exponent_of, scaled
from bitterfly.precision import cast_dtype

_LEVEL, _REST = 12, 16  # roundings of the three transforms, a level of each; of what stands between them
_MOST = 1 << 31  # of sizes, strides and differences
_MOST_INDICES = 1 << 62
Sizes = tuple[int, ...]


class ToeplitzOperator(StoredOperator):
    """A matrix whose entries depend on the difference of row and column, with products by FFT.

    ``A[i, j] = t[s i - j - first]`` along each of d axes (rows and columns being C-ordered indices of arrays of d
    dimensions), zero outside of t: Toeplitz matrices (d = 1, s = 1), multilevel ones, convolutions with strides and
    padding. Where it is periodic, ``A[i, j] = t[(i - j) mod n]``: circulant matrices. With two more axes in front, of
    p and q, all of it is a p x q matrix of such blocks: rows are (p, M_1, ..), columns (q, N_1, ..).

    Parameters
    ----------
    coefficients : array_like, shape (K_1, ..., K_d) or (p, q, K_1, ..., K_d)
    rows, columns : sequence of d integers
        Sizes ``M_1, ..`` and ``N_1, ..`` of the arrays that rows and columns are indices of.
    first : sequence of d integers, optional
        The difference ``s i - j`` of the first coefficient along each axis. Default: ``1 - N``, that of the last
        column of the first row.
    strides : sequence of d integers, optional
        Default: ones.
    periodic : bool, optional
        Then rows, columns and coefficients have the same sizes, and `first` and `strides` are not given.
    relative_error, error_kind : float, str, optional
        What is known about the error against an original matrix. Default: none, this is the matrix.
    mode : {"forward", "transpose", "adjoint", "conjugate"}, optional
        Which view of the matrix the operator is.
    report : CompressReport, optional
        How :func:`compress` made the operator.

    Raises
    ------
    TypeError, ValueError
        Where sizes do not fit each other, or coefficients are not finite numbers.

    Notes
    -----
    A product takes three transforms of ``prod(L)`` numbers, L at most ``N + K - 1``, and as many as vectors more; it
    errs by about ``eps log2(L) sqrt(L) |t|`` of the vector, in the mean far less.

    Examples
    --------
    >>> import numpy as np, scipy.linalg, bitterfly
    >>> t = np.arange(5.0)
    >>> op = bitterfly.structures.ToeplitzOperator(t, rows=[3], columns=[3])
    >>> np.allclose(op.todense(), scipy.linalg.toeplitz(t[2:], t[2::-1]))
    True
    """

    kind = "toeplitz"
    mode: Mode

    def __init__(
        self,
        coefficients: Any,
        rows: Sequence[int],
        columns: Sequence[int],
        *,
        first: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        periodic: bool = False,
        relative_error: float = 0.0,
        error_kind: str = "exact",
        mode: str = "forward",
        report: CompressReport | None = None,
    ) -> None:
        t = _checked_numbers(coefficients)
        self._heights, self._widths = sizes_of(rows, "rows"), sizes_of(columns, "columns", len(rows))
        d = len(self._heights)
        if t.ndim not in (d, d + 2) or 0 in t.shape:
            raise ValueError(f"coefficients: expected {d} or {d + 2} dimensions, none of size zero, got {t.shape}")
        t = t.reshape(1, 1, *t.shape) if t.ndim == d else t
        t.flags.writeable = False
        self._t, self._periodic = t, bool(periodic)
        is_plain = first is None and strides is None
        if periodic and not (is_plain and self._heights == self._widths == t.shape[2:]):
            raise ValueError(
                f"periodic: expected rows and columns of {t.shape[2:]}, and neither first nor strides, "
                f"got {self._heights} and {self._widths}"
            )
        self._first = integers_of([1 - n for n in self._widths] if first is None else first, "first", d)
        self._strides = sizes_of([1] * d if strides is None else strides, "strides", d)
        if prod(self.lengths) >= _MOST:
            raise ValueError(f"rows, columns: expected transforms of fewer than {_MOST} numbers")
        self.mode = checked_mode(mode, t.dtype)
        self.report = report
        shape = self.stored_shape
        if max(shape) >= _MOST_INDICES:
            raise ValueError(f"rows, columns: expected a matrix of fewer than {_MOST_INDICES} of each, got {shape}")
        super().__init__(t.dtype, shape[::-1] if FLAGS[mode][0] else shape, checked_error(relative_error, error_kind))

    # ---- what the operator is ----

    @property
    def coefficients(self) -> Array:
        """The stored coefficients, (p, q, K_1, ..., K_d), read-only."""
        return self._t

    @property
    def sizes(self) -> tuple[Sizes, Sizes]:
        """Sizes of the arrays that rows and columns of the stored, forward operator are indices of, without blocks."""
        return self._heights, self._widths

    @property
    def first(self) -> Sizes:
        """The difference ``s i - j`` of the first coefficient along each axis."""
        return self._first

    @property
    def strides(self) -> Sizes:
        """The stride of rows along each axis."""
        return self._strides

    @property
    def is_periodic(self) -> bool:
        """Whether differences count modulo the sizes."""
        return self._periodic

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        p, q = self._t.shape[:2]
        return p * prod(self._heights), q * prod(self._widths)

    @property
    def nbytes(self) -> int:
        """Bytes of the coefficients."""
        return int(self._t.nbytes)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The coefficients, real and imaginary parts one by one, and their bits."""
        return (Numbers(self._t.size * (2 if self._t.dtype.kind == "c" else 1), 8 * self._t.nbytes),)

    # ---- bounds ----

    @property
    def log2_norm(self) -> float:
        """The logarithm to base 2 of the Frobenius norm, rounded up."""
        counts = self._counts()
        met = self._t[_open([np.flatnonzero(each) for each in counts])]
        if not met.size:
            return -np.inf
        squares, exponent = _squares(met)
        for axis, each in enumerate(counts):
            squares = squares * each[each > 0].reshape(-1, *[1] * (squares.ndim - 1 - axis))
        total = float(squares.sum())
        return float(np.log2(total)) / 2 + exponent + 1e-9 if total > 0 else -np.inf

    @property
    def log2_rounding_gain(self) -> float:
        """The logarithm of a bound on what a product rounds of a vector of length one.

        A transform of L numbers rounds them by ``4 log2(L) eps`` of their length (Higham, *Accuracy and Stability of
        Numerical Algorithms*, 2002, theorem 24.2); the transform of t is nowhere above ``sqrt(L) |t|``.
        """
        squares, exponent = _squares(self._t)
        total = float(squares.sum())
        if total == 0:
            return -np.inf
        size = float(np.prod([float(each) for each in self.lengths]))
        roundings = _LEVEL * np.log2(2 * size) + self._t.shape[1] + _REST
        eps = float(np.finfo(self._t.dtype).eps)
        return float(np.log2(roundings * eps * np.sqrt(size * total))) + exponent

    def _counts(self) -> list[Array]:
        """Return how many entries each coefficient has along each axis."""
        found = []
        for at, k in enumerate(self._t.shape[2:]):
            m, n, s, first = self._heights[at], self._widths[at], self._strides[at], self._first[at]
            if self._periodic:
                found.append(np.full(k, float(n)))
                continue
            difference = first + np.arange(k)  # of s i - j, with 0 <= j < n
            low = np.maximum(-(-difference // s), 0)
            high = np.minimum((difference + n - 1) // s, m - 1)
            found.append(np.maximum(high - low + 1, 0).astype(np.float64))
        return found

    # ---- products ----

    @property
    def lengths(self) -> Sizes:
        """The lengths of the transforms of a product: no row meets what wraps around."""
        if self._periodic:
            return self._heights
        found = []
        for at, k in enumerate(self._t.shape[2:]):
            n, last = self._widths[at], self._widths[at] + k - 2
            low = min(max(-self._first[at], 0), last)
            high = min(max(self._strides[at] * (self._heights[at] - 1) - self._first[at], 0), last)
            found.append(max(n, k, high + 1, last + 1 - low))
        return tuple(int(scipy.fft.next_fast_len(length, self._t.dtype.kind != "c")) for length in found)

    def _places(self, lengths: Sizes) -> tuple[list[Array], list[Array]]:
        """Return along each axis which rows are not zero, and where the convolution has them."""
        rows, places = [], []
        for at, (m, k) in enumerate(zip(self._heights, self._t.shape[2:], strict=True)):
            i = np.arange(m)
            place = i if self._periodic else self._strides[at] * i - self._first[at]
            some = (place >= 0) & (place < (lengths[at] if self._periodic else self._widths[at] + k - 1))
            rows.append(i[some])
            places.append(place[some])
        return rows, places

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        if not out.size:
            return out
        transpose, conjugate = FLAGS[self.mode]
        transposed, conjugated = transpose ^ transposed, (conjugate ^ conjugated) and self._t.dtype.kind == "c"
        dtype, lengths, d = out.dtype, self.lengths, len(self._heights)
        real = dtype.type(0).real.dtype
        exponent = exponent_of(self._t)  # transforms of numbers near one neither over- nor underflow
        t = _times(self._t.conj() if conjugated else self._t, -exponent, real)
        given = x.reshape(len(x), -1).T
        exponents = [exponent_of(each) for each in given]
        vectors = np.stack([_times(each, -e, real) for each, e in zip(given, exponents, strict=True)])
        axes = tuple(range(2, 2 + d))
        is_real = dtype.kind != "c"
        forward, inverse = (scipy.fft.rfftn, scipy.fft.irfftn) if is_real else (scipy.fft.fftn, scipy.fft.ifftn)
        rows, places = self._places(lengths)
        spectrum = forward(t, s=lengths, axes=axes)
        inner = slice(None), slice(None), *(slice(n) for n in self._widths)
        if transposed:
            blocks = vectors.reshape(len(vectors), self._t.shape[0], *self._heights)
            wide = np.zeros((*blocks.shape[:2], *lengths), blocks.dtype)
            wide[_open(places)] = blocks[_open(rows)]
            product = np.einsum(
                "pq...,vp...->vq...", self._reversed(spectrum, t, lengths, forward, axes), forward(wide, axes=axes)
            )
            found = inverse(product, s=lengths, axes=axes)[inner]
        else:
            blocks = vectors.reshape(len(vectors), self._t.shape[1], *self._widths)
            product = np.einsum("pq...,vq...->vp...", spectrum, forward(blocks, s=lengths, axes=axes))
            whole = inverse(product, s=lengths, axes=axes)
            found = np.zeros((len(vectors), self._t.shape[0], *self._heights), whole.dtype)
            found[_open(rows)] = whole[_open(places)]
        flat = out.reshape(len(out), -1) if out.ndim > 1 else out[:, None]
        for at, (y, e) in enumerate(zip(found.reshape(len(vectors), -1), exponents, strict=True)):
            flat[:, at] = _times(y, exponent + e, real)
        return out

    def _reversed(self, spectrum: Array, t: Array, lengths: Sizes, forward: Any, axes: Sizes) -> Array:
        """Return the spectrum of the coefficients in reverse order, modulo the lengths."""
        if t.dtype.kind != "c":
            return np.conj(spectrum)
        whole = np.zeros((*t.shape[:2], *lengths), t.dtype)
        whole[(slice(None), slice(None), *(slice(k) for k in t.shape[2:]))] = t
        return np.asarray(forward(np.roll(np.flip(whole, axes), 1, axes), axes=axes))

    # ---- views and copies ----

    def astype(self, dtype: Any) -> Self:
        """Return the operator in another precision; to a narrower one, the change is added to the error.

        Raises
        ------
        TypeError, OverflowError
            From complex to real numbers, and where coefficients do not fit.
        """
        target = cast_dtype(dtype, self.dtype)
        with np.errstate(over="ignore"):
            t = self._t.astype(target)
        if not np.all(np.isfinite(t)):
            raise OverflowError(f"dtype: the coefficients do not fit {target}")
        t.flags.writeable = False
        cast = self._viewed(_t=t, dtype=np.dtype(target.type))
        if np.finfo(target).eps <= np.finfo(self.dtype).eps:
            return cast
        return cast._viewed(_fact=after_cast(self, cast))

    def __reduce__(self) -> tuple[Any, ...]:
        facts: dict[str, Any] = {"mode": self.mode, "report": self.report} | Known.of(self).facts
        if self._periodic:
            facts["periodic"] = True
        else:
            facts |= {"first": self._first, "strides": self._strides}
        return _rebuilt, (self._t, self._heights, self._widths, facts)


def _rebuilt(t: Array, rows: Sizes, columns: Sizes, facts: dict[str, Any]) -> ToeplitzOperator:
    return ToeplitzOperator(t, rows, columns, **facts)


def _squares(t: Array) -> tuple[Array, int]:
    """Return the sums of squares of all blocks for each coefficient, times ``4**-exponent``."""
    exponent = exponent_of(t)
    wide = scaled(t.astype(np.result_type(t.dtype, np.float64)), -exponent)
    return np.square(np.abs(wide)).sum(axis=(0, 1)), exponent


def _times(x: Array, exponent: int, real: np.dtype[Any]) -> Array:
    """Return numbers times a power of two, in double precision on the way, in a precision of at least `real`."""
    dtype = np.result_type(x.dtype, real)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        wide = np.ascontiguousarray(x, np.result_type(x.dtype, np.float64))
        return np.asarray(scaled(wide, exponent).astype(dtype))


def _open(places: list[Array]) -> tuple[Any, ...]:
    """Return the index of a grid of places along the last axes, all of the first two."""
    d = len(places)
    return (slice(None), slice(None), *(x.reshape(-1, *[1] * (d - 1 - at)) for at, x in enumerate(places)))


def _checked_numbers(x: Any) -> Array:
    t = np.array(as_floating(x, "coefficients"))
    if not np.all(np.isfinite(t)):
        raise ValueError("coefficients: expected finite numbers, got infinities or NaNs")
    return t


def integers_of(x: Any, name: str, count: int | None = None) -> Sizes:
    """Return integers, so many or at least one, below 2^31 in size."""
    try:
        found = tuple(index(each) for each in x)
    except TypeError:
        raise TypeError(f"{name}: expected integers, got {x!r}") from None
    if not found or (count is not None and len(found) != count):
        raise ValueError(f"{name}: expected {count or 'some'} integers, got {found}")
    if max(map(abs, found)) >= _MOST:
        raise ValueError(f"{name}: expected numbers below {_MOST} in size, got {found}")
    return found


def sizes_of(x: Any, name: str, count: int | None = None) -> Sizes:
    """Return positive integers, so many or at least one, below 2^31."""
    found = integers_of(x, name, count)
    if min(found) < 1:
        raise ValueError(f"{name}: expected positive numbers, got {found}")
    return found
