"""Train the tables and the masks of window codes (docs/format.md): annealed centroids of what entries stand for.

`python -m bench.quantization.window_tables` prints the constants of `bitterfly/stores/dense/windows.py`, `--check`
compares them with what is there. Names of codes and rates choose some: `--check window7 2`.
"""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from bitterfly import _core
from bitterfly.stores.dense import windows
from bitterfly.stores.dense.windows import RATES, ROWS, WINDOW_BITS, masks_of

Array = np.ndarray
ENTRIES, MOST = 128, 63


class Stage(NamedTuple):
    """Chains of improvements with less and less noise on so many sequences, and how many of the best go on."""

    sequences: int
    rounds: int
    heat: float  # of the first round, in units of the error that is the limit for normal numbers
    kept: int


SEEDS = {"window7": 16, "window11": 40}
STAGES = (Stage(512, 40, 1.5, 5), Stage(1024, 400, 1.5, 2), Stage(8192, 8, 0, 1))
MOST_HEAT = 0.3
JUDGED = 4096  # sequences on which chains are compared
STATED = 32768  # those of the error and the step that are stated


@dataclass(frozen=True)
class Start:
    """A code in training: real entries, those as multiples of the step, generators of masks, the antisymmetry."""

    rate: float
    levels: Array
    step: float
    generators: tuple[int, ...]
    opposite: int  # entry i ^ opposite is minus entry i; 0: none

    @property
    def table(self) -> Array:
        """Those multiples."""
        return np.clip(np.rint(self.levels / self.step), -MOST, MOST).astype(np.int8)

    @property
    def masks(self) -> Array | None:
        """What the generators make."""
        return masks_of(self.generators) if self.generators else None


@cache
def normal(count: int, seed: int) -> Array:
    """Sequences of normal numbers."""
    return np.random.default_rng([seed, count]).standard_normal((count, ROWS), np.float32)


def indices(streams: Array, code: Start) -> Array:
    """The index of each entry (count, ROWS)."""
    bits, rate = (11 if code.generators else 7), code.rate
    around = np.concatenate([streams, streams[:, :4]], axis=1)
    out = np.empty((len(streams), ROWS), np.int64)
    for p in range(ROWS):
        byte, bit = divmod(int(p * rate), 8)
        words = np.ascontiguousarray(around[:, byte : byte + 4]).view("<u4")[:, 0]
        out[:, ROWS - 1 - p] = words >> bit & ((1 << bits) - 1)
    return out if code.masks is None else (out % ENTRIES) ^ code.masks[out // ENTRIES]


def encoded(code: Start, x: Array) -> Array:
    streams = _core.window_encode(x / np.float32(code.step), code.table, code.masks, round(2 * code.rate), ROWS)
    return indices(streams, code)


def fitted(code: Start, x: Array) -> tuple[float, float]:
    """The relative error with the best step, and this step."""
    y = code.table.astype(np.float64)[encoded(code, x)]
    wide = x.astype(np.float64)
    step = float(np.sum(wide * y) / np.sum(y * y))
    return float(np.linalg.norm(wide - step * y) / np.linalg.norm(wide)), step


def improved(code: Start, x: Array) -> Start:
    """Every entry the mean of what it stands for; the step that rounds these means with the least error."""
    index = encoded(code, x).reshape(-1)
    counts = np.bincount(index, minlength=ENTRIES).astype(np.float64)
    sums = np.bincount(index, weights=x.reshape(-1), minlength=ENTRIES)
    if code.opposite:
        twin = np.arange(ENTRIES) ^ code.opposite
        counts, sums = counts + counts[twin], sums - sums[twin]
    levels = np.where(counts > 0, sums / np.maximum(counts, 1), code.levels)
    steps = np.max(np.abs(levels)) / MOST * np.linspace(0.8, 1, 41)
    rounded = np.clip(np.rint(levels / steps[:, np.newaxis]), -MOST, MOST) * steps[:, np.newaxis]
    step = float(steps[np.argmin(((rounded - levels) ** 2) @ counts)])
    return replace(code, levels=levels, step=step)


def start(name: str, rate: float, seed: int) -> Start:
    """Normal quantiles dealt to the entries at random, every other time antisymmetric."""
    rng = np.random.default_rng([seed, WINDOW_BITS[name], round(2 * rate)])
    generators: tuple[int, ...] = ()
    while name == "window11" and len(set(masks_of(generators))) < 16:
        generators = tuple(int(g) for g in rng.integers(1, ENTRIES, 4))
    opposite = (generators[-1] if generators else ENTRIES // 2) if seed % 2 else 0
    levels = rng.permutation(ndtri((np.arange(ENTRIES) + 0.5) / ENTRIES))
    if opposite:
        twin = np.arange(ENTRIES) ^ opposite
        levels = np.where(np.arange(ENTRIES) < twin, levels, -levels[twin])
    return Start(rate, levels, float(np.max(np.abs(levels)) / MOST), generators, opposite)


def annealed(code: Start, stage: Stage, x: Array, rng: np.random.Generator) -> Start:
    """Improved round by round; noise on the entries, less and less, leads out of poor optima."""
    heat = min(stage.heat * 2.0**-code.rate, MOST_HEAT)
    for left in reversed(range(stage.rounds)):
        code = improved(code, x)
        noise = rng.standard_normal(ENTRIES) * heat * (left / stage.rounds) ** 2
        if code.opposite:
            noise = (noise - noise[np.arange(ENTRIES) ^ code.opposite]) / np.sqrt(2)
        code = replace(code, levels=code.levels + noise)
    return code


def trained(name: str, rate: float) -> tuple[Start, float, float]:
    """The best of all starts, its error and its step."""
    left = [start(name, rate, seed) for seed in range(SEEDS[name])]
    for at, stage in enumerate(STAGES):
        rng = np.random.default_rng([at, WINDOW_BITS[name], round(2 * rate)])
        left = [annealed(code, stage, normal(stage.sequences, at), rng) for code in left]
        errors = [fitted(code, normal(JUDGED, 10))[0] for code in left]
        left = [left[i] for i in np.argsort(errors, kind="stable")[: stage.kept]]
    return (left[0], *fitted(left[0], normal(STATED, 20)))


def missed(p: Array, a: Array, b: Array) -> Array:
    """The integral of (x - p)^2 over normal numbers from a to b."""
    density = [np.exp(-x * x / 2) / np.sqrt(2 * np.pi) for x in (a, b)]
    mass, mean = ndtr(b) - ndtr(a), density[0] - density[1]
    square = mass + np.where(np.isfinite(a), a, 0) * density[0] - np.where(np.isfinite(b), b, 0) * density[1]
    return square - 2 * p * mean + p * p * mass


def nearest_entries(half: int, most: int, step: float) -> tuple[float, Array]:
    """The best `half` positive multiples of a step up to `most`, by dynamic programming; their squared error first."""
    p = np.arange(1, most + 1) * step
    low, high = p[:, np.newaxis], p[np.newaxis]
    middle = (low + high) / 2
    between = np.where(low < high, missed(low, low, middle) + missed(high, middle, high), np.inf)
    least, came = missed(p, np.zeros(most), p), []
    for _ in range(half - 1):
        sums = least[:, np.newaxis] + between
        came.append(np.argmin(sums, axis=0))
        least = sums.min(axis=0)
    least = least + missed(p, p, np.full(most, np.inf))
    at = [int(np.argmin(least))]
    for before in reversed(came):
        at.append(int(before[at[-1]]))
    return 2 * float(least.min()), np.array(at[::-1]) + 1


def scalar_text() -> str:
    """The lines of the codes of 6 and 8 bits in `windows.py`."""
    steps = np.linspace(0.028, 0.04, 121)
    errors = [nearest_entries(32, 127, step)[0] for step in steps]
    step = steps[np.argmin(errors)]
    half = nearest_entries(32, 127, step)[1]
    whole = np.arange(-128, 128)
    ends = np.concatenate([[-np.inf], whole[1:] - 0.5, [np.inf]])
    uniform = [float(np.sum(missed(whole * s, ends[:-1] * s, ends[1:] * s))) for s in steps]
    facts = [(step, min(errors)), (steps[np.argmin(uniform)], min(uniform))]
    listed = ", ".join(f"{bits}: ({s:.5g}, {e**0.5:.4g})" for bits, (s, e) in zip((6, 8), facts, strict=True))
    letters = base64.b85encode(np.concatenate([-half[::-1], half]).astype(np.int8).tobytes()).decode()
    return f'_SCALAR_FACTS = {{{listed}}}\n_SCALAR_TABLE = "{letters}"\n'


def text(name: str, rate: float) -> str:
    """The lines of a code in `windows.py`."""
    code, error, step = trained(name, rate)
    letters = base64.b85encode(code.table.tobytes()).decode()
    lines = (f"{step:.5g}", f"{error:.4g}", str(code.generators), f'"{letters[:80]}"\n        "{letters[80:]}"')
    return f'    ("{name}", {rate}): (\n' + "".join(f"        {line},\n" for line in lines) + "    ),\n"


def main() -> None:
    names = [a for a in sys.argv[1:] if a in WINDOW_BITS] or list(WINDOW_BITS)
    rates = [r for r in RATES if str(r) in sys.argv[1:]] or RATES
    pinned = Path(windows.__file__).read_text()
    texts = [scalar_text] + [partial(text, name, rate) for name in names for rate in rates]
    for lines in (make() for make in texts):
        if "--check" not in sys.argv:
            print(lines, end="", flush=True)
        elif lines not in pinned:
            raise SystemExit(f"windows.py has something else than\n{lines}")


if __name__ == "__main__":
    main()
