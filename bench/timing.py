"""Interleaved timing of contenders, results as tables and JSON, peak memory of a child process."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import machine

RESULTS = Path(__file__).parent / "results"
Contenders = dict[str, Callable[[], Any]]
Samples = dict[str, list[float]]


def options(summary: str | None) -> argparse.Namespace:
    """Parse `--quick` and `--output DIR`."""
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON and PNG files")
    return parser.parse_args()


def one_thread() -> None:
    """Pin this process to one core; call before BLAS is used."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def seconds_per_call(run: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def interleaved(contenders: Contenders, rounds: int, budget: float = 0.01) -> Samples:
    """Seconds per call in each round; every round runs all contenders in turn, each for about `budget` seconds."""
    calls = {}
    for name, run in contenders.items():
        run()
        calls[name] = max(int(budget / max(seconds_per_call(run, 1), 1e-7)), 1)
    samples: Samples = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            samples[name].append(seconds_per_call(run, calls[name]))
    return samples


def ratio(samples: Samples, slow: str, fast: str) -> float:
    """Median over the rounds of the ratio of the two times of one round."""
    return statistics.median(s / f for s, f in zip(samples[slow], samples[fast], strict=True))


def medians(samples: Samples, unit: str) -> dict[str, Any]:
    """Medians as columns of a table, quartiles beside them (kept in the JSON file, not printed)."""
    scale = {"us": 1e6, "ms": 1e3}[unit]
    row: dict[str, Any] = {f"{name} {unit}": scale * statistics.median(values) for name, values in samples.items()}
    quartiles = {name: [scale * q for q in _quartiles(values)] for name, values in samples.items()}
    return row | {f"quartiles {unit}": quartiles}


def _quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive")[::2]


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
    """The rows as a Markdown table; quartiles are left out."""
    names = list(dict.fromkeys(name for row in rows for name in row if not isinstance(row[name], dict)))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_text(row.get(name, "")) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"


def write(name: str, sections: dict[str, list[dict[str, Any]]], folder: Path = RESULTS) -> None:
    """Print the tables and keep them, with the facts of the machine, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"machine": machine.facts(), **sections}, indent=1) + "\n")
    for title, rows in sections.items():
        print(f"\n### {title}\n\n{table(rows)}")
