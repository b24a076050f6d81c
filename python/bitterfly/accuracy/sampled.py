"""The error of an operator from random rows, those with much energy more often, or from products; with a confidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bitterfly.inputs import Array, IndexArray
from bitterfly.powers import near_one
from bitterfly.sources.given import OperatorSource, Source, rounding_of_products

SAMPLED_ROWS = 256
_BLOCK_ENTRIES = 1 << 22
_COLUMNS = 16  # that tell rows with much energy
_STANDARD_ERRORS = 3


def one_in_each_stratum(size: int, count: int, rng: np.random.Generator) -> IndexArray:
    """Return `count` of ``range(size)``, at random, one in each of as many equal parts."""
    return np.floor((np.arange(count) + rng.random(count)) * (size / max(1, count))).astype(np.intp)


def sampled_error(source: Source, op: Any, count: int, rng: np.random.Generator) -> tuple[float, float]:
    """Estimate the relative error from random rows, drawn in proportion to their energies, roughly.

    Half of the probability is spread evenly, half follows the energies of 16 random columns: rows that weigh more err
    more. Of the cumulative probability, one row is drawn in each of `count` equal parts (systematic sampling), and each
    counts with the inverse of its probability (Horvitz and Thompson, 1952). What no other row shares, a few entries
    that stand out, is seen only where its row is drawn.

    Of operators, from products with random vectors instead: the mean of ``|A x|^2`` is the energy of A, and all entries
    take part in each product.

    Returns
    -------
    estimate, upper : float
        The square root of the ratio of energies, and that of the ratio plus three standard errors. The confidence
        stated for the upper bound is 97.7 %, that of two for a normal distribution: errors have tails.
    """
    if isinstance(source, OperatorSource):
        return _bounds(*_energies_of_products(source, op, count, rng), np.ones(count, np.intp))
    m = source.shape[0]
    if count >= m:
        estimate, _ = _bounds(*_energies(source, op, np.arange(m)), np.ones(m, np.intp))
        return estimate, estimate
    probability = _probabilities(source, rng)
    places = (np.arange(count) + rng.random(count)) / count
    picked = np.minimum(np.searchsorted(np.cumsum(probability), places), m - 1)
    rows, times = np.unique(picked, return_counts=True)
    missed, total = (part / (m * probability[rows]) for part in _energies(source, op, rows))
    return _bounds(missed, total, times)


def check_products(source: OperatorSource, op: Any) -> None:
    """Raise a ValueError where an operator made of rows, from the adjoint, is not what products of the source say."""
    rounding = rounding_of_products(source)
    estimate, _ = sampled_error(source, op, SAMPLED_ROWS // 4, np.random.default_rng(0))
    if not estimate <= 1.5 * op.relative_error + rounding:  # of 64 products, the estimate errs by a tenth
        raise ValueError(
            f"a: expected rmatvec to multiply by the adjoint of what matvec multiplies by; rows from rmatvec lead to a "
            f"relative error of {op.relative_error:.2g}, products with random vectors show {estimate:.2g}"
        )


def _bounds(missed: Array, total: Array, times: IndexArray) -> tuple[float, float]:
    """Return the root of the ratio of two sums, terms counted so many `times`, and its upper bound."""
    energy, count = float(np.sum(total * times)), int(np.sum(times))
    if energy == 0:
        return (float("inf"), float("inf")) if np.any(missed) else (0.0, 0.0)
    ratio = float(np.sum(missed * times)) / energy
    spread = float(np.std(np.repeat(missed - ratio * total, times), ddof=1)) if count > 1 else 0.0
    return float(np.sqrt(ratio)), float(np.sqrt(ratio + _STANDARD_ERRORS * spread * np.sqrt(count) / energy))


class _Squares:
    """Squared lengths of vectors, each part over a power of two of its own: they neither vanish nor overflow."""

    def __init__(self) -> None:
        self._parts: list[Array] = []
        self._exponents: list[int] = []

    def add(self, vectors: Array) -> None:
        """Add those of the rows of an array."""
        wide, exponent = near_one(vectors)
        parts = wide.view(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            self._parts.append(np.einsum("ij,ij->i", parts, parts))
        self._exponents.append(2 * exponent)

    def largest(self) -> int:
        """Return the exponent of the part that weighs most."""
        known = zip(self._parts, self._exponents, strict=True)
        return max((exponent for part, exponent in known if np.any(part)), default=-(1 << 20))

    def over(self, exponent: int) -> Array:
        """Return all over one power of two; what that makes vanish is negligible beside the largest."""
        known = zip(self._parts, self._exponents, strict=True)
        return np.concatenate([np.ldexp(part, max(own - exponent, -4000)) for part, own in known])


def _over_one_power(missed: _Squares, total: _Squares) -> tuple[Array, Array]:
    exponent = max(missed.largest(), total.largest())
    return missed.over(exponent), total.over(exponent)


def _probabilities(source: Source, rng: np.random.Generator) -> Array:
    m, n = source.shape
    columns = one_in_each_stratum(n, min(n, _COLUMNS), rng)
    squares = _Squares()
    for part in _parts(m, _BLOCK_ENTRIES // _COLUMNS):
        squares.add(source.block(np.arange(part.start, part.stop), columns))
    energy = squares.over(squares.largest())
    total, even = float(np.sum(energy)), np.full(m, 1 / m)
    return (even + energy / total) / 2 if 0 < total < np.inf else even


def _energies(source: Source, op: Any, picked: IndexArray) -> tuple[Array, Array]:
    """Return the squared lengths of rows of the error and of the matrix, over one power of two."""
    missed, total = _Squares(), _Squares()
    for part in _parts(len(picked), max(1, _BLOCK_ENTRIES // source.shape[1])):
        exact = _wide(source.rows(picked[part]))
        missed.add(exact - op.rows(picked[part]))
        total.add(exact)
    return _over_one_power(missed, total)


def _energies_of_products(source: OperatorSource, op: Any, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the squared lengths of products with Gaussian vectors, that all precisions represent, in the same way."""
    missed, total = _Squares(), _Squares()
    for part in _parts(count, max(1, _BLOCK_ENTRIES // max(source.shape))):
        x = rng.standard_normal((source.shape[1], part.stop - part.start)).astype(np.float32).astype(source.dtype)
        exact = _wide(source.times(x))
        missed.add((exact - op @ x).T)
        total.add(exact.T)
    return _over_one_power(missed, total)


def _wide(x: Array) -> Array:
    return x.astype(np.result_type(x.dtype, np.float64))


def _parts(size: int, step: int) -> Iterator[slice]:
    for first in range(0, size, step):
        yield slice(first, min(first + step, size))
