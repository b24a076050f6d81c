"""Butterflies: those with float factors, those packed to a few bits, and what both share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, cast

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.change import after_cast, after_change
from bitterfly.accuracy.known import Known
from bitterfly.bits import Numbers
from bitterfly.chains.chain import Chain
from bitterfly.inputs import Array, Permutations, Side, as_permutation
from bitterfly.operators.contract import Operator, checked_error
from bitterfly.operators.pictures import plot_ranks
from bitterfly.operators.plan import ProductPlan, plan_of
from bitterfly.operators.report import CompressReport
from bitterfly.operators.rows import tiled_rows
from bitterfly.operators.views import FLAGS, MODES, Mode, fitting_shape, reversed_order
from bitterfly.ordering import digit_reversal
from bitterfly.powers import powers_to_one, times_powers
from bitterfly.precision import cast_dtype, decoding_term
from bitterfly.stores.codes import CodeStore, code_store, require_unpadded
from bitterfly.stores.direction_codes import DirectionCodes
from bitterfly.stores.floats import DyadicFloats, FloatStore, TiledFloats, fitted, frozen_view, store_of
from bitterfly.stores.kinds import Code
from bitterfly.stores.scale_codes import ScaleCodes
from bitterfly.workers import as_workers, get_workers


class Store(Protocol):
    """The factors or codes of an operator."""

    @property
    def chain(self) -> Chain:
        """The sparsity patterns of the factors."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The precision of products."""

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that each factor stores, and their bits."""

    def kernel(self, shape: tuple[int, int], permutations: Permutations) -> _core.Core:
        """Return what multiplies."""


class Butterfly(Operator):
    """What both operators share: a view (mode) of a butterfly ``A``.

    ``A[rows][:, columns]`` is the product of the factors, where ``A`` is padded with zeros if the chain is larger than
    it; ``op.T``, ``op.H`` and ``op.conj()`` are views of the same buffers.
    """

    _kernel: _core.Core
    _base: Permutations
    _chain: Chain
    _store: Store
    mode: Mode

    def _set_up(
        self,
        store: Store,
        shape: tuple[int, int],
        permutations: tuple[Side, Side],
        relative_error: float,
        error_kind: str,
        mode: str,
    ) -> None:
        rows, columns = permutations
        base = (
            as_permutation(rows, store.chain.row_digits, "permutations[0]"),
            as_permutation(columns, store.chain.column_digits, "permutations[1]"),
        )
        for order in base:
            if order is not None:
                order.flags.writeable = False
        self._store = store
        self._chain = store.chain
        self._stored_shape = shape
        self._base = base
        self.mode = self._normal_mode(mode, store.dtype)
        self._kernel = store.kernel(shape, base)
        shape = shape[::-1] if FLAGS[self.mode][0] else shape
        Operator.__init__(self, store.dtype, shape, checked_error(relative_error, error_kind))

    @staticmethod
    def _normal_mode(mode: str, dtype: np.dtype[Any]) -> Mode:
        if mode not in FLAGS:
            raise ValueError(f"mode: expected one of {', '.join(FLAGS)}, got {mode!r}")
        transposed, conjugated = FLAGS[mode]
        return MODES[transposed, conjugated and dtype.kind == "c"]

    # ---- what the operator is ----

    @property
    def base_permutations(self) -> Permutations:
        """Index arrays (rows, columns) of the stored, forward operator; None is the identity."""
        return self._base

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        return self._stored_shape

    @property
    def stored_chain(self) -> Chain:
        """The sparsity patterns of the stored, forward factors."""
        return self._chain

    @property
    def permutations(self) -> Permutations:
        """Index arrays (rows, columns): ``op[rows][:, columns]`` is the product of the factors; None: identity."""
        if not FLAGS[self.mode][0]:
            return self._base
        rows, columns = self._base
        return reversed_order(columns, self._chain.column_digits), reversed_order(rows, self._chain.row_digits)

    @property
    def chain(self) -> Chain:
        """The sparsity patterns of the factors."""
        return self._chain.T if FLAGS[self.mode][0] else self._chain

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers: factors or codes, scale vector, padding and index arrays (32-bit)."""
        return self._buffer_bytes() + sum(4 * p.size for p in self._base if p is not None)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that each stored factor holds, and their bits."""
        return self._store.numbers

    def _buffer_bytes(self) -> int:
        raise NotImplementedError

    def _with_mode(self, mode: Mode) -> Self:
        mode = self._normal_mode(mode, self.dtype)
        return self._viewed(mode=mode, shape=self._stored_shape[::-1] if FLAGS[mode][0] else self._stored_shape)

    def _with_store(self, store: Store) -> Self:
        """Return the same view of another store of the chain; shape and orders have been checked."""
        kernel = store.kernel(self._stored_shape, self._base)
        return self._viewed(_store=store, _kernel=kernel, dtype=np.dtype(store.dtype.type))

    # ---- products ----

    # Most products are of one vector of the operator's precision; a short one takes as long as what looks at it.

    def __matmul__(self, other: Any) -> Any:
        if self._is_plain(other, 1):
            return self._kernel.product(other, *FLAGS[self.mode], get_workers())
        return super().__matmul__(other)

    def matvec(self, x: Any) -> Any:
        """Return ``A x`` for x of shape (n,) or (n, 1), or for each vector of a batch (..., n)."""
        if self._is_plain(x, 1):
            return self._kernel.product(x, *FLAGS[self.mode], get_workers())
        return super().matvec(x)

    def rmatvec(self, x: Any) -> Any:
        """Return ``A^H x`` for x of shape (m,) or (m, 1), or for each vector of a batch (..., m)."""
        if self._is_plain(x, 0):
            transposed, conjugated = FLAGS[self.mode]
            return self._kernel.product(x, not transposed, not conjugated, get_workers())
        return super().rmatvec(x)

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        transpose, conjugate = FLAGS[self.mode]
        powers = powers_to_one(x) if self.dtype.char in "fF" and x.dtype.char in "dD" else None
        x = x if powers is None else times_powers(x, powers, np.empty_like(x))
        self._kernel.apply(x, out, transpose ^ transposed, conjugate ^ conjugated, as_workers(workers))
        return out if powers is None else times_powers(out, 1 / powers, out)

    def _flipped(self, transposed: bool, conjugated: bool) -> Self:
        transpose, conjugate = FLAGS[self.mode]
        return self._with_mode(MODES[transpose ^ transposed, conjugate ^ conjugated])

    def plot(self, ax: Any = None) -> Any:
        """Draw the ranks of all levels on matplotlib axes and return these, see `bitterfly.plots.plot_ranks`."""
        return plot_ranks(self, ax)


class ButterflyOperator(Butterfly):
    """A butterfly with float factors, as a SciPy ``LinearOperator``.

    ``A[rows][:, columns] = F_1 F_2 ... F_L``; the forward product is ``A x``, the adjoint ``A^H y`` runs the factors
    backwards: ``F_L^H ... F_1^H`` between the same permutations.

    Parameters
    ----------
    factors : sequence of ndarray or Skeleton
        Arrays of shape (a, b, c, d) that form a :class:`Chain`: ``v[i, j, k, t]`` sits at row ``i*b*d + j*d + t`` and
        column ``i*c*d + k*d + t``. float32, float64, complex64 or complex128.
    shape : (m, n), optional
        At most that of the product, which is the default. The rows and columns beyond are the padding of ``A``.
    permutations : pair, optional
        (rows, columns), each None (identity), "bit_reversal" (the digits of the chain are reversed) or an index array
        as long as the side of the product.
    relative_error, error_kind : float, str, optional
        What is known about the error against an original matrix.
    mode : {"forward", "transpose", "adjoint", "conjugate"}, optional
        Which view of the factors the operator is.

    Raises
    ------
    TypeError, ValueError
        Where the factors do not form a chain.
    """

    kind = "float"
    _store: FloatStore

    def __init__(
        self,
        factors: Sequence[Any],
        *,
        shape: tuple[int, int] | None = None,
        permutations: tuple[Side, Side] = (None, None),
        relative_error: float = 0.0,
        error_kind: str = "exact",
        mode: str = "forward",
    ) -> None:
        self._wrap(store_of(factors), shape, permutations, relative_error, error_kind, mode)

    @classmethod
    def from_store(
        cls,
        store: FloatStore,
        *,
        shape: tuple[int, int] | None = None,
        permutations: tuple[Side, Side] = (None, None),
        relative_error: float = 0.0,
        error_kind: str = "exact",
        mode: str = "forward",
    ) -> ButterflyOperator:
        """Wrap stored factors without a copy."""
        self = cls.__new__(cls)
        self._wrap(store, shape, permutations, relative_error, error_kind, mode)
        return self

    @classmethod
    def from_values(cls, values: Array, **known: Any) -> ButterflyOperator:
        """Wrap a C-contiguous buffer of shape (p, 2n), row l the values of the square dyadic factor l + 1."""
        return cls.from_store(DyadicFloats(values), **known)

    def _wrap(self, store: FloatStore, shape: tuple[int, int] | None, *rest: Any) -> None:
        stored_shape = fitting_shape(shape, store.chain)
        self._set_up(fitted(store, stored_shape), stored_shape, *rest)

    def _known(self) -> dict[str, Any]:
        known: dict[str, Any] = {"relative_error": self.relative_error, "error_kind": self.error_kind}
        return known | {"shape": self._stored_shape, "permutations": self._base, "mode": self.mode}

    def _buffer_bytes(self) -> int:
        return self._store.nbytes

    def _rows(self, index: Array) -> Array:
        if isinstance(self._store, TiledFloats) and self.mode == "forward":
            return tiled_rows(self._store, self._base, self.shape[1], index)
        return super()._rows(index)

    def plan(self) -> ProductPlan:
        """Return how a product with one vector runs: passes, what they read, bytes that they move; print it."""
        bits = [part.bits for part in self.numbers]
        return plan_of(
            self._chain, self.dtype, [str(self.dtype)] * len(bits), bits, isinstance(self._store, DyadicFloats)
        )

    @property
    def values(self) -> Array:
        """The buffer of all factors: of the square dyadic chain shape (p, 2n), else flat, in tiles."""
        return self._store.buffers["values"]

    @property
    def store(self) -> FloatStore:
        """The stored, forward factors."""
        return self._store

    @property
    def factors(self) -> tuple[Array, ...]:
        """The factors as read-only 4-D arrays, in the chain of ``op.chain`` and between ``op.permutations``."""
        stored = self._store.factors()
        transposed, conjugated = FLAGS[self.mode]
        if conjugated:
            stored = [f.conj() for f in stored]
        if transposed:
            stored = [_transposed(f, self._chain.factor_digits(at)) for at, f in enumerate(stored)][::-1]
        return tuple(frozen_view(f) for f in stored)

    def astype(self, dtype: Any) -> ButterflyOperator:
        """Return the operator with factors of another precision.

        To a narrower one, the change of the product is added to the error: measured in full where the matrix has at
        most 2^21 entries, else estimated on random vectors (plus two standard errors).
        """
        target = cast_dtype(dtype, self.dtype)
        store = self._store.astype(target)
        if not all(np.all(np.isfinite(b)) for b in store.buffers.values()):
            raise OverflowError(f"dtype: the factors do not fit {target}")
        out = self._with_store(store)
        if np.finfo(target).eps <= np.finfo(self.dtype).eps:
            return out
        return out._viewed(_fact=after_cast(self, out))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_float, (type(self._store), self._store.state(), self._known())


def _transposed(factor: Array, digits: Sequence[tuple[int, ...]]) -> Array:
    """Return the transpose of a factor between digit reversals of both sides: pattern (a, b, c, d) -> (d, c, b, a)."""
    i, j, k, t = (digit_reversal(radices[::-1]) for radices in digits)
    return cast(Array, factor[i][:, j][:, :, k][..., t].transpose(3, 2, 1, 0))


def _rebuild_float(kind: Any, state: tuple[Any, ...], known: dict[str, Any]) -> ButterflyOperator:
    return ButterflyOperator.from_store(kind.restore(*state), **known)


class PackedButterfly(Butterfly):
    """A butterfly whose factors are packed codes, as a SciPy ``LinearOperator``.

    ``A[rows][:, columns] = Q_1 Q_2 ... Q_L diag(scale)``, each ``Q_l`` in a few bits; the adjoint ``A^H y`` is
    ``diag(conj(scale)) Q_L^H ... Q_1^H`` between the same permutations. Products are taken straight from the packed
    bits. Made by :func:`quantize`, :func:`compress` and :func:`load`.

    Parameters
    ----------
    words : ndarray of uint32
        The packed codes of all factors, one after the other (see the format page of the documentation).
    codes : sequence of (kind, bits)
        For each factor, the kind of code and its bits, see :class:`Code`.
    scale : ndarray, shape (n,), or ScaleCodes
        Lengths of the columns; its dtype is the operator's. Empty for floats.
    chain : Chain, optional
        Default: the square dyadic chain of size n. Its codes are "angle", "phase" and "sphere", those of any
        chain "lattice", "skeleton", "sign", "ternary", "power_of_two", "shift" and, without a scale vector, "float1"
        to "float24".
    steps : sequence of float, optional
        For the codes of other chains, the value of one unit, a number for each factor.
    shape, permutations, relative_error, error_kind, mode
        As for :class:`ButterflyOperator`.
    report : CompressReport, optional
        How :func:`compress` made the operator.

    Raises
    ------
    TypeError, ValueError
        Where codes, words and scale do not fit each other.
    """

    kind = "packed"
    _store: CodeStore
    report: CompressReport | None

    def __init__(
        self,
        words: Array,
        codes: Sequence[tuple[str, int]],
        scale: Array | ScaleCodes,
        *,
        chain: Chain | None = None,
        steps: Sequence[float] | Array | None = None,
        shape: tuple[int, int] | None = None,
        permutations: tuple[Side, Side] = (None, None),
        relative_error: float,
        error_kind: str = "ledger",
        mode: str = "forward",
        report: CompressReport | None = None,
    ) -> None:
        store = code_store(words, codes, scale, chain, steps)
        stored_shape = fitting_shape(shape, store.chain)
        require_unpadded(store, stored_shape)
        self.report = report
        self._set_up(store, stored_shape, permutations, relative_error, error_kind, mode)

    @property
    def store(self) -> CodeStore:
        """The stored, forward codes."""
        return self._store

    @property
    def words(self) -> Array:
        """The packed codes."""
        return self._store.words

    @property
    def codes(self) -> tuple[Code, ...]:
        """The kind of code of each stored factor, and its bits."""
        return self._store.codes

    @property
    def scale(self) -> Array:
        """Lengths of the columns of the stored product."""
        return self._store.scale

    @property
    def scale_code(self) -> Code | None:
        """The kind of short float of the scale vector, and its bits; None for plain numbers."""
        return self._store.lengths.code if isinstance(self._store.lengths, ScaleCodes) else None

    @property
    def steps(self) -> Array | None:
        """Value of one unit of the codes of each factor; None for direction codes."""
        return self._store.steps

    def _known(self) -> dict[str, Any]:
        known: dict[str, Any] = {"relative_error": self.relative_error, "error_kind": self.error_kind}
        known |= {"report": self.report, "shape": self._stored_shape, "permutations": self._base, "mode": self.mode}
        return known | {"chain": self._chain, "steps": self.steps}

    def _buffer_bytes(self) -> int:
        return self._store.code_bytes + self._store.lengths.nbytes + (0 if self.steps is None else self.steps.nbytes)

    def plan(self) -> ProductPlan:
        """Return how a product with one vector runs: passes, what they read, bytes that they move; print it."""
        names = [f"{code.kind} of {code.bits} bits" for code in self.codes]
        bits = [part.bits for part in self.numbers]
        return plan_of(self._chain, self.dtype, names, bits, isinstance(self._store, DirectionCodes))

    def unpack(self) -> tuple[Array, ...]:
        """Return the codes of the stored factors: of the square dyadic chain (2**(l-1), 2, n / 2**l), one a column."""
        return self._store.unpack()

    def dequantize(self) -> ButterflyOperator:
        """Return the operator with float factors, the last one times the scale vector.

        What rounding them changes is added to the error: bounded for direction codes, else measured as by `astype`.
        """
        out = ButterflyOperator.from_store(
            self._store.dequantize(), shape=self._stored_shape, permutations=self._base, mode=self.mode
        )
        if isinstance(self._store, DirectionCodes):
            known = Known.of(self).then(decoding_term(len(self.codes), self.scale))
        else:
            known = after_change(self, out, "exact")
        return out._viewed(_fact=known)

    def replaced(
        self,
        *,
        relative_error: float | None = None,
        error_kind: str | None = None,
        report: CompressReport | None = None,
    ) -> PackedButterfly:
        """Return a view of the same buffers with another error or report; what is not given stays as it is."""
        error = self.relative_error if relative_error is None else relative_error
        known = checked_error(error, error_kind or self.error_kind)
        return self._viewed(_fact=known, report=report or self.report)

    def astype(self, dtype: Any) -> PackedButterfly:
        """Return the operator with a scale vector and products in another precision; the codes are shared."""
        target = cast_dtype(dtype, self.dtype)
        out = self._with_store(self._store.cast(target))
        if np.finfo(target).eps <= np.finfo(self.dtype).eps:
            return out
        return out._viewed(_fact=after_cast(self, out))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_packed, (np.asarray(self.words), self.codes, self._store.lengths, self._known())


def _rebuild_packed(words: Array, codes: tuple[Code, ...], scale: Any, known: dict[str, Any]) -> PackedButterfly:
    return PackedButterfly(words, codes, scale, **known)
