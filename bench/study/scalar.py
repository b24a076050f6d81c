"""The baseline: each number of a row to the nearest of evenly spaced ones, with all that window codes have beside.

Levels of 32 columns at a time, so that any number of bytes is met; 64 numbers of a column are packed as one integer,
``64 log2(levels)`` bits rounded up. A scale of 16 bits a row, searched for; 8 bytes for the seed of a rotation.
"""

from __future__ import annotations

from functools import cache
from math import ceil, log2
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from bitterfly.accuracy.metric import as_metric
from bitterfly.accuracy.moments import SecondMoments
from bitterfly.dense.feedback import DampedMetric
from bitterfly.quantization.knapsack import Knapsack, Option, widths_of
from bitterfly.stores.dense.rotations import Rotation

LEVELS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
BLOCK, PACKED = 32, 64
REACHES, FINER, REFITS = np.geomspace(0.5, 6, 12), (0.9, 0.95, 1.05, 1.1), 2
PANEL = 1 << 19  # entries whose scales are searched for at once


class Steps(NamedTuple):
    """The distance of neighbours that is best for normal numbers, and the squared error of these."""

    step: float
    square: float


@cache
def best_steps(levels: int) -> Steps:
    x = np.linspace(-7, 7, 28001)
    weights = np.exp(-x * x / 2) * (x[1] - x[0]) / np.sqrt(2 * np.pi)

    def square(step: float) -> float:
        return float(weights @ np.square(x - _nearest(x, np.float64(step), np.float64(levels))))

    found = minimize_scalar(square, bounds=(0.5 / levels, 4.0 / levels + 1), method="bounded", options={"xatol": 1e-7})
    return Steps(float(found.x), float(found.fun))


def _nearest(x: np.ndarray, step: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The nearest of ``levels`` numbers at odd or even multiples of half a step, symmetric about zero."""
    middle = (levels - 1) / 2
    return np.asarray((np.clip(np.rint(x / step + middle), 0, levels - 1) - middle) * step)


def column_bytes(m: int, levels: int) -> int:
    return ceil(ceil(PACKED * log2(levels)) * m / (8 * PACKED))


def coded(
    a: np.ndarray, nbytes: int, rotate: bool, moments: SecondMoments | None, unequal: bool, seed: int
) -> tuple[np.ndarray, int]:
    """What a matrix becomes in at most so many bytes, and how many it takes.

    With moments, columns make good for those before them; `unequal`, those that count more have more levels.
    """
    m, n = a.shape
    rotation = Rotation(n, seed) if rotate else None
    x = a.astype(np.float64)
    metric = as_metric(moments, n)
    if rotation is not None:
        x = np.ascontiguousarray(rotation.forward(np.ascontiguousarray(x.T)).T)
        if metric is not None:
            half = rotation.forward(metric)
            metric = rotation.forward(np.ascontiguousarray(half.T))
            metric = (metric + metric.T) / 2
    damped = None if metric is None else DampedMetric(metric)
    weights = damped.variances if damped is not None and unequal else np.ones(n)
    beside = 2 * m + -(-n // BLOCK) + 8 * rotate
    levels = shared(m, weights, nbytes - beside)
    found = _rounded(x, levels, damped)
    if rotation is not None:
        found = rotation.adjoint(np.ascontiguousarray(found.T)).T
    return found.astype(np.float32), beside + sum(column_bytes(m, int(each)) for each in levels)


def shared(m: int, weights: np.ndarray, nbytes: int) -> np.ndarray:
    """The levels of each column, alike in blocks, by the least sum of weights times squared errors."""
    parts = []
    for first in range(0, len(weights), BLOCK):
        own = weights[first : first + BLOCK]
        square = float(np.sum(own))
        parts.append([Option(len(own) * column_bytes(m, k), square * best_steps(k).square, k) for k in LEVELS])
    found = widths_of(Knapsack(parts).in_bytes(nbytes))
    if found is None:
        raise ValueError(f"nbytes: two levels a number take more than {nbytes}")
    return np.repeat(found, BLOCK)[: len(weights)]


def _rounded(x: np.ndarray, levels: np.ndarray, damped: DampedMetric | None) -> np.ndarray:
    """Codes of rows times their scales."""
    steps = np.array([best_steps(int(each)).step for each in levels])
    if damped is None or damped.pull is None:
        out = np.empty_like(x)
        height = max(PANEL // x.shape[1], 1)
        for first in range(0, len(x), height):
            part = x[first : first + height]
            scale = _half(_searched(part, steps, levels))[:, None]
            out[first : first + height] = scale * _nearest(part / _or_one(scale), steps, levels)
        return out
    squares = np.array([best_steps(int(each)).square for each in levels])
    before = np.einsum("i,ij,ij->j", squares, damped.pull, damped.pull) - squares
    scale = _or_one(_searched(x, steps, levels) * float(np.exp(np.log1p(before).mean() / 2)))
    codes, lost = np.empty_like(x), np.zeros_like(x)
    for j in range(x.shape[1]):
        target = x[:, j] + lost[:, :j] @ damped.pull[:j, j]
        codes[:, j] = _nearest(target / scale, steps[j], levels[j])
        lost[:, j] = x[:, j] - scale * codes[:, j]
    weighed = damped.times(codes.T).T
    above, below = (np.einsum("ij,ij->i", each, weighed) for each in (x, codes))
    return np.asarray(_half(np.divide(above, below, out=scale, where=below > 0))[:, None] * codes)


def _searched(x: np.ndarray, steps: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Scales of rows of nearly the least squared error: coarse, finer, then least squares and rounding in turn."""
    x = x.astype(np.float32)
    steps, levels = steps.astype(np.float32), levels.astype(np.float32)
    root = np.sqrt(np.mean(np.square(x), axis=1))
    scale, least = np.zeros_like(root), np.full(len(x), np.inf)

    def attempt(tried: np.ndarray) -> np.ndarray:
        nonlocal scale, least
        codes = _nearest(x / _or_one(tried)[:, None], steps, levels)
        missed = np.sum(np.square(x - tried[:, None] * codes), axis=1)
        scale, least = np.where(missed < least, tried, scale), np.minimum(missed, least)
        return codes

    for reach in REACHES:
        attempt(np.float32(reach) * root)
    for factor, coarse in ((each, scale) for each in FINER):
        attempt(np.float32(factor) * coarse)
    for _ in range(REFITS):
        codes = attempt(scale)
        energy = np.sum(codes * codes, axis=1)
        attempt(np.divide(np.sum(x * codes, axis=1), energy, out=np.zeros_like(energy), where=energy > 0))
    return scale.astype(np.float64)


def _half(scale: np.ndarray) -> np.ndarray:
    return scale.astype(np.float16).astype(np.float64)


def _or_one(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, scale, 1)
