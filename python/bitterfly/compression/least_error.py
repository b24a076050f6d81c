"""The least error in given bytes: float factors of several tolerances, each in codes of as many bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from bitterfly.chains.chain import Chain
from bitterfly.compression.stages import Measured, Work
from bitterfly.factorization.orderings import Permute
from bitterfly.factorization.search import IncompressibleError
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.sources.given import ArraySource

# Tolerances of the search, two a decade; then once between the best and its neighbours.
_FIRST, _STEP, _LEAST = 0.3, 10**-0.5, 1e-12


def least_error(
    work: Work, chain: Chain | None, nbytes: int, permute: Permute, rng: np.random.Generator | int | None
) -> Measured:
    """Return the operator of the least error found in at most `nbytes`.

    Finer factors take more ranks, which leaves fewer bits for each number: the error falls with the tolerance of the
    factors, then rises. The search goes down until it rises.

    Raises
    ------
    ValueError
        Where nothing fits.
    """
    trials = _Trials(work, nbytes)
    is_array = isinstance(work.source, ArraySource)
    if chain is not None:
        trials.of(partial(work.factorize, chain=chain, permute=permute, rng=rng))
        return trials.best()
    m, n = work.source.shape
    if is_array and m == n >= 2 and n & (n - 1) == 0:
        op = work.factorize(permute=permute, rng=rng)
        if op.relative_error < _FIRST and trials.of(lambda: op) and op.relative_error < trials.best().error / 2:
            return trials.best()  # codes lose more than the factors: finer ones do not help
    _search(trials, partial(work.searched, permute=permute, rng=rng))
    return trials.best()


class _Trials:
    """What was tried, and why some of it failed."""

    def __init__(self, work: Work, nbytes: int) -> None:
        self._work, self._nbytes = work, nbytes
        self._found: list[Measured] = []
        self._refused = ""

    def of(self, factors: Callable[[], ButterflyOperator]) -> ButterflyOperator | None:
        """Code these factors; return them, or None where they are refused or do not fit."""
        try:
            op = factors()
        except IncompressibleError as error:
            self._refused = error.facts  # the tolerance is one of those tried
            return None
        try:
            self._found.append(self._work.trial(op, nbytes=self._nbytes))
        except ValueError as error:
            self._refused = str(error)
            return None
        return op

    def error(self, factors: Callable[[], ButterflyOperator]) -> float:
        """Return the error with these factors; infinity where there is none."""
        return self._found[-1].error if self.of(factors) is not None else float("inf")

    def best(self) -> Measured:
        """Return the least error."""
        if not self._found:
            raise ValueError(f"nbytes: no butterfly of at most {self._nbytes} bytes was found; {self._refused}")
        return min(self._found, key=lambda found: found.error)


def _search(trials: _Trials, factors: Callable[[float], ButterflyOperator]) -> None:
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
