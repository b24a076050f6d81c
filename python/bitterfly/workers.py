"""How many threads a product may use: the default of the calling thread, and what `workers=` means."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_MOST = 256


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_workers(workers: int | None) -> int:
    """Return the number of threads: the default for None; counted from those of the machine if negative."""
    if workers is None:
        return _default.get()
    try:
        count = operator.index(workers)
    except TypeError:
        raise TypeError(f"workers: expected an integer or None, got {workers!r}") from None
    if count < 0:
        count += 1 + available_cores()
    if count < 1:
        raise ValueError(f"workers: expected at least 1, or -1 to {-available_cores()}, got {workers}")
    return min(count, _MOST)


def _of_environment() -> int:
    text = os.environ.get("BITTERFLY_NUM_THREADS", "")
    if not text.strip():
        return 1
    try:
        return as_workers(int(text))
    except ValueError:
        raise ValueError(f"BITTERFLY_NUM_THREADS: expected a number of threads, got {text!r}") from None


_START = _of_environment()
_default: ContextVar[int] = ContextVar("workers", default=_START)


def get_workers() -> int:
    """Return the number of threads that products use where ``workers`` is None.

    Returns
    -------
    int
        1, or the environment variable ``BITTERFLY_NUM_THREADS``, unless `set_workers` is in force.

    Raises
    ------
    ValueError
        Never; the environment variable is checked at import.
    """
    return _default.get()


@contextmanager
def set_workers(workers: int) -> Iterator[None]:
    """Set the number of threads of products inside a ``with`` block, for this thread (or asynchronous task) alone.

    Parameters
    ----------
    workers : int
        At least 1, or negative: -1 stands for all CPUs that the process may use, -2 for all but one.

    Returns
    -------
    context manager

    Raises
    ------
    ValueError, TypeError
        Where it is no such number.

    Notes
    -----
    Results do not depend on it. Small products, and those that begin while another thread is using the pool, run on
    the calling thread alone.
    """
    token = _default.set(as_workers(workers))
    try:
        yield
    finally:
        _default.reset(token)
