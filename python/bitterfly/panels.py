"""Panels of unit vectors, by which operators become dense a few columns at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.inputs import Array


def identity_panel(n: int, first: int, width: int, dtype: np.dtype[Any]) -> Array:
    """Return the columns ``first : first + width`` of the identity matrix."""
    return np.eye(n, width, -first, dtype)
