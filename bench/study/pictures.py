"""The pictures of docs/study_encoder.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from bitterfly.plots import plot_model

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"

Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def saved(figure: Figure, name: str) -> None:
    with mpl.rc_context({"svg.hashsalt": "bitterfly"}):  # the same picture from the same numbers
        figure.savefig(PICTURES / f"study_encoder_{name}.svg", metadata={"Date": None})
    plt.close(figure)


def steps(runs: Runs) -> None:
    """What is lost, and what nearest neighbours stay, by bytes: a line for each step."""
    figure, (lost, stay) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    shades = plt.get_cmap("viridis_r")
    for at, (name, own) in enumerate(runs.items()):
        look = {"color": shades(0.1 + 0.9 * at / max(len(runs) - 1, 1)), "marker": "o", "markersize": 4, "label": name}
        own = sorted(own, key=lambda run: float(run["bytes"]))
        sizes = [100 * run["bytes"] for run in own]
        lost.loglog(sizes, [run["lost"] for run in own], **look)
        stay.semilogx(sizes, [run["recall"] for run in own], **look)
    lost.set_ylabel("one less the mean cosine")
    stay.set_ylabel("nearest neighbours that stay")
    stay.legend(fontsize=7, frameon=False)
    for axes in (lost, stay):
        _percents(axes)
        axes.grid(visible=True, which="major", alpha=0.3)
    saved(figure, "steps")


def layers(runs: Runs) -> None:
    """What is lost with all linear layers in one structure."""
    figure, (lost, error) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
    names = list(runs)[::-1]
    for budget, marker in (("0.125", "o"), ("0.25", "s")):
        own = [(at, run) for at, name in enumerate(names) for run in runs[name] if f"{run['budget']:g}" == budget]
        label = f"{100 * float(budget):g} % of the bytes"
        lost.semilogx([run["lost"] for _, run in own], [at for at, _ in own], marker, label=label)
        known = [(at, run["in metric"]) for at, run in own if "in metric" in run]
        error.semilogx([x for _, x in known], [at for at, _ in known], marker, label=label)
    lost.set_yticks(range(len(names)), names, fontsize=8)
    lost.set_xlabel("one less the mean cosine")
    error.set_xlabel("error in the metric of the inputs, mean of the layers")
    lost.legend(fontsize=7, frameon=False)
    for axes in (lost, error):
        axes.grid(visible=True, which="major", alpha=0.3)
    saved(figure, "layers")


def predicted(runs: Sequence[Mapping[str, Any]]) -> None:
    """What probes say that is lost, and what is."""
    figure, axes = plt.subplots(figsize=(5, 4.6), layout="constrained")
    both = [(run["predicted"], run["lost"]) for run in runs]
    ends = [0.7 * min(map(min, both)), 1.5 * max(map(max, both))]
    axes.loglog(ends, ends, color="tab:gray", linewidth=1)
    axes.loglog(*zip(*both, strict=True), "o")
    for run in runs:
        text = f"{100 * run['budget']:g} %"
        axes.annotate(text, (run["predicted"], run["lost"]), (7, -9), textcoords="offset points", fontsize=8)
    axes.set_xlabel("predicted from 250 texts")
    axes.set_ylabel("measured on 1000 others")
    axes.set_aspect("equal")
    axes.grid(visible=True, which="major", alpha=0.3)
    saved(figure, "predicted")


def model(small: Any) -> None:
    """What `bitterfly model compress --plot` draws."""
    figure = plt.figure(figsize=(10, 6.5), layout="constrained")
    saved(plot_model(small, figure), "model")


def _percents(axes: Axes) -> None:
    axes.set_xticks([8, 12.5, 18, 25, 50], ["8", "12.5", "18", "25", "50"])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("% of the bytes in half precision")
