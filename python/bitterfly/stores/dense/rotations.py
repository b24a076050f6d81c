"""Orthogonal matrices that mix all inputs at the cost of additions: random signs and Hadamard matrices of any order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitterfly import _core
from bitterfly.inputs import Array


class Part(NamedTuple):
    """One transform: the inputs from `first` on, `order` times `width` of them, a power of two."""

    first: int
    order: int
    width: int

    @property
    def size(self) -> int:
        """How many inputs it mixes."""
        return self.order * self.width


class Rotation:
    """The orthogonal matrix ``Q = H diag(s) / sqrt(n)``, or a product of two such matrices that overlap.

    `s` are random signs, H is a Hadamard matrix: the Kronecker product of one of order 1, 12, 20 or 28 (Paley, On
    orthogonal matrices, J. Math. Phys. 12, 1933) and of Sylvester's of order ``2**p``. Where n is no such number, the
    largest one below it mixes the first inputs, and then, with signs of its own, the last ones.

    Parameters
    ----------
    n : int
        At least 1.
    seed : int
        0 to ``2**64 - 1``. Sign i is -1 where bit ``i % 64`` of word ``i // 64`` is set; word j is output j of
        SplitMix64 from this seed (Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014).
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self._core = _core.rotation(n, seed)
        self.parts = tuple(Part(first, order, width) for first, order, width in self._core.sizes())

    def forward(self, x: Array, workers: int = 1) -> Array:
        """Return ``Q x`` for x of shape (n, k), a new array of its dtype: float32, float64, complex64 or complex128.

        A column with a number that is not finite becomes NaN.
        """
        return self._apply(x, False, workers)

    def adjoint(self, x: Array, workers: int = 1) -> Array:
        """Return ``Q^T x``, as `forward`."""
        return self._apply(x, True, workers)

    def dense(self) -> Array:
        """Return the matrix in double precision."""
        return self.forward(np.eye(self.n))

    def rounding(self, unit: float) -> float:
        """Return a bound on what a product rounds in a precision of this unit roundoff, relative to the vector.

        An addition rounds by a unit of its result: a stage of the transform, of all numbers, by a unit of the norm. Of
        a matrix of order K, all partial sums together are at most sqrt(K) times as long as what they end in. Signs and
        their scale take two products, the scale itself is rounded twice.
        """
        return (
            1.01
            * unit
            * sum(part.width.bit_length() + (part.order - 1) * float(np.sqrt(part.order)) + 3 for part in self.parts)
        )

    def _apply(self, x: Array, adjoint: bool, workers: int) -> Array:
        y = np.empty_like(x)
        self._core.apply(x, y, adjoint, workers)
        return y
