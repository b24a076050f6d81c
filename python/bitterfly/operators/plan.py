"""How a product runs: the passes, what each of them reads, and how much of the vector it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bitterfly import _core
from bitterfly.chains.chain import Chain


class PlannedPass(NamedTuple):
    """One walk through the vector."""

    factors: tuple[int, ...]  # numbers of the factors that are taken together, 1 is the leftmost
    source: str  # what the factors are read from: codes or a dtype
    weight_bytes: int
    vector_bytes: int  # read and written


@dataclass(frozen=True)
class ProductPlan:
    """The passes of a forward product with one vector, in their order; a transposed product runs them backwards."""

    passes: tuple[PlannedPass, ...]

    def __str__(self) -> str:
        lines = [f"{'pass':>4}  {'factors':<9}  {'weights':<24}  {'weight bytes':>12}  {'vector bytes':>12}"]
        for number, p in enumerate(self.passes, 1):
            span = f"{p.factors[0]}-{p.factors[-1]}" if len(p.factors) > 1 else str(p.factors[0])
            lines.append(f"{number:>4}  {span:<9}  {p.source:<24}  {p.weight_bytes:>12,}  {p.vector_bytes:>12,}")
        return "\n".join(lines)


def plan_of(chain: Chain, dtype: np.dtype[Any], names: Sequence[str], bits: Sequence[int], fuses: bool) -> ProductPlan:
    """Return the plan of a chain whose factors are read from `names`, `bits` of each; `fuses`: several at a time."""
    levels, n = len(chain), max(chain.shape)
    passes = [tuple(range(top - count + 1, top + 1)) for top, count in _tops(levels, _core.plan(n) if fuses else [])]
    return ProductPlan(
        tuple(
            PlannedPass(
                factors,
                ", ".join(dict.fromkeys(names[f - 1] for f in factors)),
                sum(bits[f - 1] for f in factors) // 8,
                2 * n * dtype.itemsize,
            )
            for factors in passes
        )
    )


def _tops(levels: int, fused: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the number of the rightmost factor of each pass, and how many it takes."""
    if not fused:
        return [(level, 1) for level in range(levels, 0, -1)]
    return [(levels - (stride.bit_length() - 1), count) for count, stride in fused]
