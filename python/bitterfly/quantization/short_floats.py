"""Float factors of rank-one chains to factors with short significands, packed: the published quantization."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.known import Known
from bitterfly.inputs import Array
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.powers import exponent_of, near_one, scaled
from bitterfly.precision import rounding_term
from bitterfly.quantization.rank_one import as_significand, search_depth
from bitterfly.stores.kinds import FLOAT_EXPONENT_BITS, Code
from bitterfly.stores.tile_codes import TiledCodes, plan
from bitterfly.stores.tiles import planes_of
from bitterfly.workers import get_workers

_log = logging.getLogger("bitterfly")

DRIVERS = ("left_to_right", "right_to_left", "pairwise", "refined")
# Fewer exponent bits, for which small numbers lose bits, may raise the error by this.
_ROOM = 1.005
_RANGE = 2.0**300


def quantize_floats(op: ButterflyOperator, significand: int | Sequence[int], driver: str) -> PackedButterfly:
    """Return an operator with short significands in all factors; see `quantize`."""
    chain = op.store.chain
    widths = _widths(significand, len(chain))
    if driver not in DRIVERS:
        raise ValueError(f"driver: expected one of {', '.join(DRIVERS)}, got {driver!r}")
    if any(rank != 1 for rank in chain.ranks):
        raise ValueError(f"code: 'float' needs junctions of rank one, got ranks {chain.ranks}")
    factors, exponent = _factors_near_one(op)
    depth = max(map(search_depth, widths))
    rounded, error, sweeps = _core.shorten(factors, widths, driver, depth, workers=get_workers())
    plain = [_nearest(f, bits) for f, bits in zip(factors, widths, strict=True)]
    if (nearest_error := _core.chain_error(factors, plain)) <= error:  # none where factors are that short already
        rounded, error = plain, nearest_error
    packed, change = _packed(op, factors, rounded, widths, exponent, error)
    _log.info(
        "quantized to %.4g bits per stored number: relative error %.2e, %d sweeps", packed.mean_bits, change, sweeps
    )
    rounding = rounding_term(max(op.shape), np.dtype(op.dtype))
    return packed.replaced(**Known.of(op).then(change, rounding, kind="ledger").facts)


def _nearest(f: Array, bits: int) -> Array:
    """Return a factor whose numbers are rounded to significands of `bits` bits, one by one."""
    fraction, exponent = np.frexp(f.view(np.float64))
    return np.asarray(np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits).view(f.dtype))


def _widths(significand: int | Sequence[int], count: int) -> list[int]:
    if not isinstance(significand, Sequence):
        return [as_significand(significand)] * count
    if len(significand) != count:
        raise ValueError(f"significand: expected one number, or {count} for {count} factors, got {len(significand)}")
    return [as_significand(bits) for bits in significand]


def _factors_near_one(op: ButterflyOperator) -> tuple[list[Array], int]:
    """Return the factors with numbers of size near 1, in double precision, and the exponent of the product."""
    factors, total = [], 0
    for at, f in enumerate(op.store.factors()):
        if not np.all(np.isfinite(f)):
            raise ValueError(f"op: expected finite factors, got NaN or infinity in factor {at + 1}")
        factor, exponent = near_one(f)
        factors.append(factor)
        total += exponent
    if any(_least(f) < 1 / _RANGE for f in factors):
        factors, more = _balanced(factors)
        total += more
    return factors, total


def _least(f: Array) -> float:
    """Return the smallest modulus that is not zero."""
    size = np.abs(f.view(np.float64))
    return float(np.min(size, where=size > 0, initial=np.inf))


def _balanced(factors: list[Array]) -> tuple[list[Array], int]:
    """Move powers of two from columns to the rows of the next factor, so that all columns but the last are near 1."""
    factors = [f.copy() for f in factors]
    total = 0
    for left, right in pairwise(factors):
        size = np.maximum(np.abs(left.real), np.abs(left.imag)).max(axis=1)  # (a, c, d)
        exponents = np.where(size > 0, np.frexp(size)[1], 0)
        _scale(left, -exponents[:, np.newaxis])
        a, b, _, d = right.shape
        rows = exponents.reshape(a, b, 1, d)
        most = int(np.max(rows + np.frexp(np.maximum(np.abs(right.real), np.abs(right.imag)))[1]))
        _scale(right, rows - most)
        total += most
    return factors, total


def _scale(f: Array, exponents: Array) -> None:
    f.real[...] = np.ldexp(f.real, exponents)
    if f.dtype.kind == "c":
        f.imag[...] = np.ldexp(f.imag, exponents)


def _packed(
    op: ButterflyOperator, exact: list[Array], rounded: list[Array], widths: list[int], exponent: int, error: float
) -> tuple[PackedButterfly, float]:
    """Encode with the fewest exponent bits that keep the error, numbers too small for them shortened."""
    tops = [exponent_of(f) - 1 for f in rounded]
    for exponent_bits in range(1, FLOAT_EXPONENT_BITS + 1):
        codes = [Code(f"float{t}", t + exponent_bits) for t in widths]
        parts = [_encode(f, top, code.bits, t) for f, top, code, t in zip(rounded, tops, codes, widths, strict=True)]
        held = [
            scaled(_decode(q, code.bits, t, f.dtype), top).reshape(f.shape)
            for q, top, code, t, f in zip(parts, tops, codes, widths, rounded, strict=True)
        ]
        change = _core.chain_error(exact, held)
        if change <= _ROOM * error + 1e-15:
            break
    return _wrapped(
        op, codes, parts, [top + (exponent if at == len(tops) - 1 else 0) for at, top in enumerate(tops)]
    ), change


def _encode(f: Array, top: int, bits: int, t: int) -> Array:
    return _core.encode_floats(scaled(f, -top).reshape(-1).view(np.float64), bits, t)


def _decode(q: Array, bits: int, t: int, dtype: np.dtype[Any]) -> Array:
    return _core.decode_floats(q, bits, t).view(dtype)


def _wrapped(op: ButterflyOperator, codes: list[Code], parts: list[Array], tops: list[int]) -> PackedButterfly:
    chain, planes = op.store.chain, planes_of(np.dtype(op.dtype))
    blocks = []
    for layout, q in zip(plan(chain, codes), parts, strict=True):
        shaped = q.reshape(*layout.pattern, planes)
        blocks.append(
            np.stack([layout.blocks_of(np.ascontiguousarray(shaped[..., p])) for p in range(planes)], axis=-1)
        )
    limits = np.finfo(op.dtype)
    if not int(limits.minexp) <= max(tops) < int(limits.maxexp):
        raise OverflowError(f"op: the last factor does not fit {op.dtype}; quantize op.astype of a wider dtype")
    steps = [float(np.ldexp(1.0, top)) for top in tops]
    empty = np.empty(0, op.dtype)
    store = TiledCodes.pack(chain, codes, blocks, [None] * len(codes), empty, steps)
    return PackedButterfly(
        store.words,
        codes,
        empty,
        chain=chain,
        steps=steps,
        relative_error=float("nan"),
        shape=op.stored_shape,
        permutations=op.base_permutations,
        mode=op.mode,
    )
