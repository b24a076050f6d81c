"""The built-in example: the matrix of a single-pixel camera, compressed, and a picture taken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import matmul
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.linalg import lsqr

from bitterfly import transforms
from bitterfly.accuracy.measured import measure
from bitterfly.factorization.factorize import factorize
from bitterfly.inputs import Array
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.quantization.quantize import quantize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Operator = ButterflyOperator | PackedButterfly
Progress = Callable[[str, float], None]

WIDTHS = (1, 2, 3, 4, 5, 6)

_SEED = 20
_MASK_NOISE = 1e-3
_LAMP_DRIFT = 0.4
# Intensity, half axes, centre and tilt in degrees of the ten ellipses: Shepp and Logan, IEEE
# Trans. Nucl. Sci. 21 (1974), with the intensities that Toft (1996) chose for visible contrast.
_ELLIPSES = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
)


@dataclass(frozen=True)
class Row:
    """One line of the table: an operator, what it weighs, and how it does."""

    label: str
    nbytes: int
    error: float
    seconds: float
    picture: Array
    picture_error: float


@dataclass(frozen=True)
class Result:
    """The picture, and what each operator made of it; the first row is the dense matrix."""

    phantom: Array
    factorize_seconds: float
    rows: tuple[Row, ...]


def shepp_logan(side: int) -> Array:
    """Return the Shepp-Logan head phantom, `side` x `side` pixels between 0 and 1."""
    axis = (np.arange(side) + 0.5) * 2 / side - 1
    x, y = axis[None, :], -axis[:, None]
    picture: Array = sum((_ellipse(x, y, *row) for row in _ELLIPSES), np.zeros((side, side)))
    return picture


def _ellipse(x: Array, y: Array, value: float, a: float, b: float, x0: float, y0: float, tilt: float) -> Array:
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    along, across = (x - x0) * c + (y - y0) * s, (y - y0) * c - (x - x0) * s
    inside: Array = (along / a) ** 2 + (across / b) ** 2 <= 1
    return value * inside


def camera(side: int) -> Array:
    """Return the matrix of a single-pixel camera, float32, one row a mask, one column a pixel.

    Walsh-Hadamard masks, times the brightness of a lamp that drifts from mask to mask, times the
    fall of light towards the corners, each entry disturbed by 0.1 % of noise.
    """
    n = side * side
    rng = np.random.default_rng(_SEED)
    matrix: Array = transforms.hadamard(n, dtype=np.float32).todense()
    matrix *= _lamp(n, rng).astype(np.float32)[:, None]
    matrix *= _vignette(side).astype(np.float32)
    matrix += np.float32(_MASK_NOISE) * rng.standard_normal((n, n), dtype=np.float32)
    return matrix


def _lamp(n: int, rng: np.random.Generator) -> Array:
    """Return the lamp's brightness at each mask: two slow waves and a random walk."""
    time = np.arange(n) / n
    walk = np.cumsum(rng.standard_normal(n)) / np.sqrt(n)
    waves = np.sin(2 * np.pi * 1.3 * time) + 0.5 * np.sin(2 * np.pi * 7.7 * time)
    drift: Array = np.exp(_LAMP_DRIFT * (waves / 1.5 + walk / np.max(np.abs(walk))))
    return drift


def _vignette(side: int) -> Array:
    """Return the share of light that reaches each pixel: 1 in the middle, half in the corners."""
    axis = ((np.arange(side) + 0.5) * 2 / side - 1) ** 2
    light: Array = 1 / (1 + 0.21 * (axis[:, None] + axis[None, :])) ** 2
    return light.ravel()


def run(side: int, progress: Progress | None = None) -> Result:
    """Take the picture with the dense matrix, reconstruct it with compressed ones of all widths."""
    report = progress or (lambda stage, fraction: None)
    report("camera", 0.0)
    phantom, matrix = shepp_logan(side), camera(side)
    x = phantom.ravel().astype(np.float32)
    light = matrix @ x
    dense = Row("dense", matrix.nbytes, 0.0, _dense_seconds(len(x)), phantom, 0.0)
    report("camera", 1.0)
    report("factorize", 0.0)
    start = perf_counter()
    factors = factorize(matrix)
    factorize_seconds = perf_counter() - start
    report("factorize", 1.0)
    operators: dict[str, Operator] = {"float factors": factors}
    operators |= {_bits(b): quantize(factors, bits=b) for b in WIDTHS}
    times = _interleaved_seconds([partial(matmul, op, x) for op in operators.values()])
    rows = [dense]
    for (label, op), seconds in zip(operators.items(), times, strict=True):
        report("widths", (len(rows) - 1) / len(operators))
        rows.append(_row(label, op, seconds, matrix, phantom, light))
    report("widths", 1.0)
    return Result(phantom, factorize_seconds, tuple(rows))


def _bits(bits: float) -> str:
    return "1 bit" if bits == 1 else f"{bits:g} bits"


def _row(label: str, op: Operator, seconds: float, matrix: Array, phantom: Array, light: Array) -> Row:
    picture = lsqr(op, light, atol=1e-7, btol=1e-7, iter_lim=200)[0].reshape(phantom.shape)
    missed = float(np.linalg.norm(picture - phantom) / np.linalg.norm(phantom))
    return Row(label, op.nbytes, measure(matrix, op), seconds, picture, missed)


def _interleaved_seconds(calls: list[Callable[[], Any]], rounds: int = 41, repeats: int = 20) -> list[float]:
    """Return the median time of each call over rounds of all of them, so that the machine's moods hit all alike."""
    seconds = np.empty((rounds, len(calls)))
    for at, of in np.ndindex(seconds.shape):
        calls[of]()
        start = perf_counter()
        for _ in range(repeats):
            calls[of]()
        seconds[at, of] = (perf_counter() - start) / repeats
    return [float(s) for s in np.median(seconds, axis=0)]


_TIME_DENSE = """
import numpy as np, sys, time
n = int(sys.argv[1])
a, x = np.ones((n, n), np.float32), np.ones(n, np.float32)
times = []
for _ in range(22):
    start = time.perf_counter()
    a @ x
    times.append(time.perf_counter() - start)
print(np.median(times[1:]))
"""


def _dense_seconds(n: int) -> float:
    """Time NumPy's dense product on one thread; BLAS takes the number only at the start."""
    variables = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    one = dict.fromkeys((*variables, "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS"), "1")
    command = [sys.executable, "-c", _TIME_DENSE, str(n)]
    done = subprocess.run(command, env=os.environ | one, capture_output=True, text=True, check=True)
    return float(done.stdout)


def table(result: Result) -> str:
    """Return the table of all operators, as text."""
    n = result.phantom.size
    dense = result.rows[0]
    title = (
        f"A single-pixel camera: {n} Walsh-Hadamard masks, a drifting lamp, dark corners,\n"
        f"{_MASK_NOISE:.1%} noise on every entry; {n} x {n} float32, "
        f"factorized in {result.factorize_seconds:.2f} s.\n"
    )
    head = f"{'':<14}{'bytes':>12}{'of dense':>10}{'error':>11}{'product':>11}{'speed':>8}"
    lines = [title, head + f"{'picture error':>15}"]
    lines += [_line(row, dense) for row in result.rows]
    notes = (
        "\nbits: per number stored in the factors. error: ||A - Q||_F / ||A||_F, measured."
        "\nproduct: with one vector, on one thread; speed: against NumPy's dense product."
        "\npicture error: of the picture that scipy.sparse.linalg.lsqr finds with the operator."
    )
    return "\n".join(lines) + "\n" + notes


def _line(row: Row, dense: Row) -> str:
    share = f"{row.nbytes / dense.nbytes:.2%}"
    speed = f"{dense.seconds / row.seconds:.0f}x"
    line = f"{row.label:<14}{row.nbytes:>12,}{share:>10}"
    if row is dense:
        return line + f"{'':>11}{_time(row.seconds):>11}"
    line += f"{row.error:>11.2e}{_time(row.seconds):>11}{speed:>8}"
    return line + f"{row.picture_error:>15.2e}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def save_picture(result: Result, path: str) -> None:
    """Write the phantom, two reconstructions and error against bytes as a picture.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from bitterfly.files.replacing import written

    figure = Figure(figsize=(13, 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.5))
    packed = result.rows[2:]
    coarse, fine = packed[0], packed[WIDTHS.index(4)]
    _show(axes[0], result.phantom, "what the camera saw")
    for axis, row in ((axes[1], coarse), (axes[2], fine)):
        share = row.nbytes / result.rows[0].nbytes
        _show(axis, row.picture, f"{row.label}, {share:.2%} of the bytes")
    _plot_errors(axes[3], result.rows[1], packed)
    with written(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _show(axis: Axes, picture: Array, title: str) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axis.set_title(title, fontsize=10)
    axis.set_axis_off()


def _plot_errors(axis: Axes, factors: Row, packed: tuple[Row, ...]) -> None:
    kilobytes = [row.nbytes / 1e3 for row in packed]
    axis.semilogy(kilobytes, [row.error for row in packed], "o-", label="matrix")
    axis.semilogy(kilobytes, [row.picture_error for row in packed], "s-", label="picture")
    axis.axhline(factors.error, color="gray", linestyle=":", label="float factors")
    for row, x in zip(packed, kilobytes, strict=True):
        axis.annotate(row.label, (x, row.error), fontsize=7, xytext=(3, 5), textcoords="offset points")
    axis.set_xlabel("kilobytes")
    axis.set_ylabel("relative error")
    axis.legend(fontsize=8, frameon=False)
