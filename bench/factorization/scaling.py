"""A Fourier integral operator from its entry function: time, bytes and entries against n.

`python -m bench.factorization.scaling`
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

from bench import timing

RTOL = 1e-4

CHILD = f"""
import json, resource, sys, time
import numpy as np
import bitterfly
from bitterfly import gallery
from bitterfly.accuracy.sampled import sampled_error
from bitterfly.sources.given import as_source

n = int(sys.argv[1])
kernel = gallery.fourier_integral(n)
source = as_source(kernel, None)
start = time.perf_counter()
op = bitterfly.factorize(source, rtol={RTOL})
seconds = time.perf_counter() - start
entries = source.entries
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
x = np.ones(n, complex)
op @ x
start = time.perf_counter()
op @ x
product = time.perf_counter() - start
estimate, upper = sampled_error(source, op, 256, np.random.default_rng(123))
print(json.dumps({{
    "n": n, "seconds": seconds, "bytes": op.nbytes, "peak bytes": peak,
    "entries / (n log2 n)": entries / (n * np.log2(n)),
    "reported error": op.relative_error, "error on 256 other rows": estimate, "largest rank": max(op.chain.ranks),
    "product ms": 1e3 * product,
}}))
"""


def measured(n: int) -> dict[str, Any]:
    """One size in a process of its own, so that its peak memory is its own."""
    out = subprocess.run([sys.executable, "-c", CHILD, str(n)], check=True, capture_output=True, text=True).stdout
    row: dict[str, Any] = json.loads(out)
    print(row, flush=True)
    return row


def exponent(rows: list[dict[str, Any]], name: str) -> float:
    """Fit a power of n; with a factor of log2(n), this lies a little above 1."""
    return float(np.polyfit(np.log([r["n"] for r in rows]), np.log([r[name] for r in rows]), 1)[0])


def main() -> None:
    rows = [measured(1 << p) for p in range(10, 15 if "--quick" in sys.argv else 19, 2)]
    fits = [{"of": name, "exponent": exponent(rows, name)} for name in ("seconds", "bytes")]
    timing.write("scaling", {f"fourier_integral, rtol {RTOL:g}": rows, "fitted powers of n": fits})


if __name__ == "__main__":
    main()
