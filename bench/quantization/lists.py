"""Error and true bits of signs, ternary numbers, powers of two beside others.

`python -m bench.quantization.quantize lists`
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bitterfly import Chain, gallery, transforms
from bitterfly.stores.kinds import KINDS, names_of

DRAWS = 5
MONARCH = Chain([(1, 32, 32, 32), (32, 32, 32, 1)])


def operators(case: str) -> Iterator[bitterfly.ButterflyOperator]:
    """Draw the operators of a case."""
    if case == "kernel":
        yield bitterfly.factorize(gallery.nonuniform_dft(1024).todense(), rtol=1e-3)
        return
    for seed in range(DRAWS):
        if case == "2 x 2":
            yield transforms.random(256, rng=seed)
        elif case == "2 x 2, complex":
            yield transforms.random(256, rng=seed, dtype=complex)
        else:
            rng = np.random.default_rng(seed)
            yield bitterfly.ButterflyOperator([rng.standard_normal(p) for p in MONARCH])


CASES = {
    "2 x 2": ("direction", range(1, 5)),
    "2 x 2, complex": ("direction", range(1, 5)),
    "32 x 32": ("lattice", range(2, 6)),
    "kernel": ("skeleton", range(2, 9)),
}


def row(case: str, kind: str, bits: int) -> dict[str, Any]:
    """Root mean square of errors, and true bits a real number, scale vector and padding included."""
    errors, true_bits = [], []
    for op in operators(case):
        packed = bitterfly.quantize(op, code=kind, bits=bits)
        a = op.todense()
        errors.append(np.linalg.norm(packed.todense() - a) / np.linalg.norm(a))
        true_bits.append(packed.bits_per_number)
    error = float(np.sqrt(np.mean(np.square(errors))))
    return {"factors": case, "code": kind, "bits": bits, "true bits": float(np.mean(true_bits)), "error": error}


def main() -> None:
    rows = []
    for case, (other, widths) in CASES.items():
        for kind in names_of("list"):
            rows += [row(case, kind, bits) for bits in KINDS[kind].widths]
        rows += [row(case, "lattice", bits) for bits in range(2, 6)]
        rows += [row(case, other, bits) for bits in widths if other != "lattice"]
    timing.write("lists", {"errors": rows})
