"""A matrix of integers times a power of two to packed codes, exactly."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from bitterfly import _core
from bitterfly.chains.chain import Chain
from bitterfly.inputs import Array
from bitterfly.operators.butterfly import PackedButterfly
from bitterfly.stores.kinds import Code
from bitterfly.stores.tile_codes import TiledCodes, plan


def packed_integers(q: Array, exponent: int, bits: int, dtype: np.dtype[Any]) -> PackedButterfly:
    """Return an operator of the numbers ``q * 2**exponent``, without an error.

    Parameters
    ----------
    q : ndarray, shape (m, n)
        Integers of at most 24 bits and a sign, in double precision.
    exponent : int
    bits : int
        Of a code; more where the integers need them.
    dtype : dtype
        float32 or float64, in which all these numbers are normal or zero.
    """
    least, most = int(q.min()), int(q.max())
    needed = max(most.bit_length(), (-least).bit_length())  # beside a sign
    if needed < max(bits, 2) or needed > 15:
        return _signed(q, exponent, max(bits - 1, needed, 1), dtype)
    return _in_twos_complement(q, exponent, max(bits, 2, most.bit_length() + 1, (-least - 1).bit_length() + 1), dtype)


def _signed(q: Array, exponent: int, significand: int, dtype: np.dtype[Any]) -> PackedButterfly:
    """Short floats of one bit of exponent are integers with a sign; they have no scale."""
    code = Code(f"float{significand}", significand + 1)
    codes = _core.encode_floats(np.ldexp(q, 1 - significand).reshape(-1), code.bits, significand)
    return _packed(codes.reshape(q.shape), code, exponent + significand - 1, np.empty(0, dtype))


def _in_twos_complement(q: Array, exponent: int, bits: int, dtype: np.dtype[Any]) -> PackedButterfly:
    """Codes "lattice"; the shorter side has the scales, all one."""
    is_wide = q.shape[1] > q.shape[0]
    codes = np.ascontiguousarray((q.T if is_wide else q) + (1 << (bits - 1))).astype(np.uint32)
    op = _packed(codes, Code("lattice", bits), exponent, np.ones(codes.shape[1], dtype))
    return cast(PackedButterfly, op.T) if is_wide else op


def _packed(codes: Array, code: Code, exponent: int, scale: Array) -> PackedButterfly:
    chain = Chain([(1, *codes.shape, 1)])
    blocks = plan(chain, [code])[0].blocks_of(codes.reshape(chain[0]))[..., None]
    steps = [float(np.ldexp(1.0, exponent))]
    store = TiledCodes.pack(chain, [code], [blocks], [None], scale, steps)
    known: dict[str, Any] = {"relative_error": 0.0, "error_kind": "exact"}
    return PackedButterfly(store.words, store.codes, store.scale, chain=chain, steps=store.steps, **known)
