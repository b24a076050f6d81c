"""The least error in given bytes: float factors of several tolerances, each in codes of as many bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bitterfly.compression.request import Request
from bitterfly.compression.rivals import Rival
from bitterfly.compression.stages import Measured, Work
from bitterfly.factorization.search import IncompressibleError
from bitterfly.inputs import UnmetError
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.sources.given import ArraySource

# Tolerances of the search, two a decade; then once between the best and its neighbours.
_FIRST, _STEP, _LEAST = 0.3, 10**-0.5, 1e-12


def least_error(work: Work, request: Request, rival: Rival) -> Measured:
    """Return the operator of the least error found in at most so many bytes.

    Finer factors take more ranks, which leaves fewer bits for each number: the error falls with the tolerance of the
    factors, then rises. The search goes down until it rises. There is none where factors that could err as little as
    dense codes take too many bytes.

    Raises
    ------
    UnmetError
        Where nothing fits.
    """
    assert request.nbytes is not None
    trials = _Trials(work, request.nbytes)
    if request.chain is not None:
        trials.of(partial(work.factorize, chain=request.chain, **request.order))
        return trials.best()
    m, n = work.source.shape
    if isinstance(work.source, ArraySource) and m == n >= 2 and n & (n - 1) == 0:
        op = work.factorize(**request.order)
        if op.relative_error < _FIRST and trials.of(lambda: op) and op.relative_error < trials.best().error / 2:
            return trials.best()  # codes lose more than the factors: finer ones do not help
    factors = _Factors(work, request)
    if rival.codes is None or trials.are_found(partial(factors.first, rival)):
        _search(trials, factors)
    return trials.best()


class _Factors:
    """Float factors of a tolerance, from searches; those found first are kept."""

    def __init__(self, work: Work, request: Request) -> None:
        self._work, self._order = work, request.order
        self._first: tuple[float, ButterflyOperator] | None = None

    def __call__(self, rtol: float) -> ButterflyOperator:
        if self._first is not None and self._first[0] == rtol:
            return self._first[1]
        return self._work.searched(rtol, **self._order)

    def first(self, rival: Rival) -> ButterflyOperator:
        """Return factors of the coarsest tolerance of the search that stands beside dense codes; refuse large ones."""
        rtol = _FIRST
        while rtol > rival.coarsest and rtol >= _LEAST:
            rtol *= _STEP
        self._first = rtol, self._work.searched(rtol, worthwhile=rival.share, **self._order)
        return self._first[1]


class _Trials:
    """What was tried, and why some of it failed."""

    def __init__(self, work: Work, nbytes: int) -> None:
        self._work, self._nbytes = work, nbytes
        self._found: list[Measured] = []
        self._refused = ""
        self._cause: Exception | None = None

    def of(self, factors: Callable[[], ButterflyOperator]) -> ButterflyOperator | None:
        """Code these factors; return them, or None where they are refused or do not fit."""
        op = self._factorized(factors)
        if op is None:
            return None
        try:
            self._found.append(self._work.trial(op, nbytes=self._nbytes))
        except ValueError as error:
            self._refused, self._cause = str(error), None
            return None
        return op

    def are_found(self, factors: Callable[[], ButterflyOperator]) -> bool:
        """Say whether there are such factors."""
        return self._factorized(factors) is not None

    def _factorized(self, factors: Callable[[], ButterflyOperator]) -> ButterflyOperator | None:
        try:
            return factors()
        except IncompressibleError as error:
            self._refused, self._cause = error.facts, error  # the tolerance is one of those tried
            return None

    def error(self, factors: Callable[[], ButterflyOperator]) -> float:
        """Return the error with these factors; infinity where there is none."""
        return self._found[-1].error if self.of(factors) is not None else float("inf")

    def best(self) -> Measured:
        """Return the least error."""
        if not self._found:
            message = f"nbytes: no butterfly of at most {self._nbytes} bytes was found; {self._refused}"
            raise UnmetError(message) from self._cause
        return min(self._found, key=lambda found: found.error)


def _search(trials: _Trials, factors: _Factors) -> None:
    best, least, rtol = float("inf"), _FIRST, _FIRST
    while rtol >= _LEAST:
        error = trials.error(partial(factors, rtol))
        if error < best:
            best, least = error, rtol
        elif rtol < least:
            break
        rtol *= _STEP
    if best < float("inf"):
        for between in (least / _STEP**0.5, least * _STEP**0.5):
            trials.of(partial(factors, between))
