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


def layers(runs: Mapping[str, Mapping[str, Any]], errors: Runs) -> None:
    """What is lost with all linear layers in one structure, and how the matrices of one layer err."""
    figure, (lost, error) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
    names = [name for name in dict.fromkeys([*errors, *runs]) if name in runs or errors.get(name)][::-1]
    places = {name: at for at, name in enumerate(names)}
    lost.semilogx([run["lost"] for run in runs.values()], [places[name] for name in runs], "o")
    budgets = sorted({float(run["budget"]) for own in errors.values() for run in own})
    for budget, marker in zip(budgets, "os", strict=False):
        own = {name: run for name, found in errors.items() for run in found if run["budget"] == budget}
        label = f"{100 * budget:g} % of the bytes"
        error.plot([run["in metric"] for run in own.values()], [places[name] for name in own], marker, label=label)
    lost.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"])
    lost.set_xticks([], minor=True)
    error.set_xlim(left=0)
    lost.set_yticks(range(len(names)), names, fontsize=8)
    lost.set_xlabel("one less the mean cosine, 12.5 % of the bytes")
    error.set_xlabel("error in the metric of the inputs, mean of a layer")
    error.legend(fontsize=7, frameon=False)
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
    least, most = axes.get_xlim()
    shown = [each for each in (8, 12.5, 18, 25, 50) if least <= each <= most]
    axes.set_xticks(shown, [f"{each:g}" for each in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("% of the bytes in half precision")
