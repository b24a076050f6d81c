"""Integer codes of general chains at equal error: lattices, skeletons, allocated bits.

`python -m bench.quantization.general [columns]`
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bench.quantization import columns
from bench.quantization.points import bytes_at
from bitterfly import gallery
from bitterfly.accuracy.change import change_of

SHARES = (0.75, 0.85, 0.95, 1.05)  # of the bytes of uniform codes, in which bits are allocated


def curve(op: bitterfly.ButterflyOperator, code: str) -> list[tuple[float, float]]:
    """Bytes and change of the operator at every width, the change falling."""
    points: list[tuple[float, float]] = []
    for bits in range(2, 17):
        packed = bitterfly.quantize(op, bits=bits, code=code)
        change, _ = change_of(op, packed, np.random.default_rng(1))
        if not points or change < points[-1][1]:
            points.append((packed.nbytes, change))
    return points


def allocated(op: bitterfly.ButterflyOperator, code: str, sizes: list[float]) -> list[tuple[float, float]]:
    """The same in given bytes, each factor having bits of its own."""
    points = []
    for size in sizes:
        packed = bitterfly.quantize(op, nbytes=int(size), code=code)
        points.append((float(packed.nbytes), change_of(op, packed, np.random.default_rng(1))[0]))
    return points


def measured(kernel: gallery.Kernel, name: str, rtol: float) -> dict[str, Any]:
    """Bytes at a change of `rtol`, in units of those of uniform lattice codes."""
    op = bitterfly.factorize(kernel.todense(), rtol=rtol).astype(np.complex64)
    uniform = {code: curve(op, code) for code in ("lattice", "skeleton")}
    base = bytes_at(uniform["lattice"], rtol)
    row = {"kernel": name, "n": op.shape[0], "error": rtol, "ranks": "-".join(map(str, op.chain.ranks))}
    row |= {"lattice bytes": base, "skeleton / lattice": bytes_at(uniform["skeleton"], rtol) / base}
    for code, points in uniform.items():
        middle = bytes_at(points, rtol)
        if np.isnan(middle):  # 16 bits are not enough
            continue
        own = allocated(op, code, [middle * share for share in SHARES])
        row[f"allocated {code} / uniform {code}"] = bytes_at(own, rtol) / middle
        row[f"allocated {code} / lattice"] = bytes_at(own, rtol) / base
    return row


def main() -> None:
    if "columns" in sys.argv:
        return timing.write("general-columns", {"bits of columns": columns.rows()})
    rows = []
    for name, n, errors in (
        ("nonuniform_dft", 1024, (1e-2, 1e-3, 1e-4)),
        ("fourier_integral", 4096, (1e-2, 1e-3, 1e-4)),
    ):
        kernel = gallery.KERNELS[name](n)
        rows += [measured(kernel, name, error) for error in errors]
    timing.write("general", {"codes of general chains": rows})
    return None


if __name__ == "__main__":
    main()
