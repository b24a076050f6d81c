"""Interleaved timing of contenders, within the core too; results as tables and JSON; peak memory of a child process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from bench import machine
from bitterfly import _core

RESULTS = Path(__file__).parent / "results"


@contextmanager
def one_thread() -> Iterator[None]:
    """Pin this process to one core, and BLAS to one thread.

    Threads that start meanwhile inherit the core: behind it all threads get back all cores.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)


def interleaved(
    contenders: dict[str, Callable[[], object]],
    rounds: int,
    budget: float = 0.01,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds per call of each contender; every round runs all in turn, each for about `budget` seconds.

    With `time.process_time` as the clock others on the machine do not count, but for the caches.
    """
    calls = {}
    for name, run in contenders.items():
        run()
        start = clock()
        run()
        calls[name] = max(int(budget / max(clock() - start, 1e-7)), 1)
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = clock()
            for _ in range(calls[name]):
                run()
            samples[name].append((clock() - start) / calls[name])
    return {name: statistics.median(values) for name, values in samples.items()}


def within_core(kernels: dict[str, _core.Core], n: int, columns: int, dtype: Any, rounds: int) -> dict[str, float]:
    """Median seconds of calls within the core, forward and (name + " adjoint") backward, all in turn in each round."""
    shape = [n] if columns == 1 else [n, columns]
    x, out = (_core.aligned_empty(shape, np.dtype(dtype)) for _ in range(2))
    x[...] = np.random.default_rng(0).standard_normal(shape)
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, kernel in kernels.items():
            for mode, transposed in (("", False), (" adjoint", True)):
                calls = max(int(4e-3 / kernel.seconds(x, out, transposed, 1)), 1)
                samples.setdefault(name + mode, []).append(kernel.seconds(x, out, transposed, calls))
    return {name: statistics.median(values) for name, values in samples.items()}


def peak_growth(setup: str, work: str) -> int:
    """Bytes by which `work` raises the peak memory of a fresh process, after `setup`."""
    code = (
        "import pathlib, re\n"
        "status = lambda key: int(re.search(key + r':\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])\n"
        f"{setup}\n"
        "pathlib.Path('/proc/self/clear_refs').write_text('5')  # the peak starts anew from here\n"
        f"before = status('VmRSS')\n{work}\n"
        "print(1024 * (status('VmHWM') - before))"
    )
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_text(row.get(name, "")) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: Any) -> str:
    """Three digits, large numbers without an exponent."""
    if not isinstance(value, float):
        return str(value)
    return f"{float(f'{value:.3g}'):.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"


def write(name: str, sections: dict[str, list[dict[str, Any]]]) -> None:
    """Print the tables and keep them, with the facts of the machine, in bench/results."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine.facts(), **sections}, indent=1))
    show(sections)


def show(sections: dict[str, list[dict[str, Any]]]) -> None:
    for title, rows in sections.items():
        print(f"\n### {title}\n\n{table(rows)}")
