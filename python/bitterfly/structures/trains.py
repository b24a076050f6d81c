"""Tensor trains: matrices whose entries are products of small matrices, one for each digit of row and column."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

import numpy as np

from bitterfly.accuracy.change import after_cast
from bitterfly.accuracy.known import Known
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, as_floating
from bitterfly.operators.contract import StoredOperator, checked_error
from bitterfly.operators.report import CompressReport
from bitterfly.operators.views import FLAGS, Mode, checked_mode
from bitterfly.powers import near_one
from bitterfly.precision import cast_dtype

_OPERATIONS = 8  # roundings of a term of a sum, of complex numbers
_SLACK = 1e-6  # of a logarithm: for what bounds round


class TensorTrainOperator(StoredOperator):
    """A tensor train matrix: ``A[i, j] = G_1[:, i_1, j_1, :] G_2[:, i_2, j_2, :] ... G_d[:, i_d, j_d, :]``.

    i_1 is the most significant digit of row i, to the base m_1, ..., j_1 that of column j, to the base n_1, ...

    Parameters
    ----------
    cores : sequence of array_like, shapes (r_0, m_1, n_1, r_1), ..., (r_(d-1), m_d, n_d, r_d)
        ``r_0 = r_d = 1``. All in the widest of their precisions.
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
    ``sum_k r_(k-1) m_k n_k r_k`` times the digits on either side.

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
        relative_error: float = 0.0,
        error_kind: str = "exact",
        mode: str = "forward",
        report: CompressReport | None = None,
    ) -> None:
        self._cores = _checked_cores(cores)
        dtype = self._cores[0].dtype
        self.mode = checked_mode(mode, dtype)
        self.report = report
        shape = self.stored_shape
        super().__init__(dtype, shape[::-1] if FLAGS[mode][0] else shape, checked_error(relative_error, error_kind))

    # ---- what the operator is ----

    @property
    def cores(self) -> tuple[Array, ...]:
        """The stored cores, read-only."""
        return self._cores

    @property
    def ranks(self) -> tuple[int, ...]:
        """``r_0, ..., r_d``."""
        return (1, *(int(core.shape[3]) for core in self._cores))

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        return prod(core.shape[1] for core in self._cores), prod(core.shape[2] for core in self._cores)

    @property
    def nbytes(self) -> int:
        """Bytes of all cores."""
        return sum(int(core.nbytes) for core in self._cores)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers of each core, real and imaginary parts one by one, and their bits."""
        planes = 2 if self._cores[0].dtype.kind == "c" else 1
        return tuple(Numbers(core.size * planes, 8 * core.nbytes) for core in self._cores)

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
        i, j = (j, i) if transposed else (i, j)
        digits = [np.unravel_index(x.ravel(), [core.shape[at] for core in self._cores]) for at, x in ((1, i), (2, j))]
        found = np.ones((i.size, 1), self.dtype)
        for core, a, b in zip(self._cores, *digits, strict=True):
            found = np.einsum("kr,rks->ks", found, core[:, a, b, :])
        out = found.reshape(i.shape)
        return out.conj() if conjugated else out

    # ---- bounds ----

    @property
    def log2_norm(self) -> float:
        """The logarithm to base 2 of the Frobenius norm, rounded up: that of what contracted cores leave."""
        gram, power, off = np.ones((1, 1)), 0, 0.0
        for core in self._cores:
            x, exponent = near_one(core)
            unit = 8 * core.size * float(np.finfo(np.float64).eps)
            off = (off + unit * float(np.linalg.norm(gram))) * float(np.linalg.norm(x)) ** 2
            gram, shift = near_one(np.einsum("rs,rabt,sabu->tu", gram, x.conj(), x, optimize=True))
            off, power = float(np.ldexp(off, -shift)), power + 2 * exponent + shift
        total = float(np.abs(gram[0, 0])) + off
        return float(np.log2(total)) / 2 + power / 2 + _SLACK if total > 0 else -np.inf

    @property
    def log2_rounding_gain(self) -> float:
        """The logarithm of a bound on what a product rounds of a vector of length one.

        Step k multiplies with a matrix of ``r_(k-1) n_k`` columns, and rounds as many terms of each sum; all others
        stretch that by their spectral norms at most.
        """
        eps = float(np.finfo(self.dtype).eps)
        sizes: list[float] = []
        gains: list[float] = []
        terms: list[int] = []
        for core in self._cores:
            x, exponent = near_one(core)
            whole = float(np.linalg.norm(x))
            if whole == 0:
                return -np.inf
            both = [x.transpose(axes) for axes in ((1, 3, 0, 2), (2, 3, 0, 1))]
            flat = [each.reshape(each.shape[0] * each.shape[1], -1) for each in both]
            spectral = max(float(np.linalg.norm(each, 2)) for each in flat) * (1 + 1e-9)
            sizes.append(float(np.log2(whole)) + exponent)
            gains.append(float(np.log2(min(spectral, whole))) + exponent)
            terms.append(core.shape[0] * max(core.shape[1], core.shape[2]))
        parts = [
            np.log2((t + 2) * _OPERATIONS * eps) + size + sum(gains) - gain
            for t, size, gain in zip(terms, sizes, gains, strict=True)
        ]
        return float(np.log2(np.sum(np.exp2(np.array(parts) - max(parts)))) + max(parts)) + _SLACK

    # ---- products ----

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        if not out.size:
            return out
        transpose, conjugate = FLAGS[self.mode]
        transposed, conjugated = transpose ^ transposed, (conjugate ^ conjugated) and self.dtype.kind == "c"
        real = out.dtype.type(0).real.dtype
        z = x.astype(np.result_type(x.dtype, real)).reshape(1, 1, -1)  # digits done, rank, digits to come and vectors
        for stored in self._cores:
            core = stored.conj() if conjugated else stored
            core = core.transpose(0, 2, 1, 3) if transposed else core
            r, m, n, s = core.shape
            done = z.shape[0]
            matrix = np.ascontiguousarray(core.transpose(1, 3, 0, 2)).reshape(m * s, r * n)
            matrix = matrix.astype(np.result_type(matrix.dtype, real), copy=False)
            z = (matrix @ z.reshape(done, r * n, -1)).reshape(done * m, s, -1)
        out[...] = z.reshape(out.shape)
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
            cores = tuple(core.astype(target) for core in self._cores)
        if not all(np.all(np.isfinite(core)) for core in cores):
            raise OverflowError(f"dtype: the cores do not fit {target}")
        cast = self._viewed(_cores=_frozen(cores), dtype=np.dtype(target.type))
        if np.finfo(target).eps <= np.finfo(self.dtype).eps:
            return cast
        return cast._viewed(_fact=after_cast(self, cast))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self._cores, {"mode": self.mode, "report": self.report} | Known.of(self).facts)


def _rebuilt(cores: tuple[Array, ...], facts: dict[str, Any]) -> TensorTrainOperator:
    return TensorTrainOperator(cores, **facts)


def _frozen(cores: Sequence[Array]) -> tuple[Array, ...]:
    for core in cores:
        core.flags.writeable = False
    return tuple(cores)


def _checked_cores(cores: Sequence[Any]) -> tuple[Array, ...]:
    given = [as_floating(core, f"cores[{at}]") for at, core in enumerate(cores)]
    if not given:
        raise ValueError("cores: expected at least one, got none")
    for at, core in enumerate(given):
        if core.ndim != 4 or 0 in core.shape:
            raise ValueError(f"cores[{at}]: expected shape (r, m, n, s), none of them zero, got {core.shape}")
        if not np.all(np.isfinite(core)):
            raise ValueError(f"cores[{at}]: expected finite numbers, got infinities or NaNs")
    ranks = [1, *(core.shape[3] for core in given)]
    for at, (core, rank) in enumerate(zip(given, ranks, strict=False)):
        if core.shape[0] != rank:
            raise ValueError(f"cores[{at}]: expected shape ({rank}, m, n, s), got {core.shape}")
    if ranks[-1] != 1:
        raise ValueError(f"cores[{len(given) - 1}]: expected shape (r, m, n, 1), got {given[-1].shape}")
    dtype = np.result_type(*given)
    return _frozen([np.array(core, dtype, order="C") for core in given])
