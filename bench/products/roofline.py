"""Pictures of products against what the machine can do: bytes per second against bytes, time over floor against n."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from bench.products.ceilings import Ceilings, Level

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
LOOKS = {
    "Hadamard": ("black", "o"),
    "float32": ("tab:red", "s"),
    "1 bits": ("tab:cyan", "v"),
    "2 bits": ("tab:blue", "^"),
    "4 bits": ("tab:green", "D"),
    "6 bits": ("tab:orange", "P"),
}
LEAST_BYTES = 4096
NAMED_SIZES = (10, 15, 20)

Rows = list[dict[str, Any]]


def of(rows: Rows, product: str, *names: str) -> list[np.ndarray]:
    """Columns of the rows of one product."""
    return [np.array([r[name] for r in rows if r["product"] == product]) for name in names]


def draw_levels(axes: Any, levels: tuple[Level, ...], most: float) -> None:
    """The bandwidth of each level, over the sizes that it holds and the smaller ones do not."""
    least = LEAST_BYTES
    for level in levels:
        size, speed = min(level.size, most), level.bytes_per_second / 1e9
        axes.plot((least, size), (speed, speed), "-", color="0.35", linewidth=2)
        axes.axvline(size, color="0.9", linewidth=1, zorder=0)
        axes.text(1.05 * least, 1.12 * speed, f"{level.name} {speed:.0f}", fontsize=8)
        least = size


def draw_panel(axes: Any, rows: Rows, product: str) -> None:
    color, marker = LOOKS[product]
    n, size, us, computing = of(rows, product, "n", "bytes", "us", "operations, us")
    axes.plot(size, size / computing / 1e3, "-", color=color, alpha=0.4, linewidth=4)
    axes.plot(size, size / us / 1e3, marker, color=color, markersize=5)
    for at, p in enumerate(np.log2(n).astype(int)):
        if p in NAMED_SIZES:
            place = {"textcoords": "offset points", "xytext": (0, -13), "ha": "center", "fontsize": 8}
            axes.annotate(f"$2^{{{p}}}$", (size[at], size[at] / us[at] / 1e3), **place)
    axes.set_title(product, fontsize=10, color=color)


def draw_roofline(rows: Rows, found: Ceilings, path: Path) -> None:
    most = 2 * max(r["bytes"] for r in rows)
    figure, grid = plt.subplots(2, 3, figsize=(10, 6.6), sharex=True, sharey=True, layout="constrained")
    for axes, product in zip(grid.flat, LOOKS, strict=True):
        draw_levels(axes, found.levels, most)
        draw_panel(axes, rows, product)
        axes.set(xscale="log", yscale="log", xlim=(LEAST_BYTES, most), ylim=(1, 1000))
        axes.grid(True, alpha=0.2)
    figure.supxlabel("bytes that must move: codes or weights, scale vector, x, y", fontsize=10)
    figure.supylabel("these bytes / time, GB/s", fontsize=10)
    figure.suptitle(
        "One vector, one thread: measured (marks), operations at their peak (wide lines), bandwidths (dark lines)",
        fontsize=10,
    )
    save(figure, path)


def draw_floors(rows: Rows, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for product, (color, marker) in LOOKS.items():
        n, ratio = of(rows, product, "n", "time / floor")
        axes.plot(n, ratio, "-", marker=marker, color=color, label=product)
    axes.axhline(1, color="0.5", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="n", ylabel="time / floor", title="One vector, float32, one thread")
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
