"""Quantize: error laws, exactness, time and bytes against lazylinop's qbutterfly. `python -m bench.quantize`."""

from __future__ import annotations

from typing import Any

import numpy as np

import bitterfly
from bench import peers, timing
from bitterfly import transforms

# Published, real Gaussian factors, n = 256, left to right, significand of 4 bits (Gribonval, Mary, Riccietti 2023).
PUBLISHED_T4 = 1.6e-2
LAWS = {"float32": 0.907, "float64": 0.907, "complex64": 1.0, "complex128": 1.0}
BITS = range(2, 9)


def dense(op: Any) -> np.ndarray:
    """The matrix in double precision."""
    return op.astype(np.result_type(op.dtype, np.float64)).todense()


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def draw(n: int, dtype: str, rng: np.random.Generator) -> list[tuple[float, float]]:
    """(true error, reported error) of one Gaussian operator at each of BITS."""
    op = transforms.random(n, rng=rng, dtype=dtype)
    a = dense(op)
    packed = [bitterfly.quantize(op, bits=bits) for bits in BITS]
    return [(relative(dense(p), a), p.relative_error) for p in packed]


def laws_of(n: int, dtype: str, draws: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(n)
    found = np.array([draw(n, dtype, rng) for _ in range(draws)])
    true, reported = found[..., 0], found[..., 1]
    rms = np.sqrt(np.mean(true**2, axis=0))
    rows = []
    for i, bits in enumerate(BITS):
        law = LAWS[dtype] * np.sqrt(np.log2(n)) / 4.0**bits
        ratios = reported[:, i] / true[:, i]
        rows.append(
            {
                "dtype": dtype,
                "n": n,
                "bits": bits,
                "draws": draws,
                "rms true error": float(rms[i]),
                "over law": float(rms[i] / law),
                "reported / true, least": f"{ratios.min():.5f}",
                "most": f"{ratios.max():.5f}",
            }
        )
    return rows


def exact(largest: int) -> list[dict[str, Any]]:
    rows = []
    for p in range(1, largest + 1):
        for name, op, bits in (
            ("hadamard", transforms.hadamard(2**p), 1.0),
            ("dft", transforms.dft(2**p), p / 4),
        ):
            packed = bitterfly.quantize(op, bits=bits)
            error = relative(packed.todense(), op.todense())
            row = {"matrix": name, "n": 2**p, "bits": bits, "true error": error, "bytes": packed.nbytes}
            rows.append(row | {"bits per factor entry": packed.bits_per_factor_entry})
    return rows


def against_lazylinop(rounds: int, n: int = 1024) -> list[dict[str, Any]]:
    op = transforms.random(n, rng=np.random.default_rng(0), dtype=np.float32)
    a, packed = dense(op), bitterfly.quantize(op, bits=4)
    error = relative(dense(packed), a)
    assert error < PUBLISHED_T4
    ours = _row("bitterfly, 4 bits", n, error, packed.nbytes)
    rows = [ours, {"what": "published, t = 4, left to right, n = 256 (flat in n)", "error": PUBLISHED_T4}]
    contenders: timing.Contenders = {"bitterfly": lambda: bitterfly.quantize(op, bits=4)}
    modules = peers.lazylinop()
    if modules:
        factors = [np.ascontiguousarray(f) for f in op.factors]
        contenders["lazylinop"] = lambda: modules[1].qbutterfly(factors, np.float16, order="l2r")
        values = contenders["lazylinop"]()[0]
        wide = bitterfly.ButterflyOperator([np.asarray(v, np.float64) for v in values])
        theirs = _row("lazylinop qbutterfly l2r, float16", n, relative(dense(wide), a), sum(v.nbytes for v in values))
        assert theirs["error"] < 1e-3
        rows.append(theirs)
    samples = timing.interleaved(contenders, rounds, budget=0)
    times = timing.medians(samples, "ms")
    ours["ms"] = times["bitterfly ms"]
    if modules:
        theirs |= {"ms": times["lazylinop ms"], "ratio of times": timing.ratio(samples, "lazylinop", "bitterfly")}
    return rows


def _row(what: str, n: int, error: float, nbytes: int) -> dict[str, Any]:
    entries = 2 * n * int(np.log2(n))
    return {"what": what, "n": n, "error": error, "bytes": nbytes, "bits per factor entry": 8 * nbytes / entries}


def main() -> None:
    options = timing.options(__doc__)
    sizes, draws = ((64, 256), 5) if options.quick else ((64, 256, 1024), 50)
    timing.write(
        "quantize",
        {
            "against lazylinop": against_lazylinop(1 if options.quick else 3),
            "exact": exact(8 if options.quick else 12),
            "error laws": [row for dtype in LAWS for n in sizes for row in laws_of(n, dtype, draws)],
        },
        options.output,
    )


if __name__ == "__main__":
    main()
