"""Errors and times of signed cuts: the published algorithm in NumPy, ours, and what starts and sweeps bring.

`python -m bench.cuts.matrices [--quick]`
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import timing
from bitterfly import SignedCut, cuts

N = 1024
BITS = (1.0, 2.0, 4.0, 8.0)
WAYS: dict[str, dict[str, int]] = {
    "published": {"sweeps": 0, "starts": 1},
    "4 starts": {"sweeps": 0, "starts": 4},
    "2 sweeps a bit": {"sweeps": 2, "starts": 1},
    "default": {},
    "16 sweeps, 4 starts": {"sweeps": 16, "starts": 4},
}


def numpy_ascent(a: np.ndarray, width: int, rng: np.random.Generator) -> float:
    """The published algorithm by products of BLAS; returns the relative error."""
    rest, (m, n) = a.copy(), a.shape
    for _ in range(width):
        t = rng.choice(np.array([-1, 1], np.float32), n)
        best = -1.0
        while True:
            p = rest @ t
            s = np.copysign(np.float32(1), p)
            q = s @ rest
            gain = float(np.abs(q).sum())
            t = np.copysign(np.float32(1), q)
            if gain <= best * (1 + 1e-7):
                break
            best = gain
        rest -= np.outer(np.float32(gain / (m * n)) * s, t)
    return float(np.linalg.norm(rest) / np.linalg.norm(a))


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    found = run()
    return found, time.perf_counter() - start


def row_of(a: np.ndarray, bits: float, with_numpy: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"bits": bits}
    found: dict[str, tuple[SignedCut, float]] = {}
    for name, options in WAYS.items():
        found[name] = timed(lambda options=options: cuts.matrix(a, bits=bits, rng=0, **options))
    published = found["published"][0]
    row |= {"cuts": published.width, "error": published.relative_error, "seconds": found["published"][1]}
    if with_numpy:
        error, seconds = timed(lambda: numpy_ascent(a, published.width, np.random.default_rng(0)))
        assert abs(error / published.relative_error - 1) < 0.01
        row |= {"NumPy seconds": seconds, "NumPy / ours": seconds / found["published"][1]}
    for name, (op, seconds) in list(found.items())[1:]:
        row |= {name: op.relative_error / published.relative_error, f"{name} seconds": seconds}
    return row


def main() -> None:
    n, some = (256, (1.0, 4.0)) if "--quick" in sys.argv else (N, BITS)
    a = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
    rows = [row_of(a, bits, bits <= 4) for bits in some]
    for row, before in zip(rows[1:], rows, strict=False):
        signs = (row["cuts"] - before["cuts"]) * 2 / n
        row["log2 error a sign bit"] = float(np.log2(before["error"] / row["error"]) / signs)
    timing.write("cut_matrices", {f"Gaussian {n}, errors over the published one": rows})


if __name__ == "__main__":
    main()
