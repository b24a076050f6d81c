"""The range of a matrix from products with random vectors, block after block.

Halko, Martinsson, Tropp, *Finding structure with randomness* (SIAM Review 53, 2011); Martinsson, Voronin, *A randomized
blocked algorithm for efficiently computing rank-revealing factorizations of matrices* (SIAM J. Sci. Comput. 38, 2016).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import qr, svd, svdvals

from bitterfly.inputs import Array
from bitterfly.powers import exponent_of, near_one, scaled
from bitterfly.sources.given import OperatorSource
from bitterfly.structures.low_ranks.errors import Given, panels
from bitterfly.structures.low_ranks.factors import Factors, in_metric, tails_of

_PROBES = 10  # products that tell what a range misses
_NEAR = 200  # binary orders from one
_NOTHING = -4000  # the exponent of zero


class Products:
    """Products of a matrix times M, or of its adjoint, over one power of two, in double precision."""

    def __init__(self, source: Given, root: Array | None) -> None:
        self.shape = source.shape
        self.dtype = np.result_type(source.dtype, np.float64)
        self.exponent: int | None = None
        self._source, self._root = source, root

    @property
    def in_metric(self) -> bool:
        """Whether M is not the identity."""
        return self._root is not None

    def times(self, x: Array) -> Array:
        """Return ``A M x``; the first product says which power of two brings all of them near one."""
        if self._root is not None:
            x = in_metric(x.T, self._root.T).T
        parts = list(self._parts(x))
        if self.exponent is None:
            largest = max(power + exponent_of(part) if part.any() else _NOTHING for part, power in parts)
            self.exponent = largest if largest > _NOTHING else 0
        return np.concatenate([scaled(part, power - self.exponent) for part, power in parts])

    def adjoint(self, y: Array) -> Array:
        """Return ``M^T A^H y``."""
        plain = self.plain_adjoint(y)
        return plain if self._root is None else in_metric(plain.T, self._root).T

    def plain_adjoint(self, y: Array) -> Array:
        """Return ``A^H y``."""
        assert self.exponent is not None
        if isinstance(self._source, OperatorSource):
            found, power = near_one(self._source.times(y.astype(self._source.dtype), adjoint=True))
            return scaled(found, power - self.exponent)
        out = np.zeros((self.shape[1], y.shape[1]), self.dtype)
        for rows, (near, power) in zip(panels(self._source), self._near(), strict=True):
            out += near.conj().T @ scaled(y[rows], power - self.exponent)
        return out

    def _parts(self, x: Array) -> Iterator[tuple[Array, int]]:
        if isinstance(self._source, OperatorSource):
            yield near_one(self._source.times(x.astype(self._source.dtype)))
        else:
            yield from (((near @ x).astype(self.dtype), power) for near, power in self._near())

    def _near(self) -> Iterator[tuple[Array, int]]:
        """Yield rows over a power of two, where squares of them would leave the range otherwise."""
        assert not isinstance(self._source, OperatorSource)
        for rows in panels(self._source):
            part = self._source.rows(rows)
            is_near = abs(exponent_of(part)) < _NEAR
            yield (part.astype(self.dtype, copy=False), 0) if is_near else near_one(part)


class Range:
    """Orthonormal columns Q that span most of a matrix, and ``B = Q^H A``.

    Parameters
    ----------
    products : Products
    count : int
        Columns to begin with.
    rng : numpy.random.Generator
    """

    def __init__(self, products: Products, count: int, rng: np.random.Generator) -> None:
        self._products, self._rng = products, rng
        m, n = products.shape
        y = products.times(self._drawn(min(count, m, n) + _PROBES))
        self._probes = y[:, -_PROBES:]
        self._q, self._bh = np.zeros((m, 0), products.dtype), np.zeros((n, 0), products.dtype)
        self._z, self._r = self._bh, np.zeros((0, 0), products.dtype)  # B^H = Z R
        self._join(y[:, :-_PROBES])

    @property
    def columns(self) -> int:
        """How many there are."""
        return int(self._q.shape[1])

    def grow(self, count: int) -> None:
        """Add columns."""
        count = min(count, min(self._products.shape) - self.columns)
        self._join(self._products.times(self._drawn(count)))

    def iterate(self) -> None:
        """Multiply the range with ``A A^H``, which turns it towards the leading singular vectors."""
        self._q = qr(self._products.times(self._z), mode="economic", check_finite=False)[0]
        self._set(self._products.adjoint(self._q))

    def rest(self) -> float:
        """Return about the energy that the range misses: the mean of random products, of which it has seen none."""
        missed = self._without(self._probes)
        return float(np.linalg.norm(missed)) ** 2 / _PROBES

    def sizes(self) -> Array:
        """Return the singular values of B."""
        return np.asarray(svdvals(self._r, check_finite=False))

    def tails(self) -> Array:
        """Return about what ranks 0, 1, .. leave, relative to all."""
        return tails_of(self.sizes(), self.rest())

    def factors(self) -> Factors:
        """Return the factors of ``Q B``."""
        v, s, uh = svd(self._r, full_matrices=False, check_finite=False)
        v = self._z @ v
        left = self._q @ uh.conj().T
        right = self._products.plain_adjoint(left).conj().T if self._products.in_metric else s[:, None] * v.conj().T
        assert self._products.exponent is not None
        return Factors(left, right, s, self._products.exponent, self.rest())

    def _drawn(self, count: int) -> Array:
        shape = self._products.shape[1], count
        out = self._rng.standard_normal(shape)
        if self._products.dtype.kind == "c":
            return np.asarray((out + 1j * self._rng.standard_normal(shape)) / np.sqrt(2))
        return out

    def _without(self, y: Array) -> Array:
        return np.asarray(y - self._q @ (self._q.conj().T @ y))

    def _join(self, y: Array) -> None:
        q = y
        for _ in range(2):  # what is left of columns that are nearly in the range is rounding, unless it is done twice
            q = qr(self._without(q), mode="economic", check_finite=False)[0]
        self._q = np.concatenate([self._q, q], axis=1)
        self._set(np.concatenate([self._bh, self._products.adjoint(q)], axis=1))

    def _set(self, bh: Array) -> None:
        self._bh = bh
        self._z, self._r = qr(bh, mode="economic", check_finite=False)
