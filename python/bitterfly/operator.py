"""The two operators that users hold: butterflies with float factors, and butterflies packed to a few bits."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from bitterfly import _core
from bitterfly.inputs import Array, IndexArray, Permutations, Side, as_floating, as_uint32
from bitterfly.linear import FLAGS, Butterfly
from bitterfly.ordering import bit_reversal
from bitterfly.precision import cast_dtype, relative_change

if TYPE_CHECKING:
    from bitterfly.report import CompressReport


# Kinds of codes and the most bits that a column takes.
MAX_BITS = {"angle": 16, "phase": 24, "sphere": 32}


class Code(NamedTuple):
    """How the columns of one factor are coded: the kind of code, and the bits that one column takes."""

    kind: str
    bits: int


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
        self._kernel = _core.factors(self.values, *(as_uint32(p) for p in self._base))

    def _known(self) -> dict[str, Any]:
        return {"relative_error": self.relative_error, "error_kind": self.error_kind}

    def _buffer_bytes(self) -> int:
        return self.values.nbytes

    @property
    def factors(self) -> tuple[Array, ...]:
        """The factors as read-only 4-D arrays, in the chain of ``op.chain`` and between ``op.permutations``."""
        n = self.shape[0]
        stored = tuple(row.reshape(1 << level, 2, 2, n >> (level + 1)) for level, row in enumerate(self.values))
        transposed, conjugated = FLAGS[self.mode]
        if conjugated:
            stored = tuple(f.conj() for f in stored)
        return tuple(_transposed(f) for f in reversed(stored)) if transposed else stored

    def astype(self, dtype: Any) -> ButterflyOperator:
        """Return the operator with factors of another precision (adds one rounding to the error)."""
        target = cast_dtype(dtype, self.dtype)
        values = _core.aligned_empty(list(self.values.shape), target)
        with np.errstate(over="ignore"):
            values[...] = self.values
        if not np.all(np.isfinite(values)):
            raise OverflowError(f"dtype: the factors do not fit {target}")
        known = self._known()
        if np.finfo(target).eps > np.finfo(self.dtype).eps:
            rounding = _core.single_rounding(self.values) + len(values) * float(np.finfo(target).eps)
            known["relative_error"] += (1 + self.relative_error) * rounding
        return ButterflyOperator.from_values(values, permutations=self._base, mode=self.mode, **known)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_float, (np.asarray(self.values), self._base, self.relative_error, self.error_kind, self.mode)


def _transposed(factor: Array) -> Array:
    """Return the transpose of a factor between bit reversals of both sides: pattern (a, b, c, d) -> (d, c, b, a)."""
    a, d = factor.shape[0], factor.shape[3]
    out = factor[_digits(a)][..., _digits(d)].transpose(3, 2, 1, 0)
    out.flags.writeable = False
    return cast(Array, out)


def _digits(n: int) -> IndexArray:
    return bit_reversal(n) if n > 1 else np.zeros(1, np.intp)


def _rebuild_float(values: Array, base: Permutations, error: float, kind: str, mode: str) -> ButterflyOperator:
    aligned = _core.aligned_empty(list(values.shape), values.dtype)
    aligned[...] = values
    return ButterflyOperator.from_values(aligned, permutations=base, relative_error=error, error_kind=kind, mode=mode)


def _stack(factors: Sequence[Any]) -> Array:
    arrays = [as_floating(f, f"factors[{at}]") for at, f in enumerate(factors)]
    if not arrays:
        raise ValueError("factors: expected at least one")
    n = 1 << len(arrays)
    dtype = np.result_type(*arrays)
    values = _core.aligned_empty([len(arrays), 2 * n], dtype)
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
        if scale.ndim != 1 or not np.all(np.isfinite(scale)):
            raise ValueError(f"scale: expected a vector of finite numbers, got shape {scale.shape} or NaN, infinity")
        super().__init__(len(scale), scale.dtype, permutations, relative_error, error_kind, mode)
        self.words = _frozen(_as_words(words))
        self.codes = _as_codes(codes)
        self.scale = _frozen(scale)
        self.report = report
        self._kernel = _core.packed(list(self.codes), self.words, self.scale, *(as_uint32(p) for p in self._base))

    def _known(self) -> dict[str, Any]:
        known = {"relative_error": self.relative_error, "error_kind": self.error_kind}
        return known | {"report": self.report, "permutations": self._base}

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
        values = _core.aligned_empty([len(self.codes), 2 * n], self.dtype)
        for row, code, q in zip(values, self.codes, self.unpack(), strict=True):
            distinct, inverse = np.unique(q, return_inverse=True)
            table = np.asarray(_core.decode(code.kind, code.bits, distinct.tolist()))
            columns = table[inverse.reshape(q.shape)]  # (i, k, t, j)
            columns = columns if self.dtype.kind == "c" else columns.real
            row[...] = columns.transpose(0, 3, 1, 2).reshape(-1)
        values[-1] = (values[-1].reshape(-1, 2, 2) * self.scale.reshape(-1, 1, 2)).reshape(-1)
        known: dict[str, Any] = {"relative_error": self.relative_error, "error_kind": self.error_kind}
        return ButterflyOperator.from_values(values, permutations=self._base, mode=self.mode, **known)

    def astype(self, dtype: Any) -> PackedButterfly:
        """Return the operator with a scale vector and products in another precision; the codes are shared."""
        target = cast_dtype(dtype, self.dtype)
        with np.errstate(over="ignore"):
            scale = self.scale.astype(target)
        if not np.all(np.isfinite(scale)):
            raise OverflowError(f"dtype: the scale vector does not fit {target}")
        known = self._known()
        if np.finfo(target).eps > np.finfo(self.dtype).eps:
            rounding = relative_change(self.scale, scale) + len(self.codes) * float(np.finfo(target).eps)
            known["relative_error"] += (1 + self.relative_error) * rounding
        scale.flags.writeable = False
        return PackedButterfly(self.words, self.codes, scale, mode=self.mode, **known)

    def __reduce__(self) -> tuple[Any, ...]:
        known = self._known() | {"mode": self.mode}
        return _rebuild_packed, (np.asarray(self.words), self.codes, np.asarray(self.scale), known)


def _rebuild_packed(words: Array, codes: tuple[Code, ...], scale: Array, known: dict[str, Any]) -> PackedButterfly:
    return PackedButterfly(words, codes, scale, **known)


def _frozen(a: Array) -> Array:
    """Return a read-only aligned array; a copy, unless nobody can write to `a`."""
    if a.flags.writeable or not a.flags.c_contiguous:
        copy: Array = _core.aligned_empty(list(a.shape), a.dtype)
        copy[...] = a
        a = copy
    view = a.view()
    view.flags.writeable = False
    return view


def _as_words(words: Any) -> Array:
    array = np.asarray(words)
    if array.dtype != np.uint32 or array.ndim != 1:
        raise TypeError(f"words: expected a vector of uint32, got shape {array.shape} of {array.dtype}")
    return array.astype(np.uint32, copy=False)


def _as_codes(codes: Any) -> tuple[Code, ...]:
    try:
        return tuple(Code(str(kind), index(bits)) for kind, bits in codes)
    except (TypeError, ValueError):
        raise TypeError(f"codes: expected pairs (kind, bits), got {codes!r}") from None
