"""Sums of outer products, ``sum_r A[o, r] X[k_1, r] .. B[i, r]``: the kernel they are, how far it is off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bitterfly.accuracy.energy import Energy
from bitterfly.accuracy.known import Known, rounded_up
from bitterfly.convolutions.kernel import channels_second
from bitterfly.inputs import Array
from bitterfly.operators.contract import Operator
from bitterfly.powers import near_one, scaled
from bitterfly.precision import in_double
from bitterfly.structures.tensor_trains.cores import CodedCore, Core, Wide, wide
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_UNIT = float(np.finfo(np.float64).eps)
_SLACK = 1e-3  # of what is rounded: terms of second order


class Columns(NamedTuple):
    """Matrices of one column for each term, near one, times a power of two, and what decoding them has rounded.

    Attributes
    ----------
    values : list of ndarrays of float64, shapes (n, R)
    exponent : int
    offs : list of float
        Bounds on what is off, in the Frobenius norm, before the power.
    """

    values: list[Array]
    exponent: int
    offs: list[float]


def columns_of(factors: Sequence[Operator]) -> Columns:
    """Return the numbers of factors in double precision."""
    parts = [_wide(factor) for factor in factors]
    values = [part.values[0, :, :, 0] for part in parts]
    return Columns(values, sum(part.exponent for part in parts), [part.off for part in parts])


def _wide(factor: Operator) -> Wide:
    core = plain(factor)
    return wide(CodedCore(factor, (1, *factor.shape, 1)) if core is None else core)


def as_factor(x: Array) -> TensorTrainOperator:
    """Return a matrix as an operator, its numbers as they are, those of float16 too."""
    return TensorTrainOperator([x.reshape(1, *x.shape, 1)])


def plain(factor: Operator) -> Array | None:
    """Return the one core (1, n, R, 1) of what `as_factor` made, else None."""
    if not isinstance(factor, TensorTrainOperator) or factor.mode != "forward" or factor.stored_rows is not None:
        return None
    core: Core = factor.stored_cores[0]
    return core if len(factor.stored_cores) == 1 and isinstance(core, np.ndarray) else None


def decoded(op: Operator) -> Array:
    """Return the matrix of an operator, decoded in double precision, in its own."""
    with np.errstate(over="ignore"):
        return np.asarray(in_double(op).todense().astype(op.dtype))


def dense(found: Columns, shape: tuple[int, ...]) -> Array:
    """Return the kernel (out, in, k_1, ..) in double precision."""
    out = np.concatenate(list(_panels(found)), axis=1)
    with np.errstate(over="ignore"):
        return channels_second(scaled(out, found.exponent), shape)


def error_of(matrix: Array, found: Columns) -> Known:
    """Return the error of factors against a kernel, channels last, (out, k_1 ... k_d in).

    Notes
    -----
    An entry is a sum of R terms, each of as many numbers as there are factors: it rounds by ``R + d + 2`` units of the
    sum of moduli, all entries by as many of ``sum_r |a_r| |x_r| .. |b_r|``, lengths of columns. What decoding has
    rounded of a factor counts the root of the sum of the squared lengths of the others.
    """
    near, exponent = near_one(matrix)
    power, first = found.exponent - exponent, 0
    missed, total = Energy(), Energy()
    for panel in _panels(found):
        part = near[:, first : first + panel.shape[1]]
        first += panel.shape[1]
        with np.errstate(over="ignore"):
            missed.add(part - scaled(panel, power))
        total.add(part)
    rounding = float(np.ldexp(_rounding(found), min(power, 1000)))
    if total.sum == 0:
        is_zero = missed.sum == 0 and any(
            not x.any() and not off for x, off in zip(found.values, found.offs, strict=True)
        )
        return Known(0.0 if is_zero else float("inf"), "exact" if is_zero else "measured")
    rest = rounding / float(np.exp2(total.log2_norm)) * (1 + _SLACK)
    return Known(rounded_up(missed.bound_over(total, []) + rest, 4), "measured")


def change_between(before: Sequence[Operator], after: Sequence[Operator]) -> float:
    """Return a bound on how far the kernel of some factors is from that of others, relative to the first."""
    found = columns_of(before)
    panels = np.concatenate(list(_panels(found)), axis=1)
    size, rounding = float(np.linalg.norm(panels)) * (1 - _SLACK), _rounding(found)
    rounded = rounding / size if size else float(rounding > 0)
    if not rounded < 1:
        return float("inf")
    now = columns_of(after)
    known = error_of(panels, now._replace(exponent=now.exponent - found.exponent))
    return rounded_up((known.error + rounded) / (1 - rounded), 3)


def _rounding(found: Columns) -> float:
    """Return a bound on what the kernel of factors rounds, before its power."""
    lengths = np.array([np.linalg.norm(x, axis=0) for x in found.values])
    terms = lengths.shape[1] + len(lengths) + 2
    rounded = terms * _UNIT * float(np.sum(np.prod(lengths, axis=0)))
    others = [np.prod(np.delete(lengths, at, axis=0), axis=0) for at in range(len(lengths))]
    decoded = sum(off * float(np.linalg.norm(each)) for off, each in zip(found.offs, others, strict=True))
    return float(rounded + decoded) * (1 + _SLACK)


def _panels(found: Columns) -> Iterator[Array]:
    """Yield the parts (out, in) of the kernel before its power, place by place of the windows."""
    left, *windows, right = found.values
    for place in np.ndindex(*(len(each) for each in windows)):
        weights = np.ones(left.shape[1])
        for each, at in zip(windows, place, strict=True):
            weights = weights * each[at]
        yield left @ (right * weights).T
