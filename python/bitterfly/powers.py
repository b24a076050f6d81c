"""Arrays times powers of two, real and complex, so that squares neither vanish nor overflow; nothing is rounded."""

from __future__ import annotations

import numpy as np

from bitterfly import _core
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


_NEAR_ONE = 20  # bits either way: operators of norms 2^-100 to 2^100 neither over- nor underflow in single precision
_MOST = 1000  # of an exponent: the power and its inverse are normal, and what they leave (2^-74 to 2^24) is near one


def powers_to_one(x: Array) -> Array | None:
    """Return a power of two for each column of x, that brings its largest finite part near one; None if all are.

    For float64 and complex128; times it, the columns of x have the range of single precision.
    """
    if _core.near_one(x, _NEAR_ONE):
        return None
    parts = (x.real, x.imag) if x.dtype.kind == "c" else (x,)
    largest = np.max([np.max(np.abs(part), axis=0) for part in parts], axis=0)
    if not np.all(np.isfinite(largest)):
        finite = [np.max(np.abs(part), axis=0, where=np.isfinite(part), initial=0) for part in parts]
        largest = np.max(finite, axis=0)
    return np.asarray(np.ldexp(1.0, np.clip(-np.frexp(largest)[1], -_MOST, _MOST)))


def times_powers(x: Array, powers: Array, out: Array) -> Array:
    """Write the columns of x times powers of two to `out`, and return it; complex numbers part by part."""
    with np.errstate(under="ignore"):
        np.multiply(x.real, powers, out=out.real)
        if x.dtype.kind == "c":  # a product of complex numbers would make NaN of infinities
            np.multiply(x.imag, powers, out=out.imag)
    return out
