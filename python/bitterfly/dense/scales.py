"""Scales of rows for scalar codes: no farther out than a row reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitterfly.inputs import Array
from bitterfly.stores.windows import WindowCode

_SHARES = np.linspace(0.7, 1.0, 7)  # of the largest number of a row, that become the last entry
_SEARCHED = 0.25, 4.0
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
    least = np.full(len(x), np.inf)
    reach = np.max(np.abs(x), axis=1) / entries[-1]
    tried = [np.full(len(x), factor) for factor in _FACTORS]
    tried += [np.where(reach > 0, np.clip(share * reach, *_SEARCHED), 1.0) for share in _SHARES]
    for factor in tried:
        scaled = x / factor[:, None]
        places = np.searchsorted((entries[1:] + entries[:-1]) / 2, scaled)
        missed = factor**2 * np.sum((scaled - entries[places]) ** 2, axis=1)
        out, least = np.where(missed < least, factor, out), np.minimum(missed, least)
    return out
