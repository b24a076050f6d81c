"""A structure that may be tried, and what is expected of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bitterfly.compression.request import Request
from bitterfly.compression.stages import Measured


class Candidate(NamedTuple):
    """A structure, what it is expected to come to, at the worst in some cases, and what makes it."""

    name: str
    nbytes: float
    error: float
    make: Callable[[], Measured]
    is_quick: bool = True
    is_worst: bool = False

    def cost(self, request: Request) -> float:
        """Return what is to be least: bytes, or the error."""
        return self.nbytes if request.is_for_least_bytes else self.error
