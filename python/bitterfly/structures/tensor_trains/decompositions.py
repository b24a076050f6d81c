"""Matrices to tensor trains, and trains to trains of fewer ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import qr, svd

from bitterfly.accuracy.derived import OfSum
from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure
from bitterfly.inputs import Array, UnmetError, as_count, as_floating, check_rtol
from bitterfly.operators.views import FLAGS
from bitterfly.powers import near_one, scaled
from bitterfly.structures.tensor_trains.cores import wide
from bitterfly.structures.tensor_trains.differences import direct_sum
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_SHARES = (
    1.0,
    0.7,
    0.0,
)  # of a tolerance, that truncation may take: one after the other, where rounding takes the rest
_RANGE, _SMALL = 80, 4  # columns of a range; times that many: what is taken apart at once
_CAPTURED = 0.1  # of what a junction may leave, that a range may miss
_PANEL = 256  # rows
_UNITS, _LEAST = 64, 2.0**-32  # of a precision, and what measuring adds at most: no error asked for is less


def tensor_train(
    a: Any,
    rows: Sequence[int],
    columns: Sequence[int],
    *,
    rtol: float | None = None,
    ranks: int | Sequence[int] | None = None,
) -> TensorTrainOperator:
    """Return a tensor train near a matrix, by truncated SVDs of its unfoldings.

    Parameters
    ----------
    a : array_like, shape (m, n)
    rows, columns : sequence of d integers
        ``m = m_1 ... m_d`` and ``n = n_1 ... n_d``.
    rtol : float, optional
        Largest relative error in the Frobenius norm, up to rounding: each SVD leaves ``rtol / sqrt(d - 1)`` of it.
    ranks : int or sequence of d - 1 integers, optional
        The most ranks at each junction, as well or instead.

    Returns
    -------
    TensorTrainOperator
        Its ``relative_error`` is measured. Of given ranks it is at most ``sqrt(d - 1)`` times that of the best.

    Raises
    ------
    ValueError
        Where sizes do not fit, `a` is not finite, or neither `rtol` nor `ranks` is given; `UnmetError` where `rtol`,
        given alone, is not met: cores of denormal numbers may be too coarse.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.arange(64) / 64
    >>> op = bitterfly.structures.tensor_train(np.exp(-np.add.outer(x, x)), [4, 4, 4], [4, 4, 4], rtol=1e-10)
    >>> op.ranks
    (1, 1, 1, 1)
    """
    x = as_floating(a, "a")
    heights, widths = ([int(each) for each in sizes] for sizes in (rows, columns))
    d = len(heights)
    if x.ndim != 2 or len(widths) != d or d < 1 or x.shape != (prod(heights), prod(widths)):
        raise ValueError(f"rows, columns: expected sizes whose products are {x.shape}, got {heights} and {widths}")
    check_rtol(rtol)
    if rtol is None and ranks is None:
        raise ValueError("rtol, ranks: expected at least one of them")
    most = as_ranks(ranks, d - 1)
    if not np.all(np.isfinite(x)):
        raise ValueError("a: expected finite entries, got infinities or NaNs")
    return within(lambda least: measured(train_of(x, heights, widths, least, most), x), rtol, ranks)


def train_of(
    x: Array, heights: Sequence[int], widths: Sequence[int], rtol: float, most: Sequence[int]
) -> TensorTrainOperator:
    """Return a train near an array of finite numbers, of which nothing is known; see `tensor_train`."""
    d = len(heights)
    z, exponent = near_one(x)
    least = rtol * float(np.linalg.norm(z)) / sqrt(max(d - 1, 1))
    found = _from_the_middle(z, heights, widths, least)
    if found is not None:
        cores, power = _orthogonal_from_right(found)
        cores = _cut_from_left(cores, least * 2.0**-power, most)
        return balanced(cores, exponent + power, x.dtype)
    rest, cores = _interleaved(z, heights, widths).reshape(1, -1), []
    for at in range(d - 1):
        r = len(rest)
        u, s, vh = svd(rest.reshape(r * heights[at] * widths[at], -1), full_matrices=False, lapack_driver="gesdd")
        rank = _rank(s, least, most[at])
        cores.append(u[:, :rank].reshape(r, heights[at], widths[at], rank))
        rest = s[:rank, None] * vh[:rank]
    cores.append(rest.reshape(len(rest), heights[-1], widths[-1], 1))
    return balanced(cores, exponent, x.dtype)


def _interleaved(x: Array, heights: Sequence[int], widths: Sequence[int]) -> Array:
    """Return a matrix, or several (r, m, n, s), with the digits of rows and columns side by side."""
    d, (r, s) = len(heights), (1, 1) if x.ndim == 2 else (len(x), x.shape[3])
    order = [axis for at in range(1, d + 1) for axis in (at, at + d)]
    return x.reshape(r, *heights, *widths, s).transpose(0, *order, 2 * d + 1)


def _rank(s: Array, least: float, most: int) -> int:
    """Return how many singular values stay, where those that go may come to so much."""
    left = np.sqrt(np.cumsum(np.square(s[::-1])))[::-1]  # of this and all after it
    return max(1, min(most, int(np.count_nonzero(left > least))))


def _from_the_middle(x: Array, heights: Sequence[int], widths: Sequence[int], least: float) -> list[Array] | None:
    """Return cores of a matrix whose middle unfolding is of low rank, up to a tenth of `least`; else None.

    SVDs from one end begin with a few rows of all entries. A random range of the middle unfolding (Halko, Martinsson,
    Tropp, 2011) leaves two small matrices, whose digits are taken apart without any error.
    """
    at = len(heights) // 2
    (i, k), (j, last) = ((prod(sizes[:at]), prod(sizes[at:])) for sizes in (heights, widths))
    if least == 0 or min(i * j, k * last) < _SMALL * _RANGE:
        return None
    unfolded = x.reshape(i, k, j, last).swapaxes(1, 2).reshape(i * j, k * last)
    omega = np.random.default_rng(0).standard_normal((k * last, _RANGE)).astype(x.real.dtype)
    q = qr(unfolded @ omega, mode="economic", check_finite=False)[0]
    b = q.conj().T @ unfolded
    missed = 0.0
    for first in range(0, i * j, _PANEL):
        part = slice(first, first + _PANEL)
        missed = float(np.hypot(missed, np.linalg.norm(unfolded[part] - q[part] @ b)))
        if missed > _CAPTURED * least:
            return None
    left = _apart(q.reshape(1, i, j, -1), heights[:at], widths[:at])
    return left + _apart(b.reshape(-1, k, last, 1), heights[at:], widths[at:])


def _apart(x: Array, heights: Sequence[int], widths: Sequence[int]) -> list[Array]:
    """Return the cores of matrices (r, m, n, s), exact but for rounding."""
    rest, cores = _interleaved(x, heights, widths).reshape(len(x), -1), []
    for p, q in zip(heights[:-1], widths[:-1], strict=True):
        core, rest_of_it = qr(rest.reshape(len(rest) * p * q, -1), mode="economic", check_finite=False)
        cores.append(core.reshape(len(rest), p, q, -1))
        rest = rest_of_it
    return [*cores, rest.reshape(len(rest), heights[-1], widths[-1], x.shape[3])]


def as_ranks(ranks: Any, count: int) -> list[int]:
    """Return the most ranks at so many junctions."""
    given: Any = 1 << 62 if ranks is None else ranks
    most = [as_count(r, "ranks") for r in ([given] * count if np.ndim(given) == 0 else given)]
    if len(most) != count or min(most, default=1) < 1:
        raise ValueError(f"ranks: expected a positive integer, or {count} of them, got {ranks!r}")
    return most


def balanced(cores: list[Array], exponent: int, dtype: np.dtype[Any]) -> TensorTrainOperator:
    """Return cores of about one size each, so that their products do not leave the range on the way."""
    last = near_one(cores[-1])
    share, rest = divmod(exponent + last[1], len(cores))
    powers = [share + (at < rest) for at in range(len(cores))]
    parts = [*cores[:-1], last[0]]
    numbers = [scaled(np.ascontiguousarray(part), power) for part, power in zip(parts, powers, strict=True)]
    return TensorTrainOperator([x.astype(dtype) for x in numbers])


def within(make: Callable[[float], TensorTrainOperator], rtol: float | None, ranks: Any) -> TensorTrainOperator:
    """Return a train for a tolerance; without ranks one that meets it, up to rounding.

    Raises
    ------
    UnmetError
        Where none does.
    """
    for share in _SHARES:
        op = make(share * (rtol or 0.0))
        if rtol is None or ranks is not None or op.relative_error <= max(rtol, _UNITS * np.finfo(op.dtype).eps, _LEAST):
            return op
    raise UnmetError(f"rtol: {rtol:.3g} is not met: cores of {op.dtype} leave {op.relative_error:.3g}")


def measured(op: TensorTrainOperator, x: Array) -> TensorTrainOperator:
    """Return a train with its measured error against an array."""
    known = Known(measure(x, op), "measured") if x.any() else Known(0.0, "exact")
    return op._viewed(_fact=known)


def rounded(op: TensorTrainOperator, rtol: float) -> TensorTrainOperator:
    """Return a tensor train of fewer ranks: orthogonal cores from the right, then truncated SVDs from the left.

    Parameters
    ----------
    op : TensorTrainOperator
    rtol : float
        The most that the matrix changes by, relative to itself.

    Returns
    -------
    TensorTrainOperator
        Of float cores. Its ``relative_error`` is that of `op` and the change, which is measured from the cores.
    """
    check_rtol(rtol)
    cores, exponent = orthogonal_from_right(op)
    least = rtol * float(np.linalg.norm(cores[0])) / sqrt(max(len(cores) - 1, 1)) * (1 - 1e-6)
    cores = _cut_from_left(cores, least, as_ranks(None, len(cores) - 1))
    out = in_view_of(op, balanced(cores, exponent, op.dtype))
    return out._viewed(_fact=Known.of(op).then(op.change_to(out), kind="ledger"))


def _cut_from_left(cores: list[Array], least: float, most: Sequence[int]) -> list[Array]:
    """Return the cores of fewer ranks of a train whose cores but the first have orthonormal rows."""
    cores = list(cores)
    for at in range(len(cores) - 1):
        shape = cores[at].shape
        u, s, vh = svd(cores[at].reshape(-1, shape[3]), full_matrices=False)
        rank = _rank(s, least, most[at])
        cores[at] = u[:, :rank].reshape(*shape[:3], rank)
        cores[at + 1] = np.tensordot(s[:rank, None] * vh[:rank], cores[at + 1], 1)
    return cores


def orthogonal_from_right(op: TensorTrainOperator) -> tuple[list[Array], int]:
    """Return cores near one of which all but the first have orthonormal rows, in double precision, and an exponent."""
    parts = [wide(core) for core in op.stored_cores]
    cores, more = _orthogonal_from_right([part.values for part in parts])
    return cores, sum(part.exponent for part in parts) + more


def _orthogonal_from_right(cores: list[Array]) -> tuple[list[Array], int]:
    cores = list(cores)
    for at in range(len(cores) - 1, 0, -1):
        r = len(cores[at])
        q, factor = qr(cores[at].reshape(r, -1).conj().T, mode="economic")
        cores[at] = q.conj().T.reshape(-1, *cores[at].shape[1:])
        cores[at - 1] = np.tensordot(cores[at - 1], factor.conj().T, 1)
    cores[0], exponent = near_one(cores[0])
    return cores, exponent


class Canonical(NamedTuple):
    """A tensor train with orthonormal cores on either side of a junction, in double precision.

    Attributes
    ----------
    cores : list of arrays
        Those before the junction have orthonormal columns, (r m n, s), the others orthonormal rows, (r, m n s).
    singular : list of arrays
        Of each junction the singular values of the unfolding there, over ``2**exponent``. At `center` they stand
        between the cores as a diagonal.
    center : int
        Cores before the junction.
    exponent : int
    """

    cores: list[Array]
    singular: list[Array]
    center: int
    exponent: int


def canonical(op: TensorTrainOperator, center: int, threshold: float = 0.0) -> Canonical:
    """Return the canonical form of a train, without the singular values up to a threshold, relative to its norm.

    Bases of junctions are singular vectors: errors in the columns of a core before the center, and in the rows of one
    behind it, count the squared singular values there (Vidal, *Efficient classical simulation of slightly entangled
    quantum computations*, 2003). At least one singular value stays.
    """
    cores, exponent = orthogonal_from_right(op)
    norm, singular = float(np.linalg.norm(cores[0])), []
    for at in range(len(cores) - 1):
        u, s, vh = _kept(cores[at].reshape(-1, cores[at].shape[3]), threshold * norm)
        cores[at] = u.reshape(*cores[at].shape[:3], -1)
        cores[at + 1] = np.tensordot(s[:, None] * vh, cores[at + 1], 1)
        singular.append(s)
    for at in range(len(cores) - 1, center - 1, -1):
        u, s, vh = svd(cores[at].reshape(len(cores[at]), -1), full_matrices=False)
        cores[at] = vh.reshape(-1, *cores[at].shape[1:])
        cores[at - 1] = np.tensordot(cores[at - 1], u if at == center else u * s, 1)
        singular[at - 1] = s
    return Canonical(cores, singular, center, exponent)


def _kept(x: Array, threshold: float) -> tuple[Array, Array, Array]:
    u, s, vh = svd(x, full_matrices=False)
    unit = float(np.finfo(np.float64).eps) * max(x.shape) * float(s[0])
    rank = max(1, int(np.count_nonzero(s > max(threshold, unit))))
    return u[:, :rank], s[:rank], vh[:rank]


def in_view_of(op: TensorTrainOperator, train: TensorTrainOperator) -> TensorTrainOperator:
    """Return a train with the rows and the mode of another."""
    if op.stored_rows is not None:
        train = TensorTrainOperator(train.stored_cores, rows=op.stored_rows, dtype=train.dtype)
    return train._flipped(*FLAGS[op.mode])


def added(first: TensorTrainOperator, *others: TensorTrainOperator) -> TensorTrainOperator:
    """Return the sum of tensor trains, whose ranks are the sums of theirs; nothing is rounded but decoded codes.

    Parameters
    ----------
    first, *others : TensorTrainOperator
        Of the same digits, rows and mode, with arrays or codes as cores.

    Returns
    -------
    TensorTrainOperator
        In the widest of their precisions; its error follows from theirs. `rounded` takes ranks away again.

    Raises
    ------
    TypeError, ValueError
        Where some are no tensor trains, or their digits, rows or modes differ.

    Notes
    -----
    Cores are direct sums: those of both along a diagonal, the first ones side by side, the last ones one above the
    other (Oseledets, *Tensor-train decomposition*, 2011, section 4.1).

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> from bitterfly import structures
    >>> x = np.arange(64) / 64
    >>> a, b = (structures.tensor_train(np.exp(-np.add.outer(x, c * x)), [8, 8], [8, 8], rtol=1e-9) for c in (1, 2))
    >>> whole = structures.added(a, b)
    >>> whole.ranks, structures.rounded(structures.added(whole, a), 1e-6).ranks
    ((1, 2, 1), (1, 2, 1))
    """
    trains = [first, *others]
    for at, op in enumerate(trains):
        if not isinstance(op, TensorTrainOperator):
            raise TypeError(f"others[{at - 1}]: expected a TensorTrainOperator, got {type(op).__name__}")
        if not first.is_alike(op):
            raise ValueError(
                f"others[{at - 1}]: expected a tensor train of the same digits, rows and mode as the first"
            )
    floats = [op.dequantize() for op in trains]
    cores = list(floats[0].cores)
    for op in floats[1:]:
        cores = direct_sum(cores, op.cores)
    whole = in_view_of(first, TensorTrainOperator(cores))
    return whole._viewed(_fact=OfSum([(1.0, op) for op in floats])) if others else floats[0]
