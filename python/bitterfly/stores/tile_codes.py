"""Codes of real numbers of any chain, in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from bitterfly import _core
from bitterfly.bits import Numbers
from bitterfly.chains.chain import Chain
from bitterfly.inputs import Array, Permutations, as_uint32
from bitterfly.precision import cast_scale
from bitterfly.stores.floats import TiledFloats
from bitterfly.stores.kinds import Code
from bitterfly.stores.tiles import LANES, Layout, Skeleton, layouts, planes_of, slices


@dataclass(frozen=True)
class TiledCodes:
    """Codes of a few bits in tiles; `steps` has the value of one unit, a number for each factor.

    Integers and lists leave the lengths of columns to `scale`; short floats hold them, and `scale` is empty.
    """

    chain: Chain
    codes: tuple[Code, ...]
    words: Array
    scale: Array
    steps: Array

    @classmethod
    def pack(
        cls,
        chain: Chain,
        codes: Sequence[Code],
        blocks: Sequence[Array],
        pivots: Sequence[Array | None],
        scale: Array,
        steps: Sequence[float],
    ) -> TiledCodes:
        """Pack codes (lanes, weights, planes) and the pivots of skeleton factors."""
        parts = []
        for layout, code, q, flags in zip(plan(chain, codes), codes, blocks, pivots, strict=True):
            count = layout.weights * planes_of(scale.dtype)
            full = np.zeros((layout.tiles * LANES, count), q.dtype)
            full[: layout.lanes] = q.reshape(layout.lanes, count)
            tiles = np.ascontiguousarray(full.reshape(layout.tiles, LANES, count).transpose(0, 2, 1))
            parts.append(code.form.pack(tiles, code.bits))
            if flags is not None:
                parts.append(layout.masks_of(flags))
        words = _core.aligned_empty([sum(len(p) for p in parts)], np.dtype(np.uint32))
        np.concatenate(parts, out=words)
        for array in (words, scale):
            array.flags.writeable = False
        return cls(chain, tuple(codes), words, scale, np.asarray(steps, np.float64))

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        counts = [planes_of(self.dtype) * at.entries for at in plan(self.chain, self.codes)]
        return tuple(Numbers(count, count * code.bits) for count, code in zip(counts, self.codes, strict=True))

    @property
    def code_bytes(self) -> int:
        return self.words.nbytes

    @property
    def lengths(self) -> Array:
        return self.scale

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.scale.dtype

    def _parts(self) -> list[tuple[Layout, Code, float, Array, Array | None]]:
        layouts_, planes = plan(self.chain, self.codes), planes_of(self.scale.dtype)
        sizes = [
            [factor_words(at, code, planes), at.pivot_words] for at, code in zip(layouts_, self.codes, strict=True)
        ]
        cuts = list(slices([size for pair in sizes for size in pair]))
        return [
            (at, code, float(step), self.words[first], self.words[second] if at.rank else None)
            for at, code, step, first, second in zip(
                layouts_, self.codes, self.steps, cuts[::2], cuts[1::2], strict=True
            )
        ]

    def arrays(self) -> list[_core.Factor]:
        """Return the factors as the core takes them."""
        return [
            _core.Factor(
                pattern=at.pattern,
                rank=at.rank,
                values=words,
                pivots=masks,
                form=code.form.name,
                bits=code.bits,
                step=step,
                significand=code.form.significand,
                levels=code.levels,
            )
            for at, code, step, words, masks in self._parts()
        ]

    def kernel(self, shape: tuple[int, int], base: Permutations) -> _core.Core:
        scale = self.scale if len(self.scale) else None
        return _core.tiled(shape, self.arrays(), self.scale.dtype, scale, *(as_uint32(p) for p in base))

    def is_canonical(self) -> bool:
        """Whether all bits that no code uses are zero, and no zero is negative."""
        planes = planes_of(self.scale.dtype)
        for at, code, _, words, masks in self._parts():
            q = code.form.unpack(words, at, code.bits, planes)
            q[-1, :, at.lanes - (at.tiles - 1) * LANES :] = 0
            if code.has_negative_zero and np.any(q == 1 << (code.bits - 1)):
                return False  # a negative zero
            if not np.array_equal(code.form.pack(q, code.bits), words):
                return False
            if masks is not None and not np.array_equal(at.masks_of(cast(Array, at.pivots_of(masks))), masks):
                return False
        return True

    def unpack(self) -> tuple[Array, ...]:
        """Return the codes of each factor, (lanes, weights, planes)."""
        planes, out = planes_of(self.scale.dtype), []
        for at, code, _, words, _ in self._parts():
            q = code.form.unpack(words, at, code.bits, planes)
            lanes = q.transpose(0, 2, 1).reshape(at.tiles * LANES, at.weights, planes)
            out.append(np.ascontiguousarray(lanes[: at.lanes]))
        return tuple(out)

    def dequantize(self) -> TiledFloats:
        factors: list[Array | Skeleton] = []
        real = self.scale.real.dtype
        for (at, code, step, _, masks), q in zip(self._parts(), self.unpack(), strict=True):
            numbers = (values_of(code, q) * step).astype(real)
            blocks = numbers.view(self.scale.dtype)[..., 0] if numbers.shape[2] == 2 else numbers[..., 0]
            factors.append(at.factor_of(blocks, None if masks is None else at.pivots_of(masks)))
        last = factors[-1]
        assert not isinstance(last, Skeleton)
        a, _, c, d = last.shape
        if len(self.scale):
            factors[-1] = last * self.scale.reshape(a, 1, c, d)
        return TiledFloats.of(self.chain, factors, self.scale.dtype)

    def cast(self, target: np.dtype[Any]) -> TiledCodes:
        if target.kind != self.dtype.kind:
            raise TypeError(f"dtype: the codes are those of {self.dtype} numbers, they cannot become {target}")
        return replace(self, scale=cast_scale(self.scale, target))


def values_of(code: Code, q: Array) -> Array:
    """Return the numbers that codes stand for, in units of the step."""
    return code.form.values(q, code.bits)


def plan(chain: Chain, codes: Sequence[Code]) -> list[Layout]:
    """Return the layout of each factor of a coded chain."""
    ranks = (*chain.ranks, 0)
    return layouts(chain, [rank if code.what.has_pivots else 0 for rank, code in zip(ranks, codes, strict=True)])


def factor_words(layout: Layout, code: Code, planes: int) -> int:
    """Return the 32-bit words of the codes of a factor."""
    return code.form.words(layout, code.bits, planes)
