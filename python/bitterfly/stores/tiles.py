"""Factors of any pattern as the kernels read them: 16 blocks side by side, dense or in skeleton form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np

from bitterfly import _core
from bitterfly.chains.chain import Chain
from bitterfly.chains.families import Pattern
from bitterfly.inputs import Array, IndexArray

LANES = 16
_LEAN = 0.8  # of the bytes of dense factors


@dataclass(frozen=True)
class Skeleton:
    """A factor whose blocks have the form P [I; T] at a junction of rank r.

    Parameters
    ----------
    pattern : (a, b, c, d)
        The factor's pattern.
    pivots : ndarray of bool, shape (a*d, c/r, b)
        For block ``q = i*d + t`` and column group `g`, the rows that are rows of I: exactly r of them.
    t : ndarray, shape (a*d, c/r, b - r, r)
        The other rows, in their order.
    """

    pattern: Pattern
    pivots: Array
    t: Array

    @property
    def rank(self) -> int:
        """Columns of a group."""
        return int(self.t.shape[3])

    def blocks(self) -> Array:
        """Return the blocks P [I; T], (a*d, c/r, b, r)."""
        r = self.rank
        out = np.zeros((*self.pivots.shape, r), self.t.dtype)
        out[self.pivots] = np.broadcast_to(np.eye(r, dtype=self.t.dtype), (*self.pivots.shape[:2], r, r)).reshape(-1, r)
        out[~self.pivots] = self.t.reshape(-1, r)
        return out

    def dense(self) -> Array:
        """Return the 4-D array of the factor."""
        a, b, c, d = self.pattern
        parts = self.blocks().reshape(a, d, c // self.rank, b, self.rank).transpose(0, 3, 2, 4, 1)
        return np.ascontiguousarray(parts).reshape(a, b, c, d)


@dataclass(frozen=True)
class Layout:
    """Where the numbers of one factor lie; `rank` is 0 for a dense factor."""

    pattern: Pattern
    rank: int
    split: int
    tiles: int
    group_rows: int
    mask_words: int

    @classmethod
    @lru_cache(maxsize=4096)
    def of(cls, pattern: Pattern, rank: int) -> Layout:
        return cls(pattern, rank, *_core.tile_layout(pattern, rank))

    @property
    def lanes(self) -> int:
        a, _, _, d = self.pattern
        return a * self.split * d

    @property
    def entries(self) -> int:
        """Numbers that the factor stores, without padding."""
        a, b, c, d = self.pattern
        return a * (b - self.rank) * c * d

    @property
    def weights(self) -> int:
        """Numbers of one lane."""
        _, b, c, _ = self.pattern
        return self.group_rows * c if self.rank == 0 else (b - self.rank) * c

    @property
    def pivot_words(self) -> int:
        return self.tiles * LANES * (self.pattern[2] // self.rank) * self.mask_words if self.rank else 0

    def words(self, bits: int, planes: int) -> int:
        """32-bit words of the codes of `bits` bits."""
        return self.tiles * LANES * ((self.weights * planes * bits + 31) // 32)

    def joined_words(self, bits: int, planes: int) -> int:
        """32-bit words of codes whose streams go on from tile to tile."""
        return LANES * ((self.tiles * self.weights * planes * bits + 31) // 32)

    def numbers(self, planes: int) -> int:
        return self.tiles * LANES * self.weights * planes

    def nbytes(self, dtype: np.dtype[Any]) -> int:
        """Bytes of float numbers and of pivot masks."""
        planes = planes_of(dtype)
        return self.numbers(planes) * (dtype.itemsize // planes) + 4 * self.pivot_words

    # ---- between arrays and tiles ----

    def blocks_of(self, factor: Array | Skeleton) -> Array:
        """Return the numbers of each lane, shape (lanes, weights)."""
        if isinstance(factor, Skeleton):
            return factor.t.reshape(self.lanes, self.weights)
        a, b, c, d = self.pattern
        padded = factor
        if self.split * self.group_rows != b:
            padded = np.zeros((a, self.split * self.group_rows, c, d), factor.dtype)
            padded[:, :b] = factor
        return padded.reshape(a, self.split, self.group_rows, c, d).transpose(0, 1, 4, 2, 3).reshape(self.lanes, -1)

    def factor_of(self, blocks: Array, pivots: Array | None) -> Array | Skeleton:
        """Return the factor with these numbers; the inverse of `blocks_of`."""
        a, b, c, d = self.pattern
        if self.rank:
            assert pivots is not None
            return Skeleton(self.pattern, pivots, blocks.reshape(a * d, c // self.rank, b - self.rank, self.rank))
        parts = blocks.reshape(a, self.split, d, self.group_rows, c).transpose(0, 1, 3, 4, 2)
        return np.ascontiguousarray(parts.reshape(a, self.split * self.group_rows, c, d)[:, :b])

    def interleave(self, blocks: Array, out: Array) -> None:
        """Write (lanes, weights) numbers, real or complex, to a flat array in the order of tiles."""
        planes = 2 if blocks.dtype.kind == "c" else 1
        tiles = out.reshape(self.tiles, self.weights, planes, LANES)
        whole = self.lanes // LANES
        for plane, part in enumerate((blocks.real, blocks.imag)[:planes]):
            full = part[: whole * LANES].reshape(whole, LANES, self.weights)
            tiles[:whole, :, plane] = full.transpose(0, 2, 1)
            if whole < self.tiles:
                rest = part[whole * LANES :]
                tiles[whole, :, plane] = 0
                tiles[whole, :, plane, : len(rest)] = rest.T

    def deinterleave(self, flat: Array, planes: int) -> Array:
        """Return the (lanes, weights) numbers of a flat array in the order of tiles."""
        tiles = flat.reshape(self.tiles, self.weights, planes, LANES)
        parts = tiles.transpose(2, 0, 3, 1).reshape(planes, self.tiles * LANES, self.weights)[:, : self.lanes]
        if planes == 1:
            return cast(Array, parts[0])
        out = np.empty(parts.shape[1:], np.result_type(flat.dtype, np.complex64))
        out.real, out.imag = parts
        return out

    def blocks_at(self, flat: Array, masks: Array | None, planes: int, t: IndexArray, rank: int) -> Array:
        """Return the dense blocks (i, t) of a flat array and flat masks in the order of tiles, by groups of columns.

        Their shape is (a, len(t), c/rank, b, rank).
        """
        a, b, c, d = self.pattern
        groups = c // rank
        lanes = np.arange(a * self.split)[:, None] * d + t
        parts = flat.reshape(self.tiles, self.weights, planes, LANES)[lanes // LANES, :, :, lanes % LANES]
        numbers = np.ascontiguousarray(parts).view(
            np.result_type(flat.dtype, np.complex64) if planes == 2 else flat.dtype
        )
        if masks is None:
            rows = numbers.reshape(a, self.split, len(t), self.group_rows, c).swapaxes(1, 2)
            return rows.reshape(a, len(t), -1, groups, rank)[:, :, :b].swapaxes(2, 3)
        shape = (self.tiles, groups, self.mask_words, LANES)
        words = np.ascontiguousarray(masks.reshape(shape)[lanes // LANES, :, :, lanes % LANES], "<u4")
        octets = words.view(np.uint8).reshape(lanes.size, groups, -1)
        pivots = np.unpackbits(octets, axis=2, count=b, bitorder="little").astype(bool)
        skeleton = Skeleton((a, b, c, len(t)), pivots, numbers.reshape(lanes.size, groups, b - rank, rank))
        return skeleton.blocks().reshape(a, len(t), groups, b, rank)

    def masks_of(self, pivots: Array) -> Array:
        """Return the pivot masks, flat in the order of tiles."""
        groups, b = pivots.shape[1:]
        bits = np.zeros((self.tiles * LANES, groups, 32 * self.mask_words), bool)
        bits[: self.lanes, :, :b] = pivots
        words = np.packbits(bits, axis=2, bitorder="little").view("<u4")
        words = words.reshape(self.tiles, LANES, groups, self.mask_words)
        return np.ascontiguousarray(words.transpose(0, 2, 3, 1), np.uint32).reshape(-1)

    def pivots_of(self, masks: Array) -> Array | None:
        """Return the pivots of flat masks, shape (lanes, groups, b)."""
        if not self.rank:
            return None
        groups, b = self.pattern[2] // self.rank, self.pattern[1]
        words = masks.reshape(self.tiles, groups, self.mask_words, LANES).transpose(0, 3, 1, 2)
        octets = np.ascontiguousarray(words, "<u4").view(np.uint8)
        bits = np.unpackbits(octets.reshape(self.tiles * LANES, groups, -1), axis=2, bitorder="little")
        return cast(Array, bits[: self.lanes, :, :b].astype(bool))


def layouts(chain: Chain, ranks: Sequence[int]) -> list[Layout]:
    """Return the layout of each factor of a chain, given the rank of those in skeleton form and 0 for the others."""
    return [Layout.of(pattern, rank) for pattern, rank in zip(chain, ranks, strict=True)]


def lean_ranks(chain: Chain, dtype: np.dtype[Any]) -> list[int]:
    """Return the ranks of the factors that are kept in skeleton form for fewer bytes, and 0 for the others.

    All are 0 where that saves less than a fifth of an operator: products read the masks.
    """
    ranks = skeleton_ranks(chain)
    dense, lean = ([at.nbytes(dtype) for at in layouts(chain, form)] for form in ([0] * len(chain), ranks))
    if sum(map(min, dense, lean)) > _LEAN * sum(dense):
        return [0] * len(chain)
    return [rank if less < size else 0 for rank, less, size in zip(ranks, lean, dense, strict=True)]


def skeleton_ranks(chain: Chain) -> list[int]:
    """Return the rank of each factor that has a skeleton form, else 0: of the last, and with more ranks than rows."""
    return [*(rank if rank <= pattern[1] else 0 for pattern, rank in zip(chain, chain.ranks, strict=False)), 0]


def slices(sizes: Sequence[int]) -> Iterator[slice]:
    """Cut a buffer in consecutive parts."""
    first = 0
    for size in sizes:
        yield slice(first, first + size)
        first += size


def planes_of(dtype: np.dtype[Any]) -> int:
    """Return 2 for complex numbers, else 1."""
    return 2 if dtype.kind == "c" else 1
