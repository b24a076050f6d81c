"""What an operator stores: float factors, of the square dyadic chain or in tiles, behind one small interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, Protocol, cast

import numpy as np

from bitterfly import _core
from bitterfly.bits import Numbers
from bitterfly.chains.chain import Chain
from bitterfly.inputs import Array, IndexArray, Permutations, as_floating, as_uint32
from bitterfly.stores.tiles import Layout, Skeleton, layouts, planes_of, slices


class FloatStore(Protocol):
    """The factors of an operator, in memory that is never written again."""

    chain: Chain
    dtype: np.dtype[Any]

    @property
    def buffers(self) -> dict[str, Array]:
        """All memory, by the names that files use."""

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that each factor stores, and their bits."""

    @property
    def nbytes(self) -> int:
        """Bytes of all memory."""

    def kernel(self, shape: tuple[int, int], base: Permutations) -> _core.Core:
        """Return the product that borrows the buffers."""

    def factors(self) -> list[Array]:
        """Return the dense 4-D factors."""

    def astype(self, target: np.dtype[Any]) -> FloatStore:
        """Return the factors in another precision."""

    def state(self) -> tuple[Any, ...]:
        """Return what `restore` of the same class takes; for pickles."""


class DyadicFloats:
    """Factors of the square dyadic chain, kept once, as the stream that the kernels read."""

    def __init__(self, values: Array) -> None:
        """Take values (p, 2n): row l is factor l + 1 in C order."""
        self.chain = Chain.square_dyadic(values.shape[1] // 2)
        self.dtype = values.dtype
        self.stream = frozen_view(_core.stream_of_values(values))

    @property
    def values(self) -> Array:
        """Return a read-only copy in the order of files, (p, 2n)."""
        return frozen_view(_core.values_of_stream(self.chain.shape[0], self.stream, self.dtype))

    @property
    def buffers(self) -> dict[str, Array]:
        return {"values": self.values}

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        return tuple(_of_dtype(prod(pattern), self.dtype) for pattern in self.chain)

    @property
    def nbytes(self) -> int:
        return self.stream.nbytes

    def kernel(self, shape: tuple[int, int], base: Permutations) -> _core.Core:
        return _core.factors(self.chain.shape[0], self.stream, self.dtype, *(as_uint32(p) for p in base))

    def factors(self) -> list[Array]:
        return [row.reshape(p) for row, p in zip(self.values, self.chain, strict=True)]

    def astype(self, target: np.dtype[Any]) -> DyadicFloats:
        with np.errstate(over="ignore"):
            return DyadicFloats(self.values.astype(target))

    def state(self) -> tuple[Any, ...]:
        return (np.asarray(self.values),)

    @classmethod
    def restore(cls, *state: Any) -> DyadicFloats:
        return cls(np.ascontiguousarray(state[0]))


class HadamardFloats(DyadicFloats):
    """The factors of the Hadamard transform, blocks (1, 1; 1, -1), of which nothing is stored."""

    def __init__(self, n: int, dtype: np.dtype[Any]) -> None:
        self.chain = Chain.square_dyadic(n)
        self.dtype = dtype

    @property
    def values(self) -> Array:
        """Return a read-only array in the order of files, (p, 2n)."""
        values = np.ones((len(self.chain), 2 * self.chain.shape[0]), self.dtype)
        for row, pattern in zip(values, self.chain, strict=True):
            row.reshape(pattern)[:, 1, 1] = -1
        return frozen_view(values)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        return tuple(Numbers(planes_of(self.dtype) * prod(pattern), 0) for pattern in self.chain)

    @property
    def nbytes(self) -> int:
        return 0

    def kernel(self, shape: tuple[int, int], base: Permutations) -> _core.Core:
        return _core.hadamard(self.chain.shape[0], self.dtype, *(as_uint32(p) for p in base))

    def astype(self, target: np.dtype[Any]) -> HadamardFloats:
        return HadamardFloats(self.chain.shape[0], target)

    def state(self) -> tuple[Any, ...]:
        return self.chain.shape[0], self.dtype

    @classmethod
    def restore(cls, *state: Any) -> HadamardFloats:
        return cls(*state)


class TiledFloats:
    """Factors of any chain, in tiles, one after the other in `values`; the pivots of skeleton factors in `pivots`."""

    def __init__(self, chain: Chain, ranks: Sequence[int], values: Array, pivots: Array, is_complex: bool) -> None:
        self.chain = chain
        self.ranks = tuple(ranks)
        self.values = frozen_view(values)
        self.pivots = frozen_view(pivots)
        self.dtype = np.dtype(np.result_type(values.dtype, np.complex64) if is_complex else values.dtype)

    @classmethod
    def of(cls, chain: Chain, factors: Sequence[Array | Skeleton], dtype: np.dtype[Any]) -> TiledFloats:
        """Lay out dense and skeleton factors."""
        ranks = [f.rank if isinstance(f, Skeleton) else 0 for f in factors]
        plan, planes = layouts(chain, ranks), planes_of(dtype)
        values = _core.aligned_empty([sum(at.numbers(planes) for at in plan)], dtype.type(0).real.dtype)
        pivots = np.empty(sum(at.pivot_words for at in plan), np.uint32)
        parts = zip(plan, factors, slices([at.numbers(planes) for at in plan]), strict=True)
        masks = slices([at.pivot_words for at in plan])
        for (layout, factor, part), mask in zip(parts, masks, strict=True):
            layout.interleave(layout.blocks_of(factor).astype(dtype, copy=False), values[part])
            if isinstance(factor, Skeleton):
                pivots[mask] = layout.masks_of(factor.pivots)
        return cls(chain, ranks, values, pivots, planes == 2)

    @property
    def buffers(self) -> dict[str, Array]:
        return {"values": self.values} | ({"pivots": self.pivots} if any(self.ranks) else {})

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        return tuple(_of_dtype(at.entries, self.dtype) for at in layouts(self.chain, self.ranks))

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self.buffers.values())

    def _parts(self) -> list[tuple[Layout, Array, Array | None]]:
        plan, planes = layouts(self.chain, self.ranks), planes_of(self.dtype)
        values = [self.values[s] for s in slices([at.numbers(planes) for at in plan])]
        masks = [self.pivots[s] for s in slices([at.pivot_words for at in plan])]
        return [(at, v, m if at.rank else None) for at, v, m in zip(plan, values, masks, strict=True)]

    def kernel(self, shape: tuple[int, int], base: Permutations) -> _core.Core:
        arrays = [
            _core.Factor(pattern=at.pattern, rank=at.rank, values=values, pivots=masks)
            for at, values, masks in self._parts()
        ]
        return _core.tiled(shape, arrays, self.dtype, None, *(as_uint32(p) for p in base))

    def stored(self) -> list[Array | Skeleton]:
        """Return the factors, those in skeleton form as such."""
        planes = planes_of(self.dtype)
        return [
            at.factor_of(at.deinterleave(values, planes), None if masks is None else at.pivots_of(masks))
            for at, values, masks in self._parts()
        ]

    def factors(self) -> list[Array]:
        return [f.dense() if isinstance(f, Skeleton) else f for f in self.stored()]

    def blocks(self, at: int, t: IndexArray) -> Array:
        """Return the blocks (i, t), i = 0 .. a - 1, of factor `at` by column group, shape (a, len(t), c/r, b, r)."""
        layout, values, masks = self._parts()[at]
        return layout.blocks_at(values, masks, planes_of(self.dtype), t, (*self.chain.ranks, 1)[at])

    def astype(self, target: np.dtype[Any]) -> TiledFloats:
        if planes_of(target) > planes_of(self.dtype):
            return TiledFloats.of(self.chain, [_as_complex(f) for f in self.stored()], target)
        with np.errstate(over="ignore"):
            values = self.values.astype(target.type(0).real.dtype)
        return TiledFloats(self.chain, self.ranks, values, self.pivots, planes_of(self.dtype) == 2)

    def state(self) -> tuple[Any, ...]:
        is_complex = planes_of(self.dtype) == 2
        return tuple(self.chain), self.ranks, np.asarray(self.values), np.asarray(self.pivots), is_complex

    @classmethod
    def restore(cls, chain: Any, ranks: Any, values: Array, pivots: Array, is_complex: bool) -> TiledFloats:
        return cls(Chain(chain), ranks, aligned(values), pivots, is_complex)


def store_of(factors: Sequence[Any]) -> FloatStore:
    """Return a store for dense 4-D arrays and skeletons that form a chain.

    Raises
    ------
    TypeError, ValueError
        Where they are no numbers, not four-dimensional, or do not chain.
    """
    arrays = [f if isinstance(f, Skeleton) else as_floating(f, f"factors[{at}]") for at, f in enumerate(factors)]
    if not arrays:
        raise ValueError("factors: expected at least one")
    for at, f in enumerate(arrays):
        if not isinstance(f, Skeleton) and f.ndim != 4:
            raise ValueError(f"factors[{at}]: expected a 4-D array of shape (a, b, c, d), got {f.ndim} dimension(s)")
    chain = Chain(f.pattern if isinstance(f, Skeleton) else f.shape for f in arrays)
    dtype = np.result_type(*(f.t if isinstance(f, Skeleton) else f for f in arrays))
    if chain.is_square_dyadic and not any(isinstance(f, Skeleton) for f in arrays):
        values = _core.aligned_empty([len(arrays), 2 * chain.shape[0]], dtype)
        for row, f in zip(values, arrays, strict=True):
            row[...] = cast(Array, f).reshape(-1)
        return DyadicFloats(values)
    return TiledFloats.of(chain, arrays, dtype)


def fitted(store: FloatStore, shape: tuple[int, int]) -> FloatStore:
    """Return the store, in tiles where the matrix is smaller than the chain: the dyadic kernels do not pad."""
    if isinstance(store, DyadicFloats) and shape != store.chain.shape:
        return TiledFloats.of(store.chain, store.factors(), store.dtype)
    return store


def _of_dtype(entries: int, dtype: np.dtype[Any]) -> Numbers:
    return Numbers(planes_of(dtype) * entries, 8 * dtype.itemsize * entries)


def _as_complex(factor: Array | Skeleton) -> Array | Skeleton:
    if not isinstance(factor, Skeleton):
        return factor + np.zeros((), np.result_type(factor, np.complex64))
    return replace(factor, t=factor.t + np.zeros((), np.result_type(factor.t, np.complex64)))


def aligned(a: Array) -> Array:
    """Return a copy that starts on a cache line."""
    copy: Array = _core.aligned_empty(list(a.shape), a.dtype)
    copy[...] = a
    return copy


def frozen_view(a: Array) -> Array:
    """Return a read-only view."""
    view = a.view()
    view.flags.writeable = False
    return view


def frozen(a: Array) -> Array:
    """Return a read-only aligned array; a copy, unless nobody can write to `a`."""
    return frozen_view(aligned(a) if a.flags.writeable or not a.flags.c_contiguous else a)


def as_dense(factor: Array | Skeleton) -> Array:
    """Return a stored factor as a 4-D array."""
    return factor.dense() if isinstance(factor, Skeleton) else factor


def stored_factors(store: FloatStore) -> list[Any]:
    """Return the factors as they are stored."""
    return list(store.stored() if isinstance(store, TiledFloats) else store.factors())


def finite_dense(stored: list[Any], at: int) -> Array:
    """Take factor `at` out of the list, in double precision."""
    factor = as_dense(stored[at])
    if not np.all(np.isfinite(factor)):
        raise ValueError(f"op: expected finite factors, got NaN or infinity in factor {at + 1}")
    stored[at] = np.empty(0)  # no longer needed
    return factor.astype(np.result_type(factor.dtype, np.float64))
