"""Tables of rows in any order to tensor trains: rows that are alike are brought side by side first."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import Any

import numpy as np

from bitterfly.chains import families
from bitterfly.inputs import Array, IndexArray, as_floating, check_rtol
from bitterfly.powers import near_one, scaled
from bitterfly.structures.tensor_trains.decompositions import as_ranks, measured, train_of, within
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_DIGITS = 3
_ROUNDS = 12  # of the power method
_SLACK = 1e-6


def tensor_train_rows(
    table: Any,
    *,
    rtol: float | None = None,
    ranks: int | Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
    columns: Sequence[int] | None = None,
    permute: bool = True,
    rng: np.random.Generator | int | None = None,
) -> TensorTrainOperator:
    """Return a tensor train near a table whose rows may stand in any order, as embeddings of words do.

    Parameters
    ----------
    table : array_like, shape (m, n)
    rtol : float, optional
        Largest relative error in the Frobenius norm, up to rounding.
    ranks : int or sequence of d - 1 integers, optional
        The most ranks at each junction, as well or instead.
    rows, columns : sequence of d integers, optional
        Digits: a product of m or more, rows beyond m being left out, and one of n. Default: three, of about one size.
    permute : bool, optional
        Whether rows are ordered by clusters of clusters; else they stay as they are.
    rng : numpy.random.Generator or int, optional
        Draws where the search for principal directions begins.

    Returns
    -------
    TensorTrainOperator
        Of shape (m, n), with ``stored_rows``: 4 bytes a row. Its ``relative_error`` is measured; ``op.rows(index)``
        looks rows up.

    Raises
    ------
    ValueError, TypeError
        Where `table` is no matrix of finite numbers, digits do not fit, or neither `rtol` nor `ranks` is given;
        `UnmetError` where `rtol`, given alone, is not met.

    Notes
    -----
    Each cluster is cut across its principal direction into parts of equal capacity, one for each value of a digit
    (Boley, *Principal direction divisive partitioning*, 1998). Embeddings as tensor trains: Hrinchuk, Khrulkov,
    Mirvakhabova, Orlova, Oseledets, *Tensorized embedding layers*, 2020.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> rng = np.random.default_rng(0)
    >>> x = rng.random(500)
    >>> table = np.cos(np.outer(x, np.arange(24)))
    >>> found = [
    ...     bitterfly.structures.tensor_train_rows(table, rtol=1e-2, permute=p, rng=0).nbytes for p in (True, False)
    ... ]
    >>> found[0] < 0.85 * found[1]
    True
    """
    x = as_floating(table, "table")
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"table: expected a matrix of shape (m, n), got shape {x.shape}")
    if not np.all(np.isfinite(x)):
        raise ValueError("table: expected finite entries, got infinities or NaNs")
    check_rtol(rtol)
    if rtol is None and ranks is None:
        raise ValueError("rtol, ranks: expected at least one of them")
    count = len(rows) if rows is not None else len(columns) if columns is not None else _DIGITS
    heights = _covering(len(x), count) if rows is None else [int(size) for size in rows]
    widths = _factors(x.shape[1], count) if columns is None else [int(size) for size in columns]
    good = len(heights) == len(widths) >= 1 and min(*heights, *widths) >= 1
    if not good or prod(heights) < len(x) or prod(widths) != x.shape[1] or prod(heights) >= 1 << 32:
        expected = f"products of {len(x)} or more and of {x.shape[1]}"
        raise ValueError(f"rows, columns: expected as many digits of both, {expected}, got {heights} and {widths}")
    most = as_ranks(ranks, len(heights) - 1)
    places = _places(x, heights, np.random.default_rng(rng)) if permute else np.arange(len(x))
    padded = x[_filled(places, prod(heights))]
    share = 1.0 if rtol is None else _share(x, padded)
    is_plain = not permute and len(x) == prod(heights)

    def made(least: float) -> TensorTrainOperator:
        train = train_of(padded, heights, widths, share * least, most)
        return measured(train if is_plain else TensorTrainOperator(train.stored_cores, rows=places), x)

    return within(made, rtol, ranks)


def _covering(count: int, digits: int) -> list[int]:
    """Return sizes near one another whose product is `count` or a little more."""
    out: list[int] = []
    for left in range(digits, 0, -1):
        rest = count / prod(out)
        out.append(max(ceil(rest ** (1 / left) - 1e-9), 1))
    return out


def _factors(count: int, digits: int) -> list[int]:
    """Return factors of a number as near one another as its primes allow."""
    out = [1] * digits
    for prime in sorted(families.primes(count), reverse=True):
        out[int(np.argmin(out))] *= prime
    return out


def _places(x: Array, heights: Sequence[int], rng: np.random.Generator) -> IndexArray:
    """Return the row of the train that each row of the table takes."""
    places = np.empty(len(x), np.intp)
    groups = [(np.arange(len(x)), 0, tuple(heights))]
    z = near_one(x)[0]
    while groups:
        index, first, sizes = groups.pop()
        if len(index) == 0:
            continue
        if prod(sizes) == 1:
            places[index] = first
            continue
        size, inner = sizes[0], sizes[1:]
        for part, start, height in _cut(z, index, first, size, prod(inner), rng):
            groups.append((part, start, inner if height == 1 else (height, *inner)))
    return places


def _cut(
    z: Array, index: IndexArray, first: int, size: int, capacity: int, rng: np.random.Generator
) -> list[tuple[IndexArray, int, int]]:
    """Return two parts of a cluster, the place where each begins, and how many values of the digit it takes."""
    if size == 1:
        return [(index, first, 1)]
    left = size // 2
    room, other = left * capacity, (size - left) * capacity
    count = round(len(index) * room / (room + other))
    count = max(min(count, room, len(index)), len(index) - other)
    order = index[np.argsort(_principal(z[index], rng), kind="stable")]
    return [(order[:count], first, left), (order[count:], first + room, size - left)]


def _principal(rows: Array, rng: np.random.Generator) -> Array:
    """Return the coordinates of rows along the direction of their largest variance, by the power method."""
    centered = rows - rows.mean(axis=0)
    v = rng.standard_normal(rows.shape[1])
    for _ in range(_ROUNDS):
        v = centered.conj().T @ (centered @ v)
        length = float(np.linalg.norm(v))
        if length == 0:
            break
        v = v / length
    return np.asarray((centered @ v).real)


def _filled(places: IndexArray, size: int) -> IndexArray:
    """Return which row of the table stands in each place, that of the one before where there is none."""
    out = np.full(size, -1)
    out[places] = np.arange(len(places))
    last = np.maximum.accumulate(np.where(out >= 0, np.arange(size), -1))
    return np.asarray(out[np.where(last >= 0, last, np.min(places))])


def _share(x: Array, padded: Array) -> float:
    """Return the norm of a table over that with the rows that fill it up."""
    whole, exponent = near_one(padded)
    norm = float(np.linalg.norm(whole))
    return float(np.linalg.norm(scaled(x.astype(whole.dtype), -exponent))) / norm * (1 - _SLACK) if norm else 1.0
