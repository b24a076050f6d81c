"""Float factors of any chain to integers: lattice and skeleton codes, what rounding leaves pushed to the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.change import after_change
from bitterfly.chains.chain import Chain
from bitterfly.chains.junctions import Part, receive, right_grams
from bitterfly.inputs import Array
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.powers import near_one, scaled
from bitterfly.stores.floats import as_dense, finite_dense, stored_factors
from bitterfly.stores.kinds import Code
from bitterfly.stores.tile_codes import TiledCodes, plan
from bitterfly.stores.tiles import Layout, Skeleton, planes_of, skeleton_ranks
from bitterfly.workers import get_workers

_LARGEST = 1.25 * (1 + 1e-6)  # of a combination of pivot rows, see skeletonize.cpp, rounded to single precision
_GRID_SAMPLE, _GRIDS = 64, 4  # numbers that decide which units are tried, and how many of these
_ON_GRID = 0.01  # of a unit: what single precision leaves of 16 bits


class Coding(NamedTuple):
    """Codes of all factors, and the share of the energy of the operator that coding each of them lost."""

    codes: TiledCodes
    losses: list[float]


class Recoder:
    """The stored factors of an operator, to be coded in any widths.

    From left to right, each factor takes what the codes of the one before leave: a lattice code the length of each
    column, a skeleton code the r x r matrix of each block, by least squares against the rounded ``[I; T]``. Both are
    nearest in the norm of the product with the coded factors to the left. So each skeleton code projects orthogonally,
    and the squares of what factors lose add up: exactly where all factors but the last are skeletons.

    Parameters
    ----------
    op : ButterflyOperator
    kind : {"lattice", "skeleton"}
        "skeleton": all factors but the last as pivots and T, where a junction has fewer ranks than rows.
    """

    def __init__(self, op: ButterflyOperator, kind: str) -> None:
        self._op, self._kinds = op, kinds_of(op.store.chain, kind)
        self._metrics = right_grams([as_dense(f) for f in stored_factors(op.store)], op.store.chain.ranks)

    def __call__(self, bits: Sequence[int]) -> Coding:
        """Return the codes, of 2 to 16 bits for each real number that is stored, one width a factor."""
        chain, stored = self._op.store.chain, stored_factors(self._op.store)
        codes = [Code(name, width) for name, width in zip(self._kinds, bits, strict=True)]
        carried: Array | None = None
        gram: Array | None = None
        kept, blocks, pivots, steps, losses = 1.0, [], [], [], []
        for at, (layout, code) in enumerate(zip(plan(chain, codes), codes, strict=True)):
            known = stored[at].pivots if isinstance(stored[at], Skeleton) else None
            factor = finite_dense(stored, at)
            factor, exponent = near_one(factor if carried is None else receive(factor, carried))
            part = Part.of(factor, (*chain.ranks, 1)[at], gram, self._metrics[at])
            if code.kind == "skeleton":
                q, flags, step, sides = _skeleton(part, code.bits, known)
            else:
                q, sides = _lattice(factor, layout, code.bits, part.rank)
                flags, step = None, 2.0 ** (1 - code.bits)
            matrices, gram = part.fitted(sides, code.kind == "lattice", is_regular="lattice" not in self._kinds[:at])
            lost = part.energy(part.x - sides @ matrices) / (part.energy(part.x) or 1.0)
            losses.append(kept * lost)
            kept *= max(1 - lost, 0.0)
            carried = scaled(matrices, exponent)
            blocks.append(q)
            pivots.append(flags)
            steps.append(step)
        assert carried is not None
        scale = scale_vector(carried, np.dtype(self._op.dtype))
        return Coding(TiledCodes.pack(chain, codes, blocks, pivots, scale, steps), losses)


def recode(op: ButterflyOperator, kind: str, bits: int | Sequence[int]) -> TiledCodes:
    """Return the codes of an operator's stored factors, see `Recoder`; `bits` for all factors, or one a factor."""
    return Recoder(op, kind)([bits] * len(op.store.chain) if isinstance(bits, int) else bits).codes


def kinds_of(chain: Chain, kind: str) -> list[str]:
    """Return the kind of code of each factor: the last one, and those with more ranks than rows, are lattices."""
    return ["skeleton" if kind == "skeleton" and rank else "lattice" for rank in skeleton_ranks(chain)]


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


def _skeleton(part: Part, bits: int, known: Array | None) -> tuple[Array, Array, float, Array]:
    """Return the codes of T, the pivots, the value of a unit, and the rounded ``[I; T]``."""
    a, d, groups, b, rank = part.x.shape
    blocks, right = part.x.reshape(-1, b, rank), part.right.reshape(-1, rank, rank)
    most = (1 << (bits - 1)) - 1
    pivots, t = _pivoted(blocks, most, known)
    corner = blocks[pivots].reshape(-1, rank, rank)
    metric = np.ascontiguousarray(corner @ right @ corner.conj().swapaxes(1, 2))
    unit = _unit_of(t, most)
    if unit:  # codes already; the search for closest ones would multiply what rounding left of them
        step, q = unit, np.rint(t.view(np.float64) / unit).view(t.dtype)
    else:
        step = float(np.max(np.abs(t.view(np.float64)), initial=0.0)) / most
        q = _core.closest_codes(t, metric, step, float(most), 1.0 / most**2, get_workers())
    sides = np.zeros((len(blocks), b, rank), t.dtype)
    sides[pivots] = np.broadcast_to(np.eye(rank, dtype=t.dtype), (len(blocks), rank, rank)).reshape(-1, rank)
    sides[~pivots] = (q * step).reshape(-1, rank)
    codes = (q.view(np.float64) + most + 1).astype(np.uint32).reshape(a * d, -1, planes_of(t.dtype))
    return codes, pivots.reshape(a * d, groups, b), step, sides.reshape(part.x.shape)


def _pivoted(blocks: Array, most: int, known: Array | None) -> tuple[Array, Array]:
    """Return the pivot rows and T; those known stay where no number of T is large, and where T are codes already."""
    count, b, rank = blocks.shape
    if known is None:
        flags, t, _ = _core.skeletonize(blocks, rank, get_workers())
        return flags.astype(bool), t
    pivots = known.reshape(count, b)
    corner = blocks[pivots].reshape(-1, rank, rank)
    regular = np.linalg.slogdet(corner)[0] != 0
    corner[~regular] = np.eye(rank)
    others = blocks[~pivots].reshape(count, b - rank, rank)
    t = np.ascontiguousarray(np.linalg.solve(corner.swapaxes(1, 2), others.swapaxes(1, 2)).swapaxes(1, 2))
    stays = regular & (np.max(np.abs(t), axis=(1, 2), initial=0.0) <= _LARGEST)
    if not np.all(stays):  # two codes make a complex number, so that they may be a little larger
        codes = regular & (np.max(np.abs(t), axis=(1, 2), initial=0.0) <= 2.0)
        stays |= codes & bool(_unit_of(t[codes], most))
    if not np.all(stays):
        pivots = pivots.copy()
        flags, t[~stays], _ = _core.skeletonize(np.ascontiguousarray(blocks[~stays]), rank, get_workers())
        pivots[~stays] = flags
    return pivots, t


def _unit_of(t: Array, most: int) -> float | None:
    """Return the value of a unit for which all parts of T are whole, `most` of them at most; None if there is none."""
    parts = np.ravel(t).view(np.float64)
    largest = float(np.max(np.abs(parts), initial=0.0))
    if largest == 0:
        return 1.0
    units = np.arange(most, most // 2, -1.0)
    others = parts[(parts != 0) & (np.abs(parts) != largest)]
    sample = others[:: max(others.size // _GRID_SAMPLE, 1)] / largest
    for part in (sample[:1], sample[1:]):  # off a grid, the first number leaves one unit in fifty
        units = units[_is_whole(np.multiply.outer(units, part)).all(axis=1)]
    for unit in units[:_GRIDS]:
        if _is_whole(parts * (unit / largest)).all():
            return largest / float(unit)
    return None


def _is_whole(x: Array) -> Array:
    return np.asarray(np.abs(x - np.rint(x)) < _ON_GRID)


def _lattice(factor: Array, layout: Layout, bits: int, rank: int) -> tuple[Array, Array]:
    """Return the codes of all columns in the order of lanes, and the numbers that they stand for, (a, d, c/r, b, r)."""
    a, b, c, d = factor.shape
    columns = np.ascontiguousarray(factor.transpose(0, 3, 2, 1).reshape(-1, b))
    q, _ = _core.lattice_codes(columns, bits, get_workers())
    shaped = q.reshape(a, d, c, b, -1).transpose(4, 0, 3, 2, 1)  # plane, (a, b, c, d)
    codes = np.stack([layout.blocks_of(np.ascontiguousarray(plane)) for plane in shaped], axis=-1)
    numbers = np.ldexp(q - float(1 << (bits - 1)), 1 - bits).view(factor.dtype).reshape(a, d, c // rank, rank, b)
    return codes, np.ascontiguousarray(numbers.swapaxes(3, 4))


def wrapped(op: ButterflyOperator, codes: TiledCodes) -> PackedButterfly:
    """Wrap codes as an operator whose error is not known yet."""
    known: dict[str, Any] = {"shape": op.stored_shape, "permutations": op.base_permutations, "mode": op.mode}
    buffers = (codes.words, codes.codes, codes.scale)
    return PackedButterfly(*buffers, chain=codes.chain, steps=codes.steps, relative_error=float("nan"), **known)


def packed_operator(op: ButterflyOperator, codes: TiledCodes, rng: np.random.Generator) -> PackedButterfly:
    """Wrap codes as an operator; its error adds those of the factors and of the codes."""
    packed = wrapped(op, codes)
    return packed.replaced(**after_change(op, packed, "measured", rng).facts)
