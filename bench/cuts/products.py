"""Products of signed cuts against float32 BLAS and the published loop over cuts: one thread, all in turn.

`python -m bench.cuts.products [--quick]`; the published loop needs a C compiler and AVX-512.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import timing
from bitterfly import SignedCut, _core

SIZES = (1024, 4096)
BITS = (0.5, 1.0, 2.0)
ERROR = 3e-7


def published(op: SignedCut, x: np.ndarray) -> Callable[[], np.ndarray] | None:
    """The product by the published loop, compiled anew."""
    if _core.available_isas()[0] != "avx512":
        return None
    (left, right), c, y = op.bits, op.coefficients.astype(np.float32), np.empty(op.shape[0], np.float32)
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder) / "published.so")
        source = str(Path(__file__).with_name("published.c"))
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library], check=True)
        loop = ctypes.CDLL(library).published_cuts
    sizes = [ctypes.c_size_t(size) for size in (op.width, *op.shape)]
    addresses = [ctypes.c_void_p(each.ctypes.data) for each in (c, left, right, x, y)]

    def run() -> np.ndarray:
        loop(*addresses[:3], *sizes, *addresses[3:])
        return y

    run.kept = c, left, right, x  # type: ignore[attr-defined]
    return run


def row_of(n: int, bits: float, rounds: int) -> dict[str, Any]:
    """Times of one vector as ratios to those of BLAS."""
    rng = np.random.default_rng(n)
    width = int(bits * n * n / (2 * n + 32))
    signs = [rng.integers(256, size=(width, n // 8), dtype=np.uint8) for _ in range(2)]
    op = SignedCut.from_bits((n, n), rng.standard_normal(width).astype(np.float32), *signs)
    a, x = rng.standard_normal((n, n)).astype(np.float32), rng.standard_normal(n).astype(np.float32)
    many = np.asfortranarray(rng.standard_normal((n, 8)).astype(np.float32))
    expected = op.astype(np.float64) @ x.astype(np.float64)
    adjoint = op.H
    contenders: dict[str, Callable[[], Any]] = {"BLAS": lambda: a @ x, "forward": lambda: op @ x}
    contenders["adjoint"] = lambda: adjoint @ x
    contenders["8 vectors"] = lambda: op @ many
    loop = published(op, x)
    if loop is not None:
        contenders["published"] = loop
        assert np.linalg.norm(loop() - expected) <= 1e-5 * np.linalg.norm(expected)
    assert np.linalg.norm(op @ x - expected) <= ERROR * np.linalg.norm(expected)
    seconds = timing.interleaved(contenders, rounds, budget=0.02)
    row: dict[str, Any] = {"n": n, "bits": bits, "cuts": width, "BLAS us": 1e6 * seconds["BLAS"]}
    row |= {f"{name} us": 1e6 * seconds[name] for name in contenders if name not in ("BLAS", "8 vectors")}
    row["8 vectors, each us"] = 1e6 * seconds["8 vectors"] / 8
    row |= {f"BLAS / {name}": seconds["BLAS"] / seconds[name] for name in ("forward", "adjoint")}
    if loop is not None:
        row["published / forward"] = seconds["published"] / seconds["forward"]
    return row


def main() -> None:
    sizes, bits, rounds = ((4096,), (1.0,), 7) if "--quick" in sys.argv else (SIZES, BITS, 15)
    with timing.one_thread():
        rows = [row_of(n, each, rounds) for n in sizes for each in bits]
        timing.write("cuts", {f"signed cuts, {_core.active_isa()}": rows})


if __name__ == "__main__":
    main()
