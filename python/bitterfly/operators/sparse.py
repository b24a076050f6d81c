"""Sparse matrices as operators: entries that stand apart from what others code, permutations, diagonals."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, dia_array, issparse

from bitterfly.accuracy.change import after_cast
from bitterfly.accuracy.known import Known
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, IndexArray, as_floating, conversion_error
from bitterfly.operators.contract import (
    UNKNOWN,
    MetricErrors,
    StoredOperator,
    checked_error,
    checked_metric_error,
    swapped,
)
from bitterfly.operators.report import CompressReport
from bitterfly.operators.views import FLAGS, Mode, checked_mode
from bitterfly.precision import cast_dtype


class SparseOperator(StoredOperator):
    """A sparse matrix as a SciPy ``LinearOperator`` of this package: it can be added, multiplied, stacked and saved.

    Products are those of `scipy.sparse`, of one thread.

    Parameters
    ----------
    matrix : sparse array or array_like, shape (m, n)
        Entries are taken as they are, in rows (CSR), those that are stored twice added and zeros dropped; or by
        diagonals where `matrix` is a `scipy.sparse.dia_array`. Integers and booleans become float64.
    dtype : dtype, optional
        float32, float64, complex64 or complex128; default: that of `matrix`.
    relative_error, error_kind : float, str, optional
        What is known about the error against an original matrix. Default: none, this is the matrix, but for what a
        conversion of integers or of wider floats rounds.
    metric_error : float, optional
        The error in a metric of the inputs of the stored, forward operator.
    mode : {"forward", "transpose", "adjoint", "conjugate"}, optional
        Which view of the matrix the operator is.
    report : CompressReport, optional
        How :func:`compress` made the operator.

    Raises
    ------
    TypeError, ValueError
        Where it is no matrix of finite numbers.
    OverflowError
        Where entries do not fit `dtype`.

    Examples
    --------
    >>> import numpy as np, scipy.sparse, bitterfly
    >>> op = bitterfly.SparseOperator(scipy.sparse.diags_array([1.0, 2.0, 3.0]))
    >>> op @ np.ones(3), op.nbytes
    (array([1., 2., 3.]), 28)
    """

    kind = "sparse"
    mode: Mode

    def __init__(
        self,
        matrix: Any,
        *,
        dtype: Any = None,
        relative_error: float | None = None,
        error_kind: str = "exact",
        metric_error: float = float("nan"),
        mode: str = "forward",
        report: CompressReport | None = None,
    ) -> None:
        self._matrix = _stored(matrix, dtype)
        own = np.dtype(self._matrix.dtype)
        self.mode = checked_mode(mode, own)
        transposed = FLAGS[self.mode][0]
        self._metric_errors = swapped((checked_metric_error(metric_error), UNKNOWN[1]), transposed)
        self.report = report
        shape = self._matrix.shape
        if relative_error is None:
            relative_error = _conversion(matrix, self._matrix)
        super().__init__(own, shape[::-1] if transposed else shape, checked_error(relative_error, error_kind))

    # ---- what the operator is ----

    @property
    def matrix(self) -> csr_array | dia_array:
        """The stored, forward matrix, by rows or by diagonals, whose buffers are read-only."""
        return self._matrix

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        m, n = self._matrix.shape
        return m, n

    @property
    def nnz(self) -> int:
        """The number of entries that are not zero."""
        return int(np.count_nonzero(self._matrix.data))

    @property
    def nbytes(self) -> int:
        """Bytes of the entries and of where they stand."""
        return sum(int(part.nbytes) for part in _buffers(self._matrix))

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers of the entries, real and imaginary parts one by one, and their bits."""
        data = self._matrix.data
        return (Numbers(data.size * (2 if data.dtype.kind == "c" else 1), 8 * data.nbytes),)

    # ---- products ----

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        transpose, conjugate = FLAGS[self.mode]
        matrix = self._matrix.T if transpose ^ transposed else self._matrix
        if conjugate ^ conjugated and self.dtype.kind == "c":
            np.conjugate(matrix @ x.conj(), out=out)
        else:
            out[...] = matrix @ x
        return out

    def _rows(self, index: IndexArray) -> Array:
        transpose, conjugate = FLAGS[self.mode]
        rows = (self._matrix.T if transpose else self._matrix).tocsr()[index].toarray()
        return np.asarray(rows.conj() if conjugate else rows)

    # ---- views and copies ----

    def astype(self, dtype: Any) -> Self:
        """Return the operator in another precision; to a narrower one, the change is added to the error.

        Raises
        ------
        TypeError, OverflowError
            From complex to real numbers, and where entries do not fit.
        """
        target = cast_dtype(dtype, self.dtype)
        if target == self.dtype:
            return self
        cast = self._viewed(_matrix=_stored(self._matrix, target), dtype=np.dtype(target.type))
        if np.finfo(target).eps <= np.finfo(self.dtype).eps:
            return cast
        return cast._viewed(_fact=after_cast(self, cast), _metric_errors=UNKNOWN)

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {"mode": self.mode, "report": self.report} | Known.of(self).facts
        return _rebuilt, (self._matrix, facts, self._metric_errors)


def _rebuilt(matrix: Any, facts: dict[str, Any], metric_errors: MetricErrors) -> SparseOperator:
    return SparseOperator(matrix, **facts)._viewed(_metric_errors=metric_errors)


def _conversion(given: Any, kept: csr_array | dia_array) -> float:
    """Return a bound on what storing a matrix has rounded, relative to it."""
    if not issparse(given):
        return conversion_error(given, kept.toarray())
    data = np.asarray(given.data)
    if data.dtype.kind == "b" or np.can_cast(data.dtype, kept.dtype):
        return 0.0
    return conversion_error(data, data.astype(kept.dtype))


def _buffers(matrix: csr_array | dia_array) -> tuple[Array, ...]:
    if matrix.format == "dia":
        return matrix.data, matrix.offsets
    return matrix.data, matrix.indices, matrix.indptr


def _stored(matrix: Any, dtype: Any) -> csr_array | dia_array:
    """Return a matrix by rows, each entry once and in order, or by diagonals, in read-only buffers of its own."""
    if not issparse(matrix):
        matrix = as_floating(matrix, "matrix")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"matrix: expected shape (m, n), neither of them zero, got {matrix.shape}")
    by_diagonals = issparse(matrix) and matrix.format == "dia"
    stored = dia_array(matrix, copy=True) if by_diagonals else csr_array(matrix, copy=True)
    given = as_floating(stored.data, "matrix").dtype
    own = given if dtype is None else cast_dtype(dtype, given)
    with np.errstate(over="ignore"):
        stored = stored.astype(own)
    if by_diagonals:
        stored = _inside(stored)
    else:
        stored.sum_duplicates()
        stored.eliminate_zeros()
        if max(stored.nnz, stored.shape[1]) < 1 << 31:
            indices, starts = (part.astype(np.int32) for part in (stored.indices, stored.indptr))
            stored = csr_array((stored.data, indices, starts), shape=stored.shape)
    if not np.all(np.isfinite(stored.data)):
        if np.all(np.isfinite(matrix.data if issparse(matrix) else matrix)):
            raise OverflowError(f"dtype: the entries do not fit {own}")
        raise ValueError("matrix: expected finite entries, got infinities or NaNs")
    for part in _buffers(stored):
        part.flags.writeable = False
    return stored


def _inside(matrix: dia_array) -> dia_array:
    """Return diagonals in order, as long as the matrix is wide, with zeros where they leave it."""
    m, n = matrix.shape
    order = np.argsort(matrix.offsets)
    offsets = matrix.offsets[order]
    data = np.zeros((len(offsets), n), matrix.dtype)
    width = min(n, matrix.data.shape[1])
    data[:, :width] = matrix.data[order, :width]
    rows = np.arange(n) - offsets[:, None]
    data[(rows < 0) | (rows >= m)] = 0
    return dia_array((data, offsets.astype(np.int32)), shape=(m, n))
