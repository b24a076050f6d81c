"""The measured errors of operators against a matrix, those in a metric too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure
from bitterfly.accuracy.metric import measure_in_metric
from bitterfly.inputs import Array
from bitterfly.operators.contract import UNKNOWN, ButterflyProduct, ButterflySum, Operator


def measured_sum(a: Array, terms: Sequence[Operator], metric: Array | None) -> ButterflySum:
    """Return the sum of operators with its measured errors."""
    return measured(a, ButterflySum(terms), metric)


_Made = TypeVar("_Made", ButterflySum, ButterflyProduct)


def measured(a: Array, op: _Made, metric: Array | None) -> _Made:
    """Return an operator with its measured errors."""
    known = Known(measure(a, op), "measured") if a.any() else Known(0.0, "exact")
    errors = UNKNOWN
    if metric is not None:
        error = measure_in_metric(a, op, metric)
        errors = error if np.isfinite(error) else UNKNOWN[0], UNKNOWN[1]
    return op._viewed(_fact=known, _metric_errors=errors)


def counted(op: Operator, metric: Array | None) -> float:
    """Return the error that tolerances are for: the one in the metric, where there is one; infinite if not known."""
    error = op.relative_error if metric is None else op.metric_error
    return error if error == error else float("inf")
