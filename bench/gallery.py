"""All kernels of the gallery at three tolerances, middle ranks, pictures for the documentation. `-m bench.gallery`."""

from __future__ import annotations

import sys
import time
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

import bitterfly
from bench import timing
from bitterfly import Chain, gallery, plots

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
TOLERANCES = (1e-2, 1e-4, 1e-8)
# Smallest uniform rank of contiguous 32 x 32 blocks at n = 1024 (rows reversed in a chain), total error at most 1e-2,
# 1e-4, 1e-8: measured with full SVDs.
REFERENCE_RANKS = {
    "nonuniform_dft": (4, 6, 9),
    "fourier_integral": (4, 6, 10),
    "hankel": (3, 5, 8),
    "bessel_j0": (5, 8, 13),
    "legendre": (6, 8, 14),
    "helmholtz_plates": (6, 12, 25),
}


def table(n: int) -> list[dict[str, Any]]:
    rows = []
    for name, make in gallery.KERNELS.items():
        a = make(n).todense()
        norm = np.linalg.norm(a)
        for rtol in TOLERANCES:
            row: dict[str, Any] = {"kernel": name, "n": n, "rtol": rtol}
            start = time.perf_counter()
            try:
                op = bitterfly.factorize(a, rtol=rtol)
            except ValueError as error:
                rows.append(row | {"refused": str(error)[:70]})
                continue
            row["seconds"] = time.perf_counter() - start
            true = float(np.linalg.norm(op.todense() - a) / norm)
            row |= {"true error": true, "ledger / true": op.relative_error / true if true > 1e-12 else "rounding"}
            row |= {"ranks": "-".join(map(str, op.chain.ranks)), "share of entries": op.chain.nnz / n**2}
            rows.append(row)
            print(row, flush=True)
    return rows


def middle_ranks(n: int = 1024) -> list[dict[str, Any]]:
    """The rank at 32 x 32 blocks, of chains that split there, at most what blocks allow, in the bit-reversed order."""
    sizes = [16 << at for at in range((n // 16).bit_length() - 1)]
    chain = Chain.butterfly((n, n), rank=[min(b, n // b) for b in sizes], leaf=16, groups=16)
    rows = []
    for name, reference in REFERENCE_RANKS.items():
        kernel = gallery.helmholtz_plates(n, wavelengths=16) if name == "helmholtz_plates" else gallery.KERNELS[name](n)
        a = kernel.todense()
        for rtol, rank in zip(TOLERANCES, reference, strict=True):
            op = bitterfly.factorize(a, chain, rtol=rtol, permute=("bit_reversal", None))
            found = op.chain.ranks[sizes.index(32)]
            limit = ceil(1.25 * rank) + 1
            rows.append({"kernel": name, "rtol": rtol, "middle rank": found, "reference": rank, "limit": limit})
            rows[-1]["within"] = found <= limit
            print(rows[-1], flush=True)
    return rows


def packed(n: int) -> list[dict[str, Any]]:
    rows = []
    for name, make in gallery.KERNELS.items():
        a = make(n).todense()
        a = a.astype("c8" if a.dtype.kind == "c" else "f4")
        try:
            op = bitterfly.compress(a, rtol=1e-2)
        except ValueError as error:
            rows.append({"kernel": name, "n": n, "refused": str(error)[:70]})
            continue
        share = op.nbytes / a.nbytes
        svd = min((e for size, e in plots.truncated_svd(a) if size <= op.nbytes), default=1.0)
        dense = min((e for size, e in plots.dense_codes(a) if size <= op.nbytes), default="too few bytes")
        rows.append({"kernel": name, "n": n, "error": op.relative_error, "share of bytes": share, "SVD": svd})
        rows[-1] |= {"dense codes": dense, "seconds": sum(op.report.seconds.values())}
        print(rows[-1], flush=True)
    return rows


def pictures(n: int) -> None:
    PICTURES.mkdir(exist_ok=True)
    for name, make in gallery.KERNELS.items():
        a = make(n).todense()
        a = a.astype("c8" if a.dtype.kind == "c" else "f4")
        figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
        bitterfly.factorize(a, rtol=1e-3).plot(axes[0])
        plots.plot_error(a, axes[1])
        figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)
        print(name, flush=True)


def main() -> None:
    if "--pictures" in sys.argv:
        pictures(1024)
        return
    parts = {
        "1024": lambda: table(1024),
        "ranks": middle_ranks,
        "4096": lambda: table(4096),
        "packed": lambda: packed(2048),
    }
    chosen = [name for name in parts if name in sys.argv] or list(parts)
    for name in chosen:
        timing.write(f"gallery-{name}", {name: parts[name]()})


if __name__ == "__main__":
    main()
