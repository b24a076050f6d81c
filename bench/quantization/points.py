"""What measured pairs of bytes and errors say between them."""

from __future__ import annotations

import numpy as np


def bytes_at(points: list[tuple[float, float]], error: float) -> float:
    """Bytes at an error between two measured ones, whose logarithm falls linearly with the bytes; else NaN."""
    sizes, errors = (np.array(x) for x in zip(*sorted(points, key=lambda p: p[1]), strict=True))
    return float(np.interp(np.log(error), np.log(errors), sizes, left=np.nan, right=np.nan))
