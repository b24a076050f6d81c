"""Factorizations of matrices whose squares leave the range of their precision: scaled by a power of two, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.factorization.splits import Ledger, left_to_right
from bitterfly.inputs import Array, Permutations, UnmetError
from bitterfly.precision import squares_fit
from bitterfly.sources.given import Source


def rescaled(source: Source, permutations: Permutations, *rest: Any) -> tuple[list[Array], tuple[int, ...], Ledger]:
    """Factorize; where squares leave the range of the precision, again after scaling by a power of two."""
    with np.errstate(over="ignore", invalid="ignore"):
        factors, ranks, ledger = left_to_right(source, permutations, *_with_scale(rest, 1.0))
    mean = ledger.total / (source.shape[0] * source.shape[1])
    if squares_fit(mean, source.dtype):
        return factors, ranks, ledger
    largest = _largest(source)
    if largest == 0:
        return factors, ranks, ledger
    scale = float(np.ldexp(1.0, min(-int(np.frexp(largest)[1]), np.finfo(source.dtype).maxexp - 1)))
    with np.errstate(over="ignore", invalid="ignore"):
        factors, ranks, ledger = left_to_right(source, permutations, *_with_scale(rest, scale))
    if not all(np.all(np.isfinite(f)) for f in factors):
        raise UnmetError("a: the factors overflow the range of the dtype; scale the matrix down")
    return factors, ranks, ledger


def _with_scale(rest: tuple[Any, ...], scale: float) -> tuple[Any, ...]:
    radices, ranks, *rule = rest
    return radices, ranks, rule[0] if rule else None, scale, rule[1] if rule else 0.0


def _largest(source: Source) -> float:
    largest = 0.0
    for first in range(0, source.shape[0], 64):
        rows = np.arange(first, min(first + 64, source.shape[0]))
        block = np.ascontiguousarray(source.rows(rows))
        parts = np.abs(block.view(block.real.dtype))
        if not np.all(np.isfinite(parts)):
            i, j = np.argwhere(~np.isfinite(block))[0]
            raise ValueError(f"a: expected finite entries, got NaN or infinity at ({rows[i]}, {j})")
        largest = max(largest, float(parts.max()))
    return largest
