"""A chain without its ranks: how its factors split rows and columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bitterfly.chains import families
from bitterfly.chains.chain import Chain


@dataclass(frozen=True)
class Radices:
    """A chain without its ranks: factor l splits rows by ``rows[l]`` and columns by ``columns[l]``."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    a: int = 1
    d: int = 1

    @classmethod
    def of(cls, chain: Chain) -> Radices:
        """Return those of a chain."""
        ranks, patterns = (*chain.ranks, 1), tuple(chain)
        rows = (patterns[0][1], *(left[3] // right[3] for left, right in pairwise(patterns)))
        columns = tuple(p[2] // r for p, r in zip(patterns, ranks, strict=True))
        return cls(rows, columns, patterns[0][0], patterns[-1][3])

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the product."""
        return self.a * int(np.prod(self.rows)) * self.d, self.a * int(np.prod(self.columns)) * self.d

    def chain(self, ranks: tuple[int, ...]) -> Chain:
        """Return the chain with these junction ranks."""
        return Chain(families.patterns(self.rows, self.columns, ranks, self.a, self.d))
