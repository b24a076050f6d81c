"""How many threads a call may use: the default of the calling thread, and what `workers=` means.

Products use one thread unless told otherwise, as in `scipy.fft`: they are short, and often called from several threads
at once. `factorize`, `quantize` and `compress` are called once and take long: unless told otherwise they use all cores,
as the linear algebra below NumPy does.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

_MOST = 256

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_workers(workers: int | None) -> int:
    """Return the number of threads: the default for None; counted from those of the machine if negative."""
    if workers is None:
        return get_workers()
    try:
        count = operator.index(workers)
    except TypeError:
        raise TypeError(f"workers: expected an integer or None, got {workers!r}") from None
    if count < 0:
        count += 1 + available_cores()
    if count < 1:
        raise ValueError(f"workers: expected at least 1, or -1 to {-available_cores()}, got {workers}")
    return min(count, _MOST)


def building_workers(workers: int | None) -> int:
    """Return the number of threads of `factorize`, `quantize` and `compress`, which None leaves to the machine.

    Without `set_workers` and BITTERFLY_NUM_THREADS that is all cores, or OMP_NUM_THREADS of them, by which process
    pools (joblib, Dask) limit the libraries in their processes.
    """
    if workers is not None:
        return as_workers(workers)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    cores = min(available_cores(), int(limit) if limit.isdecimal() and int(limit) > 0 else _MOST)
    return _default.get() or min(cores, _MOST)


def _of_environment() -> int | None:
    text = os.environ.get("BITTERFLY_NUM_THREADS", "")
    if not text.strip():
        return None
    try:
        return as_workers(int(text))
    except ValueError:
        raise ValueError(f"BITTERFLY_NUM_THREADS: expected a number of threads, got {text!r}") from None


_START = _of_environment()
_default: ContextVar[int | None] = ContextVar("workers", default=_START)


def get_workers() -> int:
    """Return the number of threads that products use where ``workers`` is None.

    Returns
    -------
    int
        1, or the environment variable ``BITTERFLY_NUM_THREADS``, unless `set_workers` is in force. The two hold
        for `factorize`, `quantize` and `compress` too, which use all cores without them.

    Raises
    ------
    ValueError
        Never; the environment variable is checked at import.
    """
    return _default.get() or 1


@contextmanager
def set_workers(workers: int) -> Iterator[None]:
    """Set the number of threads inside a ``with`` block, for this thread (or asynchronous task) alone.

    It is that of products, and of `factorize`, `quantize` and `compress`, wherever their ``workers`` is None.

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


def threaded(work: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
    """Return what `work` makes of each task, in their order; on the threads of `get_workers`, if there are several."""
    workers = min(get_workers(), len(tasks))
    if workers <= 1:
        return [work(task) for task in tasks]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, tasks))
