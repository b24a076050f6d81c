"""Any structure beside a sparse matrix: the entries that fit it least are stored by themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from bitterfly.accuracy.energy import Energy
from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure
from bitterfly.inputs import Array, as_count
from bitterfly.operators.contract import ButterflySum, Operator
from bitterfly.operators.sparse import SparseOperator
from bitterfly.panels import identity_panel
from bitterfly.precision import in_double
from bitterfly.structures.projections import converted, matrix_of

_log = logging.getLogger("bitterfly")

_PANEL = 1 << 20  # entries that are looked at at once
_FALL = -0.01  # of the logarithm of the error to base 2, in a round: with less, it has come to its end

Projection = Callable[[Array], Operator]


def with_sparse(a: Any, count: int, projection: Projection, *, rounds: int = 50) -> ButterflySum:
    """Return a matrix of a structure plus a sparse one, whose entries are those that fit the structure least.

    Parameters
    ----------
    a : array_like, shape (m, n)
    count : int
        Entries of the sparse matrix.
    projection : callable
        Takes an array of the shape and the dtype of `a`, and returns an operator near it: a function of
        `bitterfly.structures`, `factorize` with its options.
    rounds : int, optional
        At most as many projections from each of the two beginnings.

    Returns
    -------
    ButterflySum
        Of what `projection` returned and a `SparseOperator`. ``relative_error`` is measured, and not above what is
        measured of ``projection(a)``.

    Raises
    ------
    TypeError, ValueError
        Where `a` is no matrix of finite numbers, or `projection` returns no operator of its shape.

    Notes
    -----
    Alternating projections: that of the matrix without the sparse part, the largest entries of what it leaves, and so
    on while the error falls by a hundredth; no step makes it larger where the projection is to the nearest matrix. They
    begin without entries, and with the largest ones of `a`, and the better end is taken. For low rank that is GoDec
    (T. Zhou, D. Tao, ICML 2011), and robust principal component analysis (E. Candes, X. Li, Y. Ma, J. Wright, *Robust
    principal component analysis?*, J. ACM 58, 2011) with numbers of entries in place of norms: outliers that are
    spread, and not too many, are found exactly.

    Examples
    --------
    >>> import numpy as np, scipy.linalg, bitterfly
    >>> a = scipy.linalg.toeplitz(np.arange(50.0))
    >>> a[[3, 30, 41], [40, 2, 17]] += [100, -70, 30]
    >>> bitterfly.structures.toeplitz(a).relative_error > 0.1
    True
    >>> op = bitterfly.structures.with_sparse(a, 3, bitterfly.structures.toeplitz)
    >>> op.terms[1].nnz, op.relative_error < 1e-12
    (3, True)
    """
    x, count, rounds = matrix_of(a), as_count(count, "count"), as_count(rounds, "rounds")
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    alone = _projected(projection, x)
    found = [ButterflySum([alone, SparseOperator(csr_array(x.shape, dtype=x.dtype))])]
    if count:
        largest = _beside(x, None, count).entries
        begun = alone, _projected(projection, _without(x, largest))
        ends = [_alternated(x, op, count, projection, rounds) for op in begun]
        best = min(ends, key=lambda end: end.error)
        found.append(ButterflySum([best.op, best.entries]))
    errors = [measure(x, op) for op in found]
    at = int(np.nanargmin(errors)) if not np.all(np.isnan(errors)) else 0
    return converted(found[at]._viewed(_fact=Known(errors[at], "measured")), a, x)


class _Split(NamedTuple):
    """An operator, the largest entries of what it leaves of a matrix, and the norm of the rest (a logarithm)."""

    op: Any
    entries: SparseOperator
    error: float


def _alternated(x: Array, op: Operator, count: int, projection: Projection, rounds: int) -> _Split:
    best = _beside(x, op, count)
    for at in range(1, rounds):
        other = _beside(x, _projected(projection, _without(x, best.entries)), count)
        _log.debug("round %d: %d entries beside, 2^%.2f left", at, count, other.error)
        falls = other.error < best.error + _FALL
        best = min(best, other, key=lambda split: split.error)
        if not falls:
            break
    return best


def _projected(projection: Projection, x: Array) -> Operator:
    op = projection(x)
    if not isinstance(op, Operator):
        raise TypeError(f"projection: expected a function that returns an operator, got {type(op).__name__}")
    if op.shape != x.shape:
        raise ValueError(f"projection: expected an operator of shape {x.shape}, got {op.shape}")
    return op


def _without(x: Array, entries: SparseOperator) -> Array:
    rest = x.astype(np.result_type(x, entries.dtype))
    stored = entries.matrix.tocoo()
    rest[stored.coords] -= stored.data
    return rest


def _beside(x: Array, op: Operator | None, count: int) -> _Split:
    """Return the largest entries of what an operator leaves, panel by panel, and the norm of all others."""
    m, n = x.shape
    wide = None if op is None else in_double(op)
    dtype = np.result_type(x, np.float64) if wide is None else np.result_type(x, wide.dtype)
    kept, places, rest = np.empty(0, dtype), np.empty(0, np.intp), Energy()
    width = max(_PANEL // m, 1)
    for first in range(0, n, width):
        columns = np.arange(first, min(first + width, n))
        part = x[:, columns].astype(dtype)
        if wide is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                part -= wide @ identity_panel(n, first, len(columns), wide.dtype)
        kept = np.concatenate([kept, part.ravel()])
        places = np.concatenate([places, (np.arange(m)[:, None] * n + columns).ravel()])
        if len(kept) > count:
            order = np.argpartition(-np.abs(kept), count - 1)
            rest.add(kept[order[count:]])
            kept, places = kept[order[:count]], places[order[:count]]
    own = x.dtype if op is None else np.result_type(x, op.dtype)
    with np.errstate(over="ignore"):
        stored = np.nan_to_num(kept.astype(own))  # the largest numbers, where a difference leaves their range
    entries = csr_array((stored, np.divmod(places, n)), shape=x.shape)
    return _Split(op, SparseOperator(entries), rest.log2_norm)
