"""Codes of a matrix, and beside them what makes them smaller or better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from bitterfly.accuracy.metric import bounds_of_trace
from bitterfly.dense.beside.head import worthwhile_head
from bitterfly.dense.beside.outliers import Apart, without, worthwhile_outliers
from bitterfly.dense.measured import counted, measured_sum
from bitterfly.dense.predicted import least_bytes
from bitterfly.dense.search import Asked
from bitterfly.dense.stages import staged
from bitterfly.inputs import Array, UnmetError
from bitterfly.operators.contract import Operator
from bitterfly.operators.dense import DenseOperator
from bitterfly.operators.sparse import SparseOperator
from bitterfly.powers import exponent_of, near_one

_CLEARLY = 0.9  # of what is expected of codes alone: with less, they are not tried
_ROOM = 60  # binary orders between a matrix that may have a head and the limits of its precision
_WORTHWHILE = 0.02  # bits a number that parts have to save in a metric, where nothing predicts what codes alone do


class Beside(NamedTuple):
    """What is to be stored beside the codes: a head, outliers, all or so many; the rank of a correction."""

    head: Literal["auto"] | None
    outliers: Literal["auto"] | int | None
    repair: int


def best_codes(a: Array, asked: Asked, beside: Beside, rng: np.random.Generator) -> Operator:
    """Return codes alone, or those of what outliers and a head leave, whichever is better."""
    probes = np.random.default_rng(rng.integers(1 << 63))  # of their own: they do not change what is drawn after them
    parts = _worthwhile(a, asked, beside, probes)
    whole = _with_parts(a, parts, asked, probes) if parts else None
    if whole is None:
        return _summed(a, staged(a, asked, rng), asked)
    rtol, found = asked.rtol, counted(whole, asked.metric)
    if asked.metric is None:
        expected = _CLEARLY * asked.expected(2 if a.dtype.kind == "c" else 1, a.shape)
        if found < expected if rtol is None else whole.nbytes < expected and found <= rtol:
            return whole
    try:
        plain = _summed(a, staged(a, asked, rng), asked)
    except UnmetError:
        if rtol is None or found <= rtol:
            return whole
        raise
    if rtol is None:
        return whole if found < counted(plain, asked.metric) else plain
    return whole if found <= rtol and whole.nbytes < plain.nbytes else plain


def _summed(a: Array, terms: Sequence[DenseOperator], asked: Asked) -> Operator:
    """Return the sum of operators, its error measured; a single one as it is."""
    if len(terms) == 1:
        return terms[0]
    whole, rtol = measured_sum(a, terms, asked.metric), asked.rtol
    if rtol is not None and not whole.relative_error <= rtol:
        raise UnmetError(f"rtol: {rtol:.3g} is not met: a sum of {len(terms)} codes reaches {whole.relative_error:.3g}")
    return whole


def _worthwhile(a: Array, asked: Asked, beside: Beside, rng: np.random.Generator) -> list[Operator]:
    """Return outliers and a head, one of them or none, whichever saves the most bits."""
    limits, largest = np.finfo(a.dtype), exponent_of(a)
    has_head = beside.head is not None and limits.minexp + _ROOM < largest < limits.maxexp - _ROOM
    room = _room(asked, a)
    head = worthwhile_head(a, rng, room) if has_head else None  # of other matrices, factors would leave the range
    best = [] if head is None else [head]
    outliers = worthwhile_outliers(a) if beside.outliers == "auto" else None
    if outliers is not None:
        room -= 8 * outliers.op.nbytes
        after = worthwhile_head(without(a, outliers.op), rng, room) if has_head else None
        best = max(best, [outliers] if after is None else [outliers, after], key=_saved)
    if asked.metric is not None and _saved(best) < _WORTHWHILE * a.size:
        return []
    return [part.op for part in best]


def _room(asked: Asked, a: Array) -> float:
    """Return how many bits the least codes leave to others."""
    planes = 2 if a.dtype.kind == "c" else 1
    if asked.bits is not None:
        return (asked.bits - (asked.stages or 1)) * planes * a.size
    if asked.nbytes is None:
        return float("inf")
    return 8.0 * (asked.nbytes - asked.beside - least_bytes((planes * a.shape[0], a.shape[1])))


def _saved(parts: Sequence[Apart]) -> float:
    return sum(part.saved for part in parts)


def _with_parts(a: Array, parts: Sequence[Operator], asked: Asked, rng: np.random.Generator) -> Operator | None:
    """Return parts and codes of the rest; None where too little is left for these."""
    rest, terms, left = a, list(parts), asked
    for part in parts:
        before, rest = rest, without(rest, part)
        if not rest.any():
            whole = measured_sum(a, terms, asked.metric)
            return whole if asked.nbytes is None or whole.nbytes <= asked.nbytes - asked.beside else None
        less = what_is_left(left, part, before, rest)
        if less is None:
            return None
        left = less
    try:
        terms += staged(rest, left, rng)
    except UnmetError:  # too few bytes, or an error out of reach
        return None
    return measured_sum(a, terms, asked.metric)


def what_is_left(asked: Asked, part: Operator, before: Array, rest: Array) -> Asked | None:
    """Return what is asked for of the rest of a matrix beside a part; None where that is too little."""
    if asked.rtol is not None:
        ratio = _norm(rest, asked.metric) / (_norm(before, asked.metric) or 1.0)
        return asked._replace(rtol=min(asked.rtol / (ratio or 1.0) * (1 - 1e-6), 0.99))
    bits = 8 * part.nbytes if isinstance(part, SparseOperator) else sum(each.bits for each in part.numbers)
    return less(asked, before, bits, part.nbytes)


def less(asked: Asked, a: Array, bits: int, nbytes: int) -> Asked | None:
    """Return what is left of the bits for each number of a matrix, or of the bytes; None where that is too little."""
    if asked.bits is None:
        return asked._replace(beside=asked.beside + nbytes)
    left = asked.bits - bits / (a.size * (2 if a.dtype.kind == "c" else 1))
    return asked._replace(bits=left) if left >= (asked.stages or 1) else None


def _norm(a: Array, metric: Array | None) -> float:
    """Return the norm of a matrix, or that in a metric."""
    x, exponent = near_one(a)
    if metric is None:
        return float(np.ldexp(np.linalg.norm(x), exponent))
    planes = (x.real, x.imag) if x.dtype.kind == "c" else (x,)
    squares = sum(sum(bounds_of_trace(part, metric)) / 2 for part in planes)
    return float(np.ldexp(np.sqrt(squares), exponent))
