"""Integer codes of general chains at equal error: uniform lattices, skeletons, allocated bits. `-m bench.general`."""

from __future__ import annotations

from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bitterfly import gallery
from bitterfly.recode import change_of


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


def bytes_at(points: list[tuple[float, float]], error: float) -> float:
    """Bytes at an error, between the widths: its logarithm falls linearly with the bytes."""
    sizes, errors = (np.array(x) for x in zip(*sorted(points, key=lambda p: p[1]), strict=True))
    return float(np.interp(np.log(error), np.log(errors), sizes))


def measured(name: str, n: int, rtol: float) -> dict[str, Any]:
    kernel = gallery.KERNELS[name](n)
    op = bitterfly.factorize(kernel.todense(), rtol=rtol).astype(np.complex64)
    lattice, skeleton = curve(op, "lattice"), curve(op, "skeleton")
    sizes = [size for size, error in skeleton if rtol / 8 < error < 8 * rtol]
    own = allocated(op, "skeleton", sizes)
    base = bytes_at(lattice, rtol)
    row = {"kernel": name, "n": n, "error": rtol, "ranks": "-".join(map(str, op.chain.ranks)), "lattice bytes": base}
    row |= {"skeleton / lattice": bytes_at(skeleton, rtol) / base, "allocated / lattice": bytes_at(own, rtol) / base}
    print(row, flush=True)
    return row


def main() -> None:
    cases = [("nonuniform_dft", 1024, 1e-2), ("nonuniform_dft", 1024, 1e-3), ("nonuniform_dft", 1024, 1e-4)]
    cases += [("fourier_integral", 4096, 1e-2), ("fourier_integral", 4096, 1e-3)]
    timing.write("general", {"codes of general chains": [measured(*case) for case in cases]})


if __name__ == "__main__":
    main()
