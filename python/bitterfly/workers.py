"""How many threads a call may use: the default of the calling thread, and what `workers=` means.

Products use one thread unless told otherwise, as in `scipy.fft`: they are short, and often called from several threads
at once. `factorize`, `quantize` and `compress` are called once and take long: unless told otherwise they use all cores,
as the linear algebra below NumPy does.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Thread
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
    """Return what `work` makes of each task, in their order; on the threads of `get_workers`, if there are several.

    The calling thread is one of them. Where the system starts no more threads (its limit, or the end of the process),
    those that there are do the work. After a failure no task is begun; the failure of the first task is raised.
    """
    helpers = min(get_workers(), len(tasks)) - 1
    if helpers < 1:
        return [work(task) for task in tasks]
    results: dict[int, Result] = {}
    failures: dict[int, BaseException] = {}
    numbers = iter(range(len(tasks)))

    def take() -> None:
        for at in numbers:  # the interpreter's lock makes a step of an iterator over a range one
            if failures:
                return
            try:
                results[at] = work(tasks[at])
            except BaseException as failure:
                failures[at] = failure

    started = _started(take, helpers)
    with set_workers(1):
        take()
    try:
        for thread in started:
            thread.join()
    except BaseException as interruption:
        failures[-1] = interruption  # no helper begins another task
        raise
    if failures:
        raise failures[min(failures)]
    return [results[at] for at in range(len(tasks))]


def _started(target: Callable[[], None], count: int) -> list[Thread]:
    """Return as many threads as the system starts, at most `count`."""
    threads: list[Thread] = []
    for _ in range(count):
        thread = Thread(target=target)
        try:
            thread.start()
        except RuntimeError:  # "can't start new thread", or the interpreter is shutting down
            break
        threads.append(thread)
    return threads
