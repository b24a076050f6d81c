"""A general chain, a non-uniform Fourier transform: products of skeleton codes, of its factors, of dense BLAS."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import bitterfly
from bench.products import apply
from bitterfly import gallery

RTOL, BITS = 1e-2, 8
SAMPLED_ROWS = 64


@cache
def operators(n: int) -> tuple[bitterfly.ButterflyOperator, bitterfly.PackedButterfly]:
    """The chain from its entry function in complex64, and its codes."""
    factors = bitterfly.factorize(gallery.nonuniform_dft(n), rtol=RTOL, rng=0).astype(np.complex64)
    return factors, bitterfly.quantize(factors, code="skeleton", bits=BITS)


def contenders(n: int, columns: int) -> apply.Contenders:
    kernel, rng = gallery.nonuniform_dft(n), np.random.default_rng(n)
    shape = n if columns == 1 else (n, columns)
    x = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    out = np.empty_like(x)
    rows = np.arange(0, n, n // SAMPLED_ROWS)
    expected = kernel(rows, np.arange(n)) @ x
    factors, coded = operators(n)
    for op in (factors, coded):
        assert op.relative_error is not None
        assert apply.relative(op.apply(x)[rows], expected) <= 3 * op.relative_error
    found: apply.Contenders = {f"{BITS} bits": lambda: coded.apply(x, out), "factors": lambda: factors.apply(x, out)}
    if n <= apply.DENSE_LIMIT:
        a = kernel.todense().astype(np.complex64)
        found["dense BLAS"] = lambda: a @ x
    return found


def rows(sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    out = []
    for n in sizes:
        factors, coded = operators(n)
        ranks = factors.chain.ranks
        label = {"n": n, "ranks": f"{min(ranks)} to {max(ranks)}", "error": coded.relative_error}
        label["codes / dense bytes"] = coded.nbytes / (8 * n * n)
        for columns in (1, 64):
            row = apply.row_of(label | {"columns": columns}, contenders(n, columns), rounds)
            peers = [name for name in ("factors", "dense BLAS") if f"{name} us" in row]
            out.append(row | {f"{name} / codes": row[f"{name} us"] / row[f"{BITS} bits us"] for name in peers})
    return out
