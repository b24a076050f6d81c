"""Error against true bits by format and driver, published points on the same axes.

`python -m bench.quantization.quantize curves`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

import bitterfly
from bench import timing
from bench.quantization import published
from bitterfly import transforms

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
DRAWS = 5
SIZES = {"float32": (256, 1024), "complex64": (256, 1024)}
OTHER_BITS = 3  # sign and exponent beside a published significand of t bits, whose first bit is implied
DRIVERS = {"left_to_right": "tab:blue", "pairwise": "tab:cyan", "refined": "tab:purple"}

Op = bitterfly.ButterflyOperator
Curve = tuple[str, Any, dict[str, Any], Callable[[Op, Any], Any]]


def reals(op: Op) -> int:
    """Return the real numbers in the factors."""
    return sum(f.size for f in op.factors) * (2 if np.dtype(op.dtype).kind == "c" else 1)


def formats(is_complex: bool) -> Iterator[Curve]:
    """Yield name, settings, look and quantizer of each curve."""
    yield (
        "directions",
        range(1, 8),
        {"color": "tab:red", "marker": "o"},
        lambda op, bits: bitterfly.quantize(op, bits=bits),
    )
    yield (
        "lattice",
        (2, 3, 4, 5, 6, 8, 10),
        {"color": "tab:green", "marker": "s"},
        lambda op, bits: bitterfly.quantize(op, code="lattice", bits=bits),
    )
    for driver, color in DRIVERS.items():
        # the search for complex pairs grows with 4^t
        widths = (2, 3, 4, 5) if is_complex else (2, 3, 4, 6, 8)
        yield (
            f"floats, {driver.replace('_', ' ')}",
            widths if driver != "refined" or not is_complex else widths[:3],
            {"color": color, "marker": "^"},
            lambda op, t, driver=driver: bitterfly.quantize(op, code="float", significand=t, driver=driver),
        )


def measured(dtype: str, n: int, draws: int) -> list[dict[str, Any]]:
    """Root mean squares of errors, and mean bits, over random butterflies."""
    rows = []
    for name, settings, _, quantizer in formats(np.dtype(dtype).kind == "c"):
        for setting in settings:
            errors, bits = [], []
            for seed in range(draws):
                op = transforms.random(n, rng=seed, dtype=dtype)
                packed = quantizer(op, setting)
                a = op.todense()
                errors.append(np.linalg.norm(packed.todense() - a) / np.linalg.norm(a))
                bits.append(8 * packed.nbytes / reals(op))
            error = float(np.sqrt(np.mean(np.square(errors))))
            row = {"dtype": dtype, "n": n, "format": name, "setting": setting, "bits per number": float(np.mean(bits))}
            rows.append(row | {"error": error})
    return rows


def law(dtype: str, n: int, bits: np.ndarray) -> np.ndarray:
    """Return the error model of direction codes, their scale vector counted."""
    planes, p = (2 if np.dtype(dtype).kind == "c" else 1), np.log2(n)
    scale = 32 * n * planes / (2 * n * p * planes)
    return (0.73 if planes == 2 else 0.907) * np.sqrt(p) / 4.0 ** (bits - scale)


def published_points(dtype: str, n: int) -> dict[str, list[tuple[float, float]]]:
    """Return (bits, error) of the published drivers: t bits of significand and an exponent."""
    is_complex = np.dtype(dtype).kind == "c"
    table = {t: e for (size, t), e in published.COMPLEX.items() if size == n} if is_complex else published.REAL
    if not is_complex and n != 256:
        table = {}
    names = ("round to nearest", "pairwise", "left to right")
    return {
        name: [(t + OTHER_BITS, e[at]) for t, e in table.items() if e[at] == e[at]] for at, name in enumerate(names)
    }


def draw(dtype: str, n: int, rows: list[dict[str, Any]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for name, _, look, _ in formats(np.dtype(dtype).kind == "c"):
        points = [(r["bits per number"], r["error"]) for r in rows if r["format"] == name]
        axes.semilogy(*zip(*points, strict=True), linestyle="-", label=name, **look)
    grid = np.linspace(3, 9, 50)
    axes.semilogy(grid, law(dtype, n, grid), "k:", label="error model of directions")
    for (name, points), marker in zip(published_points(dtype, n).items(), ("x", "+", "*"), strict=True):
        if points:
            axes.semilogy(*zip(*points, strict=True), marker, color="0.3", markersize=9, label=f"published, {name}")
    axes.set(
        xlabel="true bits per real number in the factors (all buffers)",
        ylabel="relative error",
        ylim=(1e-4, 1),
        title=f"Gaussian factors, n = {n}, {dtype}",
    )
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(PICTURES / f"accuracy_{dtype}_{n}.svg", metadata={"Date": None})
    plt.close(figure)


def main(quick: bool) -> None:
    mpl.rcParams["svg.hashsalt"] = "bitterfly"  # the same picture from the same numbers
    tables: dict[str, list[dict[str, Any]]] = {}
    for dtype, sizes in SIZES.items():
        for n in sizes[:1] if quick else sizes:
            rows = measured(dtype, n, 1 if quick else DRAWS)
            tables[f"{dtype}, n = {n}"] = rows
            draw(dtype, n, rows)
    timing.write("quantize-curves", tables)
