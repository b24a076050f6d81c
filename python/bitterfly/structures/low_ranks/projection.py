"""The nearest matrix of low rank, in the Frobenius norm or in a metric of the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.accuracy.metric import as_metric
from bitterfly.accuracy.sampled import SAMPLED_ROWS
from bitterfly.sources.given import ArraySource, EntrySource, OperatorSource, at_hand
from bitterfly.structures.low_ranks.errors import Given, as_given, with_errors
from bitterfly.structures.low_ranks.factors import Factors, as_asked
from bitterfly.structures.low_ranks.search import METHODS, Method, least
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator


def low_rank(
    a: Any,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    metric: Any = None,
    method: Method = "auto",
    shape: tuple[int, int] | None = None,
    rng: np.random.Generator | int | None = None,
) -> TensorTrainOperator:
    """Return the nearest matrix of low rank, as a tensor train of two cores.

    Parameters
    ----------
    a : array_like of shape (m, n), something sliceable, LinearOperator or callable
        A callable ``entry(rows, cols) -> block``, with `shape`.
    rank : int, optional
        The most ranks.
    rtol : float, optional
        Relative error that must not be exceeded: the rank is the least that meets it; in a metric, that of the
        ``metric_error``.
    metric : SecondMoments or array_like of shape (n, n) or (n,), optional
        Second moments G of the inputs, a vector being a diagonal: of all matrices of the rank, the one whose difference
        D has the least ``trace(D G D^T)``. G may be singular. Then `a` is read as a whole.
    method : {"auto", "svd", "randomized"}, optional
        "svd" reads all of `a` and finds the best; "randomized" multiplies `a` with random vectors, without a copy of
        it, and errs by a few percent more at most. "auto": by products for operators of more than 256 rows and columns,
        for entry functions of more than 16 MiB, and for arrays of which a small part of the singular values is needed.
    shape : (m, n), optional
        Shape of the matrix that an entry function stands for.
    rng : numpy.random.Generator or int, optional
        Draws the vectors.

    Returns
    -------
    TensorTrainOperator
        In the precision of `a`. Its ``relative_error`` is measured on all entries, with a metric so is its
        ``metric_error``; that of an operator is estimated from 256 products, three standard errors added.

    Raises
    ------
    UnmetError
        Where `rtol` is below what the rank, or the precision, reaches.
    ValueError, TypeError
        Where neither `rank` nor `rtol` is given, or a bad one; where `a` is no matrix of finite numbers, and `metric`
        none of its inputs.

    Notes
    -----
    Eckart, Young (1936). With ``G = M M^T``, ``||(A - B) M||`` is least for ``B = U U^H A``, U the leading left
    singular vectors of ``A M``. Randomized: Halko, Martinsson, Tropp (SIAM Review 53, 2011), with as many power
    iterations as gain 2 % of what is left.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.arange(100) / 100
    >>> op = bitterfly.structures.low_rank(1 / (1 + np.add.outer(x, x)), rtol=1e-6)
    >>> op.ranks, op.nbytes, op.relative_error < 1e-6
    ((1, 4, 1), 6400, True)
    """
    asked, generator = as_asked(rank, rtol), np.random.default_rng(rng)
    if method not in METHODS:
        raise ValueError(f"method: expected 'auto', 'svd' or 'randomized', got {method!r}")
    source = _read(as_given(a, shape), method, metric is not None)
    weights = as_metric(metric, source.shape[1])

    def make(factors: Factors, rank: int) -> TensorTrainOperator:
        return with_errors(factors.cores(rank, source.dtype), source, weights, generator)

    def error(op: TensorTrainOperator) -> float:
        return op.relative_error if weights is None else op.metric_error

    return least(source, asked, make, error, metric=weights, method=method, rng=generator)


def _read(source: Given, method: Method, in_metric: bool) -> Given:
    """Return a source as an array where all of its entries are needed, or are few."""
    if isinstance(source, ArraySource):
        return source
    is_small = isinstance(source, OperatorSource) and min(source.shape) <= SAMPLED_ROWS
    if method == "svd" or in_metric or (method == "auto" and is_small):
        return ArraySource(source.whole(), getattr(source, "rounding", 0.0))
    if isinstance(source, EntrySource) and method == "auto":
        read = at_hand(source)
        assert isinstance(read, Given)
        return read
    return source
