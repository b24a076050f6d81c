"""One Markdown page and two plots from the JSON files of bench/results. `python -m bench.report`."""

from __future__ import annotations

import json
from typing import Any

import matplotlib as mpl

from bench import timing

mpl.use("Agg")
import matplotlib.pyplot as plt

SKIPPED = ("n", "columns")


def plot_products(rows: list[dict[str, Any]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    names = list(dict.fromkeys(name for row in rows for name in row if name not in SKIPPED))
    for name in names:
        points = [(row["n"], row[name]) for row in rows if name in row]
        axes.loglog(*zip(*points, strict=True), "o-", base=10, label=name.removesuffix(" us"))
    axes.set(xlabel="n", ylabel="microseconds", title="Product with one vector, float32, one thread")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(timing.RESULTS / "apply.png", dpi=120)


def plot_laws(rows: list[dict[str, Any]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for dtype in ("float64", "complex128"):
        for n in (64, 256, 1024):
            points = [(r["bits"], r["rms error"]) for r in rows if r["n"] == n and r["dtype"] == dtype]
            axes.semilogy(*zip(*points, strict=True), "o-" if dtype == "float64" else "s--", label=f"{dtype}, n = {n}")
    axes.set(xlabel="bits per number stored in the factors", ylabel="rms relative error", title="Gaussian factors")
    axes.grid(True, alpha=0.3)
    axes.legend()
    figure.savefig(timing.RESULTS / "laws.png", dpi=120)


def main() -> None:
    pages = []
    for path in sorted(timing.RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        machine = result.pop("machine")
        head = f"## {path.stem}\n\n{machine['cpu']}, {machine['date']}, revision {machine['revision']}"
        pages += [head, *(f"### {title}\n\n{timing.table(rows)}" for title, rows in result.items())]
        if path.stem == "apply":
            plot_products(result["one vector"])
        if path.stem == "quantize":
            plot_laws(result["error laws"])
    (timing.RESULTS / "report.md").write_text("\n\n".join(pages) + "\n")
    print(timing.RESULTS / "report.md")


if __name__ == "__main__":
    main()
