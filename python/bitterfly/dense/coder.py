"""Codes of a matrix in a basis at given rates, and their errors: of all entries, and in the metric of the inputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitterfly.accuracy.known import rounded_up
from bitterfly.accuracy.metric import bounds_of_trace
from bitterfly.dense.basis import Basis
from bitterfly.dense.feedback import DampedMetric, round_columns
from bitterfly.dense.rates import Ladder, Neighbours, Unequal
from bitterfly.dense.scales import as_half, best_scales, or_one
from bitterfly.inputs import Array
from bitterfly.stores.dense.codes import DenseCodes
from bitterfly.stores.dense.rotations import Rotation
from bitterfly.stores.dense.tiles import tiles_of_streams
from bitterfly.stores.dense.windows import window_code

_TOP = 15  # the largest scale is below 2^15, within the range of half precision
_UNIT = float(np.finfo(np.float64).eps) / 2
_ROUNDINGS = 8  # of a difference, beside the rotations


class Trial(NamedTuple):
    """Codes and what is known of their errors, the one in the metric NaN without one."""

    codes: DenseCodes
    error: float
    metric_error: float

    @property
    def counted(self) -> float:
        """The error that tolerances are for."""
        return self.error if np.isnan(self.metric_error) else self.metric_error


class Coder:
    """What makes codes of one matrix at any rates.

    Parameters
    ----------
    basis : Basis
    metric : ndarray or None
        Of the inputs before they are rotated, as `as_metric` returns it.
    name : str
        Of the code.
    unequal : bool
        Whether the rates of blocks follow the metric.
    sweeps, workers : int

    Attributes
    ----------
    ladder : Ladder
        The rates to choose from.
    """

    def __init__(self, basis: Basis, metric: Array | None, name: str, unequal: bool, sweeps: int, workers: int) -> None:
        self.basis, self._sweeps, self._workers = basis, sweeps, workers
        self._metric = None if metric is None else _rotated(metric, basis.inputs)
        self._damped = None if self._metric is None else DampedMetric(self._metric)
        rows, columns = basis.energies
        self._weighed = None if self._metric is None else _Weighed(basis, self._metric)
        if self._damped is None or self._weighed is None or not unequal:
            weights = columns if self._damped is None else self._damped.variances
            self.ladder: Ladder = Neighbours(weights, name)
        else:
            energy = float(np.mean(rows)) / basis.shape[1]
            total = self._weighed.total / basis.shape[0] / energy if energy else 0.0
            self.ladder = Unequal(self._damped.variances, total, name)

    def trial(self, half_bits: Array) -> Trial:
        """Return codes of these rates, and their errors."""
        basis, name = self.basis, self.ladder.name
        m, n = basis.shape
        lengths = np.sqrt(basis.energies[0] / n)
        exponent = int(np.frexp(np.max(lengths))[1]) - _TOP
        scale = np.ldexp(lengths, -exponent).astype(np.float16)
        rates = half_bits.tolist()
        codes = [window_code(name, rate / 2) for rate in set(rates)]
        streams: list[list[Array]] = [[] for _ in rates]
        missed, weighed = 0.0, 0.0  # the second from above
        for rows, z in basis.panels():
            z *= 2.0**-exponent  # a row is at most sqrt(m n) times as long as the largest entry, which is about one
            own = best_scales(z, scale[rows], codes)
            found = round_columns(
                z / or_one(own),
                self._damped,
                rates,
                name,
                sweeps=self._sweeps,
                thorough=self._damped is not None,
                workers=self._workers,
            )
            for block, more in zip(streams, found.streams, strict=True):
                block += more
            scale[rows] = as_half(np.where(own == 0, 0, own * found.factors))
            z -= found.values * scale[rows].astype(np.float64)[:, None]
            missed += float(np.einsum("ij,ij", z, z))
            weighed += 0.0 if self._weighed is None else self._weighed.bounds(z)[1]
        tiles = [_tiles([streams[at] for at in np.flatnonzero(half_bits == rate)]) for rate in sorted(set(rates))]
        total = float(np.sum(np.ldexp(basis.energies[0], -2 * exponent)))
        error = _error(missed, total, m * n, basis.rounding)
        lost = float("nan") if self._weighed is None else self._weighed.error(weighed, missed, total, exponent)
        return Trial(DenseCodes(basis.shape, name, half_bits, tiles, scale, basis.exponent + exponent), error, lost)


class _Weighed:
    """Squares in a metric, added up panel by panel, and what all that rounds."""

    def __init__(self, basis: Basis, metric: Array) -> None:
        self._basis, self._metric = basis, metric
        self._norm = float(np.linalg.norm(metric))
        bounds = np.sum([self.bounds(x) for _, x in basis.panels()], axis=0)
        self._least, self.total = (float(bound) for bound in bounds)

    def bounds(self, x: Array) -> tuple[float, float]:
        """Return ``trace(X H X^T)`` from below and from above, by what it rounds."""
        return bounds_of_trace(x, self._metric)

    def error(self, weighed: float, missed: float, total: float, exponent: int) -> float:
        """Return a bound on the error in the metric, infinite where the matrix may be nothing in it.

        With ``rho`` what the basis rounds: the rotated metric is off by ``2 rho ||H||``, both numbers of the matrix by
        ``rho`` of its norm; ``||X M|| <= ||X|| sqrt(||H||)``.
        """
        if total == 0:
            return 0.0
        rho = rounded_up(self._basis.rounding + _ROUNDINGS * _UNIT, 4)
        size = 4 * rho * self._norm
        shift = rho * float(np.sqrt(total * self._norm))
        whole = float(np.ldexp(self._least, -2 * exponent))
        above = np.sqrt(weighed * (1 + 1e-9) + size * missed) + shift
        below = np.sqrt(max(whole * (1 - 1e-9) - size * total, 0.0)) - shift
        return rounded_up(float(above / below), 16) if below > 0 else float("inf")


def _rotated(metric: Array, seed: int | None) -> Array:
    """Return ``R G R^T``; diagonals that stay as they are stay vectors."""
    if seed is None:
        return metric
    rotation = Rotation(len(metric), seed)
    half = rotation.forward(np.diag(metric) if metric.ndim == 1 else metric)
    whole = rotation.forward(np.ascontiguousarray(half.T))
    return np.asarray((whole + whole.T) / 2)


def _tiles(blocks: list[list[Array]]) -> Array:
    """Return the tiles of blocks of one rate."""
    return tiles_of_streams([np.concatenate(panels) for panels in zip(*blocks, strict=True)])


def _error(missed: float, total: float, entries: int, rounding: float) -> float:
    """Return a bound on the relative error, from energies as computed of rotated numbers as computed."""
    if total == 0:
        return 0.0
    return rounded_up(float(np.sqrt(missed / total)), entries) + rounded_up(2 * rounding + _ROUNDINGS * _UNIT, 4)
