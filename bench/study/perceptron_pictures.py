"""Pictures of the study: accuracy against bits, against bytes, and losses against errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from bench.study.losses.laws import Law, mean_and_error

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WAYS: dict[str, dict[str, Any]] = {
    "after training": {"color": "tab:gray", "marker": "^"},
    "with second moments": {"color": "tab:blue", "marker": "s"},
    "longer training, then second moments": {"color": "tab:cyan", "marker": "s", "linestyle": "--"},
    "ADMM": {"color": "tab:green", "marker": "D"},
    "in training": {"color": "tab:red", "marker": "o"},
}
KINDS: dict[str, dict[str, Any]] = {
    "dense, second moments": {"color": "k", "marker": "s"},
    "dense, signed cuts": {"color": "tab:gray", "marker": "x", "linestyle": "--"},
    "low rank": {"color": "tab:green", "marker": "^"},
    "tensor train": {"color": "tab:olive", "marker": "v"},
    "block tensor train": {"color": "tab:orange", "marker": "D"},
    "Monarch": {"color": "tab:red", "marker": "o"},
    "butterfly": {"color": "tab:purple", "marker": "D"},
    "Kronecker": {"color": "tab:brown", "marker": "<"},
    "circulant blocks": {"color": "tab:blue", "marker": ">"},
}
APPROXIMATIONS = {
    "window codes": "tab:blue",
    "window codes, metric": "tab:cyan",
    "rounding": "tab:orange",
    "low rank": "tab:green",
    "noise": "tab:gray",
    "compress_model": "tab:red",
    "numbers of structures": "tab:purple",
}

Row = dict[str, Any]


def save(figure: Any, name: str) -> None:
    with mpl.rc_context({"svg.hashsalt": "bitterfly"}):  # the same picture from the same numbers
        figure.savefig(PICTURES / f"{name}.svg", dpi=85, metadata={"Date": None})
    plt.close(figure)


def draw_curves(
    panels: Mapping[str, Mapping[str, Sequence[Row]]], looks: Mapping[str, dict[str, Any]], y: str, x: str, name: str
) -> None:
    """A panel for each task, a line for each way: means of folds and their standard errors, in hundredths."""
    figure, grid = plt.subplots(1, len(panels), figsize=(9, 4.2), layout="constrained")
    for axes, (title, lines) in zip(grid, panels.items(), strict=True):
        for label, rows in lines.items():
            means, errors = ([100 * row[key] for row in rows] for key in (y, f"{y} error"))
            places = [row["x"] for row in rows]
            axes.errorbar(places, means, errors, label=label, markersize=4, capsize=2, linewidth=1, **looks[label])
        ticks = sorted({row["tick"] for rows in lines.values() for row in rows})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(x, fontsize=9)
        axes.grid(True, alpha=0.3)
    grid[0].set_ylabel(f"{'accuracy, %' if y == 'accuracy' else 'accuracy lost, %'}", fontsize=9)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    save(figure, name)


def draw_laws(
    panels: Mapping[str, tuple[str, Sequence[Row], Mapping[str, Law], tuple[float, float]]], name: str
) -> None:
    """Losses against each kind of error, small multiples: a row for each network, lines where the law was fitted."""
    figure, grid = plt.subplots(len(panels), 6, figsize=(12, 2.6 * len(panels)), layout="constrained")
    seen: dict[str, Any] = {}
    for line, (title, (loss, rows, found, (least, most))) in zip(grid, panels.items(), strict=True):
        shown = [row for row in rows if row[loss] > least / 10]
        for axes, (predictor, law) in zip(line, found.items(), strict=False):
            axes.set_rasterization_zorder(1.5)
            for way, color in APPROXIMATIONS.items():
                some = [row for row in shown if row["way"] == way]
                if some:
                    points = ([row[predictor] for row in some], [row[loss] for row in some])
                    seen[way] = axes.scatter(*points, s=6, color=color, alpha=0.6, linewidths=0, zorder=1)
            errors = np.array([row[predictor] for row in rows if least <= row[loss] <= most])
            ends = np.array([errors.min(), errors.max()])
            axes.plot(ends, law(ends), "k-", linewidth=1)
            axes.set(xscale="log", yscale="log")
            axes.axhspan(least, most, color="k", alpha=0.04, linewidth=0)
            axes.set_title(f"{predictor}\nexponent {law.exponent:.2f}, within {np.exp(law.scatter):.1f} x", fontsize=8)
            axes.grid(True, alpha=0.3)
            axes.tick_params(labelsize=7)
        line[0].set_ylabel(f"{title}\n{loss}", fontsize=8)
        line[2].set_xlabel("error of the matrices", fontsize=8)
    marks = figure.legend(
        seen.values(),
        seen.keys(),
        loc="outside lower center",
        ncols=len(seen),
        fontsize=8,
        frameon=False,
        markerscale=2,
    )
    for mark in marks.legend_handles:
        mark.set_alpha(1)
    save(figure, name)


def of_folds(rows: Sequence[Row]) -> Row:
    """Means over folds, with standard errors."""
    found: Row = {}
    for name in ("accuracy", "lost"):
        found[name], found[f"{name} error"] = mean_and_error([row[name] for row in rows])
    return found


def averaged(rows: Sequence[Row], x: str, tick: str) -> list[Row]:
    """Means over folds, in the order of ticks, of what all folds have."""
    out, folds = [], {row["fold"] for row in rows}
    for each in sorted({row[tick] for row in rows}):
        some = [row for row in rows if row[tick] == each]
        if {row["fold"] for row in some} == folds:
            place = float(np.mean([row[x] for row in some]))
            out.append({"x": place, "tick": each, **of_folds(some)})
    return out
