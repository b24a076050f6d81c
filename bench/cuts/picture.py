"""A picture in signed cuts: error against bits beside JPEG of as many bytes, and what it looks like.

`python -m bench.cuts.picture [--quick]` (pip install scikit-image pillow): the cat of scikit-image, 300 x 451 x 3.
Writes docs/pictures/cat.jpg and cat_errors.svg; `--quick` leaves these as they are.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image
from skimage import data

from bench import timing
from bitterfly import cuts

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
BITS = (0.125, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0)
SHOWN = (0.125, 0.5, 2.0)
ROWS, COLUMNS = slice(60, 260), slice(120, 320)  # of what is shown, at its own size
LOOKS = {
    "cuts of the tensor": "tab:red",
    "cuts of the tensor, published": "tab:orange",
    "cuts of the unfolding": "tab:blue",
    "JPEG": "k",
}


def error_of(found: np.ndarray, x: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - x) / np.linalg.norm(x.astype(np.float64)))


def jpeg(x: np.ndarray, nbytes: float) -> tuple[np.ndarray, int] | None:
    """The JPEG of the least error in so many bytes, over qualities and colours at full or half resolution."""
    best: tuple[float, np.ndarray, int] | None = None
    for subsampling in (0, 2):
        for quality in range(1, 101):
            file = io.BytesIO()
            Image.fromarray(x).save(file, "JPEG", quality=quality, subsampling=subsampling, optimize=True)
            if len(file.getvalue()) > nbytes:
                break
            decoded = np.asarray(Image.open(file))
            error = error_of(decoded, x)
            if best is None or error < best[0]:
                best = error, decoded, len(file.getvalue())
    return best and best[1:]


def ways(x: np.ndarray, bits: float) -> dict[str, tuple[np.ndarray, int]]:
    """For each way the picture, before it is rounded to bytes, and its bytes."""
    a = x.astype(np.float32)
    ours, plain = cuts.tensor(a, bits=bits, rng=0), cuts.tensor(a, bits=bits, starts=1, sweeps=0, rng=0)
    matrix = cuts.matrix(a.reshape(len(a), -1), bits=bits, rng=0)
    for op, original in ((ours, a), (plain, a), (matrix, a.reshape(len(a), -1))):
        assert error_of(op.todense(), original) <= op.relative_error * (1 + 1e-5)
    out = {
        "cuts of the tensor": (ours.todense(), ours.nbytes),
        "cuts of the tensor, published": (plain.todense(), plain.nbytes),
        "cuts of the unfolding": (matrix.todense().reshape(x.shape), matrix.nbytes),
    }
    found = jpeg(x, bits * x.size / 8)
    return out if found is None else out | {"JPEG": found}


def row_of(x: np.ndarray, bits: float, found: dict[str, tuple[np.ndarray, int]]) -> dict[str, Any]:
    row: dict[str, Any] = {"bits": bits, "bytes": int(bits * x.size / 8)}
    for name, (picture, nbytes) in found.items():
        assert nbytes <= bits * x.size / 8
        row[name] = error_of(picture, x)
    if "JPEG" in row:
        row["cuts / JPEG"] = row["cuts of the tensor"] / row["JPEG"]
    return row


def draw_errors(rows: list[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, color in LOOKS.items():
        points = [(row["bits"], row[name]) for row in rows if name in row]
        axes.semilogy(*zip(*points, strict=True), "o-", color=color, label=name, markersize=4)
    axes.set(xlabel="bits a number, all bytes counted", ylabel="relative error", title="A picture, 300 x 451 x 3")
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8)
    with mpl.rc_context({"svg.hashsalt": "bitterfly"}):  # the same picture from the same numbers
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_pictures(x: np.ndarray, shown: dict[float, dict[str, tuple[np.ndarray, int]]], path: Path) -> None:
    names = [name for name in LOOKS if "published" not in name]
    figure, grid = plt.subplots(len(shown), 1 + len(names), figsize=(8.4, 2.25 * len(shown)), layout="constrained")
    for line, (bits, found) in zip(grid, shown.items(), strict=True):
        pictures = {"the picture": x, **{name: found[name][0] for name in names}}
        for axes, (name, picture) in zip(line, pictures.items(), strict=True):
            axes.imshow(np.clip(np.rint(picture), 0, 255).astype(np.uint8)[ROWS, COLUMNS])
            axes.set_title(name if picture is x else f"{name}, error {error_of(picture, x):.3f}", fontsize=7)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(f"{bits:g} bits a number", fontsize=8)
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 80})
    plt.close(figure)


def main() -> None:
    quick = "--quick" in sys.argv
    x = data.cat()[:: 2 if quick else 1, :: 2 if quick else 1]
    found = {bits: ways(x, bits) for bits in (BITS[:4] if quick else BITS)}
    rows = [row_of(x, bits, each) for bits, each in found.items()]
    if not quick:
        draw_errors(rows, PICTURES / "cat_errors.svg")
        draw_pictures(x, {bits: found[bits] for bits in SHOWN}, PICTURES / "cat.jpg")
    timing.write("cut_picture", {"relative error of a picture": rows})


if __name__ == "__main__":
    main()
