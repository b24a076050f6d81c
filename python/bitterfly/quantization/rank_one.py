"""The nearest product of two vectors with short significands to a rank-one matrix."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.inputs import Array, as_floating
from bitterfly.powers import near_one, scaled

MAX_SIGNIFICAND = 24


def quantize_rank_one(x: Any, y: Any, *, significand: int) -> tuple[Array, Array, float]:
    """Return the vectors with short significands whose product is nearest to ``x y^H``.

    Parameters
    ----------
    x, y : array_like, shapes (m,) and (n,)
        Real or complex, of any lengths.
    significand : int
        Bits of a significand, the leading one included: 1 to 24. The parts of complex numbers are rounded each.

    Returns
    -------
    xq, yq : ndarray, shapes (m,) and (n,)
        In the common floating dtype of `x` and `y`; all entries have significands of that many bits. Zero where ``x
        y^H`` is zero.
    relative_error : float
        ``||x y^H - xq yq^H||_F / ||x y^H||_F``, or 0 for a zero matrix.

    Raises
    ------
    TypeError, ValueError
        For anything but vectors of finite numbers, or a significand out of range.
    OverflowError
        Where the result does not fit the dtype.

    Notes
    -----
    The optimum has the form ``xq = round(lambda x)``, ``yq = round(mu y)`` (Gribonval, Mary, Riccietti, Optimal
    quantization of rank-one matrices in floating-point arithmetic, 2023). Real: all cells of lambda of the shorter
    vector are tried, ``min(m, n) 2**(significand - 1)`` of them, at a cost of ``m + n`` each: the result is the best
    there is. Complex: the best there is where the shorter vector has one or two entries, up to 8 bits, but for parts
    below ``2**-(significand + 6)`` of the largest, which become zero; otherwise a good one.
    """
    found = _core.rank_one_at_once(x, y, significand)
    if found is not None:
        return found
    bits = as_significand(significand)
    left, right = _as_vector(x, "x"), _as_vector(y, "y")
    dtype = np.result_type(left, right)
    wide = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
    u, x_exponent = near_one(left.astype(wide))
    v, y_exponent = near_one(right.astype(wide).conj())
    xq, yq, error = _core.rank_one(u, v, bits, bits + 6)
    xq, yq = _fitted(xq, yq.conj(), x_exponent, y_exponent, dtype)
    return xq, yq, error


def as_significand(bits: Any) -> int:
    """Return the bits of a significand, else raise an error that names it."""
    try:
        value = index(bits)
    except TypeError:
        raise TypeError(f"significand: expected an integer, got {type(bits).__name__}") from None
    if not 1 <= value <= MAX_SIGNIFICAND:
        raise ValueError(f"significand: expected 1 to {MAX_SIGNIFICAND} bits, got {value}")
    return value


def search_depth(bits: int) -> int:
    """Return how many octaves below the largest part of a complex vector a part is rounded, not set to zero."""
    return 3 + bits // 2


def _as_vector(x: Any, name: str) -> Array:
    array = as_floating(x, name)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: expected a vector that is not empty, got shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return array


def _fitted(xq: Array, yq: Array, x_exponent: int, y_exponent: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Scale both vectors back; what one cannot take, because its dtype ends there, goes to the other."""
    info = np.finfo(dtype)
    low, high = int(info.minexp) // 2, int(info.maxexp) // 2
    first = min(max(x_exponent, low), high)
    with np.errstate(over="ignore", under="ignore"):
        x_out = scaled(xq, first).astype(dtype)
        y_out = scaled(yq, y_exponent + x_exponent - first).astype(dtype)
    if not np.all(np.isfinite(y_out)):
        raise OverflowError(f"x, y: their product does not fit {dtype}")
    return x_out, y_out
