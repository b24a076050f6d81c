"""Import time beyond NumPy and scipy.sparse.linalg, median of fresh processes. `python -m bench.startup`."""

from __future__ import annotations

import statistics
import subprocess
import sys

from bench import timing

BASE = "import time, numpy, scipy.sparse.linalg; start = time.perf_counter()"
REST = "import bitterfly; print(time.perf_counter() - start)"


def seconds_beyond() -> float:
    """Seconds that importing bitterfly takes in a fresh process that has imported the rest."""
    run = subprocess.run([sys.executable, "-c", f"{BASE}\n{REST}"], check=True, capture_output=True, text=True)
    return float(run.stdout)


def main() -> None:
    rounds = 5 if "--quick" in sys.argv else 21
    beyond = statistics.median(seconds_beyond() for _ in range(rounds))
    timing.write("startup", {"import": [{"beyond numpy and scipy.sparse.linalg, ms": 1e3 * beyond}]})


if __name__ == "__main__":
    main()
