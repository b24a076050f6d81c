"""Facts of the machine and of the software, stamped on every result."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import threadpoolctl

import bitterfly

BLAS_FACTS = ("internal_api", "version", "num_threads", "architecture")


def facts() -> dict[str, object]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "caches": {name: size_text(size) for name, size in caches().items()},
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "blas": [tuple(map(b.get, BLAS_FACTS)) for b in threadpoolctl.threadpool_info()],
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


def caches() -> dict[str, int]:
    """Bytes of the data caches of the first core, by level; empty where Linux does not tell."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = int(size.removesuffix("K")) << 10
    return found


def size_text(size: float) -> str:
    return f"{size / (1 << 20):g} MiB" if size >= 1 << 20 else f"{size / (1 << 10):g} KiB"


def sentence(known: dict[str, Any]) -> str:
    """What a table should say of the machine and the software."""
    config, blas = known["bitterfly"], ", ".join(sorted({f"{b[0]} {b[1]} ({b[3]})" for b in known["blas"] if b[3]}))
    sizes = ", ".join(f"{name} {size}" for name, size in known["caches"].items())
    return (
        f"{known['date'][:10]}, {known['cpu']}, {known['cores']} cores, {sizes}; tier `{config['isa']}`, "
        f"compiler {config['compiler']}, NumPy {known['numpy']}, SciPy {known['scipy']}, {blas}, "
        f"revision {known['revision']}."
    )


def _cpu_model() -> str:
    """Name, and family and model, which the names that virtual machines give leave out."""
    lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in known:
        return platform.processor()
    return f"{known['model name']} (family {known['cpu family']}, model {known['model']})"


def _revision() -> str:
    run = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return run.stdout.strip()
