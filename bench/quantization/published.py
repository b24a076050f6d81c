"""The published quantization: its tables again, gains of refining and of a wider factor, times, lazylinop.

`python -m bench.quantization.quantize published`
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bench.quantization import short_peer
from bitterfly import _core, transforms
from bitterfly.quantization.rank_one import search_depth
from bitterfly.reference import round_significand

# Errors: round to nearest, pairwise, left to right (Gribonval, Mary, Riccietti 2023, run again; Chaumette, Gribonval,
# Riccietti 2026).
REAL = {
    2: (2.84e-1, 1.71e-1, 1.06e-1),
    3: (1.41e-1, 6.7e-2, 4.3e-2),
    4: (7.5e-2, 2.8e-2, 1.6e-2),
    6: (1.85e-2, 3.6e-3, 2.1e-3),
    8: (4.1e-3, 5.6e-4, 3.9e-4),
}
COMPLEX = {
    (256, 2): (2.76e-1, 1.16e-1, 7.18e-2),
    (256, 4): (7.02e-2, 1.65e-2, 9.47e-3),
    (256, 7): (8.67e-3, 8.86e-4, 6.05e-4),
    (1024, 4): (np.nan, 1.84e-2, 9.5e-3),
}
FFT = (3.58e-2, 9.3e-3, 5.1e-3)
DRAWS = 10

Factors = list[np.ndarray]


def gaussian_factors(n: int, seed: int) -> Factors:
    op = transforms.random(n, rng=np.random.default_rng(seed))
    return [np.array(f) for f in op.factors]


def projected_factors(n: int, seed: int) -> Factors:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))
    return [np.array(f) for f in bitterfly.factorize(a, permute=None).factors]


def shorten(factors: Factors, t: int | list[int], driver: str, weighted: bool = True) -> tuple[Factors, float]:
    widths = t if isinstance(t, list) else [t] * len(factors)
    rounded, error, _ = _core.shorten(factors, widths, driver, max(map(search_depth, widths)), weighted)
    return rounded, error


def errors_of(factors: Factors, t: int) -> list[float]:
    """Round to nearest, pairwise, left to right as published, left to right with weights."""
    nearest = _core.chain_error(factors, [round_significand(f, t) for f in factors])
    kinds = (("pairwise", False), ("left_to_right", False), ("left_to_right", True))
    return [nearest, *(shorten(factors, t, *kind)[1] for kind in kinds)]


def table_row(errors: np.ndarray, known: tuple[float, float, float], **facts: Any) -> dict[str, Any]:
    mean = errors.mean(axis=0)
    row = dict(facts)
    for at, name in enumerate(("nearest", "pairwise", "left to right")):
        row |= {name: float(mean[at]), f"{name}, published": known[at], f"{name}, ratio": float(mean[at] / known[at])}
    return row | {"left to right, weighted": float(mean[3]), "weighted, ratio": float(mean[3] / known[2])}


def real_table() -> list[dict[str, Any]]:
    return [
        table_row(np.array([errors_of(gaussian_factors(256, s), t) for s in range(DRAWS)]), known, n=256, t=t)
        for t, known in REAL.items()
    ]


def complex_table() -> list[dict[str, Any]]:
    return [
        table_row(np.array([errors_of(projected_factors(n, s), t) for s in range(DRAWS)]), known, n=n, t=t)
        for (n, t), known in COMPLEX.items()
    ]


def fft_table() -> list[dict[str, Any]]:
    """Factors of the DFT applied to random vectors."""
    n, t = 1024, 4
    op = transforms.dft(n)
    factors = [np.array(f) for f in op.factors]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, DRAWS)) + 1j * rng.standard_normal((n, DRAWS))
    exact = bitterfly.ButterflyOperator(factors) @ x
    rows = []
    candidates = {"nearest": [round_significand(f, t) for f in factors]}
    candidates |= {d: shorten(factors, t, d)[0] for d in ("pairwise", "left_to_right", "refined")}
    known = dict(zip(("nearest", "pairwise", "left_to_right"), FFT, strict=True))
    for name, rounded in candidates.items():
        y = bitterfly.ButterflyOperator(rounded) @ x
        error = float(np.mean(np.linalg.norm(y - exact, axis=0) / np.linalg.norm(exact, axis=0)))
        rows.append({"driver": name, "error": error, "published": known.get(name, "")})
    return rows


def refined_table() -> list[dict[str, Any]]:
    """Refined against left to right; two more bits (1/4 bit a number) in the last factor, or in the middle pair."""
    rows = []
    for name, make, widths, draws in (
        ("real", gaussian_factors, range(2, 9), 5),
        ("complex", projected_factors, range(2, 6), 2),
    ):
        for t in widths:
            draw = [make(256, s) for s in range(draws)]
            plain = np.mean([shorten(f, t, "left_to_right")[1] for f in draw])
            better = np.mean([shorten(f, t, "refined")[1] for f in draw])
            widest = np.mean([shorten(f, [t] * 4 + [t + 2] + [t] * 3, "refined")[1] for f in draw])
            wide = np.mean([shorten(f, [t] * 7 + [t + 2], "left_to_right")[1] for f in draw])
            rows.append(
                {
                    "numbers": name,
                    "t": t,
                    "left to right": float(plain),
                    "refined": float(better),
                    "gain": float(plain / better),
                    "last factor t + 2": float(wide),
                    "its gain": float(plain / wide),
                    "refined, factor 5 t + 2": float(widest),
                    "gain of both": float(plain / widest),
                }
            )
    return rows


def times() -> list[dict[str, Any]]:
    """One thread, the rounding itself with its exact error."""
    cases = (
        ("complex", 1024, 4, "left_to_right", 1000.0),
        ("complex", 256, 7, "left_to_right", 5000.0),
        ("real", 1024, 4, "left_to_right", 5.0),
        ("real", 1024, 4, "refined", np.nan),
        ("real", 1 << 20, 4, "pairwise", 2000.0),
    )
    rows = []
    for kind, n, t, driver, asked in cases:
        factors = projected_factors(n, 0) if kind == "complex" else gaussian_factors(n, 0)
        samples = []
        for _ in range(1 if n > 4096 else 5):
            start = time.perf_counter()
            shorten(factors, t, driver)
            samples.append(time.perf_counter() - start)
        rows.append({"numbers": kind, "n": n, "t": t, "driver": driver, "ms": 1e3 * min(samples), "asked": asked})
    return rows


def main() -> None:
    with timing.one_thread():
        timing.write(
            "published",
            {
                "times": times(),
                "against lazylinop": short_peer.rows(),
                "real, n = 256": real_table(),
                "complex": complex_table(),
                "Fourier factors, n = 1024, t = 4": fft_table(),
                "refined, n = 256": refined_table(),
            },
        )
