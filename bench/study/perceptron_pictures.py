"""Pictures of the study: accuracy against bits, against bytes, and losses against errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from bench.study.laws import Law, mean_and_error

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
        figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def draw_curves(
    panels: Mapping[str, Mapping[str, Sequence[Row]]], looks: Mapping[str, dict[str, Any]], x: str, name: str
) -> None:
    """What is lost of the accuracy: a panel for each task, a line for each way, means and standard errors of folds."""
    figure, grid = plt.subplots(1, len(panels), figsize=(9, 4), layout="constrained")
    for axes, (title, lines) in zip(grid, panels.items(), strict=True):
        for label, rows in lines.items():
            places = [row["x"] for row in rows]
            means, spreads = ([100 * row[key] for row in rows] for key in ("mean", "spread"))
            axes.errorbar(places, means, spreads, label=label, markersize=4, capsize=2, linewidth=1, **looks[label])
        ticks = sorted({row["tick"] for rows in lines.values() for row in rows})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_title(title, fontsize=9)
        axes.grid(True, alpha=0.3)
    figure.supxlabel(x, fontsize=10)
    figure.supylabel("accuracy, %", fontsize=10)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    save(figure, name)


def draw_laws(
    panels: Mapping[str, tuple[str, Sequence[Row], Mapping[str, Law], tuple[float, float]]], name: str
) -> None:
    """Losses against each kind of error, small multiples: a row for each network, lines where the law was fitted."""
    figure, grid = plt.subplots(len(panels), 6, figsize=(12, 2.5 * len(panels)), layout="constrained")
    seen: dict[str, Any] = {}
    for line, (title, (loss, rows, found, (least, most))) in zip(grid, panels.items(), strict=True):
        for axes in line[len(found) :]:
            axes.axis("off")
        for axes, predictor in zip(line, found, strict=False):
            for way, color in APPROXIMATIONS.items():
                some = [row for row in rows if row["way"] == way and row[loss] > 0]
                if some:
                    points = ([row[predictor] for row in some], [row[loss] for row in some])
                    seen[way] = axes.scatter(*points, s=6, color=color, alpha=0.6, linewidths=0)
            errors = np.array([row[predictor] for row in rows if least <= row[loss] <= most])
            ends = np.array([errors.min(), errors.max()])
            axes.plot(ends, found[predictor](ends), "k-", linewidth=1)
            axes.set(xscale="log", yscale="log", ylim=(least / 10, None))
            axes.axhspan(least, most, color="k", alpha=0.04, linewidth=0)
            exponent, scatter = found[predictor].exponent, np.exp(found[predictor].scatter)
            axes.set_title(f"{predictor}\nexponent {exponent:.2f}, within {scatter:.1f} x", fontsize=8)
            axes.grid(True, alpha=0.3)
            axes.tick_params(labelsize=7)
        line[0].set_ylabel(f"{title}\n{loss}", fontsize=8)
    figure.supxlabel("error of matrices", fontsize=10)
    figure.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=len(seen), fontsize=8, frameon=False)
    save(figure, name)


def averaged(rows: Sequence[Row], x: str, tick: str) -> list[Row]:
    """Means over folds, in the order of ticks, of what all folds have."""
    out, folds = [], {row["fold"] for row in rows}
    for each in sorted({row[tick] for row in rows}):
        some = [row for row in rows if row[tick] == each]
        if {row["fold"] for row in some} == folds:
            mean, spread = mean_and_error([row["accuracy"] for row in some])
            lost, error = mean_and_error([row["lost"] for row in some])
            place = float(np.mean([row[x] for row in some]))
            out.append({"x": place, "tick": each, "mean": mean, "spread": spread, "lost": lost, "error": error})
    return out
