"""One and two threads: products, factorize, quantize; factorize against copies. `python -m bench.products.workers`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bitterfly import Chain, gallery, transforms
from bitterfly.workers import available_cores

COUNTS = (1, 2)


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal, bit by bit."""
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    words = "words" if isinstance(a, bitterfly.PackedButterfly) else "factors"
    return all(map(np.array_equal, getattr(a, words), getattr(b, words))) and a.relative_error == b.relative_error


def row(what: str, call: Callable[[int], Any], rounds: int) -> dict[str, Any]:
    """Times on one thread and on two; the results are compared first."""
    if not same(call(1), call(2)):
        raise AssertionError(f"{what}: results depend on the number of threads")
    seconds = timing.interleaved({str(w): lambda w=w: call(w) for w in COUNTS}, rounds)  # type: ignore[misc]
    return {"what": what, **{f"{w} ms": 1e3 * seconds[str(w)] for w in COUNTS}, "ratio": seconds["1"] / seconds["2"]}


def butterfly_chain(n: int) -> bitterfly.PackedButterfly:
    """Return a chain of rank 8 in 8-bit skeleton codes, as those of a non-uniform Fourier transform."""
    rng = np.random.default_rng(0)
    chain = Chain.butterfly((n, n), rank=8, leaf=32, groups=8)
    factors = [(rng.standard_normal(p) + 1j * rng.standard_normal(p)).astype(np.complex64) for p in chain]
    return bitterfly.quantize(bitterfly.ButterflyOperator(factors), bits=8)


def products(big: int, small: int, rounds: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    vector, block = rng.standard_normal(big, np.float32), rng.standard_normal((small, 64), np.float32)
    ops = {n: bitterfly.quantize(transforms.random(n, rng=rng, dtype=np.float32), bits=4) for n in (big, small)}
    general = butterfly_chain(small)
    x = block.astype(np.complex64)
    return [
        row(f"product, one vector, n = {big}, 4 bits", lambda w: ops[big].apply(vector, workers=w), rounds),
        row(f"product, 64 vectors, n = {small}, 4 bits", lambda w: ops[small].apply(block, workers=w), rounds),
        row(f"product, one vector, n = {small}, rank 8", lambda w: general.apply(x[:, 0], workers=w), rounds),
        row(f"product, 16 vectors, n = {small}, rank 8", lambda w: general.apply(x[:, :16], workers=w), rounds),
        row(f"product, 64 vectors, n = {small}, rank 8", lambda w: general.apply(x, workers=w), rounds),
    ]


def factorized(n: int, rounds: int) -> list[dict[str, Any]]:
    """Factorize against copying the input twice, and against reading it once."""
    rows = []
    for dtype in (np.float32, np.complex64):
        a = np.random.default_rng(0).standard_normal((n, n), np.float32).astype(dtype)
        target = np.empty_like(a)
        name = f"factorize, n = {n}, {np.dtype(dtype)}"
        found = row(name, lambda w, a=a: bitterfly.factorize(a, permute=None, workers=w), rounds)
        others = {"copy": lambda a=a, t=target: np.copyto(t, a), "sum": lambda a=a: a.sum()}
        seconds = timing.interleaved(others, rounds)
        found |= {"copy twice ms": 2e3 * seconds["copy"], "sum ms": 1e3 * seconds["sum"]}
        rows.append(found)
    return rows


def quantized(big: int, small: int, rounds: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    dyadic = transforms.random(big, rng=rng, dtype=np.float32)
    short = transforms.random(small // 16, rng=rng, dtype=complex)
    general = bitterfly.factorize(gallery.nonuniform_dft(small), rtol=1e-3)
    return [
        row(f"quantize, 4 bits, n = {big}", lambda w: bitterfly.quantize(dyadic, bits=4, workers=w), rounds),
        row(
            f"quantize, significands of 6 bits, n = {small // 16}, complex",
            lambda w: bitterfly.quantize(short, code="float", significand=6, workers=w),
            rounds,
        ),
        row(
            f"quantize, skeletons of 8 bits, n = {small}",
            lambda w: bitterfly.quantize(general, bits=8, workers=w),
            rounds,
        ),
        row(
            f"quantize, lattices of 8 bits, n = {small}",
            lambda w: bitterfly.quantize(general, bits=8, code="lattice", workers=w),
            rounds,
        ),
    ]


def rows(quick: bool, rounds: int) -> list[dict[str, Any]]:
    """Products, factorize and quantize; nothing where this process has one core."""
    if available_cores() < COUNTS[-1]:
        return []
    found = products(1 << 16 if quick else 1 << 20, 4096, rounds)
    for n in (1024,) if quick else (4096, 8192):
        found += factorized(n, rounds)
    return found + quantized(1 << 14 if quick else 1 << 18, 1024 if quick else 4096, rounds)


def main() -> None:
    quick = "--quick" in sys.argv
    timing.write("workers", {"threads": rows(quick, 3 if quick else 7)})


if __name__ == "__main__":
    main()
