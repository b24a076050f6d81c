"""Float factors of any chain to integers: lattice and skeleton codes, what rounding leaves pushed to the right."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.coded import Code, TiledCodes, plan
from bitterfly.families import Pattern
from bitterfly.inputs import Array
from bitterfly.operator import ButterflyOperator, PackedButterfly
from bitterfly.stores import TiledFloats
from bitterfly.tiles import Layout, Skeleton, planes_of

_EXACT = 1 << 21  # entries up to which the error is measured in full
_PROBES = 64


def recode(op: ButterflyOperator, kind: str, bits: int) -> TiledCodes:
    """Return the codes of an operator's stored factors.

    Parameters
    ----------
    kind : {"lattice", "skeleton"}
        "skeleton": all factors but the last as pivots and T, where a junction has fewer ranks than rows.
    bits : int
        2 to 16, for each real number that is stored.

    Notes
    -----
    From left to right, each factor takes what the codes of the one before leave: a lattice code the length of each
    column, a skeleton code the r x r matrix of each block, by least squares against the rounded ``[I; T]``.
    """
    chain = op.store.chain
    wide = np.result_type(op.dtype, np.float64)
    stored = op.store.stored() if isinstance(op.store, TiledFloats) else op.store.factors()
    codes = [Code(_kind_of(kind, pattern, rank), bits) for pattern, rank in zip(chain, chain.ranks, strict=False)]
    codes.append(Code("lattice", bits))
    blocks, pivots, steps = [], [], []
    carried = None
    for at, (layout, code) in enumerate(zip(plan(chain, codes), codes, strict=True)):
        factor = _as_dense(stored[at]).astype(wide)
        if not np.all(np.isfinite(factor)):
            raise ValueError(f"op: expected finite factors, got NaN or infinity in factor {at + 1}")
        stored[at] = np.empty(0)  # no longer needed
        if carried is not None:
            factor = _receive(factor, carried)
        rank = (*chain.ranks, 1)[at]
        if code.kind == "skeleton":
            q, flags, step, carried = _skeleton(factor, rank, bits)
        else:
            q, carried = _lattice(factor, layout, bits, rank)
            flags, step = None, 2.0 ** (1 - bits)
        blocks.append(q)
        pivots.append(flags)
        steps.append(step)
    assert carried is not None
    scale = _core.aligned_empty([chain.shape[1]], op.dtype)
    with np.errstate(over="ignore"):
        scale[...] = carried[..., 0, 0].transpose(0, 2, 1).reshape(-1)
    if not np.all(np.isfinite(scale)):
        raise OverflowError(
            f"op: the scale vector does not fit {op.dtype}; quantize op.astype of a wider dtype, or scale op down"
        )
    return TiledCodes.pack(chain, codes, blocks, pivots, scale, steps)


def _kind_of(kind: str, pattern: Pattern, rank: int) -> str:
    return "skeleton" if kind == "skeleton" and rank <= pattern[1] else "lattice"


def _as_dense(factor: Array | Skeleton) -> Array:
    return factor.dense() if isinstance(factor, Skeleton) else factor


def _receive(factor: Array, carried: Array) -> Array:
    """Multiply the rows of each block by what the factor before left, (a, d, groups, r, r) of its blocks."""
    a, b, c, d = factor.shape
    left_a, left_d, groups, rank, _ = carried.shape
    parts = carried.transpose(0, 2, 1, 3, 4).reshape(left_a * groups, left_d // d, d, rank, rank)
    rows = factor.reshape(a, rank, left_d // d, c, d)
    received: Array = np.einsum("aptrs,aspct->arpct", parts, rows, optimize=True)
    return received.reshape(a, b, c, d)


def _skeleton(factor: Array, rank: int, bits: int) -> tuple[Array, Array, float, Array]:
    """Return the codes of T, the pivots, the value of a unit, and the matrices left over."""
    a, b, c, d = factor.shape
    groups = c // rank
    blocks = factor.reshape(a, b, groups, rank, d).transpose(0, 4, 2, 1, 3).reshape(-1, b, rank)
    blocks = np.ascontiguousarray(blocks)
    flags, t, _ = _core.skeletonize(blocks, rank)
    pivots = flags.astype(bool)
    parts = np.ascontiguousarray(t).view(np.float64)
    most = (1 << (bits - 1)) - 1
    step = float(np.max(np.abs(parts), initial=0.0)) / most or 1.0
    q = np.clip(np.rint(parts / step), -most, most)
    rounded = (q * step).view(t.dtype).reshape(t.shape)
    sides = np.zeros((len(blocks), b, rank), t.dtype)
    sides[pivots] = np.broadcast_to(np.eye(rank, dtype=t.dtype), (len(blocks), rank, rank)).reshape(-1, rank)
    sides[~pivots] = rounded.reshape(-1, rank)
    adjoint = sides.conj().transpose(0, 2, 1)
    carried = np.linalg.solve(adjoint @ sides, adjoint @ blocks)
    codes = (q + most + 1).astype(np.uint32).reshape(a * d, -1, planes_of(t.dtype))
    return codes, pivots.reshape(a * d, groups, b), step, carried.reshape(a, d, groups, rank, rank)


def _lattice(factor: Array, layout: Layout, bits: int, rank: int) -> tuple[Array, Array]:
    """Return the codes of all columns in the order of lanes, and diagonal matrices with their lengths."""
    a, b, c, d = factor.shape
    columns = np.ascontiguousarray(factor.transpose(0, 3, 2, 1).reshape(-1, b))
    q, lengths = _core.lattice_codes(columns, bits)
    shaped = q.reshape(a, d, c, b, -1).transpose(4, 0, 3, 2, 1)  # plane, (a, b, c, d)
    codes = np.stack([layout.blocks_of(np.ascontiguousarray(plane)) for plane in shaped], axis=-1)
    mu = lengths.view(factor.dtype).reshape(a, d, c // rank, rank)
    carried = np.zeros((*mu.shape, rank), factor.dtype)
    np.einsum("...ii->...i", carried)[...] = mu
    return codes, carried


def packed_operator(op: ButterflyOperator, codes: TiledCodes, rng: np.random.Generator) -> PackedButterfly:
    """Wrap codes as an operator; its error adds those of the factors and of the codes."""
    known: dict[str, Any] = {"shape": op.stored_shape, "permutations": op.base_permutations, "mode": op.mode}
    buffers = (codes.words, codes.codes, codes.scale)
    packed = PackedButterfly(*buffers, chain=codes.chain, steps=codes.steps, relative_error=0.0, **known)
    change, full = change_of(op, packed, rng)
    error = op.relative_error + (1 + op.relative_error) * change
    kind = "measured" if full and op.error_kind != "estimated" else "estimated"
    return PackedButterfly(
        *buffers, chain=codes.chain, steps=codes.steps, relative_error=error, error_kind=kind, **known
    )


def change_of(op: ButterflyOperator, packed: PackedButterfly, rng: np.random.Generator) -> tuple[float, bool]:
    """Return ``||op - packed||_F / ||op||_F`` and whether it is measured in full, else on Gaussian vectors.

    The energy of a matrix is the mean of ``||A x||^2`` over Gaussian vectors; the estimate takes twice the standard
    error of that mean on top.
    """
    m, n = op.shape
    wide = np.result_type(op.dtype, np.float64)
    full = m * n <= _EXACT
    x = np.eye(n, dtype=op.dtype) if full else rng.standard_normal((n, _PROBES)).astype(op.dtype)
    y = (op @ x).astype(wide)
    exponent = -int(np.frexp(np.max(np.abs(y), initial=0.0))[1])  # squares neither vanish nor overflow
    missed = np.sum(np.ldexp(np.abs(y - packed @ x), exponent) ** 2, axis=0)
    total = np.sum(np.ldexp(np.abs(y), exponent) ** 2, axis=0)
    return _ratio(missed, total, full), full


def _ratio(missed: Array, total: Array, full: bool) -> float:
    energy = float(np.sum(total))
    if energy == 0:
        return 0.0
    spread = 0.0 if full else 2 * float(np.std(missed, ddof=1)) * np.sqrt(len(missed))
    return float(np.sqrt((np.sum(missed) + spread) / energy))
