"""What this machine can do at most, on one core: bytes per second of each cache and of memory, sums, multiply-adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from bench import machine
from bitterfly import _core

FILLED = (0.4, 0.6, 0.8)  # shares of a cache that the measurements fill: arrays may lie badly at one of them
MEMORY_BYTES = 256 << 20
BYTES_PER_ROUND = 64 << 20
ROUNDS = 7
BLAS_SIZE = 1024


class Level(NamedTuple):
    """A cache, or memory."""

    name: str
    size: float
    bytes_per_second: float


class Ceilings(NamedTuple):
    """Bytes and operations per second, on one core."""

    levels: tuple[Level, ...]
    adds: float
    multiply_adds: float
    sgemm: float

    def level_of(self, size: float) -> Level:
        """Return the smallest level that holds so many bytes."""
        return next(level for level in self.levels if size <= level.size)


def best_seconds(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def bandwidth(size: int) -> float:
    """Bytes per second of arrays of `size` bytes: the faster of y = -x (read and written) and <x, y> (read).

    The rows of a matrix whose rows are all the same array, so that NumPy goes over it many times in one call.
    """
    numbers = size // 8 // 16 * 16  # of each of two arrays of float32
    repeats = max(BYTES_PER_ROUND // (8 * numbers), 1)
    arrays = [_core.aligned_empty([numbers], np.dtype(np.float32)) for _ in range(2)]
    for array in arrays:
        array[...] = 1
    x, y = (np.lib.stride_tricks.as_strided(a, (repeats, numbers), (0, a.itemsize)) for a in arrays)
    dots = np.empty(repeats, np.float32)
    seconds = min(best_seconds(lambda: np.negative(x, out=y)), best_seconds(lambda: np.vecdot(x, y, out=dots)))
    return 8 * numbers * repeats / seconds


@cache
def measured() -> Ceilings:
    """Measure on the calling thread, which should be pinned, BLAS with one thread.

    Multiply-adds are taken to be as many as the sums of registers that the core reaches: both have two pipes of the
    same width, so that a block-vector of 16 blocks, 4 multiply-adds, takes 2 cycles. `sgemm` is what BLAS reaches.
    """
    caches = machine.caches()
    levels = [Level(name, size, max(bandwidth(int(size * f)) for f in FILLED)) for name, size in caches.items()]
    levels.append(Level("memory", float("inf"), bandwidth(MEMORY_BYTES)))
    adds = max(_core.add_peak(20_000) for _ in range(ROUNDS))
    a = np.ones((BLAS_SIZE, BLAS_SIZE), np.float32)
    return Ceilings(tuple(levels), adds, adds, BLAS_SIZE**3 / best_seconds(lambda: a @ a))


def rows() -> list[dict[str, Any]]:
    found = measured()
    sizes = [f", {machine.size_text(at.size)}" if at.size < np.inf else "" for at in found.levels]
    names = [at.name + size for at, size in zip(found.levels, sizes, strict=True)]
    out = {name: f"{at.bytes_per_second / 1e9:.3g} GB/s" for name, at in zip(names, found.levels, strict=True)}
    out |= {"float32 sums of registers": f"{found.adds / 1e9:.3g} G/s"}
    out |= {"float32 multiply-adds in BLAS (sgemm)": f"{found.sgemm / 1e9:.3g} G/s"}
    return [{"ceiling": name, "measured": value} for name, value in out.items()]
