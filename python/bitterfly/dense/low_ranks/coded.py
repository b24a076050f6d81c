"""A matrix to two factors of low rank in window codes, the least error in given bytes, in a metric of the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
from scipy.linalg import lstsq

from bitterfly.algebra import vstack
from bitterfly.dense.feedback import DampedMetric
from bitterfly.dense.low_ranks.plans import CODE, Plans, Rates, least_bytes
from bitterfly.dense.measured import measured
from bitterfly.dense.quantize import quantize_dense
from bitterfly.inputs import Array, UnmetError
from bitterfly.operators.contract import ButterflyProduct
from bitterfly.powers import scaled
from bitterfly.precision import in_double
from bitterfly.stores.dense.codes import BLOCK

_LESS = 0.96  # of the bytes, where a factor takes more than was planned
_TRIES = 24


def in_codes(
    a: Array, *, nbytes: int, metric: object = None, rng: np.random.Generator, workers: int | None = None
) -> ButterflyProduct:
    """Return two factors of a matrix in window codes.

    Parameters
    ----------
    a : ndarray, shape (m, n)
        Real, finite, not zero.
    nbytes : int
        The most that both take.
    metric : array_like, SecondMoments or None
        Of the inputs, as `quantize_dense` takes it.
    rng : numpy.random.Generator
        Draws the seeds of rotations.
    workers : int, optional
        Threads; the codes do not depend on it.

    Returns
    -------
    ButterflyProduct
        ``L R`` with its measured errors. R, a stack of codes of each rate, is coded in the metric; then L is fitted to
        it, ``A H R^T (R H R^T)^-1``, and coded in the metric of what R gives: it makes good for what R has lost.

    Raises
    ------
    UnmetError
        Where the bytes are too few.

    Notes
    -----
    Below one bit a number, which codes of all entries cannot take, and where few triples hold most of what counts.
    Wang, Zheng, Wan, Zhang, SVD-LLM (ICLR 2025) have the triples in the metric; ranks, bits and the codes of each are
    those of least predicted error here.
    """
    a = a if a.dtype in (np.float32, np.float64) else a.astype(np.float32)
    plans = Plans(a, metric)
    target = float(nbytes)
    for _ in range(_TRIES):
        rates = plans.rates(int(target))
        found = _made(a, plans, rates, nbytes, rng, workers) if any(rates.left) else None
        if found is not None:
            return measured(a, found, plans.metric)
        target *= _LESS
    raise UnmetError(f"nbytes: expected about {least_bytes(plans.shape)} for a few triples in codes, got {nbytes}")


def _made(
    a: Array, plans: Plans, rates: Rates, nbytes: int, rng: np.random.Generator, workers: int | None
) -> ButterflyProduct | None:
    """Return factors of these rates, the left one in what the right one leaves; None where that is too little."""
    exponent = plans.factors.exponent // 2
    power = plans.factors.exponent - exponent
    dtype = a.dtype
    how: dict[str, Any] = {"code": CODE, "head": None, "outliers": None, "rng": rng, "workers": workers}
    parts = [
        quantize_dense(scaled(rows, power).astype(dtype), bits=half / 2, metric=plans.metric, **how)
        for rows, half in _groups(plans.factors.right, rates.right)
    ]
    left_over = nbytes - sum(op.nbytes for op in parts)
    if left_over <= 0:
        return None
    right = parts[0] if len(parts) == 1 else vstack(parts)
    decoded = scaled(in_double(right).todense(), -power)
    left, seen = _fitted(scaled(a.astype(np.float64), -plans.factors.exponent), decoded, plans.metric)
    try:
        codes = quantize_dense(scaled(left, exponent).astype(dtype), nbytes=left_over, metric=seen, **how)
    except UnmetError:
        return None
    return ButterflyProduct([codes, right])


def _groups(right: Array, rates: list[int]) -> Iterator[tuple[Array, int]]:
    """Yield the rows of each rate together, with twice the bits."""
    used = [at for at, half in enumerate(rates) if half]
    for half, run in groupby(used, key=lambda at: rates[at]):
        yield np.concatenate([right[at * BLOCK : (at + 1) * BLOCK] for at in run]), half


def _fitted(a: Array, right: Array, metric: Array | None) -> tuple[Array, Array]:
    """Return L of least ``|A - L R|`` in the damped metric, and ``R H R^T``, both over powers of two."""
    weighed = right if metric is None else DampedMetric(metric).times(right.T).T
    seen = weighed @ right.T
    seen = (seen + seen.T) / 2
    left: Array = lstsq(seen, weighed @ a.T, cond=1e-12, check_finite=False)[0].T
    return left, seen
