"""What window codes of a matrix take and how they err, known from its shape alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitterfly.dense.rates import Neighbours, codes_bytes
from bitterfly.stores.dense import HALF_BITS

CODE = "window11"
MOST_BITS = HALF_BITS[-1] // 2
LEAST_ERROR = 0.008  # about what the most bits reach without a head; codes of few rows err less


class Predicted(NamedTuple):
    """Bytes, and the relative error to be expected."""

    nbytes: int
    error: float


def predicted(
    shape: tuple[int, int],
    *,
    bits: float | None = None,
    nbytes: int | None = None,
    rtol: float | None = None,
    name: str = CODE,
) -> Predicted | None:
    """Return what codes of the shape (m, n) come to, of a complex matrix (2 m, n); None where nothing is in reach.

    Rotated columns are taken to have one energy, and no part of low rank to be worth its bytes: where these differ, the
    codes err less, or take fewer bytes.
    """
    ladder = Neighbours(np.ones(shape[1]), name)
    if bits is not None:
        rung = ladder.highest(lambda each: ladder.bits(each) <= bits)
    elif nbytes is not None:
        rung = ladder.highest(lambda each: codes_bytes(shape, ladder.half_bits(each), 1) <= nbytes)
    else:
        assert rtol is not None
        rung = ladder.lowest_for(rtol) if rtol >= LEAST_ERROR else -1
    return Predicted(codes_bytes(shape, ladder.half_bits(rung), 1), ladder.error(rung)) if rung >= 0 else None


def least_bytes(shape: tuple[int, int]) -> int:
    """Return the fewest bytes of codes of this shape."""
    return codes_bytes(shape, Neighbours(np.ones(shape[1]), CODE).half_bits(0), 1)
