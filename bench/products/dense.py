"""Products of a dense matrix in window codes against float32 BLAS: one thread, all in turn.

`python -m bench.products.dense [--quick]`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import timing
from bitterfly import _core

N = 4096
BITS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
PARTS = (1, 2, 3)
TOGETHER = 8
# Relative error of a product of Gaussian numbers by digits of x.
ERRORS = {1: 1.5e-2, 2: 6e-5, 3: 3e-7}


def random_core(rng: np.random.Generator, code: str, bits: float) -> _core.DenseCore:
    """Any bytes are codes: how long a product takes does not depend on them."""
    half_bits = int(2 * bits)
    tiles = rng.integers(256, size=N * N * half_bits // 16 + 64, dtype=np.uint8)
    table = rng.integers(-63, 64, 128, dtype=np.int8)
    masks = rng.integers(128, size=16, dtype=np.uint8) if code == "window11" else None
    piece = _core.DensePiece(code, half_bits, tiles, 1.0, table, masks)
    return _core.dense((N, N), [piece], np.ones(N, np.float16).view(np.uint16), 0)


def product(core: _core.DenseCore, x: np.ndarray, transposed: bool, parts: int) -> Callable[[], np.ndarray]:
    out = np.empty_like(x)

    def run() -> np.ndarray:
        core.apply(x, out, transposed, parts)
        return out

    return run


def check(core: _core.DenseCore, x: np.ndarray) -> None:
    """All digits and both directions against the most accurate product of the same matrix."""
    wide = x.astype(np.float64)
    y, z = (product(core, wide, transposed, 3)() for transposed in (False, True))
    assert abs(y @ wide - wide @ z) <= 1e-5 * np.linalg.norm(y) * np.linalg.norm(wide)
    for parts in PARTS:
        for transposed, expected in ((False, y), (True, z)):
            error = np.linalg.norm(product(core, x, transposed, parts)() - expected)
            assert error <= ERRORS[parts] * np.linalg.norm(expected), (parts, transposed)


def row_of(code: str, bits: float, rounds: int) -> dict[str, Any]:
    """Times of one vector (of eight together: of each) as ratios to those of BLAS."""
    rng = np.random.default_rng(int(2 * bits))
    core = random_core(rng, code, bits)
    a = rng.standard_normal((N, N)).astype(np.float32)
    x = rng.standard_normal(N).astype(np.float32)
    many = np.asfortranarray(rng.standard_normal((N, TOGETHER)).astype(np.float32))
    check(core, x)
    contenders: dict[str, Callable[[], Any]] = {"BLAS": lambda: a @ x, "BLAS 8": lambda: a @ many}
    for parts in PARTS:
        contenders[f"{parts}"] = product(core, x, False, parts)
        contenders[f"{parts} transposed"] = product(core, x, True, parts)
    contenders["8 vectors"] = product(core, many, False, 2)
    contenders["8 vectors transposed"] = product(core, many, True, 2)
    seconds = timing.interleaved(contenders, rounds, budget=0.005)
    row: dict[str, Any] = {"code": code, "bits": bits, "BLAS us": 1e6 * seconds["BLAS"]}
    row |= {f"{parts} parts us": 1e6 * seconds[f"{parts}"] for parts in PARTS}
    row |= {f"BLAS / {parts} parts": seconds["BLAS"] / seconds[f"{parts}"] for parts in PARTS}
    row |= {f"transposed / forward, {p}": seconds[f"{p} transposed"] / seconds[f"{p}"] for p in PARTS}
    row["8 vectors, each us"] = 1e6 * seconds["8 vectors"] / TOGETHER
    row["BLAS 8 / 8 vectors"] = seconds["BLAS 8"] / seconds["8 vectors"]
    row["transposed / forward, 8 vectors"] = seconds["8 vectors transposed"] / seconds["8 vectors"]
    return row


def main() -> None:
    quick = "--quick" in sys.argv
    bits, rounds = ((2.0, 4.0), 5) if quick else (BITS, 11)
    with timing.one_thread():
        rows = [row_of(code, b, rounds) for code in ("window7", "window11") for b in bits]
        timing.write("dense", {f"dense, {_core.active_isa()}": rows})


if __name__ == "__main__":
    main()
