"""A butterfly of low accuracy, and dense codes of what it leaves: for matrices with a structure below their noise."""

from __future__ import annotations

import logging
from math import log2, sqrt
from typing import NamedTuple

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.compression.request import Request
from bitterfly.compression.stages import Measured, Work
from bitterfly.dense.predicted import least_bytes, predicted
from bitterfly.factorization.search import WORTHWHILE
from bitterfly.inputs import UnmetError
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.contract import ButterflySum
from bitterfly.powers import near_one, scaled
from bitterfly.precision import in_double
from bitterfly.quantization.quantize import quantize
from bitterfly.sources.given import ArraySource

_FIRST, _STEP, _LEAST = 0.5, 0.6, 1e-4  # tolerances of the butterfly
_GAIN = 0.9  # of the bytes, or the error, of what there is: with more, sums are not made
_FAR = 1.3  # times the best that is predicted: finer butterflies are not looked for
_MOST_SHARE = 0.25  # of the error of the factors, squared, that their codes add
_FEWEST, _MORE = 3.3, 0.3  # bits of skeleton codes that meet an error: at least, and above its logarithm
_RATHER = 1e-6

_log = logging.getLogger("bitterfly")


class _Plan(NamedTuple):
    """Float factors, the error of their codes beside theirs, and what the sum comes to: bytes, or an error."""

    factors: ButterflyOperator
    added: float
    cost: float


def butterfly_and_rest(work: Work, request: Request, least: float) -> Measured | None:
    """Return a sum of a packed butterfly and dense codes; None where that is not predicted to be clearly better.

    With factors that leave rho of the norm, each of the ``m n`` numbers of the rest takes ``log2(1 / rho)`` bits less.

    Parameters
    ----------
    work : Work
        Of an array.
    request : Request
        With `rtol` or `nbytes`, without `bits`.
    least : float
        Bytes, or for `nbytes` the error, of the best that there is.
    """
    best = _best_plan(work, request, least)
    if best is None:
        return None
    try:
        return _made(work, request, best)
    except UnmetError as error:
        _log.info("butterfly + dense: %s", error)
        return None


def _best_plan(work: Work, request: Request, least: float) -> _Plan | None:
    best, rtol = None, _FIRST
    if request.nbytes is not None and request.nbytes < least_bytes(work.real_shape):
        return None
    while rtol >= _LEAST and (request.rtol is None or rtol > request.rtol):
        try:  # more numbers than this take more bits than the rest saves
            op = work.searched(rtol, worthwhile=min(WORTHWHILE, (1 - log2(rtol)) / 6), **request.order)
        except ValueError:
            break
        plan = _planned(work, request, op)
        if plan is not None and (best is None or plan.cost < best.cost):
            best = plan
        elif best is not None and (plan is None or plan.cost > _FAR * best.cost):
            break
        rtol = _STEP * min(rtol, op.relative_error)
    return best if best is not None and best.cost < _GAIN * least else None


def _planned(work: Work, request: Request, op: ButterflyOperator) -> _Plan | None:
    """Return the error that codes of factors may have: a bit more for them is one less for the rest at the optimum."""
    shape, rho = work.real_shape, op.relative_error
    if not 0 < rho < 1:
        return None
    m, n = work.source.shape
    share = min(op.chain.nnz / (m * n), _MOST_SHARE)
    error, added = rho * sqrt(1 + share), rho * sqrt(share)
    bits = max(_FEWEST, -log2(added) + _MORE)
    nbytes = shape[0] // m * op.chain.nnz * bits / 8 + n * op.dtype.itemsize
    if request.is_for_least_bytes:
        assert request.rtol is not None
        if request.rtol >= error:
            return None
        rest = predicted(shape, rtol=request.rtol / error)
        return None if rest is None else _Plan(op, added, nbytes + rest.nbytes)
    assert request.nbytes is not None
    rest = predicted(shape, nbytes=request.nbytes - nbytes) if request.nbytes > nbytes else None
    return None if rest is None else _Plan(op, added, error * rest.error)


def _made(work: Work, request: Request, plan: _Plan) -> Measured | None:
    assert isinstance(work.source, ArraySource)
    with work.stage("quantize"):  # by the error of the codes alone: what the factors leave is coded in any case
        packed = quantize(plan.factors._viewed(_fact=Known(0.0, "exact")), rtol=plan.added)
        packed = packed.replaced(relative_error=float("nan"), error_kind="estimated")
    x, exponent = near_one(work.source.array)
    rest = x - scaled(in_double(packed).todense(), -exponent)
    ratio = float(np.linalg.norm(rest) / np.linalg.norm(x))
    rest = scaled(rest, exponent).astype(work.source.dtype)
    rng = np.random.default_rng(0 if request.rng is None else request.rng)
    if request.is_for_least_bytes:
        assert request.rtol is not None
        if ratio <= request.rtol:
            return None
        codes = work.dense(rest, rtol=request.rtol / ratio * (1 - _RATHER), rng=rng)
    else:
        assert request.nbytes is not None
        if request.nbytes <= packed.nbytes:
            return None
        codes = work.dense(rest, nbytes=request.nbytes - packed.nbytes, rng=rng)
    whole = ButterflySum([packed, *(codes.terms if isinstance(codes, ButterflySum) else (codes,))])
    found = Measured(whole, work.measure(whole))
    _log.info("%d bytes: %s relative error %.3e", whole.nbytes, found.known.kind, found.error)
    return found if request.rtol is None or found.error <= request.rtol else None
