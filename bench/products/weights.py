"""Nanoseconds per number of the factors, by kind of code, width and tier. `python -m bench.products.weights [--quick]`.

Calls within the core, one vector, one thread. Widths are bits per real number; a complex weight is one number.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bitterfly import Chain, _core, transforms
from bitterfly.quantization.tiles import wrapped
from bitterfly.stores.kinds import KINDS, Code, names_of
from bitterfly.stores.tile_codes import TiledCodes, plan
from bitterfly.stores.tiles import planes_of

DYADIC = 4096
BLOCKS = Chain([(1, 64, 64, 64), (64, 64, 64, 1)])  # junction of rank one, for all codes in tiles but skeletons
RANKED = Chain.butterfly((1024, 1024), rank=16, leaf=32, groups=8)
WIDTHS = range(1, 9)
EXPONENT_BITS = 3  # of short floats


def contenders(dtype: str) -> Iterator[tuple[str, int, Any]]:
    """Yield kinds, widths (0: float weights) and operators."""
    rng = np.random.default_rng(0)
    dyadic = transforms.random(DYADIC, rng=rng, dtype=dtype)
    yield "float weights, 2 x 2", 0, dyadic
    for kind in ("phase", "sphere") if dyadic.dtype.kind == "c" else ("angle",):
        entries = 4 if dyadic.dtype.kind == "c" else 2
        for bits in WIDTHS:
            if entries * bits <= KINDS[kind].most:
                yield kind, bits, bitterfly.quantize(dyadic, code=kind, bits=bits)
    floats = bitterfly.ButterflyOperator([gaussian(rng, p, dtype) for p in BLOCKS])
    yield "float weights, 64 x 64", 0, floats
    for kind in ("lattice", *names_of("list")):
        for bits in WIDTHS:
            if bits in KINDS[kind].widths:
                yield kind, bits, random_codes(floats, [Code(kind, bits)] * len(BLOCKS), rng)
    for bits in range(EXPONENT_BITS + 1, WIDTHS.stop):
        codes = [Code(f"float{bits - EXPONENT_BITS}", bits)] * len(BLOCKS)
        yield "short floats", bits, random_codes(floats, codes, rng)
    ranked = bitterfly.ButterflyOperator([gaussian(rng, p, dtype) for p in RANKED])
    for kind in names_of("integer")[::-1]:
        for bits in WIDTHS[1:]:
            yield f"{kind}, rank 16", bits, bitterfly.quantize(ranked, code=kind, bits=bits)


def gaussian(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def random_codes(op: Any, codes: list[Code], rng: np.random.Generator) -> Any:
    """Any codes: how long a product takes does not depend on them."""
    planes = planes_of(op.dtype)
    blocks = [
        rng.integers(1 << code.bits, size=(at.lanes, at.weights, planes), dtype=np.uint32)
        for at, code in zip(plan(op.store.chain, codes), codes, strict=True)
    ]
    scale = np.ones(0 if codes[0].form.significand else op.shape[1], op.dtype)
    return wrapped(op, TiledCodes.pack(op.store.chain, codes, blocks, [None] * len(codes), scale, [0.25] * len(codes)))


def numbers_of(op: Any) -> int:
    """The numbers that a product reads: all of the factors, of skeletons those of T."""
    codes = getattr(op, "codes", ())
    if not codes or not codes[0].what.is_tiled:
        return int(op.chain.nnz)
    return int(sum(at.lanes * at.weights for at in plan(op.store.chain, codes)))


def check(op: Any) -> None:
    if hasattr(op, "dequantize"):
        x = np.random.default_rng(1).standard_normal(op.shape[1]).astype(op.dtype)
        for view, same in ((op, op.dequantize()), (op.H, op.dequantize().H)):
            expected = same @ x
            assert np.linalg.norm(view @ x - expected) <= 1e-4 * np.linalg.norm(expected)


def seconds(op: Any, transposed: bool, rounds: int) -> float:
    """Median of calls within the core."""
    x, out = (_core.aligned_empty([op.shape[0]], op.dtype) for _ in range(2))
    x[...] = 1
    calls = max(int(2e-3 / op._kernel.seconds(x, out, transposed, 1)), 1)
    return statistics.median(op._kernel.seconds(x, out, transposed, calls) for _ in range(rounds))


def rows(dtype: str, rounds: int, tiers: Sequence[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return a table for each tier: a row for each kind and product, a column for each width."""
    tables: dict[str, dict[tuple[str, str], dict[str, Any]]] = {isa: {} for isa in tiers or _core.available_isas()}
    for kind, bits, op in contenders(dtype):
        for isa, table in tables.items():
            _core.select_isa(isa)
            check(op)
            for product, transposed in (("forward", False), ("adjoint", True)):
                row = table.setdefault((kind, product), {"codes": kind, "product": product})
                row[str(bits) if bits else "floats"] = 1e9 * seconds(op, transposed, rounds) / numbers_of(op)
    _core.select_isa(_core.available_isas()[0])
    names = ["codes", "product", "floats", *map(str, WIDTHS)]
    return {
        f"{dtype}, {isa}, ns per number": [{name: row.get(name, "") for name in names} for row in table.values()]
        for isa, table in tables.items()
    }


def combined(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each kind: forward / adjoint."""
    out = []
    for forward, adjoint in zip(table[::2], table[1::2], strict=True):
        cells = {k: f"{v:.2g} / {adjoint[k]:.2g}" if isinstance(v, float) else "" for k, v in forward.items()}
        out.append({"codes": forward["codes"]} | {k: v for k, v in cells.items() if k not in ("codes", "product")})
    return out


def main() -> None:
    rounds = 3 if "--quick" in sys.argv else 9
    with timing.one_thread():
        timing.write("weights", rows("float32", rounds) | rows("complex64", rounds))


if __name__ == "__main__":
    main()
