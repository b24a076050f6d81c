"""Float factors of any chain to integers: lattice and skeleton codes, what rounding leaves pushed to the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.chain import Chain
from bitterfly.change import after_change
from bitterfly.inputs import Array
from bitterfly.kinds import Code
from bitterfly.operator import ButterflyOperator, PackedButterfly
from bitterfly.powers import near_one, scaled
from bitterfly.stores import TiledFloats
from bitterfly.tiled_codes import TiledCodes, plan
from bitterfly.tiles import Layout, Skeleton, planes_of
from bitterfly.workers import get_workers

_STEPS = 4
_GROWTH = 1.25


def recode(op: ButterflyOperator, kind: str, bits: int | Sequence[int]) -> TiledCodes:
    """Return the codes of an operator's stored factors.

    Parameters
    ----------
    kind : {"lattice", "skeleton"}
        "skeleton": all factors but the last as pivots and T, where a junction has fewer ranks than rows.
    bits : int or sequence of int
        2 to 16, for each real number that is stored; one for all factors, or one a factor.

    Notes
    -----
    From left to right, each factor takes what the codes of the one before leave: a lattice code the length of each
    column, a skeleton code the r x r matrix of each block, by least squares against the rounded ``[I; T]``.
    """
    chain = op.store.chain
    stored = stored_factors(op)
    widths = [bits] * len(chain) if isinstance(bits, int) else list(bits)
    codes = [Code(name, width) for name, width in zip(kinds_of(chain, kind), widths, strict=True)]
    metrics = _right_grams([_as_dense(f) for f in stored], chain.ranks) if kind == "skeleton" else []
    blocks, pivots, steps = [], [], []
    carried = None
    for at, (layout, code) in enumerate(zip(plan(chain, codes), codes, strict=True)):
        factor = finite_dense(stored, at)
        if carried is not None:
            factor = receive(factor, carried)
        rank = (*chain.ranks, 1)[at]
        if code.kind == "skeleton":
            q, flags, step, carried = _skeleton(factor, rank, code.bits, metrics[at])
        else:
            q, carried = _lattice(factor, layout, code.bits, rank)
            flags, step = None, 2.0 ** (1 - code.bits)
        blocks.append(q)
        pivots.append(flags)
        steps.append(step)
    assert carried is not None
    return TiledCodes.pack(chain, codes, blocks, pivots, scale_vector(carried, np.dtype(op.dtype)), steps)


def kinds_of(chain: Chain, kind: str) -> list[str]:
    """Return the kind of code of each factor: the last one, and those with more ranks than rows, are lattices."""
    fits = [rank <= pattern[1] for pattern, rank in zip(chain, chain.ranks, strict=False)]
    return ["skeleton" if kind == "skeleton" and good else "lattice" for good in (*fits, False)]


def _as_dense(factor: Array | Skeleton) -> Array:
    return factor.dense() if isinstance(factor, Skeleton) else factor


def stored_factors(op: ButterflyOperator) -> list[Any]:
    """Return the factors as they are stored."""
    return list(op.store.stored() if isinstance(op.store, TiledFloats) else op.store.factors())


def finite_dense(stored: list[Any], at: int) -> Array:
    """Take factor `at` out of the list, in double precision."""
    factor = _as_dense(stored[at])
    if not np.all(np.isfinite(factor)):
        raise ValueError(f"op: expected finite factors, got NaN or infinity in factor {at + 1}")
    stored[at] = np.empty(0)  # no longer needed
    return factor.astype(np.result_type(factor.dtype, np.float64))


def scale_vector(carried: Array, dtype: np.dtype[Any]) -> Array:
    """Return what the last factor leaves, a number for each column."""
    scale = _core.aligned_empty([carried[..., 0, 0].size], dtype)
    with np.errstate(over="ignore"):
        scale[...] = carried[..., 0, 0].transpose(0, 2, 1).reshape(-1)
    if not np.all(np.isfinite(scale)):
        raise OverflowError(
            f"op: the scale vector does not fit {dtype}; quantize op.astype of a wider dtype, or scale op down"
        )
    return scale


def at_rows(blocks: Array, d: int) -> Array:
    """Return r x r matrices of the blocks of a factor, (a, d, groups, r, r), as the next factor's rows meet them.

    The shape is (a, p, d, r, r) with the next factor's `a` and `d`; its row ``s*p + i`` is row `s` of matrix `i`.
    """
    left_a, left_d, groups, rank, _ = blocks.shape
    return blocks.transpose(0, 2, 1, 3, 4).reshape(left_a * groups, left_d // d, d, rank, rank)


def receive(factor: Array, carried: Array) -> Array:
    """Multiply the rows of each block by what the factor before left, (a, d, groups, r, r) of its blocks."""
    a, b, c, d = factor.shape
    left_d, rank = carried.shape[1], carried.shape[3]
    parts = at_rows(carried, d)
    rows = factor.reshape(a, rank, left_d // d, c, d)
    received: Array = np.einsum("aptrs,aspct->arpct", parts, rows, optimize=True)
    return received.reshape(a, b, c, d)


def _right_grams(factors: list[Array], ranks: Sequence[int]) -> list[Array]:
    """Return the r x r Gram matrices of the rows to the right of each junction, up to a factor each.

    Their shape is (a*groups, d, r, r), as that of the blocks at the junction.
    """
    a, _, c, d = factors[-1].shape
    grams: list[Array] = [np.ones((a * c, d, 1, 1))]
    for factor, left, right in zip(factors[:0:-1], ranks[::-1], (*ranks, 1)[:0:-1], strict=True):
        a, b, c, d = factor.shape
        rows, _ = near_one(factor)
        rows = rows.reshape(a, left, b // left, c // right, right, d).transpose(0, 2, 5, 3, 1, 4)
        inner = grams[0].reshape(a, c // right, d, right, right).transpose(0, 2, 1, 3, 4)[:, None]
        gram = np.sum(rows @ inner @ rows.conj().swapaxes(-1, -2), axis=3)  # (a, p, d, left, left)
        grams.insert(0, near_one(gram)[0].reshape(a, -1, left, left))
    return grams[:-1]


def _skeleton(factor: Array, rank: int, bits: int, gram: Array) -> tuple[Array, Array, float, Array]:
    """Return the codes of T, the pivots, the value of a unit, and the matrices left over."""
    a, b, c, d = factor.shape
    groups = c // rank
    unit, exponent = near_one(factor)
    blocks = np.ascontiguousarray(unit.reshape(a, b, groups, rank, d).transpose(0, 4, 2, 1, 3)).reshape(-1, b, rank)
    flags, t, _ = _core.skeletonize(blocks, rank, get_workers())
    pivots = flags.astype(bool)
    right = gram.reshape(a, groups, d, rank, rank).transpose(0, 2, 1, 3, 4).reshape(-1, rank, rank)
    corner = blocks[pivots].reshape(-1, rank, rank)
    most = (1 << (bits - 1)) - 1
    q, step = _closest(t, corner @ right @ corner.conj().swapaxes(1, 2), most)
    sides = np.zeros((len(blocks), b, rank), t.dtype)
    sides[pivots] = np.broadcast_to(np.eye(rank, dtype=t.dtype), (len(blocks), rank, rank)).reshape(-1, rank)
    sides[~pivots] = (q * step).reshape(-1, rank)
    adjoint = sides.conj().transpose(0, 2, 1)
    carried = np.linalg.solve(adjoint @ sides, adjoint @ blocks)
    carried = scaled(carried, exponent)
    codes = (q.view(np.float64) + most + 1).astype(np.uint32).reshape(a * d, -1, planes_of(t.dtype))
    return codes, pivots.reshape(a * d, groups, b), step, carried.reshape(a, d, groups, rank, rank)


def _closest(t: Array, metric: Array, most: int) -> tuple[Array, float]:
    """Return integers near T, at most `most`, and the value of a unit, larger where the closest ones go further."""
    step = float(np.max(np.abs(np.ascontiguousarray(t).view(np.float64)), initial=0.0)) / most or 1.0
    if not t.size:
        return t, step
    metric = np.ascontiguousarray(metric.astype(t.dtype, copy=False))
    for _ in range(_STEPS):
        q, largest = _core.closest_codes(t, metric, step, float(most), 1.0 / most**2, get_workers())
        if largest <= most:
            break
        step *= min(largest / most, _GROWTH)
    return q, step


def _lattice(factor: Array, layout: Layout, bits: int, rank: int) -> tuple[Array, Array]:
    """Return the codes of all columns in the order of lanes, and diagonal matrices with their lengths."""
    a, b, c, d = factor.shape
    columns = np.ascontiguousarray(factor.transpose(0, 3, 2, 1).reshape(-1, b))
    q, lengths = _core.lattice_codes(columns, bits, get_workers())
    shaped = q.reshape(a, d, c, b, -1).transpose(4, 0, 3, 2, 1)  # plane, (a, b, c, d)
    codes = np.stack([layout.blocks_of(np.ascontiguousarray(plane)) for plane in shaped], axis=-1)
    mu = lengths.view(factor.dtype).reshape(a, d, c // rank, rank)
    carried = np.zeros((*mu.shape, rank), factor.dtype)
    np.einsum("...ii->...i", carried)[...] = mu
    return codes, carried


def wrapped(op: ButterflyOperator, codes: TiledCodes) -> PackedButterfly:
    """Wrap codes as an operator whose error is not known yet."""
    known: dict[str, Any] = {"shape": op.stored_shape, "permutations": op.base_permutations, "mode": op.mode}
    buffers = (codes.words, codes.codes, codes.scale)
    return PackedButterfly(*buffers, chain=codes.chain, steps=codes.steps, relative_error=float("nan"), **known)


def packed_operator(op: ButterflyOperator, codes: TiledCodes, rng: np.random.Generator) -> PackedButterfly:
    """Wrap codes as an operator; its error adds those of the factors and of the codes."""
    packed = wrapped(op, codes)
    return packed.replaced(**after_change(op, packed, "measured", rng).facts)
