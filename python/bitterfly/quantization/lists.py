"""Float factors of any chain to numbers of a short list: signs, ternary numbers, powers of two."""

from __future__ import annotations

from typing import cast

import numpy as np

from bitterfly import _core
from bitterfly.chains.junctions import DEPENDENT, at_rows, receive
from bitterfly.inputs import Array, as_number
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.powers import near_one, scaled
from bitterfly.quantization.tiles import packed_operator, scale_vector
from bitterfly.quantization.widths import fewest_bits
from bitterfly.stores.floats import finite_dense, stored_factors
from bitterfly.stores.kinds import KINDS, Code
from bitterfly.stores.tile_codes import TiledCodes, plan
from bitterfly.stores.tiles import planes_of


def quantize_alphabet(
    op: ButterflyOperator,
    kind: str,
    bits: float | None,
    rtol: float | None,
    nbytes: int | None,
    rng: np.random.Generator,
) -> PackedButterfly:
    """Quantize to numbers of a list, in `bits` bits or the fewest that meet `rtol`; see `quantize`."""
    least, most = KINDS[kind].least, KINDS[kind].most
    if nbytes is not None:
        raise ValueError(f"nbytes: expected bits or rtol for code {kind!r}, whose factors have equal widths")
    if rtol is not None:
        return fewest_bits(op, KINDS[kind].widths, lambda w: _quantized(op, kind, w, rng), rtol, every=True)
    width = as_number(bits, "bits")
    if not (least <= width <= most and width == int(width)):
        raise ValueError(f"bits: expected {_range(least, most)} for code {kind!r}, got {bits}")
    return _quantized(op, kind, int(width), rng)


def default_bits(kind: str) -> int | None:
    """Return the bits of an alphabet that has codes of one width only."""
    what = KINDS.get(kind)
    return what.least if what and what.family == "list" and len(what.widths) == 1 else None


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"a whole number from {least} to {most}"


def _quantized(op: ButterflyOperator, kind: str, bits: int, rng: np.random.Generator) -> PackedButterfly:
    return packed_operator(op, encode(op, Code(kind, bits)), rng)


def encode(op: ButterflyOperator, code: Code) -> TiledCodes:
    """Return the codes of an operator's factors, all of one kind and width.

    Notes
    -----
    From left to right. For each column the codes and their multiple are chosen together, in the norm of the product
    of the coded factors to the left; then the r x r matrix of each block that multiplies the codes is chosen anew, by
    least squares in that norm, and goes to the rows of the next factor. So each step projects orthogonally, and
    squared errors add up. At junctions of rank one both choices are the same.
    """
    chain = op.store.chain
    stored = stored_factors(op.store)
    blocks, exponent = [], 0
    a, b, _, d = chain[0]
    carried: Array | None = None
    gram: Array = np.ones((a, b * d, 1, 1, 1))
    for at, layout in enumerate(plan(chain, [code] * len(chain))):
        factor, top = _to_list(finite_dense(stored, at))
        exponent += top
        if carried is not None:
            factor, top = _to_list(receive(factor, carried))
            exponent += top
        codes = _codes(factor, gram, code.magnitudes)
        carried, gram = _fitted(factor, _values(codes, code), gram, (*chain.ranks, 1)[at])
        blocks.append(np.stack([layout.blocks_of(np.ascontiguousarray(part)) for part in codes], axis=-1))
    assert carried is not None
    scale = scale_vector(scaled(carried, exponent), np.dtype(op.dtype))
    return TiledCodes.pack(chain, [code] * len(chain), blocks, [None] * len(chain), scale, [1.0] * len(chain))


def _to_list(factor: Array) -> tuple[Array, int]:
    """Divide by a power of two so that the largest part lies in [1, 2), the last step of a list; return both."""
    unit, exponent = near_one(factor)
    return 2 * unit, exponent - 1


def _codes(factor: Array, gram: Array, magnitudes: tuple[float, ...]) -> Array:
    """Return the codes of all columns, (planes, a, b, c, d)."""
    a, b, c, d = factor.shape
    weights = np.einsum("aptrr->atrp", at_rows(gram, d)).real.reshape(a, d, 1, b)
    columns = np.ascontiguousarray(factor.transpose(0, 3, 2, 1).reshape(-1, b))
    each = np.ascontiguousarray(np.broadcast_to(weights, (a, d, c, b))).reshape(-1, b)
    q = _core.alphabet_codes(columns, each, magnitudes).reshape(a, d, c, b, planes_of(factor.dtype))
    return cast(Array, q.transpose(4, 0, 3, 2, 1))


def _values(codes: Array, code: Code) -> Array:
    """Return the numbers that codes stand for, (a, b, c, d)."""
    planes = list(np.array(code.levels)[codes])
    return cast(Array, planes[0] if len(planes) == 1 else planes[0] + 1j * planes[1])


def _fitted(factor: Array, values: Array, gram: Array, rank: int) -> tuple[Array, Array]:
    """Return the r x r matrices M of all blocks for which `values` M is nearest to `factor`, and the Gram matrices.

    Both, and the Gram matrices `gram` of the columns to the left, have the shape (a, d, groups, r, r).
    """
    adjoint = _blocks(values, rank).conj().swapaxes(-1, -2)
    after = adjoint @ _blocks(receive(values, gram), rank)
    projected = adjoint @ _blocks(receive(factor, gram), rank)
    norms, dots = (np.einsum("...ii->...i", m) for m in (after, projected))
    lengths = np.divide(dots, norms, out=np.zeros_like(dots), where=norms != 0)
    m = lengths[..., np.newaxis] * np.eye(rank)
    if rank > 1:  # a diagonal one stays where it is exact, also where columns depend on each other
        m = m + np.linalg.pinv(after, rcond=DEPENDENT, hermitian=True) @ (projected - after @ m)
    return m, after


def _blocks(factor: Array, rank: int) -> Array:
    """Return the column groups of all blocks, (a, d, groups, b, rank)."""
    a, b, c, d = factor.shape
    return factor.reshape(a, b, c // rank, rank, d).transpose(0, 4, 2, 1, 3)
