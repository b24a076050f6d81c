"""The scale vector in short floats: diag(scale) as one more factor in tiles, of pattern (1, 1, 1, n)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.chains.chain import Chain
from bitterfly.inputs import Array
from bitterfly.precision import cast_scale
from bitterfly.stores.floats import frozen
from bitterfly.stores.kinds import KINDS, Code, names_of
from bitterfly.stores.tile_codes import TiledCodes, factor_words, plan, values_of
from bitterfly.stores.tiles import planes_of


@dataclass(frozen=True)
class ScaleCodes:
    """Lengths of columns, packed; decoded whenever a product asks for them."""

    store: TiledCodes

    @classmethod
    def of(cls, scale: Array, code: Code) -> ScaleCodes:
        """Round finite numbers to the nearest codes."""
        reals, top = significands(scale)
        q = _core.encode_floats(reals, code.bits, code.form.significand)
        blocks = q.reshape(len(scale), 1, planes_of(scale.dtype))
        empty, step = np.empty(0, scale.dtype), float(np.ldexp(1.0, top))
        return cls(TiledCodes.pack(_chain(len(scale)), [code], [blocks], [None], empty, [step]))

    @classmethod
    def of_words(cls, words: Array, code: Code, step: float, n: int, dtype: np.dtype[Any]) -> ScaleCodes:
        """Wrap packed codes.

        Raises
        ------
        ValueError
            Where `code` is no short float, `step` no power of two of the precision, or bits stand where none may.
        """
        if code.kind not in names_of("float") or code.bits not in KINDS[code.kind].widths:
            raise ValueError(f"scale_code: expected a kind float1 to float24 and 1 to 6 bits more, got {code}")
        if not _fits(step, dtype) or np.frexp(step)[0] != 0.5:
            raise ValueError(f"steps: expected a power of two that fits {dtype}, got {step}")
        store = TiledCodes(_chain(n), (code,), frozen(words), np.empty(0, dtype), np.array([step]))
        if not store.is_canonical():
            raise ValueError("scale: unused bits are not zero, or a zero is negative")
        return cls(store)

    def __reduce__(self) -> tuple[Any, ...]:
        words = np.asarray(self.store.words)
        return ScaleCodes.of_words, (words, self.code, self.step, len(self), self.dtype)

    def __len__(self) -> int:
        return self.store.chain.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return self.store.scale.dtype

    @property
    def code(self) -> Code:
        """Kind of float, and the bits of each real number."""
        return self.store.codes[0]

    @property
    def step(self) -> float:
        """Value of the leading bit of the largest numbers, a power of two."""
        return float(self.store.steps[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return self.store.words.nbytes + self.store.steps.nbytes

    def numbers(self) -> Array:
        """Return the lengths."""
        reals = values_of(self.code, self.store.unpack()[0]) * self.step
        out: Array = np.ascontiguousarray(reals.reshape(len(self), -1), self.dtype.type(0).real.dtype)
        out = out.view(self.dtype)[:, 0]
        out.flags.writeable = False
        return out

    def cast(self, target: np.dtype[Any]) -> ScaleCodes:
        """Return the lengths in another precision: the same words where they stand for the same numbers there.

        Raises
        ------
        OverflowError
            Where they do not fit.
        """
        numbers = self.numbers()
        rounded = cast_scale(numbers, target)
        kept = planes_of(target) == planes_of(self.dtype) and _fits(self.step, target)
        if kept and np.array_equal(rounded, numbers):
            return replace(self, store=self.store.cast(target))
        return ScaleCodes.of(rounded, self.code)


def scale_words(n: int, code: Code, is_complex: bool) -> int:
    """Return the 32-bit words that n numbers take."""
    return factor_words(plan(_chain(n), [code])[0], code, 2 if is_complex else 1)


def numbers_of(scale: Array | ScaleCodes) -> Array:
    """Return the numbers of a scale vector, coded or not."""
    return scale.numbers() if isinstance(scale, ScaleCodes) else scale


def significands(scale: Array) -> tuple[Array, int]:
    """Return the real numbers of a vector over 2^top, in double precision, the largest of size 1 to 2; and top."""
    reals = np.ascontiguousarray(scale).view(scale.real.dtype).astype(np.float64)
    top = int(np.frexp(np.max(np.abs(reals), initial=0.0))[1]) - 1
    return np.ldexp(reals, -top), top


def _fits(step: float, dtype: np.dtype[Any]) -> bool:
    """Whether a precision has this power of two."""
    limits = np.finfo(dtype)
    return float(limits.smallest_subnormal) <= step <= float(limits.max)


def _chain(n: int) -> Chain:
    return Chain([(1, 1, 1, n)])
