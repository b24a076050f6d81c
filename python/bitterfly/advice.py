"""Warnings of results that are hardly approximations, given once, to whoever called the package."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LARGE = 0.5  # relative error from which on a matrix of zeros is half as good
_quiet: ContextVar[bool] = ContextVar("bitterfly_quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Give no warnings of results that are steps of something larger."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def warn_if_large(error: float, advice: str) -> None:
    """Warn of a relative error above one half, with what to do about it."""
    if error > LARGE and not _quiet.get():
        text = f"the relative error is {error:.2g}, a matrix of zeros has 1: {advice}"
        warnings.warn(text, UserWarning, stacklevel=3)


def warn_if_larger(nbytes: int, dense_nbytes: int, advice: str) -> None:
    """Warn of an operator of more bytes than its matrix, with what to do about it."""
    if nbytes > dense_nbytes and not _quiet.get():
        text = f"the operator takes {nbytes:,} bytes, its matrix {dense_nbytes:,}: {advice}"
        warnings.warn(text, UserWarning, stacklevel=3)
