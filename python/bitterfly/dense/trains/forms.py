"""What a core of a tensor train costs in codes, how these err, and how cores share bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bitterfly.inputs import Array
from bitterfly.stores.dense.codes import BLOCK

_ROUNDS = 16
_UNEVEN = 1.3


class Form(NamedTuple):
    """What a core can be stored as: bytes, and the squared error to be expected."""

    cost: float
    error: float
    half_bits: int  # 0 of floats, 1 of short ones
    stages: int = 1


def expected_errors(units: Array, spread: Array | None) -> Array:
    """Return the squared errors to be expected of codes in a metric, of which `spread` is the diagonal.

    Where columns make good for each other, it is that of the geometric mean: of the diagonal and what others have lost
    on top, above a share of the arithmetic mean that even rates leave. Fitted to random cores of ranks 16 to 256.
    """
    if spread is None:
        return units
    least = np.maximum(spread, _UNEVEN * np.mean(spread) / max(len(spread), BLOCK))[:, None]
    lost: Array = np.zeros(len(units))
    for _ in range(_ROUNDS):
        lost = units * np.exp(np.mean(np.log(least + lost), axis=0))
    return lost * len(spread)


def hull(forms: Sequence[Form]) -> list[Form]:
    """Return the forms of which none is above the line between two others, by cost."""
    out: list[Form] = []
    for form in sorted(forms, key=lambda each: (each.cost, each.error)):
        if out and form.error >= out[-1].error:
            continue
        while len(out) > 1 and _slope(out[-2], out[-1]) <= _slope(out[-1], form):
            out.pop()
        out.append(form)
    return out


def _slope(a: Form, b: Form) -> float:
    """Return how much error a byte more takes away."""
    return (a.error - b.error) / (b.cost - a.cost)


def shared(forms: Sequence[Sequence[Form]], budget: float, goal: float | None) -> list[Form] | None:
    """Return the form of each core: steps down the hulls, the steepest first, while the budget, or to the goal.

    Squared errors and costs add up: on convex hulls that is the least error at its cost (Shoham, Gersho, *Efficient
    bit allocation for an arbitrary set of quantizers*, 1988).
    """
    found = [each[0] for each in forms]
    cost, error = sum(form.cost for form in found), sum(form.error for form in found)
    if cost > budget:
        return None
    steps = [(_slope(a, b), at, a, b) for at, hull in enumerate(forms) for a, b in pairwise(hull)]
    for _, at, a, b in sorted(steps, key=lambda each: -each[0]):
        if goal is not None and error <= goal:
            break
        if found[at] != a or cost + b.cost - a.cost > budget:
            continue  # a step before it has been too large: none after it is taken
        found[at] = b
        cost, error = cost + b.cost - a.cost, error + b.error - a.error
    return found if goal is None or error <= goal else None
