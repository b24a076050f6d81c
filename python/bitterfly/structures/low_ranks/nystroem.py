"""Positive semidefinite matrices from some of their columns, by a Cholesky decomposition with random pivots."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigvalsh, solve_triangular

from bitterfly.accuracy.known import Known
from bitterfly.accuracy.sampled import one_in_each_stratum
from bitterfly.inputs import Array, IndexArray, UnmetError, numpy_dtype
from bitterfly.powers import exponent_of, near_one, scaled
from bitterfly.sources.given import ArraySource, EntrySource, OperatorSource
from bitterfly.structures.low_ranks.errors import as_given, measured, product_of
from bitterfly.structures.low_ranks.factors import Asked, as_asked
from bitterfly.structures.low_ranks.selected import Selected
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_EPS = float(np.finfo(np.float64).eps)
_ROWS = 32  # random rows that tell when to stop
_BLOCK = 16  # pivots that are drawn at once, at most
_LESS = 0.7  # of the error that was enough: what is enough where more was left than the rows said
_CHECKED = 64  # rows that the error is estimated from, of entry functions
_DEVIATIONS = 3  # standard errors that are added to what they say
# What rounding may have made of a semidefinite matrix, at least, and in units of the precision that it was handed in:
# of the norm; of the largest entry, where a few are seen, with what the columns before have made of that.
_SLACK, _UNITS = 1e-8, 16
_SLACK_OF_FEW, _UNITS_OF_FEW = 1e-6, 1000
_CLEARLY = 1.1


def nystroem(
    a: Any,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    shape: tuple[int, int] | None = None,
    rng: np.random.Generator | int | None = None,
) -> Selected:
    """Return a positive semidefinite matrix as ``F F^H``, from its diagonal and some of its columns.

    Parameters
    ----------
    a : array_like of shape (n, n), or callable
        Symmetric or Hermitian. A callable ``entry(rows, cols) -> block``, with `shape`, is asked for the diagonal, the
        columns that are chosen, and random rows.
    rank : int, optional
        The most columns.
    rtol : float, optional
        Relative error, in the Frobenius norm, that must not be exceeded.
    shape : (n, n), optional
        Shape of the matrix that an entry function stands for.
    rng : numpy.random.Generator or int, optional
        Draws the columns, and the rows that tell the error.

    Returns
    -------
    Selected
        Its operator is a tensor train of two cores, in the precision of `a`, F and its adjoint; that is
        ``C (C[columns])^+ C^H`` of the columns C. The ``relative_error`` is measured; of an entry function it is
        estimated from random rows, three standard errors added.

    Raises
    ------
    UnmetError
        Where `rtol` is not met.
    ValueError, TypeError
        Where neither `rank` nor `rtol` is given, or a bad one; where `a` is not square, finite, Hermitian and positive
        semidefinite, up to rounding: of an entry function, where what is seen of it says so.

    Notes
    -----
    Chen, Epperly, Tropp, Webber, *Randomly pivoted Cholesky* (2023): columns are drawn in proportion to what is left on
    the diagonal; in blocks, of which each draw is kept with the probability that is left of it (Epperly, Tropp, Webber,
    *Embrace rejection*, 2024). Nothing is divided by a matrix of nearly dependent columns.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.linspace(0, 1, 200)
    >>> a = np.exp(-np.square(np.subtract.outer(x, x)))
    >>> found = bitterfly.structures.nystroem(a, rtol=1e-4, rng=0)
    >>> found.operator.relative_error < 1e-4, len(found.columns) < 10
    (True, True)
    """
    asked, generator = as_asked(rank, rtol), np.random.default_rng(rng)
    source = as_given(a, shape)
    if isinstance(source, OperatorSource):
        raise TypeError("a: expected an array or an entry function, got an operator; low_rank takes its products")
    if source.shape[0] != source.shape[1]:
        raise ValueError(f"a: expected a square matrix, got shape {source.shape}")
    unit = float(np.finfo(_precision_of(a, source)).eps)
    if isinstance(source, ArraySource):
        _check_semidefinite(source.array, max(_UNITS * unit, _SLACK))
    slack = max(_UNITS_OF_FEW * unit, _SLACK_OF_FEW) if isinstance(source, EntrySource) else None
    chosen = _RandomCholesky(source, slack, generator)
    op = _grown(chosen, asked, generator)
    entries = source.entries if isinstance(source, EntrySource) else source.array.size
    return Selected(op, None, chosen.pivots, entries)


def _grown(chosen: _RandomCholesky, asked: Asked, rng: np.random.Generator) -> TensorTrainOperator:
    """Return the operator of so many columns, or of as many as meet the error."""
    enough = asked.rtol or 0.0
    while True:
        while (asked.rtol is None or chosen.error() > enough) and chosen.step(asked.rank):
            pass
        op = chosen.operator(rng)
        if asked.rtol is None or op.relative_error <= asked.rtol:
            return op
        if not chosen.step(asked.rank):
            count = len(chosen.pivots)
            raise UnmetError(f"rtol: {asked.rtol:.3g} is not met: {count} columns reach {op.relative_error:.3g}")
        enough *= _LESS


def _precision_of(a: Any, source: ArraySource | EntrySource) -> np.dtype[Any]:
    """Return the precision in which a matrix was handed in."""
    if isinstance(source, EntrySource) and callable(a):
        source.entries += 1
        a = np.asarray(a(np.zeros(1, np.intp), np.zeros(1, np.intp)))
    dtype = numpy_dtype(getattr(a, "dtype", None))
    return dtype if dtype is not None and dtype.kind in "fc" else source.dtype


def _check_semidefinite(a: Array, slack: float) -> None:
    """Raise where a matrix is not Hermitian and semidefinite, up to so much of its norm."""
    near, _ = near_one(a)
    norm = float(np.linalg.norm(near))
    if norm == 0:
        return
    skew = float(np.linalg.norm(near - near.conj().T))
    if skew > slack * norm:
        raise ValueError(
            f"a: expected a Hermitian matrix, got one that is {skew / norm:.3g} of its norm apart from its adjoint"
        )
    near.flat[:: len(near) + 1] += slack * norm
    try:
        cholesky(near, lower=True, check_finite=False)
    except LinAlgError:
        least = float(eigvalsh(near, subset_by_index=[0, 0], check_finite=False)[0]) - slack * norm
        raise ValueError(
            f"a: expected a positive semidefinite matrix, got an eigenvalue of {least / norm:.3g} times its norm"
        ) from None


class _RandomCholesky:
    """F with ``A ~ F F^H``, column after column, over an even power of two, and what it leaves on the diagonal.

    With a `slack`, what is seen of A is checked: no entry that is left may be larger than those of the diagonal allow.
    """

    def __init__(self, source: ArraySource | EntrySource, slack: float | None, rng: np.random.Generator) -> None:
        self._source, self._rng = source, rng
        n = source.shape[0]
        self._rows = one_in_each_stratum(n, min(n, _ROWS), rng)
        diagonal, rows = _diagonal(source), source.rows(self._rows)
        exponent = exponent_of(diagonal)
        self._power = exponent + exponent % 2
        self._left, self._missed = self._near(diagonal).real.copy(), self._near(rows)
        self._energy = float(np.linalg.norm(self._missed))
        self._floor = n * _EPS * self._left.max()
        self._slack = None if slack is None else slack * float(np.abs(self._left).max())
        self._factor = np.zeros((n, 0), self._missed.dtype)
        self.pivots: IndexArray = np.zeros(0, np.intp)
        self._check()

    def error(self) -> float:
        """Return about the relative error, from random rows."""
        return float(np.linalg.norm(self._missed)) / (self._energy or 1.0)

    def step(self, most: int | None) -> bool:
        """Add a few columns, up to so many in all; False where nothing is left."""
        count = min(_BLOCK, 1 + len(self.pivots) // 4, (most or len(self._left)) - len(self.pivots))
        left = np.maximum(self._left, 0)
        left[self.pivots] = 0
        if count <= 0 or np.sum(left) <= self._floor:
            return False
        kept, lower = self._accepted(self._rng.choice(len(left), count, p=left / np.sum(left)))
        columns = self._near(self._source.block(np.arange(len(left)), kept))
        columns = columns - self._factor @ self._factor[kept].conj().T
        new = solve_triangular(lower, columns.conj().T, lower=True, check_finite=False).conj().T
        self._factor = np.concatenate([self._factor, new], axis=1)
        self.pivots = np.concatenate([self.pivots, kept])
        self._left = self._left - np.sum(np.square(np.abs(new)), axis=1)
        self._missed = self._missed - new[self._rows] @ new.conj().T
        self._check()
        return True

    def operator(self, rng: np.random.Generator) -> TensorTrainOperator:
        """Return ``F F^H`` with its error."""
        factor = self._factor if self._factor.shape[1] else np.zeros((len(self._left), 1), self._factor.dtype)
        left = scaled(factor, self._power // 2).astype(self._source.dtype)
        factors = left, left.conj().T
        known = self._estimated(rng) if isinstance(self._source, EntrySource) else measured(factors, self._source)
        return product_of(factors)._viewed(_fact=known)

    def _estimated(self, rng: np.random.Generator) -> Known:
        """Return the error as rows tell that are drawn in proportion to what is left on the diagonal.

        What is left of a semidefinite matrix is one, E, and the energy of row i at most ``E_ii ||E||``; A is at least
        as large as what stands for it. Half of the probability is spread evenly, for what rounding leaves.
        """
        left = np.maximum(self._left, 0)
        left[self.pivots] = 0
        probability = np.full(len(left), 1 / len(left))
        if left.any():
            probability = (probability + left / np.sum(left)) / 2
        drawn, times = np.unique(rng.choice(len(left), _CHECKED, p=probability), return_counts=True)
        rows = self._near(self._source.rows(drawn)) - self._factor[drawn] @ self._factor.conj().T
        energies = np.repeat(np.sum(np.square(np.abs(rows)), axis=1) / probability[drawn], times)
        missed = float(np.mean(energies) + _DEVIATIONS * np.std(energies) / np.sqrt(_CHECKED))
        norm = float(np.linalg.norm(self._factor.conj().T @ self._factor))
        rounding = 1.1 * float(np.finfo(self._source.dtype).eps) * float(np.linalg.norm(self._factor)) ** 2
        error = (np.sqrt(missed) + rounding) / norm if norm > 0 else float("inf") if missed > 0 else 0.0
        given = self._source.rounding
        return Known(given, "exact").then(error, kind="estimated") if given else Known(error, "estimated")

    def _near(self, x: Array) -> Array:
        return scaled(np.ascontiguousarray(x, np.result_type(x.dtype, np.float64)), -self._power)

    def _accepted(self, drawn: IndexArray) -> tuple[IndexArray, Array]:
        """Return which draws are kept, and the Cholesky factor of what is left of the matrix there."""
        block = self._near(self._source.block(drawn, drawn))
        block = block - self._factor[drawn] @ self._factor[drawn].conj().T
        kept: list[int] = []
        lower = np.zeros_like(block)
        for at, place in enumerate(drawn):
            found = len(kept)
            pivot = block[at, at].real - float(np.sum(np.square(np.abs(lower[at, :found]))))
            if found and not (pivot > self._floor and self._rng.random() * self._left[place] < pivot):
                continue
            pivot = max(pivot, self._left[place] if not found else 0.0)
            column = block[:, at] - lower[:, :found] @ lower[at, :found].conj()
            lower[:, found] = column / np.sqrt(pivot)
            kept.append(at)
        return drawn[kept], lower[np.ix_(kept, range(len(kept)))]

    def _check(self) -> None:
        if self._slack is None:
            return
        own = self._missed[:, self._rows]
        if np.abs(own - own.conj().T).max() > self._slack:
            raise ValueError("a: expected a Hermitian matrix, got entries at (i, j) and (j, i) that are not conjugates")
        at = int(np.argmin(self._left))
        if self._left[at] < -self._slack or (self._floor <= 0 and self._missed.any()):
            raise ValueError(
                f"a: expected a positive semidefinite matrix, got columns that leave less than zero at ({at}, {at})"
            )
        left = np.maximum(self._left, 0) + self._slack
        if np.any(np.square(np.abs(self._missed)) > _CLEARLY * np.multiply.outer(left[self._rows], left)):
            raise ValueError("a: expected a positive semidefinite matrix, got larger entries than its diagonal allows")


def _diagonal(source: ArraySource | EntrySource) -> Array:
    if isinstance(source, ArraySource):
        return np.diagonal(source.array)
    n = source.shape[0]
    parts = [np.arange(first, min(first + _BLOCK, n)) for first in range(0, n, _BLOCK)]
    return np.concatenate([np.diagonal(source.block(part, part)) for part in parts])
