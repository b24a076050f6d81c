"""Casts of packed operators: they share the codes, and are else what is made anew of the same codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import bitterfly
import strategies as own
from bitterfly import PackedButterfly
from bitterfly.accuracy.change import after_cast
from bitterfly.stores.direction_codes import DirectionCodes
from bitterfly.stores.kinds import KINDS, Code
from bitterfly.stores.scale_codes import ScaleCodes


def memory(op: PackedButterfly) -> np.ndarray:
    """The codes as the kernels read them."""
    return op.store.stream if isinstance(op.store, DirectionCodes) else op.words


def made_anew(op: PackedButterfly, dtype: Any) -> PackedButterfly:
    """The operator in another precision, from copies of what files hold."""
    lengths: Any = op.store.lengths
    if not isinstance(lengths, ScaleCodes):
        lengths = lengths.astype(dtype)
    elif np.dtype(dtype).kind != op.dtype.kind or np.any(op.scale.astype(dtype) != op.scale):
        lengths = ScaleCodes.of(op.scale.astype(dtype), lengths.code)
    else:
        lengths = ScaleCodes.of_words(lengths.store.words.copy(), lengths.code, lengths.step, len(lengths), dtype)
    known: dict[str, Any] = {"relative_error": op.relative_error, "error_kind": op.error_kind, "mode": op.mode}
    known |= {"chain": op.stored_chain, "steps": op.steps, "shape": op.stored_shape}
    return PackedButterfly(op.words.copy(), op.codes, lengths, permutations=op.base_permutations, **known)


def check(op: PackedButterfly, dtype: Any, where: str) -> None:
    if np.dtype(dtype).kind != op.dtype.kind and (op.dtype.kind == "c" or op.steps is not None):
        with pytest.raises(TypeError, match="cannot become"):
            op.astype(dtype)
        return
    with np.errstate(over="ignore"):
        fits = np.all(np.isfinite(op.scale.astype(dtype)))
    if not fits:
        with pytest.raises(OverflowError, match="scale vector"):
            op.astype(dtype)
        return

    cast, anew = op.astype(dtype), made_anew(op, dtype)
    assert cast.dtype == dtype and cast.shape == op.shape and cast.mode == op.mode and cast.codes == op.codes, where
    assert np.shares_memory(memory(cast), memory(op)), where
    for one, other in ((cast, anew), (cast.H, anew.H)):
        x = own.gaussian(np.random.default_rng(1), (one.shape[1], 3), dtype)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(one @ x, other @ x, where)
            np.testing.assert_array_equal(one @ x[:, 0].copy(), other @ x[:, 0].copy(), where)
    np.testing.assert_array_equal(cast.words, op.words)
    np.testing.assert_array_equal(cast.scale, anew.scale)
    assert cast.nbytes == anew.nbytes and cast.scale_code == op.scale_code, where
    narrower = np.finfo(dtype).eps > np.finfo(op.dtype).eps
    error = after_cast(op, anew) if narrower else op._known_error()
    assert (cast.relative_error, cast.error_kind) == (error.error, error.kind), where
    with pytest.raises(ValueError, match="read-only"):
        cast.scale[:1] = 0


@given(seed=own.seeds)
def test_casts_share_the_codes(seed: int) -> None:
    drawn = own.packed(seed)
    for dtype in own.DTYPES:
        check(drawn.op.replaced(relative_error=0.25), dtype, f"to {np.dtype(dtype)}: {drawn.how}")


def test_the_draw_has_codes_of_all_forms() -> None:
    codes = {code for seed in range(200) for code in own.packed(seed).op.codes}
    assert {KINDS[code.kind].family for code in codes} == {kind.family for kind in KINDS.values()}


def test_coded_lengths_are_shared_where_they_stay_the_same_numbers() -> None:
    base = bitterfly.quantize(bitterfly.transforms.hadamard(16), bits=1)
    for size, same in ((1.0, True), (1e-43, False)):  # subnormal numbers of single precision round them
        lengths = ScaleCodes.of(np.linspace(size, 2 * size, 16), Code("float9", 12))
        op = PackedButterfly(base.words, base.codes, lengths, relative_error=0.0)
        cast: Any = op.astype(np.float32).store.lengths
        assert np.shares_memory(cast.store.words, lengths.store.words) == same
