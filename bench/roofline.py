"""Pictures of products against what the machine can do: time against bytes, and time over the floor against n."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from bench.ceilings import Ceilings, Level

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
LOOKS = {
    "Hadamard": ("black", "o"),
    "float32": ("tab:red", "s"),
    "1 bits": ("tab:cyan", "v"),
    "2 bits": ("tab:blue", "^"),
    "4 bits": ("tab:green", "D"),
    "6 bits": ("tab:orange", "P"),
}
DASHES = ("-", "--", "-.", ":")
NAMED_SIZES = (10, 15, 20)

Rows = list[dict[str, Any]]


def of(rows: Rows, product: str, *names: str) -> list[np.ndarray]:
    """Columns of the rows of one product."""
    return [np.array([r[name] for r in rows if r["product"] == product]) for name in names]


def draw_levels(axes: Any, levels: tuple[Level, ...], bytes_seen: tuple[float, float]) -> None:
    """Time at the bandwidth of each level, over the bytes that it holds; thin beyond."""
    least, most = bytes_seen[0] / 1.5, bytes_seen[1] * 1.5
    for level, dash in zip(levels, DASHES, strict=False):
        label = f"{level.name}, {level.bytes_per_second / 1e9:.0f} GB/s"
        ends = np.array([least, most])
        axes.plot(ends, 1e6 * ends / level.bytes_per_second, dash, color="0.55", linewidth=1, label=label)
        if least < level.size < most:
            axes.axvline(level.size, color="0.9", linewidth=1, zorder=0)
            axes.text(level.size, 0.015, f"{level.name} ", ha="right", fontsize=7, color="0.5")


def draw_panel(axes: Any, rows: Rows, product: str) -> None:
    color, marker = LOOKS[product]
    n, size, us, computing = of(rows, product, "n", "bytes", "us", "operations, us")
    axes.plot(size, computing, "-", color=color, alpha=0.35, linewidth=4, label="sums or multiply-adds at their peak")
    axes.plot(size, us, marker, color=color, markersize=5, label="measured")
    for at, p in ((i, int(np.log2(value))) for i, value in enumerate(n)):
        if p in NAMED_SIZES:
            place = {"textcoords": "offset points", "xytext": (-5, 4), "ha": "right", "fontsize": 8}
            axes.annotate(f"$2^{{{p}}}$", (size[at], us[at]), **place)
    axes.set_title(product, fontsize=10, color=color)


def draw_roofline(rows: Rows, found: Ceilings, path: Path) -> None:
    sizes = [r["bytes"] for r in rows]
    figure, grid = plt.subplots(2, 3, figsize=(10, 6.6), sharex=True, sharey=True, layout="constrained")
    for axes, product in zip(grid.flat, LOOKS, strict=True):
        draw_levels(axes, found.levels, (min(sizes), max(sizes)))
        draw_panel(axes, rows, product)
        axes.set(xscale="log", yscale="log", ylim=(0.01, None))
    for axes in grid[1]:
        axes.set_xlabel("bytes: weights or codes, scale vector, x, y")
    for axes in grid[:, 0]:
        axes.set_ylabel("microseconds")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    save(figure, path)


def draw_floors(rows: Rows, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for product, (color, marker) in LOOKS.items():
        n, ratio = of(rows, product, "n", "time / floor")
        axes.plot(n, ratio, "-", marker=marker, color=color, label=product)
    axes.axhline(1, color="0.5", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="n", ylabel="time / floor", ylim=(0, None), title="One vector, float32, one thread")
    axes.grid(True, alpha=0.3)
    axes.legend(ncols=3, fontsize=8)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    with mpl.rc_context({"svg.hashsalt": "bitterfly"}):  # the same picture from the same numbers
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def draw(rows: Rows, found: Ceilings, folder: Path = PICTURES, suffix: str = "svg") -> None:
    draw_roofline(rows, found, folder / f"roofline.{suffix}")
    draw_floors(rows, folder / f"time_over_floor.{suffix}")
