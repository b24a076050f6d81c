"""Scales of rows for scalar codes: no farther out than a row reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitterfly.inputs import Array
from bitterfly.stores.windows import WindowCode

_SHARES = np.linspace(0.7, 1.0, 7)  # of the largest number of a row, that become the last entry
_SEARCHED = 0.25, 4.0
_LOOKED_AT = 256  # numbers of a row by which scales for 6 bits are compared
_FACTORS = 0.95, 0.975, 1.0, 1.025


def best_scales(x: Array, codes: Sequence[WindowCode]) -> Array:
    """Return by how much other scales of the rows of x are better; one where windows overlap, whose tables fit.

    Codes of 6 and of 8 bits gain where the largest number of a row is no farther out than their last entry.
    """
    out = np.ones(len(x))
    code = max(codes, key=lambda each: each.rate)
    if any(each.name != "scalar" for each in codes):
        return out
    entries = np.sort(code.table.astype(np.float64)) * code.step
    reach = np.max(np.abs(x), axis=1) / entries[-1]
    some = x[:, :: max(x.shape[1] // _LOOKED_AT, 1)]
    least = np.full(len(x), np.inf)
    tried = [np.full(len(x), factor) for factor in _FACTORS]
    tried += [np.where(reach > 0, np.clip(share * reach, *_SEARCHED), 1.0) for share in _SHARES]
    for factor in tried:
        scaled = (some if code.bits == 6 else x) / factor[:, None]
        missed = factor**2 * np.sum((scaled - _nearest(scaled, entries, code)) ** 2, axis=1)
        out, least = np.where(missed < least, factor, out), np.minimum(missed, least)
    return out


def _nearest(x: Array, entries: Array, code: WindowCode) -> Array:
    """Return the nearest entries; those of 8 bits are all multiples of the step."""
    if code.bits == 8:
        return np.asarray(np.clip(np.rint(x / code.step), -128, 127) * code.step)
    return np.asarray(entries[np.searchsorted((entries[1:] + entries[:-1]) / 2, x)])
