"""The error of an operator from random rows, those with much energy more often, with a confidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bitterfly.inputs import Array, IndexArray
from bitterfly.rows import rows_of
from bitterfly.sources import Source

SAMPLED_ROWS = 256
_BLOCK_ENTRIES = 1 << 22
_COLUMNS = 16  # that tell rows with much energy
_STANDARD_ERRORS = 3


def one_in_each_stratum(size: int, count: int, rng: np.random.Generator) -> IndexArray:
    """Return `count` of ``range(size)``, at random, one in each of as many equal parts."""
    return np.floor((np.arange(count) + rng.random(count)) * (size / max(1, count))).astype(np.intp)


def sampled_error(source: Source, op: Any, count: int, rng: np.random.Generator) -> tuple[float, float]:
    """Estimate the relative error from random rows, drawn in proportion to their energies, roughly.

    Half of the probability is spread evenly, half follows the energies of 16 random columns: rows that weigh more err
    more. Of the cumulative probability, one row is drawn in each of `count` equal parts (systematic sampling), and each
    counts with the inverse of its probability (Horvitz and Thompson, 1952).

    Returns
    -------
    estimate, upper : float
        The square root of the ratio of energies, and that of the ratio plus three standard errors. The confidence
        stated for the upper bound is 97.7 %, that of two for a normal distribution: errors have tails.
    """
    m = source.shape[0]
    if count >= m:
        missed, total = _energies(source, op, np.arange(m))
        ratio = float(np.sum(missed) / np.sum(total)) if np.sum(total) > 0 else (np.inf if np.any(missed) else 0.0)
        return float(np.sqrt(ratio)), float(np.sqrt(ratio))
    probability = _probabilities(source, rng)
    places = (np.arange(count) + rng.random(count)) / count
    picked = np.minimum(np.searchsorted(np.cumsum(probability), places), m - 1)
    rows, times = np.unique(picked, return_counts=True)
    missed, total = (part / (m * probability[rows]) for part in _energies(source, op, rows))
    if not np.sum(total * times) > 0:
        return (0.0, 0.0) if not np.any(missed) else (float("inf"), float("inf"))
    ratio = float(np.sum(missed * times) / np.sum(total * times))
    spread = np.std(np.repeat(missed - ratio * total, times), ddof=1)
    error = float(spread) / np.sqrt(count) / (float(np.sum(total * times)) / count)
    return float(np.sqrt(ratio)), float(np.sqrt(ratio + _STANDARD_ERRORS * error))


def _probabilities(source: Source, rng: np.random.Generator) -> Array:
    m, n = source.shape
    columns = one_in_each_stratum(n, min(n, _COLUMNS), rng)
    energy = np.empty(m)
    for part in _parts(m, _BLOCK_ENTRIES // _COLUMNS):
        block = np.asarray(source.block(np.arange(part.start, part.stop), columns))
        energy[part] = np.sum(np.abs(block.astype(np.result_type(block.dtype, np.float64))) ** 2, axis=1)
    total = float(np.sum(energy))
    even = np.full(m, 1 / m)
    return (even + energy / total) / 2 if 0 < total < np.inf else even


def _energies(source: Source, op: Any, picked: IndexArray) -> tuple[Array, Array]:
    """Return the squared lengths of rows of the error and of the matrix."""
    n = source.shape[1]
    missed, total = np.empty(len(picked)), np.empty(len(picked))
    for part in _parts(len(picked), max(1, _BLOCK_ENTRIES // n)):
        rows = picked[part]
        exact = np.asarray(source.block(rows, np.arange(n)))
        missed[part] = np.sum(np.abs(exact - rows_of(op, rows)) ** 2, axis=1)
        total[part] = np.sum(np.abs(exact) ** 2, axis=1)
    return missed, total


def _parts(size: int, step: int) -> Iterator[slice]:
    for first in range(0, size, step):
        yield slice(first, min(first + step, size))
