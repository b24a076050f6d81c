"""What dense codes are expected to come to beside a butterfly, and where that makes one of them needless."""

from __future__ import annotations

from math import log2

import numpy as np

from bitterfly.advice import LARGE
from bitterfly.compression.request import Request
from bitterfly.compression.stages import Work
from bitterfly.dense.predicted import MOST_BITS, Predicted, least_bytes, least_error, predicted
from bitterfly.factorization.search import WORTHWHILE
from bitterfly.sources.given import ArraySource

CLEARLY = 1.3  # times the bytes, or the error, from which on predictions decide
_FEWEST, _MORE = 3.3, 0.3  # bits of skeleton codes that meet an error: at least, and above its logarithm
_AS_EXACT = 2.0  # times the error of dense codes: a butterfly, whose codes of so many bits are far fewer
_FAR_FEWER = 0.5


class Rival:
    """Dense codes of a matrix beside its butterfly, as they are predicted.

    Parameters
    ----------
    work : Work
    request : Request
    """

    def __init__(self, work: Work, request: Request) -> None:
        self._request, self._matrix, self._dtype = request, work.nbytes, work.source.dtype
        self.codes: Predicted | None = None
        self.why_not = ""
        if "dense" in request.structures and isinstance(work.source, ArraySource):
            self.codes, self.why_not = self._of(work.real_shape)

    def _of(self, shape: tuple[int, int]) -> tuple[Predicted | None, str]:
        """Return what is predicted; or None, and why dense codes are out of the question."""
        rtol, bits, nbytes = self._request.rtol, self._request.bits, self._request.nbytes
        bits = None if bits is None else min(bits, MOST_BITS)
        if rtol is not None and rtol < least_error(self._dtype):
            return None, f"reach about {least_error(self._dtype):.2g} in {self._dtype}"
        codes = predicted(shape, bits=bits, nbytes=nbytes, rtol=rtol)
        if codes is not None and bits is not None and rtol is not None and codes.error > rtol:
            return None, f"of {bits:.3g} bits a number err {codes.error:.2g}"
        if codes is None and nbytes is not None:
            return None, f"take at least {least_bytes(shape):,} bytes"
        if codes is None:
            return None, "do not reach it" if bits is None else "take at least 1 bit a number"
        return codes, ""

    @property
    def share(self) -> float:
        """Of the bytes of the matrix: float factors of more become clearly more codes than there are dense ones."""
        if self.codes is None:
            return WORTHWHILE
        request = self._request
        bits, allowed = request.bits, self.codes.nbytes
        if bits is None:
            error = CLEARLY * self.codes.error if request.nbytes is not None else request.rtol
            bits = max(_FEWEST, -log2(error or 1.0) + _MORE)
            allowed = request.nbytes or allowed
        numbers = CLEARLY * 8 * allowed / bits
        real = np.empty(0, self._dtype).real.itemsize
        return min(WORTHWHILE, numbers * real / self._matrix)

    @property
    def coarsest(self) -> float:
        """The tolerance of float factors above which no codes of them err about as little; 1 without dense codes."""
        return 1.0 if self.codes is None else CLEARLY * self.codes.error

    @property
    def loosest(self) -> float:
        """The error of float factors up to which their codes, of given bits, stand beside dense ones."""
        return LARGE if self.codes is None else min(_AS_EXACT * self.codes.error, LARGE)

    @property
    def is_small(self) -> bool:
        """Whether dense codes are worth having without a butterfly; of an error alone, where they save bytes."""
        if self.codes is None:
            return False
        return not self._request.is_for_least_bytes or self.codes.nbytes <= WORTHWHILE * self._matrix

    def may_beat(self, nbytes: int, error: float) -> bool:
        """Whether it is worth the work to compare dense codes with a butterfly of so many bytes and such an error."""
        if self.codes is None:
            return False
        if self._request.is_for_least_bytes:
            return self.codes.nbytes < CLEARLY * nbytes
        if self._request.bits is not None and nbytes <= _FAR_FEWER * self.codes.nbytes:
            return False
        return self.codes.error < CLEARLY * error
