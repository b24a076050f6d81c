"""Kernels of convolutions as users hand them in, and their matrix of a column for each place and input channel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitterfly.inputs import Array, as_floating, check_rtol, conversion_error

_MOST_WINDOWS = 3


class Kernel(NamedTuple):
    """A kernel of finite real numbers, (out, in, k_1, ..), and what its conversion has rounded, relative to it."""

    array: Array
    rounding: float

    @property
    def matrix(self) -> Array:
        """Channels last: (out, k_1 ... k_d in)."""
        return channels_last(self.array)


def as_kernel(weight: Any) -> Kernel:
    """Return a kernel of one to three windows, or raise an error that names it."""
    array = as_floating(weight, "weight")
    if array.dtype.kind == "c":
        raise TypeError(f"weight: expected real numbers, got {array.dtype}")
    if not 3 <= array.ndim <= 2 + _MOST_WINDOWS or 0 in array.shape:
        raise ValueError(f"weight: expected shape (out, in, k_1[, k_2[, k_3]]), none of them 0, got {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError("weight: expected finite numbers, got infinities or NaNs")
    return Kernel(array, conversion_error(weight, array))


def channels_last(kernel: Array) -> Array:
    """Return the matrix (out, k_1 ... k_d in) of a kernel."""
    return np.moveaxis(kernel, 1, -1).reshape(len(kernel), -1)


def channels_second(matrix: Array, shape: tuple[int, ...]) -> Array:
    """Return the kernel (out, in, k_1, ..) of a matrix (out, k_1 ... k_d in)."""
    return np.ascontiguousarray(np.moveaxis(matrix.reshape(shape[0], *shape[2:], shape[1]), -1, 1))


def windows_of(shape: tuple[int, ...]) -> list[int]:
    """Return which axes of a kernel are windows of more than one place."""
    return [axis for axis, size in enumerate(shape) if axis >= 2 and size > 1]


def check_one(**options: Any) -> None:
    """Raise a ValueError unless exactly one of some options is given, and a tolerance is one."""
    given = [name for name, value in options.items() if value is not None]
    if len(given) != 1:
        raise ValueError(f"{', '.join(options)}: expected one of them, got {' and '.join(given) or 'none'}")
    check_rtol(options.get("rtol"))
