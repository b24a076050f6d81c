"""Panels of unit vectors, by which operators become dense a few columns at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.inputs import Array, IndexArray


def identity_panel(n: int, first: int, width: int, dtype: np.dtype[Any]) -> Array:
    """Return the columns ``first : first + width`` of the identity matrix."""
    return np.eye(n, width, -first, dtype)


def unit_panel(n: int, at: IndexArray, dtype: np.dtype[Any]) -> Array:
    """Return columns of the identity matrix, one for each place."""
    out = np.zeros((n, len(at)), dtype)
    out[at, np.arange(len(at))] = 1
    return out
