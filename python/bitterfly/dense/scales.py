"""Scales of rows for scalar codes: no farther out than a row reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitterfly.inputs import Array
from bitterfly.stores.dense.windows import WindowCode

_SHARES = {
    6: np.linspace(0.7, 1.0, 7),
    8: np.linspace(0.64, 1.0, 25),
}  # of the largest number of a row, for the last entry
_SEARCHED = 0.25, 4.0
_LARGEST = float(np.finfo(np.float16).max)
_BINS = 1 << 14  # in which entries of 6 bits are looked up, to compare scales
_FACTORS = 0.95, 0.975, 1.0, 1.025


def best_scales(z: Array, scale: Array, codes: Sequence[WindowCode]) -> Array:
    """Return scales for the rows of z in half precision, at least as good as these; these where windows overlap.

    Codes of 6 and of 8 bits gain where the largest number of a row is no farther out than their last entry; that of 8
    bits is -128, and scales are negative where it stands for a positive one.
    """
    if any(each.name != "scalar" for each in codes):
        return scale
    out, x = np.ones(len(z)), z / or_one(scale)
    code = max(codes, key=lambda each: each.rate)
    entries = np.sort(code.table.astype(np.float64)) * code.step
    last = entries[0] if code.bits == 8 else entries[-1]
    reach = _largest(x) / last if code.bits == 8 else np.max(np.abs(x), axis=1) / last
    least = np.full(len(x), np.inf)
    tried = [np.full(len(x), factor) for factor in _FACTORS]
    for share in _SHARES[code.bits]:
        size = np.clip(np.abs(share * reach), *_SEARCHED)
        tried.append(np.where(reach == 0, 1.0, np.copysign(size, reach)))
    for factor in tried:
        scaled = x / factor[:, None]
        missed = factor**2 * np.sum((scaled - _nearest(scaled, entries, code)) ** 2, axis=1)
        out, least = np.where(missed < least, factor, out), np.minimum(missed, least)
    return as_half(scale * out)


def as_half(scale: Array) -> Array:
    """Round scales to half precision, to its largest number at most."""
    return np.clip(scale, -_LARGEST, _LARGEST).astype(np.float16)


def or_one(scale: Array) -> Array:
    """Return the scales of rows as a column, one for rows of zeros."""
    return np.where(scale == 0, 1.0, scale.astype(np.float64))[:, None]


def _largest(x: Array) -> Array:
    """Return the number of each row that is the largest in modulus."""
    most, least = np.max(x, axis=1), np.min(x, axis=1)
    return np.asarray(np.where(most >= -least, most, least))


def _nearest(x: Array, entries: Array, code: WindowCode) -> Array:
    """Return the nearest entries, nearly: those of 8 bits are all multiples of the step, others lie in bins."""
    if code.bits == 8:
        return np.asarray(np.clip(np.rint(x / code.step), -128, 127) * code.step)
    reach = 1.25 * float(entries[-1])
    centres = (np.arange(_BINS) + 0.5) * (2 * reach / _BINS) - reach
    looked_up = entries[np.searchsorted((entries[1:] + entries[:-1]) / 2, centres)]
    bins = np.clip((x + reach) * (_BINS / (2 * reach)), 0, _BINS - 1).astype(np.intp)
    return np.asarray(looked_up[bins])
