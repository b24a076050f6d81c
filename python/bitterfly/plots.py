"""Pictures: ranks of each level, error against bytes beside dense codes and truncated SVDs, the layers of a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bitterfly.compression.compress import compress
from bitterfly.factorization.factorize import factorize
from bitterfly.factorization.orderings import Permute
from bitterfly.inputs import Array, as_floating
from bitterfly.operators.pictures import axes_of, plot_ranks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["dense_codes", "plot_error", "plot_model", "plot_ranks", "truncated_svd"]

_log = logging.getLogger("bitterfly")

Curve = list[tuple[int, float]]  # (bytes, relative error)

_TOLERANCES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4)


def plot_error(
    a: Any, ax: Axes | None = None, *, rtols: Sequence[float] = _TOLERANCES, permute: Permute = "auto"
) -> Axes:
    """Draw the error of a matrix against the bytes of its butterflies, of dense codes and of truncated SVDs.

    Parameters
    ----------
    a : array_like, shape (m, n)
        Real or complex matrix.
    ax : matplotlib Axes, optional
        Default: the current axes of pyplot.
    rtols : sequence of float
        Tolerances of the butterflies, float and packed; those that cannot be met are left out.
    permute
        See `factorize`.

    Returns
    -------
    Axes
        Bytes as a share of those of the matrix in its own precision, all buffers counted.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    ax = axes_of(ax)
    a = as_floating(a, "a")
    floats: Curve = []
    packed: Curve = []
    for rtol in rtols:
        try:
            op = factorize(a, rtol=rtol, permute=permute)
            floats.append((op.nbytes, op.relative_error))
            small = compress(a, rtol=rtol, structure="butterfly", permute=permute)
            packed.append((small.nbytes, small.relative_error))
        except ValueError as error:
            _log.info("left out rtol=%g: %s", rtol, error)
    curves = {"butterfly, packed": packed, "butterfly, float": floats, "dense, 2 to 12 bits": dense_codes(a)}
    curves["truncated SVD"] = [point for point in truncated_svd(a) if point[0] <= a.nbytes]
    for (label, curve), style in zip(curves.items(), ("o-", "s-", "^:", "--"), strict=True):
        if curve:
            sizes, errors = zip(*curve, strict=True)
            ax.loglog(np.array(sizes) / a.nbytes, np.maximum(errors, 1e-16), style, label=label, markersize=4)
    ax.set_ylim(bottom=max(ax.get_ylim()[0], min(rtols) / 30), top=2)
    ax.set_xlabel("share of the bytes")
    ax.set_ylabel("relative error")
    ax.grid(visible=True, which="major", alpha=0.3)
    ax.legend(fontsize=7, frameon=False)
    return ax


def dense_codes(a: Array, bits: Sequence[int] = tuple(range(2, 13))) -> Curve:
    """Return bytes and error of all entries rounded to a few bits, with one step, the best of a scan, a column."""
    parts = a.reshape(a.shape[0], -1).view(a.real.dtype).astype(np.float64)
    largest, total = np.max(np.abs(parts), axis=0), np.linalg.norm(parts)
    curve: Curve = []
    for width in bits:
        top = 2 ** (width - 1) - 1
        best = np.full(parts.shape[1], np.inf)
        for shrink in np.linspace(0.3, 1, 15):
            step = np.where(largest > 0, largest, 1) * shrink / max(top, 1)
            coded = np.clip(np.round(parts / step), -top - 1, top) * step
            best = np.minimum(best, np.sum((parts - coded) ** 2, axis=0))
        error = float(np.sqrt(np.sum(best)) / total) if total > 0 else 0.0
        curve.append((-(-parts.size * width // 8) + a.real.dtype.itemsize * parts.shape[1], error))
    return curve


def truncated_svd(a: Array) -> Curve:
    """Return bytes and error of truncated SVDs, two factors in the precision of the matrix, for ranks 1, 2, 4, ..."""
    values = np.linalg.svd(a, compute_uv=False).astype(np.float64)
    tails = np.sqrt(np.append(np.cumsum(values[::-1] ** 2)[::-1], 0.0))
    ranks = np.unique(np.round(np.geomspace(1, len(values), 24)).astype(int))
    total = tails[0] if tails[0] > 0 else 1.0
    return [(int(r) * sum(a.shape) * a.dtype.itemsize, float(tails[r] / total)) for r in ranks]


def plot_model(model: Any, figure: Figure | None = None) -> Figure:
    """Draw bytes, bits and errors of all matrices of a compressed model, one above the other.

    Parameters
    ----------
    model : CompressedModel
        As `bitterfly.models.load` returns it.
    figure : matplotlib Figure, optional
        Default: the current one of pyplot.

    Returns
    -------
    Figure
        With three axes; the parts of a table stand side by side.

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        Where nothing in the model is coded.
    """
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.gcf()
    coded = [(name, unit) for name in model if model.kind(name) != "plain" for unit in model.units(name)]
    if not coded:
        raise ValueError("model: expected matrices that are coded, got none")
    places = np.arange(len(coded))
    names = [f"{name}[{unit.rows[0]}:]" if unit.rows[0] else name for name, unit in coded]
    sizes, bits, errors = figure.subplots(3, 1, sharex=True)
    sizes.bar(places, [unit.nbytes / 1e3 for _, unit in coded])
    sizes.set_ylabel("kilobytes")
    bits.bar(places, [unit.bits for _, unit in coded])
    bits.set_ylabel("bits, all bytes")
    errors.plot(places, [unit.relative_error for _, unit in coded], "o", markersize=4, label="all entries")
    errors.plot(places, [unit.metric_error for _, unit in coded], "s", markersize=4, label="metric of the inputs")
    if any(unit.relative_error > 0 for _, unit in coded):
        from matplotlib.ticker import LogLocator

        errors.set_yscale("log")
        errors.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        errors.yaxis.set_major_formatter("{x:g}")
        errors.yaxis.set_minor_formatter("")
    errors.set_ylabel("relative error")
    errors.legend(fontsize=7, frameon=False)
    errors.set_xticks(places, names, rotation=90, fontsize=6)
    for ax in (sizes, bits, errors):
        ax.grid(visible=True, axis="y", alpha=0.3)
    return figure
