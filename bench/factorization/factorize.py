"""Factorize: time against lazylinop's ksd, memory, errors of transforms. `python -m bench.factorization.factorize`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg

import bitterfly
from bench import peers, timing
from bitterfly.ordering import bit_reversal


def hadamard(n: int, dtype: Any) -> np.ndarray:
    return scipy.linalg.hadamard(n).astype(dtype)


def dft(n: int, dtype: Any) -> np.ndarray:
    k = np.arange(n)
    return np.exp(-2j * np.pi * (np.outer(k, k) % n) / n).astype(dtype)


def true_error(a: np.ndarray, op: bitterfly.ButterflyOperator) -> float:
    """Relative error of the factors, multiplied out in double precision, panel by panel."""
    wide = op.astype(np.result_type(op.dtype, np.float64))
    squares = 0.0
    for first in range(0, a.shape[1], 256):
        panel = np.zeros((a.shape[1], min(256, a.shape[1])), wide.dtype)
        panel[first + np.arange(panel.shape[1]), np.arange(panel.shape[1])] = 1
        squares += float(np.sum(np.abs(wide.apply(panel) - a[:, first : first + 256]) ** 2))
    return float(np.sqrt(squares) / np.linalg.norm(a.astype(wide.dtype)))


MATRICES = ((hadamard, np.float32), (dft, np.complex64))


def copy_twice(a: np.ndarray, target: np.ndarray) -> None:
    for _ in range(2):
        np.copyto(target, a)


def speed(sizes: list[int], rounds: int, matrices: Sequence[tuple[Any, Any]] = MATRICES) -> list[dict[str, Any]]:
    """Time against two copies of the matrix into memory that is there, and lazylinop's ksd."""
    rows = []
    modules = peers.lazylinop()
    for kind, dtype in matrices:
        for n in sizes:
            a = kind(n, dtype)
            order = None if kind is hadamard else bit_reversal(n)
            shuffled = a if order is None else np.ascontiguousarray(a[:, order])
            assert true_error(a, bitterfly.factorize(a)) <= 1e-6
            target = np.ones_like(a)
            contenders = {
                "bitterfly": lambda a=a: bitterfly.factorize(a, workers=1),
                "two copies": lambda a=a, target=target: copy_twice(a, target),
            }
            if modules:
                butterfly = modules[0]
                chain = butterfly.Chain.square_dyadic(a.shape)
                contenders["lazylinop ksd"] = lambda s=shuffled, c=chain, b=butterfly: b.ksd(s, c)
            seconds = timing.interleaved(contenders, rounds, budget=0)
            row = {"matrix": kind.__name__, "n": n, "dtype": np.dtype(dtype).name}
            row |= {f"{name} ms": 1e3 * value for name, value in seconds.items()}
            row["bitterfly / two copies"] = seconds["bitterfly"] / seconds["two copies"]
            if modules:
                row["ksd / bitterfly"] = seconds["lazylinop ksd"] / seconds["bitterfly"]
            rows.append(row)
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
    for kind in (hadamard, dft):
        for single in (False, True):
            dtype = ("complex64" if single else "complex128") if kind is dft else ("float32" if single else "float64")
            ops = [(a, bitterfly.factorize(a)) for a in (kind(n, dtype) for n in sizes)]
            found = [(true_error(a, op), op.relative_error) for a, op in ops]
            worst = max(error for error, _ in found)
            safe = all(error <= reported for error, reported in found)
            rows.append(
                {
                    "matrix": kind.__name__,
                    "dtype": dtype,
                    "n": f"2..{sizes[-1]}",
                    "worst error": worst,
                    "never below": safe,
                }
            )
    return rows


def noise(n: int) -> list[dict[str, Any]]:
    rows = []
    for kind, dtype in ((hadamard, np.float64), (dft, np.complex128)):
        exact = kind(n, dtype)
        rng = np.random.default_rng(0)
        for level in (1e-10, 1e-6, 1e-2, 1e-1):
            e = rng.standard_normal(exact.shape) + (1j * rng.standard_normal(exact.shape) if kind is dft else 0)
            a = exact + level * np.linalg.norm(exact) / np.linalg.norm(e) * e
            op = bitterfly.factorize(a)
            error = true_error(a, op)
            rows.append(
                {
                    "matrix": kind.__name__,
                    "n": n,
                    "noise": level,
                    "error": error,
                    "reported / true": op.relative_error / error,
                }
            )
    return rows


def main() -> None:
    quick = "--quick" in sys.argv
    sizes = [256, 1024] if quick else [256, 1024, 4096]
    timing.write(
        "factorize",
        {
            "time": speed(sizes, 3 if quick else 7),
            "memory": memory(1024 if quick else 4096),
            "exact transforms": errors([2**p for p in range(1, 11 if quick else 13)]),
            "noise": noise(256 if quick else 1024),
        },
    )


if __name__ == "__main__":
    main()
