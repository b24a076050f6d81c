"""Forms of the codes in tiles: how they lie in the words of a factor, and what they stand for (docs/format.md)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bitterfly import _core
from bitterfly.inputs import Array
from bitterfly.stores.tiles import LANES, Layout


class Form(ABC):
    """What codes of one form are; each tile starts on a line of its own.

    Codes are integers of shape (tiles, count, 16), `count` for each of 16 lanes, of a dtype that the form chooses.

    Attributes
    ----------
    name : str
        That of the decoder in the kernels.
    significand : int
        Of a float: bits of its significand, the leading one included. 0 for all others.
    """

    name: ClassVar[str]
    significand: int = 0

    def words(self, layout: Layout, bits: int, planes: int) -> int:
        """Return the 32-bit words of a factor."""
        return layout.words(bits, planes)

    def pack(self, codes: Array, bits: int) -> Array:
        """Return the words of codes."""
        return _core.pack_lanes(codes, bits).reshape(-1)

    def unpack(self, words: Array, layout: Layout, bits: int, planes: int) -> Array:
        """Return the codes in `words`."""
        return _core.unpack_lanes(words, layout.tiles, layout.weights * planes, bits)

    @abstractmethod
    def values(self, codes: Array, bits: int) -> Array:
        """Return the numbers that codes of any shape stand for, in units of the step."""

    @abstractmethod
    def largest(self, bits: int) -> float:
        """Return a bound on these numbers."""

    def magnitudes(self, bits: int) -> tuple[float, ...]:
        """Return the magnitudes of a list, in the order of their codes; those of the negative numbers follow."""
        return ()

    def has_negative_zero(self, bits: int) -> bool:
        """Whether the code of a sign alone would be a second zero, and is not in use."""
        return False


class Integers(Form):
    """Integers, half of them negative."""

    name = "integer"

    def values(self, codes: Array, bits: int) -> Array:
        return codes.astype(np.float64) - (1 << (bits - 1))

    def largest(self, bits: int) -> float:
        return 2.0 ** (bits - 1)


class _Joined(Form):
    """The codes of a lane go on from tile to tile, so that only the end of a factor is padded."""

    def words(self, layout: Layout, bits: int, planes: int) -> int:
        return layout.joined_words(bits, planes)

    def pack(self, codes: Array, bits: int) -> Array:
        return super().pack(codes.reshape(1, -1, LANES), bits)

    def unpack(self, words: Array, layout: Layout, bits: int, planes: int) -> Array:
        count = layout.weights * planes
        return _core.unpack_lanes(words, 1, layout.tiles * count, bits).reshape(layout.tiles, count, LANES)


@dataclass(frozen=True)
class Floats(_Joined):
    """Floats with short significands."""

    name = "float"
    significand: int

    def values(self, codes: Array, bits: int) -> Array:
        return _core.decode_floats(codes, bits, self.significand)

    def largest(self, bits: int) -> float:
        return 2.0

    def has_negative_zero(self, bits: int) -> bool:
        return True


@dataclass(frozen=True)
class Lists(_Joined):
    """Numbers of a list; `listed` are the magnitudes of codes of so many bits."""

    name = "list"
    listed: Callable[[int], tuple[float, ...]]

    def values(self, codes: Array, bits: int) -> Array:
        return np.array(signed(self.magnitudes(bits)))[codes]

    def largest(self, bits: int) -> float:
        return max(self.magnitudes(bits))

    def magnitudes(self, bits: int) -> tuple[float, ...]:
        return self.listed(bits)

    def has_negative_zero(self, bits: int) -> bool:
        return 0.0 in self.magnitudes(bits)


def signed(magnitudes: tuple[float, ...]) -> tuple[float, ...]:
    """Return the magnitudes, and behind them the same numbers negative."""
    return (*magnitudes, *(-m if m else 0.0 for m in magnitudes))
