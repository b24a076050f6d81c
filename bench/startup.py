"""Import time beyond NumPy and scipy.sparse.linalg, fresh processes in turn. `python -m bench.startup`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from bench import timing

BASE = "import numpy, scipy.sparse.linalg"


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> None:
    rounds = 5 if "--quick" in sys.argv else 21
    pairs = [(seconds(BASE), seconds(f"{BASE}, bitterfly")) for _ in range(rounds + 1)][1:]
    beyond = statistics.median(b - a for a, b in pairs)
    base = statistics.median(a for a, _ in pairs)
    timing.write("startup", {"import": [{"numpy and scipy ms": 1e3 * base, "bitterfly beyond ms": 1e3 * beyond}]})


if __name__ == "__main__":
    main()
