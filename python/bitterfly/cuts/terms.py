"""Signed cuts while they are looked for: coefficients, and signs along each axis as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from bitterfly.inputs import Array

_AT_ONCE, _LEAST = 1 << 17, 16  # numbers of cuts along all axes but the first; cuts, for products of matrices


class Cuts(NamedTuple):
    """Coefficients in double precision, and for each axis signs as 1 and -1 in single precision, a row for each cut."""

    c: Array
    sides: tuple[Array, ...]

    def split(self, count: int) -> tuple[Cuts, Cuts]:
        """Return so many cuts, and the others."""
        first, last = (tuple(side[part] for side in self.sides) for part in (slice(count), slice(count, None)))
        return Cuts(self.c[:count], first), Cuts(self.c[count:], last)

    def dense(self, dtype: Any = np.float32) -> Array:
        """Return the matrix or tensor in a precision."""
        weighted = (self.sides[0] * self.c.astype(dtype)[:, None]).T
        if len(self.sides) == 2:
            return np.asarray(weighted @ self.sides[1])
        out = np.zeros((len(weighted), prod(side.shape[1] for side in self.sides[1:])), dtype)
        for part, rest in unfolded_cuts(self.sides):
            out += weighted[:, part] @ rest
        return out.reshape([side.shape[1] for side in self.sides])


def joined(parts: Iterable[Cuts]) -> Cuts:
    """Return all cuts as one."""
    numbers, sides = zip(*parts, strict=True)
    return Cuts(np.concatenate(numbers), tuple(map(np.concatenate, zip(*sides, strict=True))))


def none(shape: Sequence[int]) -> Cuts:
    """Return no cuts of this shape."""
    return Cuts(np.zeros(0), tuple(np.zeros((0, n), np.float32) for n in shape))


def inner_products(sides: Sequence[Array]) -> Array:
    """Return the inner products of the cuts of these sides, exactly: in single precision where that holds them."""
    exact = np.float32 if prod(side.shape[1] for side in sides) < 1 << 24 else np.float64
    grams = [side @ np.ascontiguousarray(side.T) for side in sides]  # a view would be half the work, and no faster
    out: Array = grams[0].astype(exact, copy=False)
    for gram in grams[1:]:
        out *= gram
    return out


def outer_products(sides: Sequence[Array]) -> Array:
    """Return for each row the outer product of the signs along these axes, as one axis."""
    out = sides[0]
    for side in sides[1:]:
        out = (out[:, :, None] * side[:, None, :]).reshape(len(out), -1)
    return out


def unfolded_cuts(sides: Sequence[Array]) -> Iterator[tuple[slice, Array]]:
    """Yield some cuts at a time, and their signs along all axes but the first, a row for each."""
    others = sides[1:] or [np.ones((len(sides[0]), 1), np.float32)]
    for part in blocks(len(sides[0]), prod(side.shape[1] for side in others)):
        yield part, outer_products([side[part] for side in others])


def blocks(width: int, length: int) -> Iterator[slice]:
    """Yield parts of so many cuts, of which rows of this length stay in a cache."""
    step = max(_LEAST, _AT_ONCE // length)
    for first in range(0, width, step):
        yield slice(first, min(first + step, width))


def images(x: Array, sides: Sequence[Array], axis: int) -> Array:
    """Return for each row the sums of its tensor over all axes but one, times the signs along them.

    Parameters
    ----------
    x : ndarray, shape (count, n_1, n_2, ...)
    sides : sequence of ndarrays, shapes (count, n_1), (count, n_2), ...
    axis : int
        Which of the sides is left: of the result, shape (count, n).
    """
    for side in sides[:axis]:
        x = (side[:, None, :] @ x.reshape(len(x), side.shape[1], -1)).reshape(len(x), *x.shape[2:])
    for side in sides[:axis:-1]:
        x = (x.reshape(len(x), -1, side.shape[1]) @ side[:, :, None]).reshape(x.shape[:-1])
    return x
