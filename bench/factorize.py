"""Factorize: time against lazylinop's ksd, memory, errors of transforms. `python -m bench.factorize`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

import bitterfly
from bench import peers, timing
from bitterfly.ordering import bit_reversal

NOISE = (1e-10, 1e-6, 1e-2, 1e-1)
PANEL = 256


def hadamard(n: int, dtype: Any) -> np.ndarray:
    return scipy.linalg.hadamard(n).astype(dtype)


def dft(n: int, dtype: Any) -> np.ndarray:
    k = np.arange(n)
    return np.exp(-2j * np.pi * (np.outer(k, k) % n) / n).astype(dtype)


MATRICES: tuple[tuple[Callable[[int, Any], np.ndarray], str, str], ...] = (
    (hadamard, "float32", "float64"),
    (dft, "complex64", "complex128"),
)


def product_error(a: np.ndarray, product: Callable[[np.ndarray], np.ndarray]) -> float:
    """Relative error of `product` on the unit vectors, panel by panel, sums in double precision."""
    wide = np.result_type(a.dtype, np.float64)
    squares = 0.0
    for first in range(0, a.shape[1], PANEL):
        unit = np.eye(a.shape[1], min(PANEL, a.shape[1]), -first, wide)
        squares += float(np.sum(np.abs(product(unit) - a[:, first : first + PANEL]) ** 2))
    return float(np.sqrt(squares) / np.linalg.norm(a.astype(wide)))


def true_error(a: np.ndarray, op: bitterfly.ButterflyOperator) -> float:
    """Relative error of the factors, multiplied out in double precision."""
    return product_error(a, op.astype(np.result_type(op.dtype, np.float64)).apply)


def contenders_of(a: np.ndarray, order: np.ndarray | None) -> timing.Contenders:
    """Ours finds the order of the columns by itself; the peer gets them in order, its product asserted first."""
    assert true_error(a, bitterfly.factorize(a)) <= 1e-6
    found: timing.Contenders = {"bitterfly": lambda: bitterfly.factorize(a), "copy": a.copy}
    modules = peers.lazylinop()
    if modules:
        ordered = a if order is None else np.ascontiguousarray(a[:, order])
        chain = modules[0].Chain.square_dyadic(a.shape)
        found["lazylinop ksd"] = lambda: modules[0].ksd(ordered, chain)
        peer = found["lazylinop ksd"]()
        assert product_error(ordered, lambda x: peer @ x) <= 1e-5
    return found


def speed(sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    rows = []
    for kind, dtype, _ in MATRICES:
        for n in sizes:
            contenders = contenders_of(kind(n, dtype), bit_reversal(n) if kind is dft else None)
            samples = timing.interleaved(contenders, rounds, budget=0)
            row = {"matrix": kind.__name__, "n": n, "dtype": dtype} | timing.medians(samples, "ms")
            if "lazylinop ksd" in samples:
                row["ratio"] = timing.ratio(samples, "lazylinop ksd", "bitterfly")
            traffic = 3 * n * n * np.dtype(dtype).itemsize  # 2 n^2 reads and n^2 writes are enough
            rows.append(row | {"GB/s": traffic / row["bitterfly ms"] / 1e6})
    return rows


def memory(n: int) -> list[dict[str, Any]]:
    rows = []
    for dtype in ("float32", "float64", "complex64"):
        setup = (
            "import numpy as np, bitterfly, scipy.linalg\n"
            f"a = scipy.linalg.hadamard({n}, np.int8)\n"
            f"b = np.empty(a.shape, '{dtype}'); b[...] = a; del a\n"
            "bitterfly.factorize(b[:64, :64].copy())"
        )
        growth = timing.peak_growth(setup, "op = bitterfly.factorize(b)")
        rows.append({"dtype": dtype, "n": n, "peak growth / input": growth / (n * n * np.dtype(dtype).itemsize)})
    return rows


def errors(sizes: list[int]) -> list[dict[str, Any]]:
    rows = []
    for kind, single, double in MATRICES:
        for dtype in (single, double):
            ops = [(a, bitterfly.factorize(a)) for a in (kind(n, dtype) for n in sizes)]
            found = [(true_error(a, op), op.relative_error) for a, op in ops]
            rows.append(
                {
                    "matrix": kind.__name__,
                    "dtype": dtype,
                    "n": f"2..{sizes[-1]}",
                    "worst true error": max(error for error, _ in found),
                    "worst reported": max(reported for _, reported in found),
                    "reported below true": sum(reported < error for error, reported in found),
                }
            )
    return rows


def noise(n: int) -> list[dict[str, Any]]:
    rows = []
    for kind, _, dtype in MATRICES:
        exact, rng = kind(n, dtype), np.random.default_rng(0)
        for level in NOISE:
            e = rng.standard_normal(exact.shape) + (1j * rng.standard_normal(exact.shape) if kind is dft else 0)
            a = exact + level * np.linalg.norm(exact) / np.linalg.norm(e) * e
            op = bitterfly.factorize(a)
            error = true_error(a, op)
            row = {"matrix": kind.__name__, "n": n, "noise": level, "error / noise": error / level}
            rows.append(row | {"reported / true": f"{op.relative_error / error:.5f}"})
    return rows


def main() -> None:
    options = timing.options(__doc__)
    quick = options.quick
    timing.write(
        "factorize",
        {
            "time": speed([256, 1024] if quick else [256, 512, 1024, 2048, 4096], 3 if quick else 7),
            "memory": memory(1024 if quick else 4096),
            "exact transforms": errors([2**p for p in range(1, 11 if quick else 13)]),
            "noise": noise(256 if quick else 1024),
        },
        options.output,
    )


if __name__ == "__main__":
    main()
