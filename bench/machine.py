"""Facts of the machine and of the software, stamped on every result."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import scipy
import threadpoolctl

import bitterfly


def facts() -> dict[str, object]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "blas": [(b["internal_api"], b.get("version"), b["num_threads"]) for b in threadpoolctl.threadpool_info()],
        "bitterfly": bitterfly.show_config(),
        "copy_gb_per_s": copy_bandwidth(),
    }


def copy_bandwidth(mebibytes: int = 256) -> float:
    """Bytes read plus bytes written per second of a large copy, the best of seven."""
    source = np.ones(mebibytes << 20, np.uint8)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best / 1e9


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _revision() -> str:
    run = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return run.stdout.strip()
