"""Facts of the machine and of the software, stamped on every result."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import threadpoolctl

import bitterfly

FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vbmi", "avx512vbmi", "avx512_vnni", "avx512_bitalg", "amx_int8")


def facts() -> dict[str, Any]:
    """Take all facts; the bandwidth and the product are measured on one core, the load says how quiet it was."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "cpu": _cpu("model name"),
        "flags": [flag for flag in FLAGS if flag in _cpu("flags").split()],
        "caches": _caches(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_1_minute": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "blas": [_blas(info) for info in threadpoolctl.threadpool_info()],
        "bitterfly": bitterfly.show_config(),
        "copy_gb_per_s": copy_bandwidth(),
        "sgemm_gflop_per_s": product_rate(),
    }


def best_of(run: Any, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def copy_bandwidth(mebibytes: int = 256) -> float:
    """Gigabytes read plus gigabytes written per second of a large copy, the best of seven."""
    source = np.ones(mebibytes << 20, np.uint8)
    target = np.empty_like(source)
    return 2 * source.nbytes / best_of(lambda: np.copyto(target, source), 7) / 1e9


def product_rate(n: int = 768) -> float:
    """GFLOP/s of a float32 BLAS product on one thread, the best of seven: close to the peak of its FMA units."""
    a, out = np.ones((n, n), np.float32), np.empty((n, n), np.float32)
    with threadpoolctl.threadpool_limits(1):
        return 2 * n**3 / best_of(lambda: np.matmul(a, a, out=out), 7) / 1e9


def _blas(info: dict[str, Any]) -> str:
    return f"{info['internal_api']} {info.get('version')} {info.get('architecture', '')}, {info['num_threads']} threads"


def _cpu(key: str) -> str:
    found = re.search(rf"^{key}\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found[1] if found else platform.processor()


def _caches() -> dict[str, str]:
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    facts = [[(f / name).read_text().strip() for name in ("level", "type", "size")] for f in folders]
    return {f"L{level} {kind.lower()}": size for level, kind, size in facts}


def _revision() -> str:
    run = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return run.stdout.strip()
