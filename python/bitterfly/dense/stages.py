"""Codes of a matrix, codes of what they leave, and so on: more bits than one code has, with less error in as many.

Two codes of 4 bits err by 0.0052, one of 8 bits by 0.008: each rotation makes normal numbers of what the stage before
has left, for which window codes are nearly the best there are (multi-stage quantization; Juang, Gray, ICASSP 1982).
"""

from __future__ import annotations

import numpy as np

from bitterfly.dense.predicted import MOST_STAGES, least_error, predicted
from bitterfly.dense.search import Asked, coded
from bitterfly.inputs import Array, UnmetError
from bitterfly.operators.dense import DenseOperator
from bitterfly.precision import in_double


def staged(a: Array, asked: Asked, rng: np.random.Generator) -> list[DenseOperator]:
    """Return operators that add up to a matrix.

    Parameters
    ----------
    a : ndarray
    asked : Asked
        For all of them together.
    rng : numpy.random.Generator

    Raises
    ------
    UnmetError
        Where they cannot be as good, or as small.
    """
    least, rtol = least_error(a.dtype), asked.rtol
    if asked.stages is None and rtol is not None and rtol < least and a.any():
        raise UnmetError(f"rtol: {rtol:.3g} is not met: sums of codes in {a.dtype} reach about {least:.2g}")
    count = _best_count(a, asked)
    out: list[DenseOperator] = []
    rest = a
    for left in range(count, 0, -1):
        try:
            op = coded(rest, _share(asked, left), rng)
        except UnmetError as error:
            if rtol is None or count == 1:
                raise
            raise UnmetError(f"rtol: {rtol:.3g} is not met by a sum of {count} codes") from error
        out.append(op)
        if left == 1 or op.relative_error == 0:
            break
        rest = (rest - in_double(op).todense()).astype(a.dtype)
        asked = _after(asked, op)
        if asked.rtol is not None and asked.rtol >= 1:
            break
    return out


def _best_count(a: Array, asked: Asked) -> int:
    if asked.stages is not None or asked.bits is not None or asked.metric is not None:
        return asked.stages or 1
    nbytes = None if asked.nbytes is None else asked.nbytes - asked.beside
    m, n = a.shape
    shape = (2 * m if a.dtype.kind == "c" else m, n)
    found = predicted(shape, nbytes=nbytes, rtol=asked.rtol, name=asked.code)
    if found is None:
        return MOST_STAGES if asked.rtol is not None else 1
    return found.stages


def _share(asked: Asked, left: int) -> Asked:
    """Return what is asked of the next of so many stages."""
    if left == 1:
        return asked
    if asked.bits is not None:
        return asked._replace(bits=asked.bits / left)
    if asked.nbytes is not None:
        return asked._replace(nbytes=asked.beside + (asked.nbytes - asked.beside) // left)
    assert asked.rtol is not None
    return asked._replace(rtol=asked.rtol ** (1 / left))


def _after(asked: Asked, op: DenseOperator) -> Asked:
    """Return what is left of it for the stages behind one."""
    if asked.bits is not None:
        return asked._replace(bits=asked.bits - op.mean_bits)
    if asked.nbytes is not None:
        return asked._replace(beside=asked.beside + op.nbytes)
    assert asked.rtol is not None
    return asked._replace(rtol=asked.rtol / op.relative_error * (1 - 1e-6))


def as_stages(stages: int | None) -> int | None:
    """Return a number of stages, or None for as many as are best."""
    if stages is None:
        return None
    if isinstance(stages, bool) or not isinstance(stages, (int, np.integer)):
        raise TypeError(f"stages: expected an integer or None, got {stages!r}")
    if not 1 <= stages <= MOST_STAGES:
        raise ValueError(f"stages: expected 1 to {MOST_STAGES}, got {stages}")
    return int(stages)
