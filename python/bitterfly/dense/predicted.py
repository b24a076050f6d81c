"""What window codes of a matrix take and how they err, known from its shape alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitterfly.dense.rates import Neighbours, codes_bytes
from bitterfly.stores.dense.codes import HALF_BITS

CODE = "window11"
MOST_BITS = HALF_BITS[-1] // 2
MOST_STAGES = 6
_ROUNDINGS = 16  # units roundoff, below which products are no better for one more stage
_WORTHWHILE = 0.05  # of the bytes, that one more stage has to save
_NEARLY = 0.2  # codes of 8 bits of short rows err less than what is expected of long ones


class Predicted(NamedTuple):
    """Bytes, and the relative error to be expected."""

    nbytes: int
    error: float
    stages: int = 1


def predicted(
    shape: tuple[int, int],
    *,
    bits: float | None = None,
    nbytes: float | None = None,
    rtol: float | None = None,
    stages: int | None = None,
    name: str = CODE,
) -> Predicted | None:
    """Return what codes of the shape (m, n) come to, of a complex matrix (2 m, n); None where nothing is in reach.

    In one stage for `bits`, unless told otherwise; else in as many as take the fewest bytes for `rtol`, or err the
    least in `nbytes`. One more has to gain a few percent, since it takes time in every product. Rotated columns are
    taken to have one energy, and no part of low rank to be worth its bytes: where these differ, codes err less, or take
    less.
    """
    if stages is None and bits is not None:
        stages = 1
    counts = range(1, MOST_STAGES + 1) if stages is None else (stages,)
    found = [_in_stages(shape, count, bits, nbytes, rtol, name) for count in counts]
    some = [each for each in found if each is not None]
    worth = _WORTHWHILE if rtol is not None else 2 * _WORTHWHILE
    cost = {each: (each.nbytes if rtol is not None else each.error) * (1 + worth) ** each.stages for each in some}
    return min(some, key=cost.__getitem__, default=None)


def _in_stages(
    shape: tuple[int, int], stages: int, bits: float | None, nbytes: float | None, rtol: float | None, name: str
) -> Predicted | None:
    """Return what so many codes come to, each of what those before it leave, all of one rate: errors are multiplied."""
    ladder = Neighbours(np.ones(shape[1]), name)
    if bits is not None:
        rung = ladder.highest(lambda each: ladder.bits(each) <= bits / stages)
    elif nbytes is not None:
        rung = ladder.highest(lambda each: codes_bytes(shape, ladder.half_bits(each), 1) <= nbytes // stages)
    else:
        assert rtol is not None
        least = rtol ** (1 / stages)
        rung = ladder.lowest_for(least)
        rung = rung if ladder.error(rung) <= least * (1 + _NEARLY) else -1
    if rung < 0:
        return None
    each = ladder.half_bits(rung)
    return Predicted(stages * codes_bytes(shape, each, 1), ladder.error(rung) ** stages, stages)


def least_bytes(shape: tuple[int, int]) -> int:
    """Return the fewest bytes of codes of this shape."""
    return codes_bytes(shape, Neighbours(np.ones(shape[1]), CODE).half_bits(0), 1)


def least_error(dtype: np.dtype[Any]) -> float:
    """Return about the least error of a sum of codes whose products are in this precision."""
    return max(_ROUNDINGS * float(np.finfo(dtype).eps), 0.008**MOST_STAGES)
