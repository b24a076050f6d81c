"""Arrays times powers of two, real and complex, so that squares neither vanish nor overflow; nothing is rounded."""

from __future__ import annotations

import numpy as np

from bitterfly.inputs import Array


def exponent_of(x: Array) -> int:
    """Return e such that the largest part of the numbers lies in ``[2**(e-1), 2**e)``; 0 if all are zero."""
    return int(np.frexp(np.max(np.abs(np.ascontiguousarray(x).view(x.real.dtype)), initial=0.0))[1])


def scaled(x: Array, exponent: int) -> Array:
    """Return ``x * 2**exponent`` for numbers in double precision."""
    out: Array = np.ldexp(np.ascontiguousarray(x).view(np.float64), exponent).view(x.dtype)
    return out


def near_one(x: Array) -> tuple[Array, int]:
    """Return x, in double precision, over the power of two that makes its largest part about 1, and the exponent."""
    wide = np.ascontiguousarray(x, np.result_type(x.dtype, np.float64))
    exponent = exponent_of(wide)
    return scaled(wide, -exponent), exponent
