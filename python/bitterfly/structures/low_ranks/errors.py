"""What is known of a product of matrices against its source: measured on all entries, or estimated from products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bitterfly.accuracy.energy import Energy
from bitterfly.accuracy.known import Known, rounded_up
from bitterfly.accuracy.metric import bound_in_metric, bounds_of_trace
from bitterfly.accuracy.rounding import NOTHING, log2_sum
from bitterfly.accuracy.sampled import SAMPLED_ROWS, sampled_error
from bitterfly.inputs import Array
from bitterfly.powers import near_one, scaled
from bitterfly.sources.given import ArraySource, EntrySource, OperatorSource, SliceableSource, as_source
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

Given = ArraySource | EntrySource | OperatorSource
_PANEL = 1 << 17  # entries of rows that are looked at at once
_EPS = float(np.finfo(np.float64).eps)
_LARGEST = 1000  # exponent of factors whose products, and differences to these, stay in the range of double precision
_LOG2_LEAST = float(np.log2(np.finfo(np.float64).smallest_subnormal))


def as_given(a: Any, shape: tuple[int, int] | None = None) -> Given:
    """Return a source of finite entries; what is sliceable is read.

    Raises
    ------
    TypeError, ValueError
        Where `a` is none, or not finite, and for shapes that do not fit.
    """
    source = as_source(a, shape)
    if isinstance(source, SliceableSource):
        source = ArraySource(source.whole(), source.rounding)
    if isinstance(source, ArraySource) and not all(np.all(np.isfinite(source.rows(rows))) for rows in panels(source)):
        raise ValueError("a: expected finite entries, got infinities or NaNs")
    assert isinstance(source, Given)
    return source


def as_array(a: Any) -> ArraySource:
    """Return a source of finite entries that are all there."""
    source = as_given(a) if not callable(a) or hasattr(a, "__array__") or hasattr(a, "matvec") else None
    if not isinstance(source, ArraySource):
        raise TypeError(f"a: expected an array, got {type(a).__name__}")
    return source


def panels(source: ArraySource | EntrySource) -> list[Array]:
    """Return the rows of a source in runs that fit a cache."""
    m, n = source.shape
    height = max(_PANEL // n, 1)
    return [np.arange(first, min(first + height, m)) for first in range(0, m, height)]


def product_of(factors: Sequence[Array]) -> TensorTrainOperator:
    """Return a product of two matrices or more as an operator."""
    first, *middle, last = factors
    inner = [each[:, None, None, :] for each in middle]
    return TensorTrainOperator([first[None, :, None, :], *inner, last[:, None, :, None]])


def with_errors(
    factors: Sequence[Array], source: Given, metric: Array | None, rng: np.random.Generator
) -> TensorTrainOperator:
    """Return a product of matrices as an operator with its errors, that in a metric too.

    Of arrays and entry functions they are measured, on all entries; of operators they are estimated, from products with
    random vectors. What a conversion has rounded is counted.
    """
    op = product_of(factors)
    if isinstance(source, OperatorSource):
        return estimated(op, source, SAMPLED_ROWS, rng)
    op = op._viewed(_fact=measured(factors, source))
    if metric is None:
        return op
    assert isinstance(source, ArraySource)
    error = bound_in_metric(_parts(factors, source), log2_rounding(factors), metric)
    if source.rounding:
        error = _after_conversion(error, source.array, metric, source.rounding)
    return op.replaced(metric_error=error if np.isfinite(error) else float("nan"))


def estimated(op: TensorTrainOperator, source: Given, count: int, rng: np.random.Generator) -> TensorTrainOperator:
    """Return an operator with an error that so many random rows, or products, tell."""
    return op._viewed(_fact=Known(sampled_error(source, op, count, rng)[1], "estimated"))


def measured(factors: Sequence[Array], source: ArraySource | EntrySource) -> Known:
    """Return the error of a product of matrices against all entries."""
    missed, total = Energy(), Energy()
    for part, apart in _parts(factors, source):
        total.add(part)
        missed.add(apart)
    error, rounding = missed.bound_over(total, []), log2_rounding(factors)
    if rounding > NOTHING:
        with np.errstate(over="ignore"):
            error = rounded_up(error + float(np.exp2(rounding - total.log2_norm)), 3)
    known = Known(error, "measured" if error else "exact")
    return Known(source.rounding, "exact").then(error, kind=known.kind) if source.rounding else known


def _parts(factors: Sequence[Array], source: ArraySource | EntrySource) -> Iterator[tuple[Array, Array]]:
    """Yield rows of the source, and their differences to those of a product, in double precision.

    Of the largest numbers, which differences may leave, both are those of a quarter.
    """
    near = [near_one(factor) for factor in factors]
    power = sum(exponent for _, exponent in near)
    shift = 2 if power > _LARGEST else 0
    for rows in panels(source):
        part = source.rows(rows)
        part = part.astype(np.result_type(part.dtype, np.float64))
        part = part / 4 if shift else part
        found = near[0][0][rows]
        for factor, _ in near[1:]:
            found = found @ factor
        yield part, part - scaled(found, power - shift)


def log2_rounding(factors: Sequence[Array]) -> float:
    """Return the logarithm to base 2 of a bound on what a product of matrices rounds in the Frobenius norm.

    A sum of r products of moduli rounds r + 2 times at most, and the product of the moduli of all factors is at most
    that of their norms; entries may lose a subnormal number.
    """
    near = [near_one(factor) for factor in factors]
    norms = [float(np.linalg.norm(x)) for x, _ in near]
    if 0 in norms:
        return NOTHING
    terms = sum(len(factor) + 4 for factor in factors[1:])
    rounding = float(np.log2(terms * _EPS) + np.sum(np.log2(norms))) + sum(exponent for _, exponent in near)
    entries = len(factors[0]) * factors[-1].shape[1]
    return log2_sum([rounding, _LOG2_LEAST + float(np.log2(entries)) / 2 + 1])


def _after_conversion(error: float, x: Array, metric: Array, rounding: float) -> float:
    """Return the error in a metric against numbers, each of which was off by at most `rounding` of itself.

    Together they are off by ``rounding sum |x_j| sqrt(H_jj)`` in each row at most.
    """
    diagonal = metric if metric.ndim == 1 else metric.diagonal()
    lost = rounding * float(np.linalg.norm(np.abs(x) @ np.sqrt(diagonal)))
    planes = (x.real, x.imag) if x.dtype.kind == "c" else (x,)
    least = float(np.sqrt(max(sum(bounds_of_trace(part, metric)[0] for part in planes), 0.0)))
    share = lost / least * (1 + 1e-9) if least > 0 else float("inf")
    return (error + share) / (1 - share) * (1 + 1e-12) if share < 1 else float("inf")
