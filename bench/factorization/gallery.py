"""All kernels of the gallery at three tolerances, middle ranks, pictures for the documentation.

`python -m bench.factorization.gallery`
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

import bitterfly
from bench import timing
from bitterfly import Chain, gallery, plots
from bitterfly.factorization.orderings import orderings
from bitterfly.factorization.search import dyadic
from bitterfly.inputs import Permutations

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
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
            row: dict[str, Any] = {"kernel": name, "n": n, "rtol": rtol, "chain": "chosen"}
            start = time.perf_counter()
            try:
                op = bitterfly.factorize(a, rtol=rtol)
            except bitterfly.IncompressibleError as error:
                row["chain"] = f"refused ({error.storage:.2f}), given"
                start = time.perf_counter()
                op = bitterfly.factorize(a, _full(n)[0], rtol=rtol, permute=("bit_reversal", None))
            row["seconds"] = time.perf_counter() - start
            true = float(np.linalg.norm(op.todense() - a) / norm)
            row |= {"true error": true, "ledger / true": op.relative_error / true if true > 1e-12 else "rounding"}
            row |= {"ranks": "-".join(map(str, op.chain.ranks)), "share of bytes": op.nbytes / a.nbytes}
            rows.append(row)
            print(row, flush=True)
    return rows


def _full(n: int) -> tuple[Chain, list[int]]:
    """A chain whose ranks are all that its blocks allow, and the heights of the blocks at its junctions."""
    sizes = [16 << at for at in range((n // 16).bit_length() - 1)]
    return Chain.butterfly((n, n), rank=[min(b, n // b) for b in sizes], leaf=16, groups=16), sizes


def middle_ranks(n: int = 1024) -> list[dict[str, Any]]:
    """The rank at 32 x 32 blocks, of chains that split there, at most what blocks allow, in the bit-reversed order."""
    chain, sizes = _full(n)
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


def search(n: int) -> list[dict[str, Any]]:
    """Entries of the chain that `rtol` chooses, over the fewest of all orderings and chains of the family."""
    rows = []
    for name, make in gallery.KERNELS.items():
        a = make(n).todense()
        for rtol in TOLERANCES:
            fewest = min(
                bitterfly.factorize(a, chain, rtol=rtol, permute=permute).chain.nnz for chain, permute in _all_chains(n)
            )
            row: dict[str, Any] = {"kernel": name, "n": n, "rtol": rtol, "fewest, share of entries": fewest / n**2}
            try:
                row["chosen / fewest"] = bitterfly.factorize(a, rtol=rtol).chain.nnz / fewest
            except bitterfly.IncompressibleError as error:
                row["chosen / fewest"] = f"refused, predicted {error.storage:.2f}"
            rows.append(row)
            print(row, flush=True)
    return rows


def _all_chains(n: int) -> Iterator[tuple[Chain, Permutations]]:
    """Every ordering of every chain that the search knows, at the ranks that its blocks allow."""
    for radices in dyadic((n, n)):
        height, width = 1, radices.shape[1]
        ranks: list[int] = []
        for p, q in zip(radices.rows[:-1], radices.columns[:-1], strict=True):
            height, width = height * p, width // q
            ranks.append(min(height, width))
        for ordering in orderings((None, None), None, None):
            yield radices.chain(tuple(ranks)), ordering.permutations(radices)


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
        "search": lambda: search(256),
        "packed": lambda: packed(1024),
    }
    chosen = [name for name in parts if name in sys.argv] or list(parts)
    for name in chosen:
        timing.write(f"gallery-{name}", {name: parts[name]()})


if __name__ == "__main__":
    main()
