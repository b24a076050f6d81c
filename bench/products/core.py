"""Products within the core: against their floors, adjoint against forward, tier by tier."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import timing
from bench.products import apply, ceilings, chains
from bitterfly import _core

Rows = list[dict[str, Any]]
SINGLE = np.dtype(np.float32)
VECTORS = 64


def kernels(n: int) -> dict[str, _core.Core]:
    """Hadamard without weights, float32 factors, packed codes: the same passes."""
    hadamard = _core.hadamard(n, SINGLE)
    x, out = (_core.aligned_empty([n], SINGLE) for _ in range(2))
    x[...] = np.random.default_rng(0).standard_normal(n)
    hadamard.apply(x, out, False, False)
    assert abs(np.linalg.norm(out) / np.linalg.norm(x) / np.sqrt(n) - 1) <= 1e-5
    return {"Hadamard": hadamard} | {name: op._kernel for name, op in apply.operators(n).items()}


def bytes_moved(name: str, n: int) -> int:
    """Bytes that a product with one vector cannot do without: weights or codes, scale vector, x and y."""
    weights = 0 if name == "Hadamard" else apply.operators(n)[name].nbytes
    return int(weights) + 2 * n * SINGLE.itemsize


def operations(name: str, n: int) -> float:
    """Sums without weights, 2 for each of n log2(n) / 2 blocks; multiply-adds with weights, 4 for each."""
    return float((2 if name == "Hadamard" else 4) * n * np.log2(n) / 2)


def floor(name: str, n: int) -> tuple[float, float]:
    """Seconds for the bytes, from the smallest level that holds them all, and for the operations."""
    found, size = ceilings.measured(), bytes_moved(name, n)
    rate = found.adds if name == "Hadamard" else found.multiply_adds
    return size / found.level_of(size).bytes_per_second, operations(name, n) / rate


def points(sizes: list[int], rounds: int) -> Rows:
    """Each product at each size: bytes, seconds, both floors."""
    rows: Rows = []
    for n in sizes:
        products = kernels(n)
        seconds = timing.within_core(products, n, 1, SINGLE, rounds)
        for name in products:
            moving, computing = floor(name, n)
            row = {"product": name, "n": n, "bytes": bytes_moved(name, n), "us": 1e6 * seconds[name]}
            row |= {"bytes, us": 1e6 * moving, "operations, us": 1e6 * computing}
            rows.append(row | {"time / floor": seconds[name] / max(moving, computing)})
    return rows


def bounds(found: Rows) -> dict[str, Rows]:
    """The points as tables: a row for each size, a column for each product."""
    times: dict[int, dict[str, Any]] = {}
    floors: dict[int, dict[str, Any]] = {}
    for r in found:
        times.setdefault(r["n"], {"n": r["n"]})[f"{r['product']} us"] = r["us"]
        bound = "bytes" if r["bytes, us"] > r["operations, us"] else "operations"
        floors.setdefault(r["n"], {"n": r["n"]})[r["product"]] = f"{r['time / floor']:.3g}, {bound}"
    for row in times.values():
        us = {name: row[f"{name} us"] for name in ("Hadamard", "2 bits", "4 bits", "float32")}
        row |= {f"{bits} / Hadamard": us[bits] / us["Hadamard"] for bits in ("2 bits", "4 bits")}
        row |= {f"float32 / {bits}": us["float32"] / us[bits] for bits in ("2 bits", "4 bits")}
    return {"within the core": list(times.values()), "time over floor": list(floors.values()), "points": found}


def with_floor(tables: dict[str, Rows]) -> dict[str, Rows]:
    """Tables of many vectors; the ratios of 64 vectors to their multiply-adds at the peak."""
    for row, ratios in zip(*tables.values(), strict=True):
        floor_us = 1e6 * row["columns"] * operations("4 bits", row["n"]) / ceilings.measured().multiply_adds
        ratios["4 bits / floor"] = row["4 bits us"] / floor_us
    return tables


def cases(sizes: list[int], general: int) -> list[tuple[dict[str, int], Any, dict[str, _core.Core]]]:
    """Label, dtype and kernels of products: one vector, 64 of them, Fourier transforms, general chains."""
    found: list[tuple[dict[str, int], Any, dict[str, _core.Core]]] = []
    dyadic = {n: {name: op._kernel for name, op in apply.operators(n).items()} for n in sizes}
    found += [({"n": n, "columns": 1}, SINGLE, dyadic[n]) for n in sizes]
    found.append(({"n": sizes[0], "columns": VECTORS}, SINGLE, dyadic[sizes[0]]))
    fourier = {"packed DFT": apply.fourier(sizes[0])._kernel}
    factors, coded = chains.operators(general)
    chain = {"general chain, factors": factors._kernel, "general chain, 8 bits": coded._kernel}
    for columns in (1, VECTORS):
        found.append(({"n": sizes[0], "columns": columns}, np.complex64, fourier))
        found.append(({"n": general, "columns": columns}, np.complex64, chain))
    return found


def adjoints(sizes: list[int], general: int, rounds: int) -> Rows:
    """Adjoint against forward."""
    rows: Rows = []
    for label, dtype, products in cases(sizes, general):
        seconds = timing.within_core(products, label["n"], label["columns"], dtype, rounds)
        for name in products:
            forward, adjoint = 1e6 * seconds[name], 1e6 * seconds[f"{name} adjoint"]
            row = {"product": name, **label, "forward us": forward, "adjoint us": adjoint}
            rows.append(row | {"adjoint / forward": adjoint / forward})
    return rows


def tiers(n: int, general: int, rounds: int) -> Rows:
    """Microseconds of each tier that this machine has, forward."""
    isas, rows = _core.available_isas(), []
    for label, dtype, products in cases([n], general):
        seconds = {}
        for isa in isas:
            _core.select_isa(isa)
            seconds[isa] = timing.within_core(products, label["n"], label["columns"], dtype, rounds)
        _core.select_isa(isas[0])
        for name in products:
            us = {isa: 1e6 * seconds[isa][name] for isa in isas}
            row = {"product": name, **label} | {f"{isa} us": us[isa] for isa in isas}
            rows.append(row | {f"{isa} / {isas[0]}": us[isa] / us[isas[0]] for isa in isas[1:]})
    return rows
