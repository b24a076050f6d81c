"""How many bits each block of columns takes: a ladder of mean rates between those that codes have."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np

from bitterfly.inputs import Array
from bitterfly.stores.dense import BLOCK, HALF_BITS
from bitterfly.stores.windows import window_code


class Ladder:
    """The ways to give the blocks of a matrix of n columns one rate, or two neighbouring ones: the rungs.

    Parameters
    ----------
    energies : ndarray, shape (n,)
        Of the columns: of two rates, the blocks of most energy take the higher one.
    name : str
        Of the code.
    """

    def __init__(self, energies: Array, name: str) -> None:
        n = len(energies)
        starts = np.arange(0, n, BLOCK)
        self.name, self.blocks, self._n = name, len(starts), n
        self.energies = np.add.reduceat(np.asarray(energies, float), starts)
        self.widths = np.diff(np.append(starts, n))
        self._order = np.argsort(-self.energies, kind="stable")
        self.rungs = (len(HALF_BITS) - 1) * self.blocks + 1

    def half_bits(self, rung: int) -> Array:
        """Return twice the bits of each block."""
        level, more = divmod(rung, self.blocks)
        out = np.full(self.blocks, HALF_BITS[level], np.uint8)
        if more:
            out[self._order[:more]] = HALF_BITS[level + 1]
        return out

    def bits(self, rung: int) -> float:
        """Return the mean over all columns."""
        return float(self.half_bits(rung) @ self.widths) / (2 * self._n)

    def error(self, rung: int) -> float:
        """Return the relative error to be expected."""
        total = float(np.sum(self.energies))
        if total == 0:
            return 0.0
        squares = np.array([window_code(self.name, each / 2).error ** 2 for each in self.half_bits(rung).tolist()])
        return float(np.sqrt(squares @ self.energies / total))

    def highest(self, fits: Callable[[int], bool]) -> int:
        """Return the highest rung that fits, as all below it do; -1 if none does."""
        return bisect_left(range(self.rungs), True, key=lambda rung: not fits(rung)) - 1

    def lowest_for(self, error: float) -> int:
        """Return the lowest rung of which no more than this error is to be expected, at most the highest of all."""
        return min(self.highest(lambda rung: self.error(rung) > error) + 1, self.rungs - 1)
