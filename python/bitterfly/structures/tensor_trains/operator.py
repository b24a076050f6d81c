"""Tensor trains: matrices whose entries are products of small matrices, one for each digit of row and column."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

import numpy as np

from bitterfly.accuracy.change import after_cast
from bitterfly.accuracy.known import Known
from bitterfly.accuracy.norms import plus
from bitterfly.accuracy.rounding import NOTHING, log2_applied
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, IndexArray
from bitterfly.operators.contract import UNKNOWN, MetricErrors, StoredOperator, checked_error
from bitterfly.operators.dense import Precision, checked_precision
from bitterfly.operators.report import CompressReport
from bitterfly.operators.views import FLAGS, Mode, checked_mode
from bitterfly.precision import cast_dtype, in_double
from bitterfly.structures.tensor_trains.cores import (
    CodedCore,
    Core,
    bytes_of,
    cast,
    checked_cores,
    coarsest,
    decoded,
    log2_size,
    numbers_of,
    operations,
    precisions_of,
    slices,
    step,
    wide,
    with_precision,
)
from bitterfly.structures.tensor_trains.differences import change_between, log2_norms

_OPERATIONS = 8  # roundings of a term of a sum, of complex numbers
_PANEL = 1 << 20  # numbers of rows that are looked up at once


class TensorTrainOperator(StoredOperator):
    """A tensor train matrix: ``A[i, j] = G_1[:, i_1, j_1, :] G_2[:, i_2, j_2, :] ... G_d[:, i_d, j_d, :]``.

    i_1 is the most significant digit of row i, to the base m_1, ..., j_1 that of column j, to the base n_1, ...

    Parameters
    ----------
    cores : sequence of array_like or CodedCore, shapes (r_0, m_1, n_1, r_1), ..., (r_(d-1), m_d, n_d, r_d)
        ``r_0 = r_d = 1``. Arrays in the widest of their precisions, those of float16 as they are; codes in theirs.
    rows : array_like of int, shape (m,), optional
        Which rows of the train those of the operator are, no one twice: an order, and padding that is left out.
        Default: all, as they are.
    dtype : dtype, optional
        float32, float64, complex64 or complex128, where that is wider than all cores.
    relative_error, error_kind : float, str, optional
        What is known about the error against an original matrix. Default: none, this is the matrix.
    mode : {"forward", "transpose", "adjoint", "conjugate"}, optional
        Which view of the cores the operator is.
    report : CompressReport, optional
        How :func:`compress` made the operator.

    Raises
    ------
    TypeError, ValueError
        Where cores do not fit each other, or are not finite numbers.

    Notes
    -----
    I. V. Oseledets, *Tensor-train decomposition* (SIAM J. Sci. Comput. 33, 2011). A product takes
    ``sum_k r_(k-1) m_k n_k r_k`` times the digits on either side, beginning at the end that takes less. With coded
    cores it begins with the last one, and is that of their own operators: codes are multiplied as they are packed.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> a = np.kron(np.arange(6.0).reshape(2, 3), np.arange(20.0).reshape(4, 5))
    >>> op = bitterfly.structures.tensor_train(a, [2, 4], [3, 5], rtol=1e-12)
    >>> op.ranks, op.nbytes, np.allclose(op.todense(), a)
    ((1, 1, 1), 208, True)
    """

    kind = "tensor_train"
    mode: Mode

    def __init__(
        self,
        cores: Sequence[Any],
        *,
        rows: Any = None,
        dtype: Any = None,
        relative_error: float = 0.0,
        error_kind: str = "exact",
        mode: str = "forward",
        report: CompressReport | None = None,
    ) -> None:
        self._cores, dtype = checked_cores(cores, dtype)
        self._rows_of = _checked_rows(rows, prod(core.shape[1] for core in self._cores))
        self.mode = checked_mode(mode, dtype)
        self.report = report
        shape = self.stored_shape
        super().__init__(dtype, shape[::-1] if FLAGS[mode][0] else shape, checked_error(relative_error, error_kind))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "precision" and "_fact" in self.__dict__:
            found = checked_precision(value)
            self.__dict__["_cores"] = tuple(with_precision(core, found) for core in self._cores)
        else:
            super().__setattr__(name, value)

    # ---- what the operator is ----

    @property
    def cores(self) -> tuple[Array, ...]:
        """The cores as arrays, read-only: those that are coded are decoded anew."""
        return tuple(decoded(core, self.dtype) for core in self._cores)

    @property
    def stored_cores(self) -> tuple[Core, ...]:
        """What is stored: arrays, read-only, and operators in codes with the shapes of their cores."""
        return self._cores

    @property
    def stored_rows(self) -> Array | None:
        """Which rows of the train are those of the stored operator, uint32, read-only; None: all."""
        return self._rows_of

    @property
    def is_coded(self) -> bool:
        """Whether some cores are operators in codes."""
        return any(isinstance(core, CodedCore) for core in self._cores)

    @property
    def precision(self) -> Precision:
        """How finely products of window codes round their vectors, as of a `DenseOperator`; it can be set."""
        return coarsest([each for core in self._cores for each in precisions_of(core)])

    @property
    def ranks(self) -> tuple[int, ...]:
        """``r_0, ..., r_d``."""
        return (1, *(core.shape[3] for core in self._cores))

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        m, n = (prod(core.shape[at] for core in self._cores) for at in (1, 2))
        return m if self._rows_of is None else len(self._rows_of), n

    @property
    def nbytes(self) -> int:
        """Bytes of all cores, and of the order of the rows."""
        return sum(map(bytes_of, self._cores)) + (0 if self._rows_of is None else self._rows_of.nbytes)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers of each core, real and imaginary parts one by one, and their bits."""
        return tuple(part for core in self._cores for part in numbers_of(core))

    def entries(self, rows: Any, columns: Any) -> Array:
        """Return entries ``A[rows[k], columns[k]]``, from ``sum_k r_(k-1) r_k`` products each.

        Parameters
        ----------
        rows, columns : array_like of int, of one shape
            Within the shape of the operator, which may be far larger than memory.
        """
        i, j = np.broadcast_arrays(np.asarray(rows), np.asarray(columns))
        if i.dtype.kind not in "iu" or j.dtype.kind not in "iu":
            raise TypeError(f"rows, columns: expected integers, got {i.dtype} and {j.dtype}")
        for index, size, name in ((i, self.shape[0], "rows"), (j, self.shape[1], "columns")):
            if index.size and not (index.min() >= 0 and index.max() < size):
                raise IndexError(f"{name}: expected 0 to {size - 1}, got {index.min()} to {index.max()}")
        transposed, conjugated = FLAGS[self.mode]
        i, j = (j.ravel(), i.ravel()) if transposed else (i.ravel(), j.ravel())
        digits = zip(self._digits(i), self._digits(j, of_columns=True), strict=True)
        found = np.ones((i.size, 1), self.dtype)
        for core, (a, b) in zip(self._cores, digits, strict=True):
            some, places = np.unique(a, return_inverse=True)
            found = np.einsum("kr,rks->ks", found, slices(core, some, self.dtype)[:, places, b, :])
        out = found.reshape(np.broadcast_shapes(np.shape(rows), np.shape(columns)))
        return out.conj() if conjugated else out

    def _digits(self, index: IndexArray, of_columns: bool = False) -> tuple[IndexArray, ...]:
        """Return the digits of rows, or of columns, of the stored operator."""
        if of_columns:
            return np.unravel_index(index, [core.shape[2] for core in self._cores])
        places = index if self._rows_of is None else self._rows_of[index]
        return np.unravel_index(places, [core.shape[1] for core in self._cores])

    def _rows(self, index: IndexArray) -> Array:
        transposed, conjugated = FLAGS[self.mode]
        found = [
            _looked_up(core, digits, self.dtype, transposed)
            for core, digits in zip(self._cores, self._digits(index, transposed), strict=True)
        ]
        width = prod(core.shape[2] for core, _ in found)
        out = np.empty((len(index), width), self.dtype)
        count = max(_PANEL // max(core[0].size for core, _ in found), 1)
        for first in range(0, len(index), count):
            part = slice(first, first + count)
            z = np.ones((len(out[part]), 1, 1), self.dtype)
            for core, places in found:
                r, n, s = core.shape[1:]
                each = core.reshape(-1, r, n * s)
                product = z.reshape(-1, r) @ each[0] if len(each) == 1 else z @ each[places[part]]
                z = product.reshape(len(z), -1, s)
            out[part] = z[:, :, 0]
        if transposed and self._rows_of is not None:
            out = out[:, self._rows_of]
        return out.conj() if conjugated else out

    def _some_columns(self, first: int, end: int) -> Array:
        if self.is_coded:
            return super()._some_columns(first, end)
        with np.errstate(over="ignore", invalid="ignore"):  # as products
            found: Array = self.T._rows(np.arange(first, end))
        return found.T

    def _with_quick_columns(self) -> TensorTrainOperator:
        return self._viewed(_cores=self.cores) if self.is_coded and in_double(self) is self else self

    # ---- bounds ----

    @property
    def log2_norm(self) -> float:
        """The logarithm to base 2 of the Frobenius norm, rounded up, that of rows that are left out too."""
        return log2_norms(list(map(wide, self._cores)))[1]

    @property
    def log2_norms(self) -> tuple[float, float]:
        """Logarithms to base 2 of bounds on the Frobenius norm, from below and from above."""
        return log2_norms(list(map(wide, self._cores)), self._without())

    def _without(self) -> tuple[IndexArray, ...]:
        """Return the digits of the rows of the train that are left out."""
        sizes = [core.shape[1] for core in self._cores]
        if self._rows_of is None:
            return ()
        rest = np.ones(prod(sizes), bool)
        rest[self._rows_of] = False
        return np.unravel_index(np.flatnonzero(rest), sizes)

    @property
    def log2_rounding_gain(self) -> float:
        """The logarithm of a bound on what a product rounds of a vector of length one."""
        return self.log2_applied(0.0, 1)

    def log2_applied(self, size: float, count: int) -> float:
        """Return the logarithm of a bound on what products with `count` vectors round, together of norm ``2**size``.

        Step k multiplies with an unfolding of a core, and rounds as many terms of each sum as that has columns; all
        that follow stretch it by their spectral norms at most. The same from either end, and of the transpose.
        """
        if any(log2_size(core) == NOTHING for core in self._cores):
            return NOTHING
        steps = [self._step_bounds(core) for core in self._cores]
        most = max(self.ranks) * prod(max(core.shape[1:3]) for core in self._cores) * count
        found = []
        for order in (range(len(steps)), range(len(steps))[::-1]):
            lost, now = NOTHING, size
            for at in order:
                gain, rounding, tiny, off = steps[at]
                core = self._cores[at]
                own = log2_applied(core.matrix, now, most) if isinstance(core, CodedCore) else now + rounding
                own = plus(own, now + off)
                lost = plus(own, tiny + float(np.log2(most)) / 2, gain + lost)
                now = plus(now + gain, lost)
            found.append(lost)
        return max(found)

    def _step_bounds(self, core: Core) -> tuple[float, float, float, float]:
        """Return logarithms: the spectral norm of unfoldings, what sums round relative to a vector, what they lose.

        The last is that of what decoding has rounded, where columns may be those of the decoded cores.
        """
        x, exponent, off = wide(core)
        r, m, n, s = core.shape
        both = x.reshape(r * m, n * s), x.transpose(1, 3, 0, 2).reshape(m * s, r * n)
        spectral = max(float(np.linalg.norm(each, 2)) for each in both) * (1 + 1e-9) + off
        terms = (max(r, s) * max(m, n) + 2) * _OPERATIONS
        limits = np.finfo(self.dtype)
        rounding = float(np.log2(terms * float(limits.eps))) + log2_size(core)
        return (
            float(np.log2(spectral)) + exponent,
            rounding,
            float(np.log2(terms) + np.log2(limits.smallest_subnormal)),
            float(np.log2(off)) + exponent if off else NOTHING,
        )

    # ---- products ----

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        if not out.size:
            return out
        transpose, conjugate = FLAGS[self.mode]
        transposed, conjugated = transpose ^ transposed, (conjugate ^ conjugated) and self.dtype.kind == "c"
        real = out.dtype.type(0).real.dtype
        from_right = not transposed
        if not self.is_coded:
            from_right = operations(self._cores, transposed, True) < operations(self._cores, transposed, False)
        z = x.astype(np.result_type(x.dtype, real))
        if transposed and self._rows_of is not None:
            z = np.zeros((prod(core.shape[1] for core in self._cores), *x.shape[1:]), z.dtype)
            z[self._rows_of] = x
        z = z.reshape(len(z), 1, -1) if from_right else z.reshape(1, 1, -1)
        with np.errstate(over="ignore", invalid="ignore"):  # as other operators
            for core in self._cores[::-1] if from_right else self._cores:
                z = step(core, z, transposed, conjugated, from_right, workers)
        z = z.reshape(-1, *out.shape[1:])
        out[...] = z if transposed or self._rows_of is None else z[self._rows_of]
        return out

    # ---- views and copies ----

    def astype(self, dtype: Any) -> Self:
        """Return the operator in another precision; to a narrower one, the change is added to the error.

        Raises
        ------
        TypeError, OverflowError
            From complex to real numbers, and where cores do not fit.
        """
        target = cast_dtype(dtype, self.dtype)
        with np.errstate(over="ignore"):
            cores = tuple(cast(core, target) for core in self._cores)
        if not all(np.all(np.isfinite(core)) for core in cores if not isinstance(core, CodedCore)):
            raise OverflowError(f"dtype: the cores do not fit {target}")
        viewed = self._viewed(
            _cores=tuple(with_precision(core, "float") for core in cores), dtype=np.dtype(target.type)
        )
        if np.finfo(target).eps <= np.finfo(self.dtype).eps:
            return viewed
        return viewed._viewed(_fact=after_cast(self, viewed), _metric_errors=UNKNOWN)

    def dequantize(self) -> Self:
        """Return the train with float cores, in its precision; what that rounds is added to the error."""
        if all(isinstance(core, np.ndarray) and core.dtype == self.dtype for core in self._cores):
            return self
        cores = self.cores
        if not all(np.all(np.isfinite(core)) for core in cores):
            raise OverflowError(f"op: the decoded cores do not fit {self.dtype}")
        floats = self._viewed(_cores=cores)
        return floats._viewed(_fact=Known.of(self).then(self.change_to(floats)), _metric_errors=UNKNOWN)

    def change_to(self, other: TensorTrainOperator) -> float:
        """Return a bound on ``||self - other||_F / ||self||_F``, from the cores alone.

        Parameters
        ----------
        other : TensorTrainOperator
            Of the same digits, rows and mode.
        """
        if not self.is_alike(other):
            raise ValueError("other: expected a tensor train of the same digits, rows and mode")
        own, others = (list(map(wide, op.stored_cores)) for op in (self, other))
        return change_between(own, others, self._without())

    def is_alike(self, other: TensorTrainOperator) -> bool:
        """Whether another train has the same digits, rows and mode."""
        sides = [[core.shape[1:3] for core in op.stored_cores] for op in (self, other)]
        a, b = self.stored_rows, other.stored_rows
        same = a is b or (a is not None and b is not None and np.array_equal(a, b))
        return same and sides[0] == sides[1] and self.mode == other.mode

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {"rows": self._rows_of, "dtype": self.dtype, "mode": self.mode, "report": self.report}
        return _rebuilt, (self._cores, facts | Known.of(self).facts, self._metric_errors)


def _looked_up(core: Core, digits: IndexArray, dtype: np.dtype[Any], of_columns: bool) -> tuple[Array, IndexArray]:
    """Return slices at some digits of rows, (k, r, n, s), or of columns, (k, r, m, s), and which each digit takes."""
    some, places = np.unique(digits, return_inverse=True)
    if of_columns:
        return np.ascontiguousarray(decoded(core, dtype)[:, :, some].transpose(2, 0, 1, 3)), places
    return np.ascontiguousarray(slices(core, some, dtype).swapaxes(0, 1)), places


def _rebuilt(cores: tuple[Core, ...], facts: dict[str, Any], errors: MetricErrors = UNKNOWN) -> TensorTrainOperator:
    return TensorTrainOperator(cores, **facts)._viewed(_metric_errors=errors)


def _checked_rows(rows: Any, size: int) -> Array | None:
    if rows is None:
        return None
    given = np.asarray(rows)
    if given.ndim != 1 or given.dtype.kind not in "iu" or not given.size:
        raise ValueError(f"rows: expected integers of shape (m,), got {given.dtype} of shape {given.shape}")
    if given.min() < 0 or given.max() >= min(size, 1 << 32):
        raise ValueError(f"rows: expected rows of the train, 0 to {size - 1}, got {given.min()} to {given.max()}")
    if len(np.unique(given)) != given.size:
        raise ValueError("rows: expected no row twice")
    out = given.astype(np.uint32)
    out.flags.writeable = False
    return out
