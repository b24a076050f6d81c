"""The least rank that meets what is asked for: by an SVD, or by products with random vectors where these take less."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import numpy as np

from bitterfly.inputs import Array, UnmetError
from bitterfly.sources.given import ArraySource
from bitterfly.structures.low_ranks.errors import Given
from bitterfly.structures.low_ranks.factors import Asked, Factors, fewest, root_of, singular_factors
from bitterfly.structures.low_ranks.ranges import Products, Range
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_log = logging.getLogger("bitterfly")

Method = Literal["auto", "svd", "randomized"]
METHODS = ("auto", "svd", "randomized")

_SMALL = 256  # the smaller side, up to which an SVD takes less time than what avoids it
_SHARE = 4  # of the smaller side: ranges of more columns take longer than an SVD
_FIRST, _MORE = 32, 10  # columns of a range to begin with, and beyond the rank
_ITERATIONS = 4
_GAIN = 0.02  # of the energy that is left: what an iteration has to gain
_ROOM = 0.5  # of the energy that may be left: what a range may miss


def least(
    source: Given,
    asked: Asked,
    make: Callable[[Factors, int], TensorTrainOperator],
    error: Callable[[TensorTrainOperator], float],
    *,
    metric: Array | None,
    method: Method,
    rng: np.random.Generator,
) -> TensorTrainOperator:
    """Return the operator of the least rank that meets what is asked for.

    Parameters
    ----------
    source : ArraySource, EntrySource or OperatorSource
        For an SVD, an array.
    asked : Asked
    make : callable
        An operator of the first so many factors.
    error : callable
        Its error, as `rtol` means it.
    metric : numpy.ndarray or None
        H as `as_metric` returns it.
    method : {"auto", "svd", "randomized"}
    rng : numpy.random.Generator

    Raises
    ------
    UnmetError
        Where no rank does.
    """

    def made(factors: Factors) -> TensorTrainOperator:
        if asked.rtol is None:
            return make(factors, min(asked.rank or 1, factors.useful))
        return fewest(lambda rank: make(factors, rank), error, factors.tails, asked)

    is_array = isinstance(source, ArraySource)
    if method == "randomized" or not is_array or (method == "auto" and _is_thin(source.shape, asked)):
        products = Products(source, None if metric is None else root_of(metric))
        share = _SHARE if method == "auto" and is_array else 1
        op = _by_products(products, asked, min(source.shape) // share, rng, made)
        if op is not None:
            return op
    assert isinstance(source, ArraySource)
    return made(singular_factors(source.array, metric))


def _is_thin(shape: tuple[int, int], asked: Asked) -> bool:
    """Whether products with random vectors may take less time than an SVD."""
    return min(shape) > max(_SMALL, _SHARE * ((asked.rank or 0) + _MORE))


def _by_products(
    products: Products,
    asked: Asked,
    columns: int,
    rng: np.random.Generator,
    made: Callable[[Factors], TensorTrainOperator],
) -> TensorTrainOperator | None:
    """Return the operator that a range of so many columns leads to; None where it takes more of them."""
    whole = min(products.shape)
    most = whole if asked.rank is None else min(whole, asked.rank + _MORE)
    if asked.rtol is None:
        found = Range(products, most, rng)
        _sharpen(found, asked.rank or 1)
        return made(found.factors())
    found = Range(products, min(most, _FIRST), rng)
    while found.columns <= columns:
        rank = _fitting(found, asked.rtol)
        _log.info("range of %d columns, rank %s", found.columns, rank)
        if rank is not None or found.columns >= most:
            _sharpen(found, min(rank or most, asked.rank or most))
            try:
                return made(found.factors())
            except UnmetError:
                if found.columns >= most:
                    raise
        found.grow(min(max(_FIRST, found.columns // 2), most - found.columns))
    return None


def _fitting(found: Range, rtol: float) -> int | None:
    """Return the rank that meets the error; None while the range misses too much for any."""
    tails = found.tails()
    fitting = np.flatnonzero(tails <= rtol)
    return int(fitting[0]) if fitting.size and tails[-1] ** 2 <= _ROOM * rtol**2 else None


def _sharpen(found: Range, rank: int) -> None:
    """Iterate as long as so many ranks gain by it: at most what the range misses."""
    sizes = found.sizes()
    for _ in range(_ITERATIONS):
        rest = found.rest()
        left = rest + float(np.sum(np.square(sizes[rank:])))
        if rest <= _GAIN * left:
            return
        found.iterate()
        before, sizes = sizes, found.sizes()
        if float(np.sum(((sizes - before) * (sizes + before))[:rank])) <= _GAIN * left:
            return
