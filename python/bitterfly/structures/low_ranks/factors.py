"""Two factors of a matrix: what so many of their columns leave of it, and the cores that they are stored in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh, svd

from bitterfly.inputs import Array, UnmetError, as_count, as_number, check_rtol
from bitterfly.powers import near_one, scaled
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_EPS = float(np.finfo(np.float64).eps)


class Asked(NamedTuple):
    """The most ranks, the error that is asked for; at least one of them."""

    rank: int | None
    rtol: float | None


def as_asked(rank: int | None, rtol: float | None) -> Asked:
    """Return what is asked for, checked."""
    count = None if rank is None else as_count(rank, "rank")
    if count == 0:
        raise ValueError("rank: expected a positive number, got 0")
    error = None if rtol is None else as_number(rtol, "rtol")
    check_rtol(error)
    if count is None and error is None:
        raise ValueError("rank, rtol: expected at least one of them")
    return Asked(count, error)


class Factors(NamedTuple):
    """``A / 2**exponent``, about ``left @ right``.

    Attributes
    ----------
    left, right : ndarray, shapes (m, k) and (k, n)
        Orthonormal columns, the first ones the best of their number, and what they leave in A.
    sizes : ndarray, shape (k,)
        Singular values, of A in its metric.
    exponent : int
    rest : float
        The energy that all of them leave, as far as it is known.
    """

    left: Array
    right: Array
    sizes: Array
    exponent: int
    rest: float = 0.0

    @property
    def tails(self) -> Array:
        """What the first 0, 1, .., k columns leave, relative to all, in the Frobenius norm."""
        return tails_of(self.sizes, self.rest)

    @property
    def useful(self) -> int:
        """How many singular values are more than rounding; at least one."""
        return max(1, int(np.count_nonzero(self.sizes > _EPS * self.sizes[0])))

    def cores(self, rank: int, dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
        """Return matrices (m, rank) and (rank, n), their columns and rows of about one length."""
        lengths = np.linalg.norm(self.right[:rank], axis=1)
        roots = np.sqrt(np.where(lengths > 0, lengths, 1))
        power = self.exponent // 2
        left = scaled(self.left[:, :rank] * roots, power)
        right = scaled(self.right[:rank] / roots[:, None], self.exponent - power)
        return left.astype(dtype), right.astype(dtype)


def tails_of(sizes: Array, rest: float) -> Array:
    """Return what the first 0, 1, .. singular values leave beside the energy `rest`, relative to all."""
    energies = np.cumsum(np.append(np.square(sizes), rest)[::-1])[::-1]
    return np.sqrt(energies / (energies[0] or 1.0))


def singular_factors(x: Array, metric: Array | None = None) -> Factors:
    """Return the factors of a matrix by an SVD.

    In a metric ``H = M M^T``, U are the left singular vectors of ``A M``, and ``B = U U^H A``: then ``B M`` is the
    nearest matrix to ``A M`` of its rank, and nothing is divided by M, which may be singular.
    """
    near, exponent = near_one(x)
    if metric is None:
        u, s, vh = svd(near, full_matrices=False, overwrite_a=True, check_finite=False)
        return Factors(u, s[:, None] * vh, s, exponent)
    u, s, _ = svd(in_metric(near, root_of(metric)), full_matrices=False, check_finite=False)
    return Factors(u, u.conj().T @ near, s, exponent)


def root_of(metric: Array) -> Array:
    """Return M of ``H = M M^T``: (n, n), or (n,) of a diagonal."""
    if metric.ndim == 1:
        return np.sqrt(metric)
    values, vectors = eigh(metric)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def in_metric(x: Array, root: Array) -> Array:
    """Return ``X M``."""
    return np.asarray(x * root if root.ndim == 1 else x @ root)


def fewest(
    make: Callable[[int], TensorTrainOperator],
    error: Callable[[TensorTrainOperator], float],
    tails: Array,
    asked: Asked,
) -> TensorTrainOperator:
    """Return the operator of the least rank that meets the error asked for.

    Parameters
    ----------
    make : callable
        An operator of so many ranks.
    error : callable
        Its error, of which NaN is none that is met.
    tails : ndarray
        About the errors of ranks 0, 1, ..; what rounding adds to them is seen, and allowed for.
    asked : Asked
        With `rtol`; `rank` is the most.

    Raises
    ------
    UnmetError
        Where no rank does.
    """
    assert asked.rtol is not None
    most = min(asked.rank or len(tails), len(tails) - 1)
    rank, excess, reached = 0, 0.0, float(tails[most])
    while True:
        fitting = np.flatnonzero(tails[1 : most + 1] + excess <= asked.rtol)
        if not fitting.size or fitting[0] + 1 <= rank:
            raise UnmetError(f"rtol: {asked.rtol:.3g} is not met: rank {rank or most} reaches {reached:.3g}")
        rank = int(fitting[0]) + 1
        op = make(rank)
        reached = error(op)
        if reached <= asked.rtol:
            return op
        excess = reached - float(tails[rank])
