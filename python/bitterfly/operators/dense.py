"""Any matrix: window codes in a rotated basis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any, Literal, Self, cast, get_args

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.known import Known
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, IndexArray
from bitterfly.operators.contract import UNKNOWN, Operator, StoredOperator, checked_error, checked_metric_error, swapped
from bitterfly.operators.report import CompressReport
from bitterfly.operators.views import FLAGS, Mode, checked_mode
from bitterfly.precision import cast_dtype
from bitterfly.stores.dense.codes import DenseCodes
from bitterfly.stores.dense.rotations import Rotation
from bitterfly.workers import as_workers, get_workers

Precision = Literal["float", "half", "int8"]

_PARTS: dict[str, int] = {"float": 3, "half": 2, "int8": 1}  # bytes of each number of a vector
_EXACT = 0  # as many as double precision takes
_LARGEST = {3: 8323071.0, 2: 32511.0, 1: 127.0, _EXACT: 8323071.0**3}


class DenseOperator(StoredOperator):
    """A dense matrix in window codes, in a rotated basis, as a SciPy ``LinearOperator``.

    ``A = R_out^T C R_in``: C are codes, R are random signs and Hadamard transforms of which a seed is stored (or none).
    A product rotates x, rounds it to one, two or three signed bytes a number, and multiplies codes with them in exact
    integers: results depend neither on the tier nor on the number of workers.

    Parameters
    ----------
    codes : DenseCodes
        Of a real matrix (m, n); of a complex one, of (2 m, n): the real parts of all rows, then the imaginary ones.
    inputs, outputs : int, optional
        Seeds of the rotations of columns and of rows of the codes. Default: none.
    dtype : dtype, optional
        float32 (default), float64, complex64 or complex128; complex exactly where the codes are of both parts.
    relative_error, error_kind : float, str, optional
        What is known about the error against an original matrix.
    metric_error : float, optional
        What is known about the error in the metric of the inputs of the stored, forward operator.
    mode : {"forward", "transpose", "adjoint", "conjugate"}, optional
        Which view of the codes the operator is.
    precision : {"float", "half", "int8"}, optional
        See the attribute.
    report : CompressReport, optional
        How :func:`compress` made the operator.

    Raises
    ------
    TypeError, ValueError
        Where codes, rotations and dtype do not fit each other.

    Notes
    -----
    Window codes are bit-shift trellis codes (Tseng, Sun, Hou, De Sa, QTIP, NeurIPS 2024) with tables and windows that
    fit registers; the rotation is that of QuIP# (Tseng, Chee, Sun, Kuleshov, De Sa, ICML 2024).
    """

    kind = "dense"

    def __init__(
        self,
        codes: DenseCodes,
        *,
        inputs: int | None = None,
        outputs: int | None = None,
        dtype: Any = np.float32,
        relative_error: float = float("nan"),
        error_kind: str = "estimated",
        metric_error: float = float("nan"),
        mode: str = "forward",
        precision: Precision = "float",
        report: CompressReport | None = None,
    ) -> None:
        own = np.dtype(dtype)
        target = cast_dtype(own, own)
        m, n = codes.shape
        if target.kind == "c" and m % 2:
            raise ValueError(f"codes: expected real and imaginary parts for {target}, an even number of rows, got {m}")
        self._codes, self._inputs, self._outputs = codes, _seed(inputs, "inputs"), _seed(outputs, "outputs")
        self._core = codes.kernel(self._inputs, self._outputs)
        self._precision = checked_precision(precision)
        self.mode = checked_mode(mode, target)
        self._metric_errors = swapped((checked_metric_error(metric_error), UNKNOWN[1]), FLAGS[self.mode][0])
        self.report = report
        self._stored_shape = (m // 2 if target.kind == "c" else m, n)
        shape = self._stored_shape[::-1] if FLAGS[self.mode][0] else self._stored_shape
        super().__init__(target, shape, checked_error(relative_error, error_kind))

    mode: Mode

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "precision" and "_fact" in self.__dict__:
            self.__dict__["_precision"] = checked_precision(value)
        else:
            super().__setattr__(name, value)

    # ---- what the operator is ----

    @property
    def precision(self) -> Precision:
        """How finely products round their vectors, and nothing else of the operator; it can be set.

        "float" (the default), "half" or "int8": three, two or one byte for each number of the rotated vector, in units
        of its largest: an error of about 2e-7, 5e-5 or 1e-2 of the product, a few times more for vectors that stay
        uneven when they are rotated. "float" of an operator in double precision takes as many bytes as that has.
        """
        return self._precision

    @property
    def codes(self) -> DenseCodes:
        """The stored codes."""
        return self._codes

    @property
    def rotations(self) -> tuple[int | None, int | None]:
        """Seeds of the rotations of the columns and of the rows of the codes; None: not rotated."""
        return self._inputs, self._outputs

    @property
    def stored_metric_error(self) -> float:
        """The ``metric_error`` of the stored, forward operator."""
        return self._metric_errors[1 if FLAGS[self.mode][0] else 0]

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        return self._stored_shape

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and rates, and 8 for each seed."""
        return self._codes.nbytes + 8 * sum(seed is not None for seed in self.rotations)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers of each rate, and their bits."""
        return self._codes.numbers

    # ---- products ----

    @property
    def largest_digits(self) -> float:
        """How many units the largest number of a vector has that a product rounds."""
        return _LARGEST[self._parts]

    def rotations_rounding(self, unit: float) -> float:
        """Return a bound on what the rotations of a vector round in a precision of this unit, relative to it."""
        sides = zip((self._outputs, self._inputs), self._codes.shape, strict=True)
        return sum(Rotation(n, seed).rounding(unit) for seed, n in sides if seed is not None)

    @property
    def _parts(self) -> int:
        is_double = self.dtype.char in "dD"
        return _EXACT if is_double and self._precision == "float" else _PARTS[self._precision]

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        transpose, conjugate = FLAGS[self.mode]
        transposed, threads = transpose ^ transposed, as_workers(workers)
        if self.dtype.kind != "c":
            self._core.apply(x, out, transposed, self._parts, threads)
            return out
        unit = -1j if conjugate ^ conjugated else 1j
        if transposed:
            both = np.concatenate([x, unit * x]).astype(out.dtype, copy=False)
            self._core.apply(both, out, True, self._parts, threads)
            return out
        both = np.empty((2 * len(out), *out.shape[1:]), out.dtype if x.dtype.kind == "c" else out.real.dtype)
        self._core.apply(x, both, False, self._parts, threads)
        np.multiply(both[len(out) :], unit, out=out, dtype=out.dtype)
        out += both[: len(out)]
        return out

    def _is_beside(self, other: Operator, transposed: bool) -> bool:
        """Whether another operator takes the same digits of a vector."""
        return (
            isinstance(other, DenseOperator)
            and self.dtype == other.dtype
            and self.dtype.kind != "c"
            and self._parts == other._parts != _EXACT
            and not (FLAGS[self.mode][0] ^ transposed or FLAGS[other.mode][0] ^ transposed)
            and self._core.is_beside(other._core)
        )

    def _is_plain(self, x: Any, side: int) -> bool:
        return super()._is_plain(x, side) and self.dtype.kind != "c"

    def __matmul__(self, other: Any) -> Any:
        if self._is_plain(other, 1):
            return self._core.product(other, FLAGS[self.mode][0], self._parts, get_workers())
        return super().__matmul__(other)

    def matvec(self, x: Any) -> Any:
        """Return ``A x`` for x of shape (n,) or (n, 1), or for each vector of a batch (..., n)."""
        if self._is_plain(x, 1):
            return self._core.product(x, FLAGS[self.mode][0], self._parts, get_workers())
        return super().matvec(x)

    def rmatvec(self, x: Any) -> Any:
        """Return ``A^H x`` for x of shape (m,) or (m, 1), or for each vector of a batch (..., m)."""
        if self._is_plain(x, 0):
            return self._core.product(x, not FLAGS[self.mode][0], self._parts, get_workers())
        return super().rmatvec(x)

    def _rows(self, index: IndexArray) -> Array:
        if FLAGS[self.mode][0] or self._outputs is not None:
            return super()._rows(index)
        m = self._stored_shape[0]
        planes = [index, index + m] if self.dtype.kind == "c" else [index]
        parts = [self._decoded(each) for each in planes]
        if len(parts) == 1:
            return parts[0]
        unit = self.dtype.type(-1j if FLAGS[self.mode][1] else 1j)
        return np.asarray(parts[0] + unit * parts[1])

    def _decoded(self, index: IndexArray) -> Array:
        """Return rows of the codes, their columns rotated back."""
        rows = np.empty((len(index), self._stored_shape[1]), self.dtype.type(0).real.dtype)
        self._core.rows(np.ascontiguousarray(index, np.int64), rows, get_workers())
        return rows if self._inputs is None else Rotation(rows.shape[1], self._inputs).adjoint(rows.T).T

    # ---- views and copies ----

    def astype(self, dtype: Any) -> Self:
        """Return the operator with products in another precision, "float"; the codes are shared, and so is the error.

        Raises
        ------
        TypeError
            From real to complex numbers or back: the codes are of one or of both parts.
        """
        target = cast_dtype(dtype, self.dtype)
        if target.kind != self.dtype.kind:
            raise TypeError(f"dtype: the codes are those of {self.dtype} numbers, they cannot become {target}")
        return self._viewed(dtype=np.dtype(target.type), _precision="float")

    def __reduce__(self) -> tuple[Any, ...]:
        codes = self._codes
        stored = codes.shape, codes.name, codes.half_bits, codes.tiles, codes.scale, codes.exponent
        return _rebuilt, (stored, self._known_facts())

    def _known_facts(self) -> dict[str, Any]:
        facts = {"inputs": self._inputs, "outputs": self._outputs, "dtype": self.dtype, "mode": self.mode}
        facts |= {"metric_error": self.stored_metric_error, "precision": self._precision, "report": self.report}
        return facts | Known.of(self).facts


def multiply_beside(
    ops: Sequence[Operator], x: Array, outs: Iterable[Array], transposed: bool, workers: int | None
) -> bool:
    """Write the products of several operators with x where all take the same digits, and return whether they do."""
    first = ops[0]
    if not isinstance(first, DenseOperator) or not all(first._is_beside(op, transposed) for op in ops):
        return False
    cores = [cast(DenseOperator, op)._core for op in ops]
    _core.dense_beside(cores, x, list(outs), first._parts, as_workers(workers))
    return True


def _rebuilt(stored: tuple[Any, ...], facts: dict[str, Any]) -> DenseOperator:
    return DenseOperator(DenseCodes(*stored), **facts)


def checked_precision(precision: Any) -> Precision:
    """Return a name of a precision, or raise a ValueError for what is none."""
    if not isinstance(precision, str) or precision not in get_args(Precision):
        raise ValueError(f"precision: expected {', '.join(get_args(Precision))}, got {precision!r}")
    return cast(Precision, precision)


def _seed(seed: int | None, name: str) -> int | None:
    if seed is None:
        return None
    try:
        number = index(seed)
    except TypeError:
        raise TypeError(f"{name}: expected an integer or None, got {seed!r}") from None
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{name}: expected a seed from 0 to 2**64 - 1, or None, got {number}")
    return number
