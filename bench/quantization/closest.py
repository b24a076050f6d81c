"""Skeleton codes over many draws: error times 2^bits, largest over median.

`python -m bench.quantization.closest [n] [--quick]`
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bitterfly import gallery
from bitterfly.accuracy.change import change_of
from bitterfly.quantization.tiles import Recoder, wrapped

DRAWS = {256: 200, 512: 200, 1024: 200, 4096: 10}
BITS = range(6, 17)
TOLERANCE = 1e-4  # of the float factors
FIRST_SEED = 1000


def rows(n: int, draws: int) -> list[dict[str, Any]]:
    """Errors of the codes against float factors of non-uniform Fourier matrices, random points for each draw."""
    errors = np.zeros((draws, len(BITS)))
    for draw in range(draws):
        op = bitterfly.factorize(gallery.nonuniform_dft(n, rng=FIRST_SEED + draw).todense(), rtol=TOLERANCE)
        recoder = Recoder(op, "skeleton")
        for at, bits in enumerate(BITS):
            packed = wrapped(op, recoder([bits] * len(op.chain)).codes)
            errors[draw, at] = change_of(op, packed)[0] * 2.0**bits
    found = []
    for bits, column in zip(BITS, errors.T, strict=True):
        median = float(np.median(column))
        row = {"n": n, "bits": bits, "draws": draws, "median x 2^bits": median}
        found.append(row | {"largest / median": float(np.max(column)) / median})
        print(found[-1], flush=True)
    return found


def main() -> None:
    sizes = [int(x) for x in sys.argv[1:] if x.isdigit()] or list(DRAWS)
    tables = {f"n = {n}": rows(n, 3 if "--quick" in sys.argv else DRAWS.get(n, 10)) for n in sizes}
    timing.write("closest", tables)


if __name__ == "__main__":
    main()
