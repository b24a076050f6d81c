"""Which structure a matrix is compressed by: butterflies and dense codes side by side, by what is predicted of them."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.compression.butterflies import packed_butterfly
from bitterfly.compression.candidates import Candidate
from bitterfly.compression.exact import found_by_entries, is_final, is_small, require_finite, too_large, unit_of
from bitterfly.compression.others import made, others
from bitterfly.compression.remainders import butterfly_and_rest
from bitterfly.compression.request import Request
from bitterfly.compression.rivals import Rival
from bitterfly.compression.stages import Work
from bitterfly.dense.predicted import MOST_BITS, predicted
from bitterfly.factorization.search import WORTHWHILE, IncompressibleError
from bitterfly.inputs import UnmetError
from bitterfly.operators.contract import Operator
from bitterfly.operators.report import Tried
from bitterfly.sources.given import ArraySource

_OTHERS = {"butterfly", "dense"}
_NOTHING = 0.005  # of the bytes of the matrix
_GAIN = 0.95  # of the best so far, that others are expected to come to where they are made

_log = logging.getLogger("bitterfly")


class Found(NamedTuple):
    """An operator, and what is known of its error against the matrix."""

    structure: str
    op: Operator
    known: Known

    @property
    def tried(self) -> Tried:
        """The record of a report."""
        return Tried(self.structure, self.op.nbytes, self.known.error, self.known.kind)


def best_structure(work: Work, request: Request) -> tuple[Found, tuple[Tried, ...]]:
    """Return the best of the structures allowed, and what was found or predicted of each.

    What a look at the entries finds comes first, then what is expected to take next to nothing; nothing else is tried
    where that does. Last come those that are expected to be better than butterflies and dense codes are. For given
    bytes these are looked for only then.

    Raises
    ------
    UnmetError
        Where no structure meets what is asked for.
    """
    search = _Search(work, request)
    for name, each in found_by_entries(work, request).items():
        search.add(Found(name, each.packed, each.known))
    if search.is_nothing or (search.is_final and not request.is_for_least_bytes):
        return search.result()
    candidates = others(work, request) if request.is_for_least_bytes else []
    while candidates and candidates[0].is_quick and is_small(candidates[0].nbytes, work, request):
        search.make(candidates.pop(0))
        if search.is_final:
            break
    if search.is_final:
        return search.result()
    search.butterfly_or_dense()
    for candidate in candidates if request.is_for_least_bytes else others(work, request, search.error):
        search.make(candidate)
    return search.result()


class _Search:
    """What was found so far, and the best of it."""

    def __init__(self, work: Work, request: Request) -> None:
        self._work, self._request = work, request
        self._best: Found | None = None
        self._tried: list[Tried] = []
        self._refused: UnmetError | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing else has to be tried."""
        best = self._best
        return best is not None and is_final(best.op, best.known.error, self._work, self._request)

    @property
    def is_nothing(self) -> bool:
        """Whether the best is final, and exact or so small that fewer bytes are not worth a look at singular values."""
        best = self._best
        if best is None or not self.is_final:
            return False
        is_tiny = best.structure != "kronecker" and best.op.nbytes <= _NOTHING * self._work.nbytes
        return best.known.error <= unit_of(self._work.source) or is_tiny

    @property
    def error(self) -> float:
        """That of the best so far."""
        return np.inf if self._best is None else self._best.known.error

    def add(self, found: Found) -> None:
        """Keep an operator where it is the best."""
        self._tried.append(found.tried)
        self._keep(found)

    def make(self, candidate: Candidate) -> None:
        """Make what is expected to be clearly better than the best so far."""
        best = None if self._best is None else _cost(self._best, self._request)
        if best is not None and not (candidate.is_worst or candidate.cost(self._request) < _GAIN * best):
            self._tried.append(Tried(candidate.name, round(candidate.nbytes), candidate.error, "predicted"))
            return
        try:
            each = made(self._work, self._request, candidate)
        except UnmetError as error:
            self._tried.append(Tried(candidate.name, None, None, _note(error)))
            self._refused = self._refused or error
        else:
            self.add(Found(candidate.name, each.packed, each.known))

    def butterfly_or_dense(self) -> None:
        """Try both, as far as they are allowed; dense codes only where the best takes more than they are said to."""
        work, request, best = self._work, self._request, self._best
        if best is not None and request.is_for_least_bytes and _is_smaller(best, work, request):
            request = request._replace(structures=tuple(name for name in request.structures if name != "dense"))
        if not _OTHERS & set(request.structures):
            return
        try:
            found, tried = _butterfly_or_dense(work, request)
        except UnmetError as error:
            self._refused = error
            return
        self._tried.extend(tried)
        self._keep(found)

    def result(self) -> tuple[Found, tuple[Tried, ...]]:
        """Return the best, and all that was tried.

        Raises
        ------
        UnmetError
            Where there is none, or for an error none smaller than the matrix.
        """
        request, best = self._request, self._best
        if best is not None:
            if request.is_for_least_bytes and request.chain is None and best.op.nbytes > self._work.nbytes:
                raise too_large(self._work, request, best.structure, best.op)
            return best, tuple(self._tried)
        if self._refused is not None:
            raise self._refused
        if request.bits is not None:
            raise ValueError(f"bits: expected rtol or nbytes with structure {', '.join(request.structures)}")
        require_finite(self._work)
        raise UnmetError(f"structure: the matrix is none of {', '.join(request.structures)} as far as asked for")

    def _keep(self, found: Found) -> None:
        if self._best is None or _cost(found, self._request) < _cost(self._best, self._request):
            self._best = found


def _is_smaller(best: Found, work: Work, request: Request) -> bool:
    """Whether an operator takes fewer bytes than dense codes are predicted to."""
    codes = predicted(work.real_shape, rtol=request.rtol)
    return codes is None or best.op.nbytes <= codes.nbytes


def _butterfly_or_dense(work: Work, request: Request) -> tuple[Found, tuple[Tried, ...]]:
    """Return a butterfly, dense codes or the sum of both.

    Butterflies come first. Dense codes are made only where there is none, or where they are not predicted to be clearly
    worse; a butterfly is given up where what its float factors take, or miss, is clearly more than dense codes do. Last
    comes a coarse butterfly with dense codes of the rest, where that is predicted to be clearly better.

    Raises
    ------
    UnmetError
        Where no structure meets what is asked for.
    """
    if "butterfly" not in request.structures:
        found = _dense(work, request)
        return found, (found.tried,)
    rival = Rival(work, request)
    butterfly: Found | None = None
    try:
        butterfly = _butterfly(work, request, rival)
        tried = butterfly.tried
    except UnmetError as error:
        if not rival.is_small:
            raise _told(error, rival) from error.__cause__
        tried = Tried("butterfly", None, None, _note(error))
        _log.info("butterfly: %s", tried.note)
    if butterfly is not None and not rival.may_beat(butterfly.op.nbytes, butterfly.known.error):
        both = tried, *_predicted(rival)
        return (butterfly, both) if request.is_for_least_bytes else _or_sum(work, request, butterfly, both)
    try:
        dense = _dense(work, request)
    except UnmetError as error:
        if butterfly is None:  # given up too early, or to be refused for what it is
            butterfly = _butterfly(work, request, Rival(work, request._replace(structures=("butterfly",))))
        return butterfly, (butterfly.tried, Tried("dense", None, None, _note(error)))
    best = dense if butterfly is None else min(butterfly, dense, key=lambda each: _cost(each, request))
    return _or_sum(work, request, best, (tried, dense.tried))


def _or_sum(work: Work, request: Request, best: Found, tried: tuple[Tried, ...]) -> tuple[Found, tuple[Tried, ...]]:
    """Return the best so far, or the sum of a coarse butterfly and dense codes of the rest where that is better."""
    if request.bits is not None or not isinstance(work.source, ArraySource):
        return best, tried
    both = butterfly_and_rest(work, request, _cost(best, request))
    if both is None:
        return best, tried
    found = Found("butterfly + dense", both.packed, both.known)
    return min(best, found, key=lambda each: _cost(each, request)), (*tried, found.tried)


def _butterfly(work: Work, request: Request, rival: Rival) -> Found:
    found = packed_butterfly(work, request, rival)
    return Found("butterfly", found.packed, found.known)


def _dense(work: Work, request: Request) -> Found:
    rtol, bits, nbytes = request.rtol, request.bits, request.nbytes
    if bits is not None and len(request.structures) > 1:
        bits = min(bits, MOST_BITS)
    only_rtol = rtol if bits is None and nbytes is None else None
    rng = np.random.default_rng(0 if request.rng is None else request.rng)
    op = work.dense(rtol=only_rtol, bits=bits, nbytes=nbytes, rng=rng)
    if bits is not None and rtol is not None and not op.relative_error <= rtol:
        reached = f"{op.mean_bits:.4g} bits a number reach {op.relative_error:.3g}"
        raise UnmetError(f"rtol: {rtol:.3g} is not met: {reached}")
    return Found("dense", op, Known.of(op))


def _cost(found: Found, request: Request) -> float:
    return found.op.nbytes if request.is_for_least_bytes else found.known.error


def _predicted(rival: Rival) -> tuple[Tried, ...]:
    if rival.codes is not None:
        return (Tried("dense", rival.codes.nbytes, rival.codes.error, "predicted"),)
    return (Tried("dense", None, None, f"not tried, they {rival.why_not}"),) if rival.why_not else ()


def _told(error: UnmetError, rival: Rival) -> UnmetError:
    """Return a refusal that also says why there are no dense codes."""
    why_not = rival.why_not if rival.codes is None else f"would take {rival.codes.nbytes:,} bytes"
    if why_not:
        error.args = (f"{error}; dense codes {why_not}", *error.args[1:])
    return error


def _note(error: UnmetError) -> str:
    """Say in a few words why there is nothing."""
    cause = error if isinstance(error, IncompressibleError) else error.__cause__
    if not isinstance(cause, IncompressibleError):
        name, _, why = str(error).partition(": ")
        return f"{'given up' if name == 'bits' else 'refused'}, {why}"
    given_up = "refused" if cause.storage > WORTHWHILE else "given up"
    if min(cause.block) == 1:
        return "refused, a single row or column"
    if min(cause.block) > 1:
        return f"{given_up}, rank {cause.rank} of {cause.block[0]} x {cause.block[1]} blocks"
    return f"{given_up}, float factors of {cause.storage:.2g} times the bytes of the matrix"
