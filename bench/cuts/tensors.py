"""Errors and times of signed cuts of tensors against the published algorithm in NumPy, and what each step brings.

`python -m bench.cuts.tensors [--quick]` (the picture: pip install scikit-image); one thread.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np

from bench import timing
from bitterfly import cuts

BITS = (0.5, 1.0, 2.0, 4.0)
NO_CHANGE = patch("bitterfly.cuts.refine._change", lambda gram, c, missed: np.zeros(len(c)))
NO_FLIPS = patch("bitterfly.cuts.refine._TIMES", 0)
PLAIN = {"starts": 1, "sweeps": 0}
WAYS: dict[str, tuple[dict[str, int], AbstractContextManager[Any]]] = {
    "in groups": (PLAIN, nullcontext()),
    "8 starts": ({"sweeps": 0}, nullcontext()),
    "least squares": ({"starts": 1}, NO_FLIPS),
    "flips": ({"starts": 1}, NO_CHANGE),
    "flips, least squares": ({"starts": 1}, nullcontext()),
    "all: the default": ({}, nullcontext()),
}


def tensors(quick: bool) -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for shape in ((24, 24, 24),) if quick else ((64, 64, 64), (16, 16, 16, 16), (8, 8, 8, 8, 8)):
        yield f"Gaussian {' x '.join(map(str, shape))}", rng.standard_normal(shape, np.float32)
    if importlib.util.find_spec("skimage"):
        from skimage import data

        yield "picture 300 x 451 x 3", data.cat().astype(np.float32)


def image(x: np.ndarray, signs: list[np.ndarray], axis: int) -> np.ndarray:
    for side in signs[:axis]:
        x = (side @ x.reshape(len(side), -1)).reshape(x.shape[1:])
    for side in signs[:axis:-1]:
        x = x @ side
    return x


def published(x: np.ndarray, width: int, rng: np.random.Generator) -> float:
    """The algorithm as it is written down: one ascent, one axis after the other, one cut; returns the error."""
    rest = x.copy()
    for _ in range(width):
        signs, gain = [rng.choice(np.array([-1, 1], np.float32), n) for n in x.shape], -1.0
        while True:
            before = gain
            for axis in range(x.ndim):
                found = image(rest, signs, axis)
                signs[axis] = np.copysign(np.float32(1), found)
                gain = float(np.abs(found).sum(dtype=np.float64))
            if gain <= before * (1 + 1e-7):
                break
        cut = signs[0]
        for side in signs[1:]:
            cut = np.multiply.outer(cut, side)
        rest -= np.float32(gain / x.size) * cut
    return float(np.linalg.norm(rest) / np.linalg.norm(x))


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    found = run()
    return found, time.perf_counter() - start


def row_of(name: str, x: np.ndarray, bits: float) -> dict[str, Any]:
    found = {}
    for way, (options, change) in WAYS.items():
        with change:
            found[way] = timed(lambda options=options: cuts.tensor(x, bits=bits, rng=0, workers=1, **options))
    width = found["in groups"][0].width
    error, seconds = timed(lambda: published(x, width, np.random.default_rng(0)))
    row: dict[str, Any] = {"tensor": name, "bits": bits, "cuts": width, "published": error}
    row |= {way: cut.relative_error / error for way, (cut, _) in found.items()}
    row |= {"published s": seconds, "published / in groups": seconds / found["in groups"][1]}
    return row | {"default / published": found["all: the default"][1] / seconds}


def main() -> None:
    quick = "--quick" in sys.argv
    with timing.one_thread():
        rows = [row_of(name, x, bits) for name, x in tensors(quick) for bits in (BITS[:2] if quick else BITS)]
    timing.write("cut_tensors", {"errors over the published one, and times": rows})


if __name__ == "__main__":
    main()
