"""Sums of signed cuts as operators: rank-one matrices of signs, one bit each, with a coefficient for each cut."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.change import after_cast
from bitterfly.accuracy.known import Known
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, as_count, as_floating
from bitterfly.operators.contract import (
    UNKNOWN,
    MetricErrors,
    Operator,
    StoredOperator,
    checked_error,
    checked_metric_error,
    swapped,
)
from bitterfly.operators.report import CompressReport
from bitterfly.operators.views import FLAGS, Mode, checked_mode
from bitterfly.precision import cast_dtype
from bitterfly.workers import as_workers

_BITS = {1: 28, 2: 56}  # that vectors and sums keep of their largest number, by rounds


class SignedCut(StoredOperator):
    """A sum of signed cuts, ``sum_j c_j s_j t_j^T`` with s_j and t_j of -1 and 1, as a SciPy ``LinearOperator``.

    A cut takes a bit for each row and each column, and its coefficient. Products round x to integers, add these up
    exactly by the signs of each cut, and once more the cuts by the signs of each row: results depend neither on the
    tier nor on the number of workers.

    Parameters
    ----------
    coefficients : array_like, shape (width,)
        Real numbers, at least one.
    rows, columns : array_like, shapes (width, m) and (width, n)
        The signs of each cut: numbers -1 and 1.
    dtype : dtype, optional
        float32 or float64; default: that of `coefficients`.
    relative_error, error_kind : float, str, optional
        What is known about the error against an original matrix.
    metric_error : float, optional
        The error in a metric of the inputs of the stored, forward operator.
    errors : array_like, shape (width,), optional
        What is known of the relative error of the first 1, 2, ... cuts, NaN where nothing is.
    mode : {"forward", "transpose"}, optional
        Which view of the matrix the operator is.
    report : CompressReport, optional
        How the operator was made.

    Raises
    ------
    TypeError, ValueError
        Where numbers are no signs, complex or not finite, and where shapes do not fit.
    OverflowError
        Where coefficients do not fit `dtype`.

    Notes
    -----
    Signed cuts are the sketches of Frieze and Kannan, *Quick approximation to matrices and applications* (1999);
    as a code of matrices with an error that falls by the bits they are studied in arXiv:2410.01799 (2024).

    Examples
    --------
    >>> import bitterfly
    >>> op = bitterfly.SignedCut([2.0, 0.5], [[1, 1, -1], [1, -1, 1]], [[1, -1], [1, 1]])
    >>> op.todense(), op.nbytes
    (array([[ 2.5, -1.5],
           [ 1.5, -2.5],
           [-1.5,  2.5]]), 20)
    """

    kind = "cuts"
    mode: Mode

    def __init__(
        self,
        coefficients: Any,
        rows: Any,
        columns: Any,
        *,
        dtype: Any = None,
        relative_error: float = float("nan"),
        error_kind: str = "estimated",
        metric_error: float = float("nan"),
        errors: Any = None,
        mode: str = "forward",
        report: CompressReport | None = None,
    ) -> None:
        numbers = _as_coefficients(coefficients, dtype)
        left, right = (_as_bits(signs, name, len(numbers)) for signs, name in ((rows, "rows"), (columns, "columns")))
        shape = np.shape(rows)[1], np.shape(columns)[1]
        self._set(shape, numbers, left, right, errors, mode, report)
        self._metric_errors = swapped((checked_metric_error(metric_error), UNKNOWN[1]), FLAGS[self.mode][0])
        own = shape[::-1] if FLAGS[self.mode][0] else shape
        super().__init__(numbers.dtype, own, checked_error(relative_error, error_kind))

    def _set(
        self,
        shape: tuple[int, int],
        numbers: Array,
        left: Array,
        right: Array,
        errors: Any,
        mode: str,
        report: CompressReport | None,
    ) -> None:
        self.mode = checked_mode(mode, numbers.dtype)
        self._coefficients, self._stored_shape = numbers, shape
        self._errors = _as_errors(errors, len(numbers))
        for name, side in (("left", left), ("right", right)):
            if not isinstance(side, np.ndarray) or side.dtype != np.uint8:
                raise TypeError(
                    f"{name}: expected an array of uint8, got {getattr(side, 'dtype', type(side).__name__)}"
                )
        left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        self._core = _core.cuts(shape, numbers.astype(np.float64), left, right)
        self.report = report

    @classmethod
    def from_bits(
        cls,
        shape: tuple[int, int],
        coefficients: Any,
        left: Array,
        right: Array,
        *,
        mode: str = "forward",
        **facts: Any,
    ) -> Self:
        """Return the operator of signs in bits, a row of bytes for each cut.

        Parameters
        ----------
        shape : (m, n)
            Of the stored, forward operator.
        coefficients : array_like, shape (width,)
            Real numbers.
        left, right : ndarray of uint8, shapes (width, ceil(m / 8)) and (width, ceil(n / 8))
            Bit i of byte b is set where sign ``8 b + i`` is -1; bits behind the last sign do not count.
        mode : {"forward", "transpose"}, optional
            Which view of the matrix the operator is.
        **facts
            Options of `SignedCut`.
        """
        numbers = _as_coefficients(coefficients, facts.pop("dtype", None))
        op = object.__new__(cls)
        errors, report = facts.pop("errors", None), facts.pop("report", None)
        known = checked_error(facts.pop("relative_error", float("nan")), facts.pop("error_kind", "estimated"))
        metric_error = checked_metric_error(facts.pop("metric_error", float("nan")))
        if facts:
            raise TypeError(f"from_bits: unknown option {sorted(facts)[0]!r}")
        op._set(shape, numbers, left, right, errors, mode, report)
        op._metric_errors = swapped((metric_error, UNKNOWN[1]), FLAGS[op.mode][0])
        Operator.__init__(op, numbers.dtype, shape[::-1] if FLAGS[op.mode][0] else shape, known)
        return op

    # ---- what the operator is ----

    @property
    def width(self) -> int:
        """The number of cuts."""
        return len(self._coefficients)

    @property
    def coefficients(self) -> Array:
        """The coefficients of the cuts, read-only."""
        return self._coefficients

    @property
    def errors(self) -> Array:
        """What is known of the relative error of the first 1, 2, ... cuts: upper bounds, NaN where nothing is."""
        return self._errors

    @property
    def bits(self) -> tuple[Array, Array]:
        """The signs of the rows and columns of the stored, forward operator as `from_bits` takes them, copies."""
        return self._core.signs(True), self._core.signs(False)

    @property
    def signs(self) -> tuple[Array, Array]:
        """The signs of the rows and columns of this operator: -1 and 1 of int8, shapes (width, m) and (width, n)."""
        sides = zip(self.bits, self._stored_shape, strict=True)
        left, right = (1 - 2 * np.unpackbits(b, axis=1, count=n, bitorder="little").astype(np.int8) for b, n in sides)
        return (right, left) if FLAGS[self.mode][0] else (left, right)

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        return self._stored_shape

    @property
    def nbytes(self) -> int:
        """Bytes of the signs, in whole bytes for each side of a cut, and of the coefficients."""
        return self.width * sum(-(-n // 8) for n in self._stored_shape) + int(self._coefficients.nbytes)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The signs, numbers of one bit."""
        count = self.width * sum(self._stored_shape)
        return (Numbers(count, count),)

    @property
    def rounded_bits(self) -> int:
        """How many bits of the largest number products keep, of vectors and of the sums of the cuts."""
        return _BITS[self._rounds]

    # ---- products ----

    @property
    def _rounds(self) -> int:
        return 2 if self.dtype == np.float64 else 1

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        self._core.apply(x, out, FLAGS[self.mode][0] ^ transposed, self._rounds, as_workers(workers))
        return out

    # ---- views and copies ----

    def astype(self, dtype: Any) -> Self:
        """Return the operator in another precision; to a narrower one, the change is added to the error.

        Raises
        ------
        TypeError, OverflowError
            For complex numbers, and where coefficients do not fit.
        """
        target = cast_dtype(dtype, self.dtype)
        if target == self.dtype:
            return self
        numbers = _as_coefficients(self._coefficients, target)
        core = _core.cuts(self._stored_shape, numbers.astype(np.float64), *self.bits)
        cast = self._viewed(_coefficients=numbers, _core=core, dtype=np.dtype(target.type))
        if np.finfo(target).eps <= np.finfo(self.dtype).eps:
            return cast
        errors = _as_errors(None, self.width)
        return cast._viewed(_fact=after_cast(self, cast), _metric_errors=UNKNOWN, _errors=errors)

    def truncated(self, width: int) -> Self:
        """Return the operator of the first cuts, a copy; its error is that of `errors`.

        Parameters
        ----------
        width : int
            1 to ``op.width``.
        """
        count = as_count(width, "width")
        if not 1 <= count <= self.width:
            raise ValueError(f"width: expected 1 to {self.width}, got {width}")
        if count == self.width:
            return self
        left, right = (np.ascontiguousarray(side[:count]) for side in self.bits)
        error = float(self._errors[count - 1])
        return self.from_bits(
            self._stored_shape,
            self._coefficients[:count],
            left,
            right,
            mode=self.mode,
            errors=self._errors[:count],
            relative_error=error,
            error_kind="estimated" if error != error else self.error_kind,
            report=self.report,
        )

    def replaced(
        self,
        *,
        relative_error: float | None = None,
        error_kind: str | None = None,
        metric_error: float | None = None,
        errors: Any = None,
        report: CompressReport | None = None,
    ) -> Self:
        """Return a view of the same buffers with other errors or another report; what is not given stays as it is."""
        known = {"relative_error": relative_error, "error_kind": error_kind, "metric_error": metric_error}
        some = self._errors if errors is None else _as_errors(errors, self.width)
        return super().replaced(**known, report=report)._viewed(_errors=some)  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {"mode": self.mode, "errors": self._errors, "report": self.report} | Known.of(self).facts
        return _rebuilt, (self._stored_shape, self._coefficients, self.bits, facts, self._metric_errors)


def _rebuilt(
    shape: tuple[int, int],
    coefficients: Array,
    bits: tuple[Array, Array],
    facts: dict[str, Any],
    metric_errors: MetricErrors,
) -> SignedCut:
    return SignedCut.from_bits(shape, coefficients, *bits, **facts)._viewed(_metric_errors=metric_errors)


def _as_coefficients(coefficients: Any, dtype: Any) -> Array:
    given = as_floating(coefficients, "coefficients")
    if given.ndim != 1 or not given.size:
        raise ValueError(f"coefficients: expected shape (width,), at least one, got {given.shape}")
    if given.dtype.kind == "c":
        raise TypeError("coefficients: expected real numbers, got complex ones")
    own = given.dtype if dtype is None else cast_dtype(dtype, given.dtype)
    if own.kind == "c":
        raise TypeError(f"dtype: signed cuts are real, they cannot become {own}")
    with np.errstate(over="ignore"):
        numbers = np.array(given, own)
    if not np.all(np.isfinite(numbers)):
        if np.all(np.isfinite(given)):
            raise OverflowError(f"dtype: the coefficients do not fit {own}")
        raise ValueError("coefficients: expected finite numbers, got infinities or NaNs")
    numbers.flags.writeable = False
    return numbers


def _as_bits(signs: Any, name: str, width: int) -> Array:
    given = as_floating(signs, name)
    if given.ndim != 2 or len(given) != width or not given.shape[1]:
        raise ValueError(f"{name}: expected shape ({width}, n), a row of signs for each coefficient, got {given.shape}")
    if not np.all(np.abs(given) == 1) or given.dtype.kind == "c":
        raise ValueError(f"{name}: expected numbers -1 and 1")
    return np.packbits(given < 0, axis=1, bitorder="little")


def _as_errors(errors: Any, width: int) -> Array:
    found = np.full(width, np.nan) if errors is None else np.array(errors, np.float64)
    if found.shape != (width,) or np.any(found < 0):
        raise ValueError(f"errors: expected {width} numbers >= 0 or nan (unknown), one for each cut")
    found.flags.writeable = False
    return found
