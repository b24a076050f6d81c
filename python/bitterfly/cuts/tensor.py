"""Real tensors of any order as sums of signed cuts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bitterfly.cuts.errors import errors_of_first, unfolded_cuts
from bitterfly.inputs import Array, as_count, as_floating
from bitterfly.powers import near_one

_GROWTH = 1 + 1e-7  # what an ascent grows by at least
_TRIES = 64


@dataclass(frozen=True, repr=False)
class CutTensor:
    """A sum of signed cuts, ``sum_j c_j s_j1 x s_j2 x ..`` of signs along each axis, one bit each.

    Attributes
    ----------
    shape : tuple of int
        Of the tensor.
    coefficients : ndarray, shape (width,)
        float32 or float64, or of both parts where a contraction with complex vectors made them.
    bits : tuple of ndarrays of uint8, shapes (width, ceil(n / 8))
        For each axis: bit i of byte b is set where sign ``8 b + i`` is -1.
    errors : ndarray, shape (width,)
        Bounds on the relative errors of the first 1, 2, ... cuts, NaN where none is known.
    """

    shape: tuple[int, ...]
    coefficients: Array
    bits: tuple[Array, ...]
    errors: Array = field(compare=False)

    @property
    def width(self) -> int:
        """The number of cuts."""
        return len(self.coefficients)

    @property
    def nbytes(self) -> int:
        """Bytes of the signs and coefficients."""
        return sum(side.nbytes for side in self.bits) + self.coefficients.nbytes

    @property
    def relative_error(self) -> float:
        """What is known of the error of all cuts."""
        return float(self.errors[-1])

    @property
    def signs(self) -> tuple[Array, ...]:
        """The signs along each axis: -1 and 1 of int8, shapes (width, n)."""
        sides = zip(self.bits, self.shape, strict=True)
        return tuple(1 - 2 * np.unpackbits(b, axis=1, count=n, bitorder="little").astype(np.int8) for b, n in sides)

    def truncated(self, width: int) -> CutTensor:
        """Return the first cuts."""
        count = as_count(width, "width")
        if not 1 <= count <= self.width:
            raise ValueError(f"width: expected 1 to {self.width}, got {width}")
        sides = tuple(side[:count] for side in self.bits)
        return CutTensor(self.shape, self.coefficients[:count], sides, self.errors[:count])

    def todense(self) -> Array:
        """Return the tensor as an ndarray."""
        sides = [side.astype(np.float32) for side in self.signs]
        out = np.zeros((self.shape[0], int(np.prod(self.shape[1:]))), self.coefficients.dtype)
        for part, rest in unfolded_cuts(sides):
            out += (sides[0][part] * self.coefficients[part, None]).T @ rest.astype(out.dtype)
        return out.reshape(self.shape)

    def contract(self, vectors: Mapping[int, Any]) -> CutTensor | Any:
        """Return the sum over some axes with a vector for each: cuts along the others, a number where none is left.

        Parameters
        ----------
        vectors : mapping from axes to array_like, shape (n,)
            Negative axes count from the end.
        """
        order, given = len(self.shape), {}
        for axis, vector in vectors.items():
            if not -order <= axis < order or axis % order in given:
                raise ValueError(f"vectors: expected different axes from {-order} to {order - 1}, got {axis}")
            given[axis % order] = as_floating(vector, f"vectors[{axis}]")
            if given[axis % order].shape != (self.shape[axis],):
                raise ValueError(
                    f"vectors[{axis}]: expected shape ({self.shape[axis]},), got {given[axis % order].shape}"
                )
        coefficients, signs = self.coefficients, self.signs
        for axis, vector in given.items():
            coefficients = coefficients * (signs[axis].astype(vector.dtype) @ vector)
        kept = [axis for axis in range(order) if axis not in given]
        if not kept:
            return coefficients.sum()
        sides = tuple(self.bits[axis] for axis in kept)
        return CutTensor(tuple(self.shape[axis] for axis in kept), coefficients, sides, np.full(self.width, np.nan))

    def __repr__(self) -> str:
        sizes = " x ".join(map(str, self.shape))
        return (
            f"<{sizes} CutTensor of {self.width} cuts, {self.nbytes} bytes, relative error {self.relative_error:.2e}>"
        )


def tensor(x: Any, *, width: int, starts: int = 1, rng: np.random.Generator | int | None = None) -> CutTensor:
    """Approximate a real tensor of any order by a sum of signed cuts, one after the other.

    Parameters
    ----------
    x : array_like
        Real numbers, of one axis or more; worked on in single precision, at any scale.
    width : int
        How many cuts; fewer where these leave nothing.
    starts : int, optional
        Of how many ascents from random signs each cut is the best.
    rng : numpy.random.Generator or int, optional
        Draws the random signs.

    Returns
    -------
    CutTensor
        With bounds on the errors of the first 1, 2, .. cuts.

    Raises
    ------
    ValueError
        For infinities, NaNs, and axes of no length.
    OverflowError
        Where coefficients do not fit the precision of `x`.
    TypeError
        For what is no array of real numbers.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.random.default_rng(0).standard_normal((16, 12, 20))
    >>> cut = bitterfly.cuts.tensor(x, width=64, rng=0)
    >>> cut.nbytes, bool(0.7 < cut.relative_error < 0.8)
    (960, True)
    >>> cut.contract({1: np.ones(12)}).shape
    (16, 20)
    """
    given = as_floating(x, "x")
    if not given.ndim or 0 in given.shape:
        raise ValueError(f"x: expected axes of a length, got shape {given.shape}")
    if given.dtype.kind == "c":
        raise TypeError("x: expected real numbers, got complex ones; real and imaginary parts have cuts of their own")
    if not np.all(np.isfinite(given)):
        raise ValueError("x: expected finite numbers, got infinities or NaNs")
    count, tries = as_count(width, "width"), as_count(starts, "starts")
    if not count or not tries:
        raise ValueError(f"width, starts: expected at least 1, got {width} and {starts}")
    near, exponent = near_one(given)
    c, sides = _found(near.astype(np.float32), count, tries, np.random.default_rng(rng))
    with np.errstate(over="ignore", under="ignore"):
        numbers = np.ldexp(c, exponent).astype(given.dtype)
    if not np.all(np.isfinite(numbers)):
        raise OverflowError(f"x: the coefficients of its cuts do not fit {given.dtype}")
    errors = errors_of_first(near, np.ldexp(numbers.astype(np.float64), -exponent), sides)
    bits = tuple(np.packbits(side < 0, axis=1, bitorder="little") for side in sides)
    return CutTensor(given.shape, numbers, bits, errors)


def _found(x: Array, width: int, starts: int, rng: np.random.Generator) -> tuple[Array, list[Array]]:
    rest = x.copy()
    found: list[tuple[float, list[Array]]] = []
    for _ in range(width):
        gain, signs = max((_ascent(rest, rng) for _ in range(starts)), key=lambda each: each[0])
        for _ in range(_TRIES if gain == 0 and rest.any() else 0):  # random signs may be orthogonal to all
            gain, signs = max((gain, signs), _ascent(rest, rng), key=lambda each: each[0])
        if gain == 0 and found:
            break
        c = gain / x.size
        found.append((c, signs))
        rest -= np.float32(c) * _outer(signs)
    sides = [np.stack([signs[axis] for _, signs in found]) for axis in range(x.ndim)]
    return np.array([c for c, _ in found]), sides


def _ascent(rest: Array, rng: np.random.Generator) -> tuple[float, list[Array]]:
    """Return signs along all axes, each those of what the others give, and the inner product of the cut with `rest`."""
    signs = [rng.choice(np.array([-1, 1], np.float32), n) for n in rest.shape]
    gain = -1.0
    while True:
        before = gain
        for axis in range(rest.ndim):
            image = _image(rest, signs, axis)
            signs[axis] = np.where(image < 0, np.float32(-1), np.float32(1))
            gain = float(np.abs(image).sum(dtype=np.float64))
        if gain <= before * _GROWTH or rest.ndim == 1:
            return gain, signs


def _image(rest: Array, signs: list[Array], axis: int) -> Array:
    """Return the sum over all axes but one with their signs."""
    for side in signs[:axis]:
        rest = (side @ rest.reshape(len(side), -1)).reshape(rest.shape[1:])
    for side in signs[:axis:-1]:
        rest = rest @ side
    return rest


def _outer(signs: list[Array]) -> Array:
    out = signs[0]
    for side in signs[1:]:
        out = np.multiply.outer(out, side)
    return out
