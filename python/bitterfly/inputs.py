"""Checks what users hand in, in one place: matrices, vectors, permutations, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from numbers import Real
from operator import index
from typing import Any, Literal

import numpy as np
from scipy import sparse

from bitterfly.ordering import digit_reversal

FLOATING = (np.float32, np.float64, np.complex64, np.complex128)
IndexArray = np.ndarray[Any, np.dtype[np.intp]]
Array = np.ndarray[Any, np.dtype[Any]]
Permutations = tuple[IndexArray | None, IndexArray | None]
Side = Literal["bit_reversal"] | Sequence[int] | IndexArray | None


def as_floating(a: Any, name: str) -> Array:
    """Return `a` as an aligned, native array of float32, float64, complex64 or complex128; no copy where possible."""
    if type(a) is np.ndarray and a.dtype.char in "fdFD" and a.dtype.isnative and a.flags.aligned:
        return a
    if sparse.issparse(a):
        raise TypeError(f"{name}: expected a dense array, got a sparse one; pass {name}.toarray()")
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected a plain array, got a masked one; pass {name}.filled(value)")
    array = _as_array(a, name)
    if array.dtype.kind not in "fciub":
        raise TypeError(f"{name}: expected real or complex numbers, got dtype {array.dtype}")
    return np.require(array, dtype=working_dtype(array.dtype), requirements="A")


def _as_array(a: Any, name: str) -> Array:
    """Return what NumPy makes of `a`, tensors in the memory of the processor among others."""
    try:
        array = np.asarray(a)
        return np.from_dlpack(a) if array.dtype == object and hasattr(a, "__dlpack__") else array
    except (TypeError, RuntimeError, BufferError) as error:
        raise TypeError(f"{name}: expected what numpy.asarray takes, got {type(a).__name__}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{name}: expected what numpy.asarray takes, got {type(a).__name__}: {error}") from error


def conversion_error(given: Any, kept: Array) -> float:
    """Return a bound on what the conversion of `given` to `kept` rounds, relative to it: 0, or a unit roundoff."""
    dtype = getattr(given, "dtype", None)
    if not isinstance(given, np.ndarray) or dtype == kept.dtype or given.dtype.itemsize < 8 or not given.size:
        return 0.0
    if given.dtype.kind in "iu":
        same = max(int(given.max()), -int(given.min())) <= 1 << np.finfo(kept.dtype).nmant + 1
    else:
        same = np.array_equal(kept.astype(given.dtype), given)
    return 0.0 if same else float(np.finfo(kept.dtype).eps) / 2


def conversion_bound(dtype: np.dtype[Any]) -> float:
    """Return a bound on what the conversion of any numbers of `dtype` to their working precision rounds."""
    exact = dtype.itemsize < 8 or dtype.newbyteorder("=").type in FLOATING
    return 0.0 if exact else float(np.finfo(np.float64).eps) / 2


def numpy_dtype(dtype: Any) -> np.dtype[Any] | None:
    """Return a dtype as NumPy has it, or None."""
    try:
        return None if dtype is None else np.dtype(dtype)
    except TypeError:
        return None


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the precision in which numbers of `dtype` are worked on."""
    native = dtype.newbyteorder("=")
    if native.type in FLOATING:
        return native
    if native == np.float16:
        return np.dtype(np.float32)
    return np.dtype(np.complex128 if native.kind == "c" else np.float64)


def meant(x: Any, takes_bits: bool = True) -> str:
    """Return a hint at the option that a number without its name was meant for, or nothing."""
    is_number = isinstance(x, Real) and not isinstance(x, (bool, np.bool_))
    if not is_number or (x >= 1 and not takes_bits):
        return ""
    return f"; did you mean {'rtol' if x < 1 else 'bits'}={x}?"


def require_names(unnamed: tuple[Any, ...]) -> None:
    """Raise a TypeError where options are given without their names."""
    if unnamed:
        raise TypeError(f"options: expected by name, got {unnamed[0]!r}{meant(unnamed[0])}")


def as_number(x: Any, name: str) -> float:
    """Return a real number, else raise a TypeError that names it."""
    if isinstance(x, (bool, np.bool_)) or not isinstance(x, Real):
        raise TypeError(f"{name}: expected a number, got {type(x).__name__}")
    return float(x)


class UnmetError(ValueError):
    """What was asked for cannot be met; there is nothing else wrong with it."""


def check_rtol(rtol: float | None) -> None:
    """Raise a ValueError for tolerances that no result can have, or any."""
    if rtol is not None and not rtol >= 0:
        raise ValueError(f"rtol: expected a number that is not negative, got {rtol}")
    if rtol is not None and not rtol < 1:
        raise ValueError(f"rtol: expected a number below 1, the relative error of a matrix of zeros, got {rtol:.3g}")


def as_bytes(nbytes: Any) -> int:
    """Return a positive number of bytes."""
    try:
        count = index(nbytes)
    except TypeError:
        raise TypeError(f"nbytes: expected an integer, got {nbytes!r}") from None
    if count < 1:
        raise ValueError(f"nbytes: expected a positive number, got {count}")
    return count


def as_count(count: Any, name: str) -> int:
    """Return an integer that is not negative."""
    try:
        number = index(count)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {count!r}") from None
    if number < 0:
        raise ValueError(f"{name}: expected a number that is not negative, got {number}")
    return number


def as_size(n: int, name: str = "n") -> int:
    """Return `n` if a square dyadic chain fits it, else raise a ValueError that names the sizes that do."""
    n = int(n)
    if n >= 2 and n & (n - 1) == 0:
        return n
    below = 1 << max(n.bit_length() - 1, 1) if n >= 2 else 2
    fits = f"{below} and {2 * below}" if n > 2 else "2, 4, 8, ..."
    raise ValueError(
        f"{name}: expected a size that is a power of two, at least 2, got {n}; the nearest that fit: {fits}"
    )


def as_permutation(order: Side, digits: tuple[int, ...], name: str) -> IndexArray | None:
    """Return a permutation of the numbers with these mixed-radix digits as an index array, or None for the identity."""
    if order is None:
        return None
    n = prod(digits)
    if isinstance(order, str):
        if order != "bit_reversal":
            raise ValueError(f"{name}: expected 'bit_reversal', an index array or None, got {order!r}")
        order = digit_reversal(digits)
    index = np.asarray(order)
    if index.dtype.kind not in "iu" or index.shape != (n,):
        raise ValueError(f"{name}: expected {n} integer indices, got shape {index.shape} of {index.dtype}")
    if not np.array_equal(np.sort(index), np.arange(n)):
        raise ValueError(f"{name}: expected a permutation of 0 .. {n - 1}")
    return None if np.array_equal(index, np.arange(n)) else index.astype(np.intp)


def as_uint32(order: IndexArray | None) -> Array | None:
    """Return a permutation as the core takes it."""
    return None if order is None else order.astype(np.uint32)
