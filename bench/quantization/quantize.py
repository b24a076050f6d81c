"""Error laws, exactness, bytes, lazylinop.

`python -m bench.quantization.quantize [bytes | curves | lists | published]`
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import bitterfly
from bench import peers, timing
from bench.quantization import curves, lists, published
from bitterfly import transforms

# Published, real Gaussian factors, n = 256, left to right, significand of 4 bits (Gribonval, Mary, Riccietti 2023).
PUBLISHED_T4 = 1.6e-2
# Left to right: dtype, n, bits of the significand, error.
PUBLISHED_ERRORS = [
    *[(dtype, 256, 4, 1.6e-2) for dtype in ("float32", "float64")],
    *[(dtype, 256, 4, 9.47e-3) for dtype in ("complex64", "complex128")],
    *[(dtype, 256, 7, 6.05e-4) for dtype in ("complex64", "complex128")],
    *[(dtype, 1024, 4, 9.5e-3) for dtype in ("complex64", "complex128")],
]


def laws(draws: int) -> list[dict[str, Any]]:
    rows = []
    for dtype, constant in (("float64", 0.907), ("complex128", 1.0)):
        for n in (64, 256, 1024):
            for bits in range(2, 9):
                rng = np.random.default_rng(1000 * n + bits)
                errors, ratios = [], []
                for _ in range(draws):
                    op = transforms.random(n, rng=rng, dtype=dtype)
                    packed = bitterfly.quantize(op, bits=bits)
                    errors.append(true_error(op, packed))
                    ratios.append(packed.relative_error / errors[-1])
                rms = float(np.sqrt(np.mean(np.square(errors))))
                law = constant * np.sqrt(np.log2(n)) / 4.0**bits
                rows.append(
                    {
                        "dtype": dtype,
                        "n": n,
                        "bits": bits,
                        "rms error": rms,
                        "over law": rms / law,
                        "ledger / true": max(ratios, key=lambda r: abs(r - 1)),
                    }
                )
    return rows


def true_error(op: bitterfly.ButterflyOperator, packed: bitterfly.PackedButterfly) -> float:
    a = op.todense()
    return float(np.linalg.norm(packed.todense() - a) / np.linalg.norm(a))


def exact() -> list[dict[str, Any]]:
    rows = []
    for p in (4, 8, 12):
        for name, op, bits in (
            ("hadamard", transforms.hadamard(2**p), 1.0),
            ("dft", transforms.dft(2**p), p / 4),
        ):
            packed = bitterfly.quantize(op, bits=bits)
            rows.append(
                {"matrix": name, "n": 2**p, "bits": bits, "true error": true_error(op, packed), "bytes": packed.nbytes}
            )
    return rows


def against_lazylinop(rounds: int) -> list[dict[str, Any]]:
    n = 1024
    op = transforms.random(n, rng=np.random.default_rng(0), dtype=np.float32)
    packed = bitterfly.quantize(op, bits=4)
    contenders = {"bitterfly": lambda: bitterfly.quantize(op, bits=4, workers=1)}
    rows = [
        {
            "what": "bitterfly, 4 bits",
            "n": n,
            "error": true_error(op, packed),
            "bytes": packed.nbytes,
            "bits per stored number": packed.bits_per_number,
        }
    ]
    rows.append({"what": "published, t = 4, left to right, n = 256 (flat in n)", "error": PUBLISHED_T4})
    modules = peers.lazylinop()
    if modules:
        factors = [f.astype(np.float32) for f in op.factors]
        result: list[Any] = []
        contenders["lazylinop"] = lambda: result.append(modules[1].qbutterfly(factors, np.float16, order="l2r"))
        seconds = timing.interleaved(contenders, rounds, budget=0)
        quantized = [np.asarray(v) for v in result[-1][0]]
        values = [v.astype(np.float64) for v in quantized]
        a = op.astype(np.float64).todense()
        error = np.linalg.norm(bitterfly.ButterflyOperator(values).todense() - a) / np.linalg.norm(a)
        nbytes = sum(v.nbytes for v in quantized)
        rows.append(
            {
                "what": "lazylinop qbutterfly, float16",
                "n": n,
                "error": float(error),
                "bytes": nbytes,
                "bits per stored number": 8 * nbytes / (2 * n * 10),
            }
        )
        rows[0]["ms"], rows[-1]["ms"] = 1e3 * seconds["bitterfly"], 1e3 * seconds["lazylinop"]
        rows[-1]["ratio of times"] = seconds["lazylinop"] / seconds["bitterfly"]
    return rows


def bytes_at_published_errors() -> list[dict[str, Any]]:
    """Bytes at the errors of the published left to right, over those of its factors in t + 3 bits a number."""
    rows = []
    for dtype, n, t, error in PUBLISHED_ERRORS:
        op = transforms.random(n, rng=0, dtype=dtype)
        baseline = (t + 3) * sum(f.size for f in op.factors) * (2 if op.dtype.kind == "c" else 1) / 8
        packed = bitterfly.quantize(op, rtol=error)
        row = {"dtype": dtype, "n": n, "t": t, "error": error, "bytes": packed.nbytes}
        row["scale bits"] = packed.scale_code.bits if packed.scale_code else 8 * packed.scale.real.itemsize
        rows.append(row | {"published bytes": baseline, "ratio": packed.nbytes / baseline})
    return rows


def main() -> None:
    if "bytes" in sys.argv:
        return timing.write("quantize-bytes", {"bytes at published errors": bytes_at_published_errors()})
    if "curves" in sys.argv:
        return curves.main("--quick" in sys.argv)
    if "lists" in sys.argv:
        return lists.main()
    if "published" in sys.argv:
        return published.main()
    quick = "--quick" in sys.argv
    timing.write(
        "quantize",
        {
            "against lazylinop": against_lazylinop(2 if quick else 3),
            "exact": exact(),
            "error laws": laws(5 if quick else 50),
        },
    )
    return None


if __name__ == "__main__":
    main()
