"""Orthogonal matrices that mix all inputs at the cost of additions: random signs and Hadamard matrices of any order."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import block_diag

from bitterfly import _core
from bitterfly.inputs import Array

_ORDERS = (1, 12, 20, 28)  # a few digits of other orders fill the gaps between powers of two up to a ninth


class Part(NamedTuple):
    """One transform: the inputs from `first` on, `order` times ``2**power`` of them."""

    first: int
    order: int
    power: int

    @property
    def size(self) -> int:
        """How many inputs it mixes."""
        return self.order << self.power


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
        0 to ``2**64 - 1``: the signs are its bits, see `signs`.
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        whole = _largest(n)
        self.parts = (whole,) if whole.size == n else (whole, whole._replace(first=n - whole.size))

    def forward(self, x: Array, workers: int = 1) -> Array:
        """Return ``Q x`` for x of shape (n, k), a new array of its dtype: float32, float64, complex64 or complex128."""
        y = np.array(x, order="C")
        for at, part in enumerate(self.parts):
            rows = y[part.first : part.first + part.size]
            rows *= self._scaled_signs(at, y.dtype)[:, None]
            rows[...] = _hadamard(part, rows, False, workers)
        return y

    def adjoint(self, x: Array, workers: int = 1) -> Array:
        """Return ``Q^T x``, as `forward`."""
        y = np.array(x, order="C")
        for at, part in reversed(list(enumerate(self.parts))):
            rows = y[part.first : part.first + part.size]
            rows[...] = _hadamard(part, rows, True, workers)
            rows *= self._scaled_signs(at, y.dtype)[:, None]
        return y

    def dense(self) -> Array:
        """Return the matrix in double precision."""
        return self.forward(np.eye(self.n))

    def rounding(self, unit: float) -> float:
        """Return a bound on what a product rounds in a precision of this unit roundoff, relative to the vector.

        An addition rounds by a unit of its result: a stage of the transform, of all numbers, by a unit of the norm. Of
        a matrix of order K, all partial sums together are at most sqrt(K) times as long as what they end in. Signs and
        their scale take two products, the scale itself is rounded twice.
        """
        return 1.01 * unit * sum(part.power + (part.order - 1) * float(np.sqrt(part.order)) + 4 for part in self.parts)

    def _scaled_signs(self, at: int, dtype: np.dtype[Any]) -> Array:
        part = self.parts[at]
        own: Array = signs(self.n, self.seed + at)[part.first : part.first + part.size] / np.sqrt(part.size)
        return own.astype(dtype.type(0).real.dtype)


def signs(n: int, seed: int) -> Array:
    """Return n signs, +1 and -1, in single precision.

    Sign i is -1 where bit ``i % 64`` of word ``i // 64`` is set; word j is output j of SplitMix64 from this seed
    (Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014).
    """
    words = -(-n // 64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed % 2**64) + np.arange(1, words + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    bits = np.unpackbits(z.astype("<u8").view(np.uint8), bitorder="little", count=n)
    return 1 - 2 * bits.astype(np.float32)


def _largest(n: int) -> Part:
    """Return the largest transform of at most n inputs, that of the least order among equals."""
    parts = [Part(0, order, (n // order).bit_length() - 1) for order in _ORDERS if order <= n]
    return max(parts, key=lambda part: (part.size, -part.order))


def _hadamard(part: Part, x: Array, transposed: bool, workers: int) -> Array:
    """Return the product of a Hadamard matrix, or its transpose, with x of shape (size, k)."""
    y = np.empty_like(x)
    if part.power:
        kernel, size = _kernel(1 << part.power, x.dtype.type(0).real.dtype), 1 << part.power
        for first in range(0, part.size, size):
            kernel.apply(x[first : first + size], y[first : first + size], False, False, workers)
    else:
        y[...] = x
    if part.order == 1:
        return y
    matrix = paley(part.order).astype(x.dtype)
    return np.asarray((matrix.T if transposed else matrix) @ y.reshape(part.order, -1)).reshape(x.shape)


@cache
def _kernel(n: int, dtype: np.dtype[Any]) -> _core.Core:
    return _core.hadamard(n, dtype)


@cache
def paley(order: int) -> Array:
    """Return Paley's Hadamard matrix of order ``q + 1``, q = 3 mod 4 a prime, or ``2 (q + 1)``, q = 1 mod 4 a prime."""
    first = order % 4 == 0 and _is_prime(order - 1)
    q = order - 1 if first else order // 2 - 1
    if not _is_prime(q) or q % 4 != (3 if first else 1):
        raise ValueError(f"order: Paley's constructions over primes do not reach {order}")
    squares = set((np.arange(1, q) ** 2 % q).tolist())
    residues = np.array([0] + [1 if x in squares else -1 for x in range(1, q)], np.int8)
    jacobsthal = residues[(np.arange(q)[:, None] - np.arange(q)) % q]
    border = np.ones(q, np.int8)
    if first:
        skew = block_diag(0, jacobsthal)
        skew[0, 1:], skew[1:, 0] = border, -border
        return np.asarray(skew + np.eye(order, dtype=np.int8), np.int8)
    conference = block_diag(0, jacobsthal)
    conference[0, 1:] = conference[1:, 0] = border
    one, other = np.array([[1, 1], [1, -1]], np.int8), np.array([[1, -1], [-1, -1]], np.int8)
    return np.asarray(np.kron(conference, one) + np.kron(np.eye(q + 1, dtype=np.int8), other), np.int8)


def _is_prime(q: int) -> bool:
    return q > 1 and all(q % d for d in range(2, int(q**0.5) + 1))
