"""Sums of butterflies: each of what the ones before leave."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from bitterfly.accuracy.measured import measure
from bitterfly.inputs import Array, IndexArray
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.contract import ButterflySum
from bitterfly.sources.given import ArraySource, Source

_log = logging.getLogger("bitterfly")


class Residual:
    """What operators leave of a matrix, row by row: no dense copy."""

    def __init__(self, source: Source, ops: list[ButterflyOperator]) -> None:
        self._source, self._ops = source, ops
        self.shape, self.dtype = source.shape, source.dtype

    def rows(self, index: IndexArray) -> Array:
        """Return whole rows."""
        out = np.array(self._source.rows(index), self.dtype)
        for op in self._ops:
            out -= op.rows(index)
        return out

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        """Return the entries at ``rows x columns``."""
        return self.rows(rows)[:, columns]


def greedy(source: Source, terms: int, rtol: float | None, one: Callable[..., ButterflyOperator]) -> ButterflySum:
    """Return the sum of at most `terms` operators, fewer where `rtol` or the precision of the dtype is reached.

    The relative errors of the terms, each of what the ones before leave, multiply; the sum for an array is
    measured, since what they leave is computed in the precision of the source.
    """
    ops: list[ButterflyOperator] = []
    error, rounding = 1.0, 4 * float(np.finfo(source.dtype).eps)
    for _ in range(terms):
        op = one(Residual(source, ops) if ops else source, rtol=None)
        ops.append(op)
        error = error * op.relative_error + (rounding if len(ops) > 1 else 0.0)
        _log.info("term %d: relative error %.2e", len(ops), error)
        if error <= max(rtol or 0.0, 10 * rounding):
            break
    if len(ops) > 1 and isinstance(source, ArraySource):
        return ButterflySum(ops, measure(source.array, ButterflySum(ops)), "measured")
    return ButterflySum(ops, error)
