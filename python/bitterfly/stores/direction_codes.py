"""Direction codes of the square dyadic chain: unit 2-vectors in a few bits, and one length a column."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.bits import Numbers
from bitterfly.chains.chain import Chain
from bitterfly.inputs import Array, Permutations, as_uint32
from bitterfly.precision import cast_scale
from bitterfly.stores.floats import DyadicFloats
from bitterfly.stores.kinds import Code
from bitterfly.stores.scale_codes import ScaleCodes, numbers_of
from bitterfly.stores.tiles import planes_of, slices


@dataclass(frozen=True)
class DirectionCodes:
    """Unit 2-vectors in a few bits, and the lengths of the columns of their product.

    The codes are kept once, as the stream that the kernels read; `words` has them in the order of files.
    """

    chain: Chain
    codes: tuple[Code, ...]
    stream: Array
    lengths: Array | ScaleCodes
    steps: Array | None = None

    @classmethod
    def of_words(
        cls, chain: Chain, codes: tuple[Code, ...], words: Array, lengths: Array | ScaleCodes
    ) -> DirectionCodes:
        stream = _core.reordered(list(codes), words, True)
        stream.flags.writeable = False
        return cls(chain, codes, stream, lengths)

    @property
    def words(self) -> Array:
        words = _core.reordered(list(self.codes), self.stream, False)
        words.flags.writeable = False
        return words

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        n = self.chain.shape[1]
        return tuple(Numbers(2 * planes_of(self.dtype) * n, code.bits * n) for code in self.codes)

    @property
    def code_bytes(self) -> int:
        return self.stream.nbytes

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.lengths.dtype

    @property
    def scale(self) -> Array:
        return numbers_of(self.lengths)

    def kernel(self, shape: tuple[int, int], base: Permutations) -> _core.Core:
        scale = self.lengths.store.arrays()[0] if isinstance(self.lengths, ScaleCodes) else self.lengths
        return _core.packed(list(self.codes), self.stream, self.dtype, scale, *(as_uint32(p) for p in base))

    def unpack(self) -> tuple[Array, ...]:
        """Return arrays (2**(l-1), 2, n / 2**l): the code of column (i, k, t)."""
        n, words = self.chain.shape[1], self.words
        parts = slices([_core.packed_words(n, code.bits) for code in self.codes])
        return tuple(
            _core.unpack(words[part], n, pattern[3], code.bits)
            for part, pattern, code in zip(parts, self.chain, self.codes, strict=True)
        )

    def dequantize(self) -> DyadicFloats:
        values = _core.aligned_empty([len(self.codes), 2 * self.chain.shape[1]], self.dtype)
        for row, code, q in zip(values, self.codes, self.unpack(), strict=True):
            distinct, inverse = np.unique(q, return_inverse=True)
            table = np.asarray(_core.decode(code.kind, code.bits, distinct.tolist()))
            columns = table[inverse.reshape(q.shape)]  # (i, k, t, j)
            columns = columns if self.dtype.kind == "c" else columns.real
            row[...] = columns.transpose(0, 3, 1, 2).reshape(-1)
        values[-1] = (values[-1].reshape(-1, 2, 2) * self.scale.reshape(-1, 1, 2)).reshape(-1)
        return DyadicFloats(values)

    def cast(self, target: np.dtype[Any]) -> DirectionCodes:
        lengths = self.lengths
        cast = lengths.cast(target) if isinstance(lengths, ScaleCodes) else cast_scale(lengths, target)
        return replace(self, lengths=cast)
