"""How many bits each block of columns takes: a ladder of mean rates between those that codes have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable

import numpy as np

from bitterfly.dense.feedback import unequal_half_bits
from bitterfly.inputs import Array
from bitterfly.stores.dense.codes import BLOCK, HALF_BITS, columns_of, tiles_bytes
from bitterfly.stores.dense.windows import window_code


def codes_bytes(shape: tuple[int, int], half_bits: Array, seeds: int) -> int:
    """Return the bytes of an operator of codes of this shape, of these rates of blocks, and of so many seeds."""
    m, n = shape
    rates = np.unique(half_bits).tolist()
    tiles = sum(tiles_bytes(m, len(columns_of(n, np.flatnonzero(half_bits == rate))), rate) for rate in rates)
    return int(tiles + 2 * m + (len(half_bits) if len(rates) > 1 else 1) + 8 * seeds)


def even_bytes(shape: tuple[int, int], half_bits: int) -> int:
    """Return the bytes of codes of one rate and one seed: `codes_bytes`, as often as plans ask for it."""
    m, n = shape
    return tiles_bytes(m, n, half_bits) + 2 * m + 1 + 8


class Ladder(ABC):
    """Rates of the blocks of a matrix of n columns, from the fewest bits to the most: the rungs.

    Attributes
    ----------
    name : str
        Of the code.
    blocks : int
    rungs : int
    """

    def __init__(self, n: int, name: str) -> None:
        window_code(name, 2)  # refuses other names
        self.name, self.blocks = name, -(-n // BLOCK)
        self.widths = np.minimum(BLOCK, n - BLOCK * np.arange(self.blocks))
        self.rungs = 1

    @abstractmethod
    def half_bits(self, rung: int) -> Array:
        """Return twice the bits of each block."""

    @abstractmethod
    def error(self, rung: int) -> float:
        """Return the relative error to be expected."""

    def bits(self, rung: int) -> float:
        """Return the mean over all columns."""
        return float(self.half_bits(rung) @ self.widths) / (2 * int(self.widths.sum()))

    def highest(self, fits: Callable[[int], bool]) -> int:
        """Return the highest rung that fits, as all below it do; -1 if none does."""
        return bisect_left(range(self.rungs), True, key=lambda rung: not fits(rung)) - 1

    def lowest_for(self, error: float) -> int:
        """Return the lowest rung of which no more than this error is to be expected, at most the highest of all."""
        return min(self.highest(lambda rung: self.error(rung) > error) + 1, self.rungs - 1)

    def squares(self, rung: int) -> Array:
        """Return the squared error to be expected of each block."""
        return np.array([window_code(self.name, each / 2).error ** 2 for each in self.half_bits(rung).tolist()])


class Neighbours(Ladder):
    """The ways to give all blocks one rate, or two neighbouring ones.

    Parameters
    ----------
    energies : ndarray, shape (n,)
        Of the columns: of two rates, the blocks of most energy take the higher one.
    name : str
        Of the code.
    """

    def __init__(self, energies: Array, name: str) -> None:
        super().__init__(len(energies), name)
        self._energies = np.add.reduceat(np.asarray(energies, float), range(0, len(energies), BLOCK))
        self._order = np.argsort(-self._energies, kind="stable")
        self.rungs = (len(HALF_BITS) - 1) * self.blocks + 1

    def half_bits(self, rung: int) -> Array:
        """Return twice the bits of each block."""
        level, more = divmod(rung, self.blocks)
        out = np.full(self.blocks, HALF_BITS[level], np.uint8)
        if more:
            out[self._order[:more]] = HALF_BITS[level + 1]
        return out

    def error(self, rung: int) -> float:
        """Return the relative error to be expected."""
        total = float(np.sum(self._energies))
        return float(np.sqrt(self.squares(rung) @ self._energies / total)) if total else 0.0


class Unequal(Ladder):
    """Rates that follow what an error in each column counts: see `feedback.unequal_half_bits`.

    Parameters
    ----------
    variances : ndarray, shape (n,)
        What a squared error in each column counts.
    total : float
        What the squares of a row count that errs by all of its length.
    name : str
    """

    def __init__(self, variances: Array, total: float, name: str) -> None:
        super().__init__(len(variances), name)
        self._variances, self._total = variances, total
        self._weights = np.add.reduceat(variances, range(0, len(variances), BLOCK))
        self.rungs = (HALF_BITS[-1] - HALF_BITS[0]) * self.blocks + 1
        self._found: dict[int, Array] = {}

    def half_bits(self, rung: int) -> Array:
        """Return twice the bits of each block."""
        if rung not in self._found:
            bits = (HALF_BITS[0] + rung / self.blocks) / 2
            self._found[rung] = np.array(unequal_half_bits(self._variances, bits, self.name), np.uint8)
        return self._found[rung]

    def error(self, rung: int) -> float:
        """Return the relative error to be expected."""
        return float(np.sqrt(self.squares(rung) @ self._weights / self._total)) if self._total else 0.0
