"""Tables and pictures of docs/study_perceptron.md from the rows that were found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench import pages, timing
from bench.study.losses import laws
from bench.study.losses.errors import PREDICTORS
from bench.study.perceptron_pictures import KINDS, WAYS, averaged, draw_curves, draw_laws, of_folds
from bench.study.tasks import PAIRS

PAGE = Path(__file__).parents[2] / "docs" / "study_perceptron.md"
BUDGETS = (0.125, 0.25, 0.5, 1.0, 2.0)  # bits for each entry of both large matrices
COUNTS = {"digits": 1000, "sums": PAIRS}  # that accuracies are counted of
ROOM = 1.06  # of a budget, for what stands beside codes
TITLES = {"digits": "one digit", "sums": "sum of two digits"}
FITTED = {"divergence": (1e-4, 0.1), "changed": (0.005, 0.1), "loss": (1e-5, 0.1)}  # losses of laws
EDGES = (1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 10.0)  # of what is predicted

Row = dict[str, Any]
Found = dict[str, list[Row]]  # by part


def of(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)])


def with_error(mean: float, error: float) -> str:
    return f"{100 * mean:.1f} ± {100 * error:.1f}"


# ---- codes ----


def codes(rows: Sequence[Row]) -> tuple[str, dict[str, dict[str, list[Row]]]]:
    """What each way loses, in points of a hundred, and the curves."""
    lines, panels = [], {}
    for name, title in TITLES.items():
        own = of(rows, task=name)
        whole = laws.mean_and_error([row["accuracy"] for row in of(own, way="float32")])
        lines.append([title, "float32: accuracy, %", with_error(*whole), "", "", "", ""])
        lasting = {way: averaged(of(own, way=way), "true bits", "bits") for way in WAYS}
        for way, points in lasting.items():
            cells = {point["tick"]: with_error(point["lost"], point["lost error"]) for point in points}
            lines.append(["", way, *(cells.get(bits, "") for bits in (1, 2, 3, 4, 8))])
        panels[f"{title}, float32 {100 * whole[0]:.1f} %"] = lasting
    return markdown(["task", "", "1 bit", "2", "3", "4", "8"], lines), panels


# ---- structures ----


def best(rows: Sequence[Row], budget: float) -> Row | None:
    """Of all sizes and codes within a budget, those of the highest mean."""
    points = {(row["share"], row["bits"]) for row in rows if row["true bits"] <= ROOM * budget}
    found = []
    for share, bits in points:
        some = of(rows, share=share, bits=bits)
        found.append({"x": budget, "tick": budget, "bits": bits, "folds": len(some), **of_folds(some)})
    most = max((row["folds"] for row in found), default=0)
    return max((row for row in found if row["folds"] == most), key=lambda row: row["accuracy"], default=None)


def structures(rows: Sequence[Row]) -> tuple[str, dict[str, dict[str, list[Row]]]]:
    """The highest accuracy of each structure in so many bytes."""
    lines, panels = [], {}
    for name, title in TITLES.items():
        own = of(rows, task=name)
        whole = of_folds(of(own, kind="dense, float32"))
        lines.append([title, "dense, float32: " + with_error(whole["accuracy"], whole["accuracy error"])])
        curves = {}
        for kind in KINDS:
            points = [best(of(own, kind=kind), budget) for budget in BUDGETS]
            texts = [f"{with_error(p['accuracy'], p['accuracy error'])} ({p['bits']:g})" if p else "" for p in points]
            lines.append(["", kind, *texts])
            curves[kind] = [point for point in points if point]
        panels[f"{title}, dense in float32 {100 * whole['accuracy']:.1f} %"] = curves
    head = ["task", "", *(f"{budget:g} bits, {100 * budget / 32:.2g} %" for budget in BUDGETS)]
    return markdown(head, [line + [""] * (len(head) - len(line)) for line in lines]), panels


# ---- laws ----


def fitted(rows: Sequence[Row], loss: str) -> dict[str, laws.Law]:
    """Laws of all kinds of errors that these rows have, of the same rows."""
    some = laws.within(rows, loss, *FITTED[loss])
    return {predictor: laws.law(some, predictor, loss) for predictor in PREDICTORS if predictor in some[0]}


def law_table(groups: dict[str, tuple[str, Sequence[Row]]]) -> str:
    lines = []
    for title, (loss, rows) in groups.items():
        for predictor, law in fitted(rows, loss).items():
            facts = f"{law.factor:.2g}", f"{law.exponent:.2f}", f"{np.exp(law.scatter):.1f}", f"{law.rank:.3f}"
            lines.append([f"{title}, {law.count} points" if predictor == PREDICTORS[0] else "", predictor, *facts])
    return markdown(["what is lost", "error", "a", "b", "within a factor of", "rank correlation"], lines)


def accuracy_table(tasks: dict[str, Sequence[Row]]) -> str:
    """Laws of the accuracy that is lost, where probabilities have not changed much."""
    lines = []
    for title, rows in tasks.items():
        some = [
            row
            for row in rows
            if row["divergence"] <= FITTED["divergence"][1] and min(row["metric"], row["Fisher"]) > 0
        ]
        for predictor in fitted(rows, "divergence"):
            a, b, error, missed = laws.of_counts(some, predictor, "lost", "changed", COUNTS)
            title_of = f"{title}, {len(some)} points" if predictor == PREDICTORS[0] else ""
            lines.append([title_of, predictor, f"{a:.2g}", f"{b:.2f} ± {error:.2f}", f"{missed:.1f}"])
    return markdown(["accuracy lost", "error", "a", "b", "misses, over the noise of counting"], lines)


def prediction_table(groups: dict[str, tuple[str, str, Sequence[Row]]]) -> str:
    """What is lost where a squared error says how much."""
    lines = []
    for title, (loss, predictor, rows) in groups.items():
        for (low, high), some in zip(pairwise(EDGES), laws.by_prediction(rows, predictor, EDGES), strict=True):
            if len(some) < 3:
                continue
            over = np.percentile([row[loss] / row[predictor] ** 2 for row in some], [25, 50, 75])
            line = [title, f"{low:g} to {high:g}", str(len(some)), f"{over[1]:.2f}", f"{over[0]:.2f} to {over[2]:.2f}"]
            if "changed" in some[0]:
                changed, lost = ([row[name] for row in some] for name in ("changed", "lost"))
                line += [f"{100 * np.mean(changed):.1f}", with_error(*laws.mean_and_error(lost))]
            lines.append(line + [""] * (7 - len(line)))
            title = ""
    head = [
        "",
        "predicted",
        "points",
        "lost, over that: median",
        "middle half",
        "answers that change, %",
        "accuracy lost, %",
    ]
    return markdown(head, lines)


def write(found: Found) -> None:
    """Fill the page, draw its pictures."""
    dense, kinds = found["codes"], found["sums"] + found["digits"]
    code_table, code_panels = codes(dense)
    kind_table, kind_panels = structures(kinds)
    draw_curves(code_panels, WAYS, "lost", "bits a number, all bytes counted", "study_codes")
    draw_curves(kind_panels, KINDS, "accuracy", "bits for each entry of the two large matrices", "study_kinds")

    alone = found["errors"]
    trained = [{**row, "way": "numbers of structures", "where": "all"} for row in kinds if "metric" in row]
    perceptrons, encoder = alone + trained, [row for row in found["encoder"] if "where" in row]
    tasks = {f"perceptron, {title}": of(perceptrons, task=name) for name, title in TITLES.items()}
    groups = {f"{title}: divergence": ("divergence", rows) for title, rows in tasks.items()}
    groups |= {f"{title}: answers that change": ("changed", rows) for title, rows in tasks.items()}
    groups["MiniLM, one matrix: 1 - cosine"] = "loss", [row for row in encoder if row["where"] != "all"]
    groups["MiniLM, all matrices: 1 - cosine"] = "loss", of(encoder, where="all")
    groups["MiniLM, both: 1 - cosine"] = "loss", encoder
    panels = {}
    for title in (f"perceptron, {TITLES['digits']}", f"perceptron, {TITLES['sums']}", "MiniLM"):
        loss, rows = ("loss", encoder) if title == "MiniLM" else ("divergence", tasks[title])
        panels[title] = loss, rows, fitted(rows, loss), FITTED[loss]
    draw_laws(panels, "study_laws")
    predicted: dict[str, tuple[str, str, Sequence[Row]]]
    predicted = {f"{title}: divergence, by Fisher": ("divergence", "Fisher", rows) for title, rows in tasks.items()}
    for predictor in ("metric, weighted", "outputs, weighted"):
        predicted[f"MiniLM: 1 - cosine, by {predictor}"] = "loss", predictor, encoder
    tables = {"codes": code_table, "structures": kind_table, "laws": law_table(groups)}
    tables |= {"accuracy": accuracy_table(tasks)}
    pages.fill(PAGE, tables | {"predicted": prediction_table(predicted)})
    timing.write("study_perceptron", found)
