"""What is tried beside butterflies and dense codes, where it is expected to be better: tensor trains, signed cuts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from math import log2

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.compression.candidates import Candidate
from bitterfly.compression.exact import is_finite, too_large
from bitterfly.compression.request import Request
from bitterfly.compression.stages import Measured, Work
from bitterfly.compression.trains import trains
from bitterfly.cuts.matrix import matrix as cuts
from bitterfly.dense.trains.quantize import quantize_train
from bitterfly.factorization.search import WORTHWHILE
from bitterfly.inputs import UnmetError
from bitterfly.powers import near_one
from bitterfly.sources.given import ArraySource
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_A_BIT = 0.7  # by which a bit an entry of signed cuts lowers the logarithm of the error of any matrix
_SOON = 1 << 20  # entries of a matrix whose cuts, below one bit an entry, are found within seconds

_log = logging.getLogger("bitterfly")


def others(work: Work, request: Request, error: float = np.inf) -> list[Candidate]:
    """Return the structures that may meet what is asked for, those of the least expected cost first.

    Parameters
    ----------
    work : Work
        What is no array has none.
    request : Request
        With `bits`, a chain or no error at all there are none.
    error : float, optional
        That of the best so far: what is expected to err more may be left out.
    """
    if not isinstance(work.source, ArraySource) or request.bits is not None or request.chain is not None:
        return []
    if not is_finite(work.source.array):
        return []
    if not work.source.array.any():
        return list(_of_zeros(work, request))
    if request.rtol == 0:
        return []
    with work.stage("look"):
        wide, exponent = near_one(work.source.array)
        x = wide.astype(work.source.dtype, copy=False)
        found = [*trains(work, request, x, exponent, error), *_cuts(work, request)]
    best: dict[str, Candidate] = {}
    for each in sorted(found, key=lambda each: each.cost(request)):
        best.setdefault(each.name, each)
        _log.info("%s: expected %d bytes, relative error %.2e", each.name, each.nbytes, each.error)
    return list(best.values())


def made(work: Work, request: Request, candidate: Candidate) -> Measured:
    """Return an operator of a structure, with its error.

    Raises
    ------
    UnmetError
        Where it is not what is asked for.
    """
    found = candidate.make()
    op = found.packed
    _log.info("%s: %d bytes, %s relative error %.3e", candidate.name, op.nbytes, found.known.kind, found.error)
    if request.is_for_least_bytes and not found.error <= (request.rtol or 0):
        raise UnmetError(f"rtol: {request.rtol:.3g} is not met: {op.nbytes:,} bytes reach {found.error:.3g}")
    if request.is_for_least_bytes and op.nbytes >= WORTHWHILE * work.nbytes:
        raise too_large(work, request, candidate.name, op)
    return found


def _of_zeros(work: Work, request: Request) -> Iterator[Candidate]:
    """Yield what is exact of a matrix of zeros: trains of no bytes, one cut."""
    for name in ("low_rank", "kronecker", "tensor_train"):
        if name in request.structures:
            yield Candidate(name, 0, 0.0, partial(_train_of_zeros, work))
    if "cuts" in request.structures and work.source.dtype.kind != "c":
        nbytes = sum(work.source.shape) / 8
        yield Candidate("cuts", nbytes, 0.0, partial(_cut, work, request._replace(rtol=0.5)), is_quick=False)


def _train_of_zeros(work: Work) -> Measured:
    assert isinstance(work.source, ArraySource)
    m, n = work.source.shape
    cores = [np.zeros(shape, work.source.dtype) for shape in ((1, m, 1, 1), (1, 1, n, 1))]
    op = quantize_train(TensorTrainOperator(cores), bits=1)
    return Measured(op, Known(work.source.rounding, "exact").then(op.relative_error, kind=op.error_kind))


def _cuts(work: Work, request: Request) -> Iterator[Candidate]:
    a, (m, n) = work.source, work.source.shape
    if "cuts" not in request.structures or a.dtype.kind == "c":
        return
    if request.is_for_least_bytes:
        assert request.rtol is not None
        nbytes, error = m * n * -log2(min(request.rtol, 1.0)) / _A_BIT / 8, request.rtol
    else:
        assert request.nbytes is not None
        nbytes, error = request.nbytes, 2.0 ** (-_A_BIT * 8 * request.nbytes / (m * n))
    is_worst = not request.is_for_least_bytes and nbytes < m * n / 8 and m * n <= _SOON
    yield Candidate("cuts", nbytes, error, partial(_cut, work, request), is_quick=False, is_worst=is_worst)


def _cut(work: Work, request: Request) -> Measured:
    assert isinstance(work.source, ArraySource)
    rng = np.random.default_rng(0 if request.rng is None else request.rng)
    asked = {"rtol": request.rtol} if request.is_for_least_bytes else {"nbytes": request.nbytes}
    with work.stage("cuts"):
        op = cuts(work.source.array, **asked, rng=rng)
    return Measured(op, work.measure(op))
