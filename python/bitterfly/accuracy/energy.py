"""Energies: sums of squared moduli of any range, and bounds on their ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitterfly.accuracy.known import rounded_up
from bitterfly.accuracy.rounding import NOTHING, is_exact, log2_rounding, log2_sum
from bitterfly.inputs import Array


class Energy:
    """A sum of squared moduli that neither overflows nor underflows: ``scale**2 * sum``."""

    def __init__(self) -> None:
        self.scale = 0.0
        self.sum = 0.0
        self._roundings = 4.0

    def add(self, block: Array) -> None:
        """Add numbers in double precision."""
        real = np.ravel(block, order="K").view(np.float64)
        largest = max(float(real.max()), -float(real.min()))
        self._roundings = max(self._roundings, real.size) + 4
        if not largest <= self.scale:  # NaN goes in as well, and stays
            self.sum *= (self.scale / largest) ** 2
            self.scale = largest
        if 1e-100 < self.scale < 1e100:
            self.sum += float(np.einsum("i,i", real, real)) / self.scale**2
        elif self.scale != 0:
            with np.errstate(invalid="ignore"):
                real = real / self.scale
            self.sum += float(np.einsum("i,i", real, real))

    @property
    def log2_norm(self) -> float:
        """The logarithm of the root of the sum, to base 2."""
        with np.errstate(divide="ignore"):
            return float(np.log2(self.scale) + np.log2(self.sum) / 2)

    def over(self, other: Energy) -> float:
        """Return the ratio of the square roots; 0 / 0 is 0."""
        if self.sum == 0:
            return 0.0
        if other.sum == 0:
            return float("inf")
        return self.scale / other.scale * float(np.sqrt(self.sum / other.sum))

    def bound_over(self, other: Energy, differences_of: Sequence[Any], sums_of: Sequence[Any] = ()) -> float:
        """Return a bound on the ratio of the norms of which these are the energies, as computed.

        Parameters
        ----------
        other : Energy
            Of what the numbers are relative to.
        differences_of : sequence of operators
            Of whose products the numbers were differences.
        sums_of : sequence of operators
            Of whose products those of `other` were.
        """
        if self.sum == 0 and all(map(is_exact, differences_of)):
            return 0.0
        rounding, uncertain = (log2_sum(map(log2_rounding, ops)) for ops in (differences_of, sums_of))
        if other.sum == 0:
            return 0.0 if self.sum == 0 and rounding == NOTHING else float("inf")
        with np.errstate(over="ignore"):
            rest, less = (float(np.exp2(part - other.log2_norm)) for part in (rounding, uncertain))
        ratio = rounded_up(self.over(other), (self._roundings + other._roundings) / 2 + 2)
        return rounded_up((ratio + rest) / (1 - less), 3) if less < 1 else float("inf") if less >= 1 else less
