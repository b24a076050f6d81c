"""Bounds on norms of operators and of their products, as logarithms to base 2: measured in full, or estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate
from operator import matmul
from typing import Any, cast

import numpy as np
from scipy.linalg import LinAlgError, eigvalsh

from bitterfly.accuracy.change import LEAST_PROBES, MEASURED, energies, probes, upright, vectors
from bitterfly.accuracy.energy import Energy
from bitterfly.accuracy.rounding import NOTHING, log2_applied, log2_gain, log2_rounding
from bitterfly.inputs import Array
from bitterfly.powers import near_one
from bitterfly.precision import in_double

_MOST = 1 << 23  # entries of all factors of a product that are multiplied out
_POWER = 8  # of the Gram matrix, in an estimate of the spectral norm
_SLACK = 1e-9  # of a logarithm: sums of up to 2^22 squares, and what logarithms themselves round
_UNIT = float(np.finfo(np.float64).eps) / 2


def plus(*logarithms: float) -> float:
    """Return a bound on the logarithm of a sum of numbers given by theirs; NaN where one is."""
    top = float(np.max(logarithms))
    if not np.isfinite(top):
        return top
    return top + float(np.log2(np.sum(np.exp2(np.array(logarithms) - top)))) + _SLACK


def minus(a: float, b: float) -> float:
    """Return the logarithm of at most ``2**a - 2**b``; that of zero where it may not be positive."""
    if b == NOTHING:
        return a - _SLACK
    apart = a - b - _SLACK
    return a + float(np.log2(-np.expm1(-apart * np.log(2)))) - _SLACK if apart > 0 else NOTHING


@dataclass(frozen=True)
class Dense:
    """A matrix as computed, ``values * 2**exponent``: in the Frobenius norm at most ``2**off`` from the true one."""

    values: Array
    exponent: int
    off: float

    @cached_property
    def norm(self) -> tuple[float, float]:
        """Bounds on the Frobenius norm, from below and from above."""
        energy = Energy()
        energy.add(self.values)
        size = energy.log2_norm + self.exponent
        return minus(size, self.off), plus(size, self.off)

    @cached_property
    def gain(self) -> float:
        """A bound on the spectral norm."""
        return plus(_spectral(self.values) + self.exponent, self.off)

    def __matmul__(self, other: Dense) -> Dense:
        values, exponent = near_one(self.values @ other.values)
        sizes = self.norm[1] + other.norm[1]
        rounding = float(np.log2(_rounding(self.values.shape[1]))) + sizes
        off = plus(self.off + other.gain, self.gain + other.off, rounding)
        return Dense(values, exponent + self.exponent + other.exponent, off)


def _can_multiply(ops: Sequence[Any]) -> bool:
    """Whether a product is small enough to be multiplied out, factor after factor."""
    rows = ops[0].shape[0]
    sizes = [rows * op.shape[1] for op in ops] + [op.shape[0] * op.shape[1] for op in ops]
    return bool(max(sizes) <= MEASURED and sum(sizes) <= _MOST)


def _rounding(terms: int) -> float:
    """Return a bound on what a product of matrices rounds, sums of so many terms, relative to the product of norms."""
    return 4 * (terms + 4) * _UNIT


def _spectral(x: Array) -> float:
    """Return the logarithm of a bound on the spectral norm of a matrix near one, from its smaller Gram matrix.

    The reduction to a tridiagonal matrix and what finds its eigenvalues are backward stable: the largest eigenvalue of
    a matrix G of order n is off by less than ``100 n^2 u ||G||_F`` (Higham, *Accuracy and Stability of Numerical
    Algorithms*, 2002, lemma 19.3; the constant is generous).
    """
    size, (few, many) = float(np.linalg.norm(x)), sorted(x.shape)
    if not 0 < size < np.inf:
        return float(np.log2(size))
    gram = x @ x.conj().T if few == len(x) else x.conj().T @ x
    try:
        largest = float(eigvalsh(gram, subset_by_index=(few - 1, few - 1))[0])
    except LinAlgError:  # of one eigenvalue alone where many are alike, that of a permutation for example
        largest = float(np.linalg.eigvalsh(gram)[-1])
    off = (100 * few**2 * _UNIT + _rounding(many)) * size**2
    return float(np.log2(max(largest, 0.0) + off)) / 2 + _SLACK


class Norms:
    """Bounds on norms of operators; `kinds` holds how they, and the errors beside them, are known."""

    def __init__(self) -> None:
        self.kinds: list[str] = ["exact"]
        self._norms: dict[int, tuple[Any, tuple[float, float]]] = {}  # the operator too: no other takes its number
        self._gains: dict[int, tuple[Any, float]] = {}

    def of(self, op: Any) -> tuple[float, float]:
        """Return bounds on the Frobenius norm, from below and from above."""
        if hasattr(op, "log2_norms"):
            return cast(tuple[float, float], op.log2_norms)
        if id(op) not in self._norms:
            self._norms[id(op)] = op, self._dense(op).norm if self._is_measured(op) else self._estimated_norm(op)
        return self._norms[id(op)][1]

    def gain(self, op: Any) -> float:
        """Return a bound on the spectral norm."""
        if id(op) not in self._gains:
            self._gains[id(op)] = op, self._dense(op).gain if self._is_measured(op) else _estimated_gain(op)
        return self._gains[id(op)][1]

    def of_product(self, op: Any, ops: Sequence[Any]) -> tuple[list[float], list[float], float]:
        """Return bounds on spectral norms and on the norm of a product.

        Parameters
        ----------
        op : operator
            The product, or its transpose or adjoint.
        ops : sequence of operators
            The factors.

        Returns
        -------
        before, gains, least
            For each factor, bounds on the spectral norms of the product up to it, and of it; a bound from below on the
            Frobenius norm of the whole.
        """
        if not _can_multiply(ops):
            gains = [self.gain(each) for each in ops]
            return list(accumulate(gains)), gains, self.of(op)[0]
        self.kinds.append("measured")
        factors = self._all_dense(ops)
        gains, products = [factor.gain for factor in factors], list(accumulate(factors, matmul))
        before = [gains[0]]
        for product, gain in zip(products[1:-1], gains[1:-1], strict=True):
            before.append(min(product.gain, before[-1] + gain))
        return before, gains, products[-1].norm[0]

    def _is_measured(self, op: Any) -> bool:
        small = bool(op.shape[0] * op.shape[1] <= MEASURED)
        self.kinds.append("measured" if small else "estimated")
        return small

    def _dense(self, op: Any) -> Dense:
        """Return the matrix of an operator, from products with unit vectors in double precision."""
        if op.kind == "product" and _can_multiply(op.operators):
            return reduce(matmul, self._all_dense(op.operators))
        op = in_double(op)
        (tall,) = upright(op)
        values = tall.todense() if tall is op else tall.todense().T
        return Dense(*near_one(values), log2_rounding(tall, self.gain))

    def _all_dense(self, ops: Sequence[Any]) -> list[Dense]:
        """Return the matrices of operators, each of several that are the same once."""
        known = {key: self._dense(op) for key, op in {id(op): op for op in ops}.items()}
        return [known[id(op)] for op in ops]

    def _estimated_norm(self, op: Any) -> tuple[float, float]:
        """Return the Frobenius norm less and plus two standard errors, from products with Gaussian vectors."""
        op = in_double(op)
        squares, exponent, size = _probed(op, probes(op.shape[1]))
        mean, spread = _mean(squares)
        off, count = log2_applied(op, size, len(squares), self.gain), float(np.log2(len(squares))) / 2
        least, most = (float(np.log2(max(x, 0.0))) / 2 + exponent + count for x in (mean - spread, mean + spread))
        return minus(least, off) - count, plus(most, off) - count


def _estimated_gain(op: Any) -> float:
    """Return a bound on the spectral norm: that of the factors, or what Gaussian vectors say of ``||G^k||_F^(1/2k)``.

    The mean of ``||G^k x||^2`` is the energy of the k-th power of the Gram matrix G; of n columns, the bound is at most
    ``n^(1/4k)`` times too large.
    """
    op = in_double(op)
    squares, exponent, _ = _probed(op, LEAST_PROBES, _POWER)
    size = float(np.log2(sum(_mean(squares)))) / 2 + exponent
    return float(np.fmin(log2_gain(op), size / (2 * _POWER) + _SLACK))


def _mean(x: Array) -> tuple[float, float]:
    """Return the mean, and two standard errors."""
    return float(np.mean(x)), 2 * float(np.std(x, ddof=1) / np.sqrt(len(x)))


def _probed(op: Any, count: int, power: int = 0) -> tuple[Array, int, float]:
    """Multiply so many Gaussian vectors by an operator, or by a power of its Gram matrix.

    Returns
    -------
    squares, exponent, size
        The squared lengths of the products over ``4**exponent``, and the logarithm of the norm of all vectors.
    """
    m, n = op.shape
    squares, exponents, size = [], [], NOTHING
    for _, x in vectors(m, n, count, op.dtype, np.random.default_rng(0)):
        size = plus(size, float(np.log2(np.linalg.norm(x))))
        y, exponent = near_one(x if power else op @ x)
        for _ in range(power):
            y, first = near_one(op @ y)
            y, second = near_one(op.H @ y)
            exponent += first + second
        squares.append(energies(y, 0))
        exponents.append(exponent)
    top = max((own for part, own in zip(squares, exponents, strict=True) if part.any()), default=0)
    parts = [np.ldexp(part, 2 * (own - top)) for part, own in zip(squares, exponents, strict=True)]
    return np.concatenate(parts), top, size
