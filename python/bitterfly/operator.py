"""The two operators that users hold: butterflies with float factors, and butterflies packed to a few bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, cast

import numpy as np
from scipy.sparse.linalg import LinearOperator

from bitterfly import _core
from bitterfly.chain import Chain
from bitterfly.inputs import Array, IndexArray, Side, as_floating, as_permutation, as_size
from bitterfly.ordering import bit_reversal

if TYPE_CHECKING:
    from bitterfly.report import CompressReport

Mode = Literal["forward", "transpose", "adjoint", "conjugate"]
ErrorKind = Literal["exact", "ledger", "measured", "estimated"]
Permutations = tuple[IndexArray | None, IndexArray | None]

# (transposed, conjugated) and back: a mode is what has been done to the stored operator.
_FLAGS: dict[str, tuple[bool, bool]] = {
    "forward": (False, False),
    "transpose": (True, False),
    "adjoint": (True, True),
    "conjugate": (False, True),
}
_MODES: dict[tuple[bool, bool], Mode] = {flags: cast(Mode, name) for name, flags in _FLAGS.items()}
_ERROR_KINDS = ("exact", "ledger", "measured", "estimated")
_PANEL = 256


class Code(NamedTuple):
    """How the columns of one factor are coded: the kind of code, and the bits that one column takes."""

    kind: str
    bits: int


class Butterfly(LinearOperator):  # type: ignore[misc]
    """What both operators share: an immutable view (mode) of a square dyadic butterfly ``A``.

    ``A[rows][:, columns]`` is the product of the factors; ``op.T``, ``op.H`` and ``op.conj()`` are views of the same
    buffers.
    """

    __array_priority__ = 20.0
    _kernel: _core.Core
    _base: Permutations
    relative_error: float
    error_kind: ErrorKind
    mode: Mode

    def __init__(
        self,
        n: int,
        dtype: np.dtype[Any],
        permutations: tuple[Side, Side],
        relative_error: float,
        error_kind: str,
        mode: str,
    ) -> None:
        super().__init__(dtype, (as_size(n), n))
        rows, columns = permutations
        base = as_permutation(rows, n, "permutations[0]"), as_permutation(columns, n, "permutations[1]")
        for order in base:
            if order is not None:
                order.flags.writeable = False
        if error_kind not in _ERROR_KINDS:
            raise ValueError(f"error_kind: expected one of {', '.join(_ERROR_KINDS)}, got {error_kind!r}")
        if not float(relative_error) >= 0:
            raise ValueError(f"relative_error: expected a number >= 0, got {relative_error!r}")
        self._base = base
        self.relative_error = float(relative_error)
        self.error_kind = cast(ErrorKind, error_kind)
        self.mode = self._normal_mode(mode, dtype)

    @staticmethod
    def _normal_mode(mode: str, dtype: np.dtype[Any]) -> Mode:
        if mode not in _FLAGS:
            raise ValueError(f"mode: expected one of {', '.join(_FLAGS)}, got {mode!r}")
        transposed, conjugated = _FLAGS[mode]
        return _MODES[transposed, conjugated and dtype.kind == "c"]

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
    def permutations(self) -> Permutations:
        """Index arrays (rows, columns): ``op[rows][:, columns]`` is the product of ``op.chain``; None is the identity."""
        if not _FLAGS[self.mode][0]:
            return self._base
        rows, columns = self._base
        return _reversed_order(columns, self.shape[0]), _reversed_order(rows, self.shape[0])

    @property
    def chain(self) -> Chain:
        """The sparsity patterns of the factors."""
        chain = Chain.square_dyadic(self.shape[0])
        return chain.T if _FLAGS[self.mode][0] else chain

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers: factors or codes, scale vector, padding and index arrays (32-bit)."""
        return self._buffer_bytes() + sum(4 * p.size for p in self._base if p is not None)

    @property
    def bits_per_entry(self) -> float:
        """Stored bits for each entry of the dense matrix."""
        return 8 * self.nbytes / (self.shape[0] * self.shape[1])

    @property
    def bits_per_factor_entry(self) -> float:
        """Stored bits for each real number in the factors."""
        n = self.shape[0]
        reals = 2 * n * (n.bit_length() - 1) * (2 if self.dtype.kind == "c" else 1)
        return 8 * self.nbytes / reals

    def _buffer_bytes(self) -> int:
        raise NotImplementedError

    def _with_mode(self, mode: Mode) -> Self:
        raise NotImplementedError

    def __repr__(self) -> str:
        n = self.shape[0]
        return (
            f"<{n} x {n} {type(self).__name__} of {self.dtype}, {self.bits_per_factor_entry:.3g} bits per factor entry, "
            f"relative error {self.relative_error:.2e} ({self.error_kind})>"
        )

    def _repr_html_(self) -> str:
        facts = {
            "shape": f"{self.shape[0]} x {self.shape[1]}",
            "dtype": str(self.dtype),
            "relative error": f"{self.relative_error:.2e} ({self.error_kind})",
            "bytes": f"{self.nbytes:,} ({self.bits_per_entry:.3g} bits per entry of the matrix)",
            "bits per factor entry": f"{self.bits_per_factor_entry:.3g}",
        }
        rows = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in facts.items())
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"

    # ---- products ----

    def apply(self, x: Any, out: Array | None = None) -> Array:
        """Return the product with a vector or a matrix.

        Parameters
        ----------
        x : array_like, shape (n,) or (n, k)
            Numbers of any dtype and strides.
        out : ndarray, optional
            Takes the result: same shape as `x`, dtype ``result_type(op.dtype, x.dtype)``, writable.

        Returns
        -------
        ndarray
            `out`, or a new array. Sums are accumulated in the operator's precision.

        Raises
        ------
        ValueError, TypeError
            Where shapes or dtypes do not match.
        """
        x = as_floating(x, "x")
        if x.ndim not in (1, 2) or x.shape[0] != self.shape[1]:
            raise ValueError(f"x: expected shape ({self.shape[1]},) or ({self.shape[1]}, k), got {x.shape}")
        dtype = np.result_type(self.dtype, x.dtype)
        if out is None:
            return self._run(x, np.empty(x.shape, dtype), False, False)
        self._check_out(out, x.shape, dtype)
        return self._run(x.copy() if np.may_share_memory(x, out) else x, out, False, False)

    @staticmethod
    def _check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if not isinstance(out, np.ndarray) or out.dtype != dtype or not out.flags.aligned:
            raise TypeError(f"out: expected an aligned array of {dtype}, got {getattr(out, 'dtype', type(out).__name__)}")
        if out.shape != shape:
            raise ValueError(f"out: expected shape {shape}, got {out.shape}")
        if not out.flags.writeable:
            raise ValueError("out: expected a writable array, got a read-only one")

    def _run(self, x: Array, out: Array, transpose: bool, conjugate: bool) -> Array:
        transposed, conjugated = _FLAGS[self.mode]
        self._kernel.apply(x, out, transposed ^ transpose, conjugated ^ conjugate)
        return out

    def _columns(self, x: Any, adjoint: bool) -> Array:
        """Product with the columns of x of shape (..., n, k)."""
        x = as_floating(x, "x")
        out = np.empty(x.shape, np.result_type(self.dtype, x.dtype))
        for index in np.ndindex(x.shape[:-2]):
            self._run(x[index], out[index], adjoint, adjoint)
        return out

    def _vectors(self, x: Any, adjoint: bool) -> Array:
        """Product with x of shape (n,), (n, 1) or, for batches, (..., n)."""
        x = as_floating(x, "x")
        if x.shape[0] == self.shape[0] and x.ndim <= 2 and x.size == self.shape[0]:
            return self._run(x, np.empty(x.shape, np.result_type(self.dtype, x.dtype)), adjoint, adjoint)
        flat = x.reshape(-1, self.shape[0])
        return self._columns(flat.T, adjoint).T.reshape(x.shape)

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
        transposed, conjugated = _FLAGS[self.mode]
        return self._with_mode(_MODES[transposed ^ transpose, conjugated ^ conjugate])

    def _transpose(self) -> Self:
        return self._flipped(transpose=True, conjugate=False)

    def _adjoint(self) -> Self:
        return self._flipped(transpose=True, conjugate=True)

    def conj(self) -> Self:
        """Return the complex conjugate, a view of the same buffers."""
        return self._flipped(transpose=False, conjugate=True)

    # ---- the dense matrix ----

    def _panels(self) -> Iterator[tuple[slice, Array]]:
        n = self.shape[1]
        for first in range(0, n, _PANEL):
            columns = slice(first, min(first + _PANEL, n))
            width = columns.stop - first
            identity = np.zeros((n, width), self.dtype)
            identity[np.arange(first, columns.stop), np.arange(width)] = 1
            yield columns, self.apply(identity)

    def todense(self) -> Array:
        """Return the dense matrix, an ndarray of shape (n, n)."""
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
        parts = [np.trace(panel[columns]) for columns, panel in self._panels()]
        return np.sum(np.asarray(parts))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _reversed_order(order: IndexArray | None, n: int) -> IndexArray:
    """Return the permutation of a side after the digit reversal that transposition takes."""
    reversal = bit_reversal(n)
    return reversal if order is None else cast(IndexArray, order[reversal])


def _order32(order: IndexArray | None) -> Array | None:
    return None if order is None else order.astype(np.uint32)


def _cast_dtype(dtype: Any, current: np.dtype[Any]) -> np.dtype[Any]:
    target = np.dtype(dtype)
    if target not in (np.float32, np.float64, np.complex64, np.complex128):
        raise TypeError(f"dtype: expected float32, float64, complex64 or complex128, got {target}")
    if current.kind == "c" and target.kind != "c":
        raise TypeError(f"dtype: a complex operator cannot become {target}")
    return target


class ButterflyOperator(Butterfly):
    """A square butterfly with float factors, as a SciPy ``LinearOperator``.

    ``A[rows][:, columns] = F_1 F_2 ... F_p``; the forward product is ``A x``, the adjoint ``A^H y`` runs the factors
    backwards: ``F_p^H ... F_1^H`` between the same permutations.

    Parameters
    ----------
    factors : sequence of ndarray
        ``p = log2(n)`` arrays of shape ``(2**(l-1), 2, 2, n / 2**l)``, ``l = 1 .. p``: ``v[i, j, k, t]`` sits at row
        ``i*2d + j*d + t`` and column ``i*2d + k*d + t``. float32, float64, complex64 or complex128.
    permutations : pair, optional
        (rows, columns), each None (identity), "bit_reversal" or an index array.
    relative_error, error_kind : float, str, optional
        What is known about the error against an original matrix.
    mode : {"forward", "transpose", "adjoint", "conjugate"}, optional
        Which view of the factors the operator is.

    Raises
    ------
    TypeError, ValueError
        Where the factors do not form a square dyadic chain.
    """

    values: Array

    def __init__(
        self,
        factors: Sequence[Any],
        *,
        permutations: tuple[Side, Side] = (None, None),
        relative_error: float = 0.0,
        error_kind: str = "exact",
        mode: str = "forward",
    ) -> None:
        self._set_up(_stack(factors), permutations, relative_error, error_kind, mode)

    @classmethod
    def from_values(
        cls,
        values: Array,
        *,
        permutations: tuple[Side, Side] = (None, None),
        relative_error: float = 0.0,
        error_kind: str = "exact",
        mode: str = "forward",
    ) -> ButterflyOperator:
        """Wrap a C-contiguous buffer of shape (p, 2n), row l the values of factor l + 1 in C order, without a copy."""
        self = cls.__new__(cls)
        self._set_up(values, permutations, relative_error, error_kind, mode)
        return self

    def _set_up(self, values: Array, permutations: tuple[Side, Side], error: float, kind: str, mode: str) -> None:
        n = values.shape[1] // 2
        Butterfly.__init__(self, n, values.dtype, permutations, error, kind, mode)
        self.values = values.view()
        self.values.flags.writeable = False
        self._kernel = _core.factors(self.values, *(_order32(p) for p in self._base))

    def _known(self) -> dict[str, Any]:
        return {"relative_error": self.relative_error, "error_kind": self.error_kind}

    def _with_mode(self, mode: Mode) -> ButterflyOperator:
        return ButterflyOperator.from_values(self.values, permutations=self._base, mode=mode, **self._known())

    def _buffer_bytes(self) -> int:
        return self.values.nbytes

    @property
    def factors(self) -> tuple[Array, ...]:
        """The factors as read-only 4-D arrays, in the chain of ``op.chain`` and between ``op.permutations``."""
        n = self.shape[0]
        stored = tuple(
            row.reshape(1 << level, 2, 2, n >> (level + 1)) for level, row in enumerate(self.values)
        )
        transposed, conjugated = _FLAGS[self.mode]
        if conjugated:
            stored = tuple(f.conj() for f in stored)
        return tuple(f.transpose(3, 2, 1, 0) for f in reversed(stored)) if transposed else stored

    def astype(self, dtype: Any) -> ButterflyOperator:
        """Return the operator with factors of another precision (adds one rounding to the error)."""
        target = _cast_dtype(dtype, self.dtype)
        values = _core.aligned_empty(list(self.values.shape), target)
        with np.errstate(over="ignore"):
            values[...] = self.values
        if not np.all(np.isfinite(values)):
            raise OverflowError(f"dtype: the factors do not fit {target}")
        known = self._known()
        if np.finfo(target).eps > np.finfo(self.dtype).eps:
            known["relative_error"] += len(values) * float(np.finfo(target).eps)
        return ButterflyOperator.from_values(values, permutations=self._base, mode=self.mode, **known)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_float, (np.asarray(self.values), self._base, self.relative_error, self.error_kind, self.mode)


def _rebuild_float(values: Array, base: Permutations, error: float, kind: str, mode: str) -> ButterflyOperator:
    aligned = _core.aligned_empty(list(values.shape), values.dtype)
    aligned[...] = values
    return ButterflyOperator.from_values(
        aligned, permutations=base, relative_error=error, error_kind=kind, mode=mode
    )


def _stack(factors: Sequence[Any]) -> Array:
    arrays = [as_floating(f, f"factors[{at}]") for at, f in enumerate(factors)]
    if not arrays:
        raise ValueError("factors: expected at least one")
    n = 1 << len(arrays)
    dtype = np.result_type(*arrays)
    values = cast(Array, _core.aligned_empty([len(arrays), 2 * n], dtype))
    for level, array in enumerate(arrays):
        expected = (1 << level, 2, 2, n >> (level + 1))
        if array.shape != expected:
            raise ValueError(
                f"factors[{level}]: expected shape {expected} in a square dyadic chain of {len(arrays)} factors, "
                f"got {array.shape}"
            )
        values[level] = array.reshape(-1)
    return values


class PackedButterfly(Butterfly):
    """A square butterfly whose factors are packed direction codes, as a SciPy ``LinearOperator``.

    ``A[rows][:, columns] = Q_1 Q_2 ... Q_p diag(scale)``, each column of ``Q_l`` a unit 2-vector in a few bits;
    the adjoint ``A^H y`` is ``diag(conj(scale)) Q_p^H ... Q_1^H`` between the same permutations. Products are taken
    straight from the packed bits. Made by :func:`quantize`, :func:`compress` and :func:`load`.

    Parameters
    ----------
    words : ndarray of uint32
        The packed codes of all factors, one after the other (see the format page of the documentation).
    codes : sequence of (kind, bits)
        For each factor, the kind of code ("angle", "phase", "sphere") and its bits per column.
    scale : ndarray, shape (n,)
        Lengths of the columns; its dtype is the operator's.
    permutations, relative_error, error_kind, mode
        As for :class:`ButterflyOperator`.
    report : CompressReport, optional
        How :func:`compress` made the operator.

    Raises
    ------
    TypeError, ValueError
        Where codes, words and scale do not fit each other.
    """

    words: Array
    codes: tuple[Code, ...]
    scale: Array
    report: CompressReport | None

    def __init__(
        self,
        words: Array,
        codes: Sequence[tuple[str, int]],
        scale: Array,
        *,
        permutations: tuple[Side, Side] = (None, None),
        relative_error: float,
        error_kind: str = "ledger",
        mode: str = "forward",
        report: CompressReport | None = None,
    ) -> None:
        scale = as_floating(scale, "scale")
        if scale.ndim != 1:
            raise ValueError(f"scale: expected a vector, got {scale.ndim} dimensions")
        super().__init__(len(scale), scale.dtype, permutations, relative_error, error_kind, mode)
        self.words = _frozen(words)
        self.codes = tuple(Code(*code) for code in codes)
        self.scale = _frozen(scale)
        self.report = report
        self._kernel = _core.packed(list(self.codes), self.words, self.scale, *(_order32(p) for p in self._base))

    def _known(self) -> dict[str, Any]:
        known = {"relative_error": self.relative_error, "error_kind": self.error_kind}
        return known | {"report": self.report, "permutations": self._base}

    def _with_mode(self, mode: Mode) -> PackedButterfly:
        return PackedButterfly(self.words, self.codes, self.scale, mode=mode, **self._known())

    def _buffer_bytes(self) -> int:
        return self.words.nbytes + self.scale.nbytes

    def unpack(self) -> tuple[Array, ...]:
        """Return the codes of the stored factors: arrays (2**(l-1), 2, n / 2**l), the code of column (i, k, t)."""
        n, out, first = self.shape[0], [], 0
        for level, code in enumerate(self.codes):
            past = first + _core.packed_words(n, code.bits)
            out.append(_core.unpack(self.words[first:past], n, n >> (level + 1), code.bits))
            first = past
        return tuple(out)

    def dequantize(self) -> ButterflyOperator:
        """Return the same operator with float factors; the last one takes the scale vector."""
        n = self.shape[0]
        values = cast(Array, _core.aligned_empty([len(self.codes), 2 * n], self.dtype))
        for row, code, q in zip(values, self.codes, self.unpack(), strict=True):
            distinct, inverse = np.unique(q, return_inverse=True)
            table = np.asarray(_core.decode(code.kind, code.bits, distinct.tolist()))
            columns = table[inverse.reshape(q.shape)]  # (i, k, t, j)
            columns = columns if self.dtype.kind == "c" else columns.real
            row[...] = columns.transpose(0, 3, 1, 2).reshape(-1)
        values[-1] = (values[-1].reshape(-1, 2, 2) * self.scale.reshape(-1, 1, 2)).reshape(-1)
        known = {"relative_error": self.relative_error, "error_kind": self.error_kind}
        return ButterflyOperator.from_values(values, permutations=self._base, mode=self.mode, **known)

    def astype(self, dtype: Any) -> PackedButterfly:
        """Return the operator with a scale vector and products in another precision; the codes are shared."""
        target = _cast_dtype(dtype, self.dtype)
        with np.errstate(over="ignore"):
            scale = self.scale.astype(target)
        if not np.all(np.isfinite(scale)):
            raise OverflowError(f"dtype: the scale vector does not fit {target}")
        known = self._known()
        if np.finfo(target).eps > np.finfo(self.dtype).eps:
            known["relative_error"] += len(self.codes) * float(np.finfo(target).eps)
        return PackedButterfly(self.words, self.codes, scale, mode=self.mode, **known)

    def __reduce__(self) -> tuple[Any, ...]:
        known = self._known() | {"mode": self.mode}
        return _rebuild_packed, (np.asarray(self.words), self.codes, np.asarray(self.scale), known)


def _rebuild_packed(words: Array, codes: tuple[Code, ...], scale: Array, known: dict[str, Any]) -> PackedButterfly:
    aligned = _core.aligned_empty([words.size], words.dtype)
    aligned[...] = words
    return PackedButterfly(aligned, codes, scale, **known)


def _frozen(a: Any) -> Array:
    """Return a read-only contiguous view of `a`."""
    view = np.ascontiguousarray(a).view()
    view.flags.writeable = False
    return view
