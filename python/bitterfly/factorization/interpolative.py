"""Float factors in skeleton form: identity rows instead of orthonormal columns, fewer bytes for the same operator."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.known import Known
from bitterfly.chains.junctions import Part, receive, right_grams
from bitterfly.inputs import Array
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.powers import near_one, scaled
from bitterfly.stores.floats import finite_dense, stored_factors
from bitterfly.stores.tiles import Skeleton, lean_ranks
from bitterfly.workers import get_workers

_UNIT = float(np.finfo(np.float64).eps) / 2
_SLACK = 0.01  # for what the energies themselves round


def in_skeletons(op: ButterflyOperator) -> ButterflyOperator:
    """Return an operator in skeleton form where that takes clearly fewer bytes, else as it is.

    From left to right, the blocks X of a factor become ``P [I; T] M``: pivot rows M of X, and the others as
    combinations T of these (interpolative decomposition, with strong pivoting). M, r x r, goes to the rows of the next
    factor. It changes nothing but by rounding.

    Parameters
    ----------
    op : ButterflyOperator
        With dense factors.

    Returns
    -------
    ButterflyOperator
        With a bound on what was rounded in its error.

    Notes
    -----
    Let ``E = X - P [I; T] M``, with T as it is stored, S the factors to its left (converted) and Q those to its right
    (still to be). The operator changes by ``S E Q``, of the energy ``tr(E^H G E R)`` with the Gram matrices G of S and
    R of Q; the same sum with ``|E|``, ``|G|``, ``|R|`` bounds it, where ``|E|`` takes up what its computation rounds.
    The changes of all factors add up, each relative to the operator that it meets.
    """
    chain, dtype = op.store.chain, np.dtype(op.dtype)
    lean = lean_ranks(chain, dtype)
    if not any(lean):
        return op
    stored = stored_factors(op.store)
    metrics = right_grams(stored, chain.ranks)
    carried: Array | None = None
    gram: Array | None = None
    factors: list[Array | Skeleton] = []
    growth = 1.0
    for at, (rank, metric) in enumerate(zip((*chain.ranks, 1), metrics, strict=True)):
        factor, exponent = near_one(finite_dense(stored, at))
        bound, operations = np.abs(factor), 0
        if carried is not None:
            operations, bound = carried.shape[3], receive(bound, np.abs(carried))
            factor = receive(factor, carried)
        part = Part.of(factor, rank, gram, metric)
        rounded = (operations + 1) * Part.of(bound, rank, gram, metric).x
        if lean[at]:
            skeleton, sides, matrices = _interpolated(factor.shape, part, dtype)
            factors.append(skeleton)
            missed = np.abs(part.x - sides @ matrices)
            rounded += (rank + 1) * (np.abs(part.x) + np.abs(sides) @ np.abs(matrices))
            carried = scaled(matrices, exponent)
        else:
            with np.errstate(over="ignore"):
                kept = scaled(factor, exponent).astype(dtype)
            factors.append(kept)
            sides = Part.of(scaled(kept.astype(factor.dtype), -exponent), rank, gram, metric).x
            missed, carried = np.abs(part.x - sides), None
        lost = part.largest_energy(missed + 8 * _UNIT * rounded)
        growth *= 1 + (1 + _SLACK) * float(np.sqrt(lost / part.energy(part.x)) if lost > 0 else 0.0)
        gram = part.gram(sides)
    if not growth < 2:
        return op
    facts = Known.of(op).then(growth - 1).facts
    return ButterflyOperator(factors, shape=op.shape, permutations=op.base_permutations, **facts)


def _interpolated(shape: tuple[int, ...], part: Part, dtype: np.dtype[Any]) -> tuple[Skeleton, Array, Array]:
    """Return the factor of this shape in skeleton form, its blocks ``P [I; T]``, and the pivot rows of `part`."""
    a, d, groups, b, rank = part.x.shape
    blocks = part.x.reshape(-1, b, rank)
    flags, t, _ = _core.skeletonize(blocks, rank, get_workers())
    pivots, t = flags.astype(bool).reshape(a * d, groups, b), t.astype(dtype).reshape(a * d, groups, b - rank, rank)
    skeleton = Skeleton((a, b, groups * rank, d), pivots, t)
    sides = skeleton.blocks().astype(part.x.dtype)
    return skeleton, sides.reshape(part.x.shape), blocks[flags.astype(bool)].reshape(a, d, groups, rank, rank)
