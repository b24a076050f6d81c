"""The balanced order: what is no number, the limits of the precision, entries outside the support."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bitterfly
from bitterfly import Chain
from strategies import DTYPES, gaussian
from tolerances import eps

DYADIC = Chain.square_dyadic(16)
CUT = Chain([(2, 8, 8, 8), (4, 16, 16, 2)])
CHAINS = (DYADIC, CUT, Chain([(1, 4, 6, 6), (2, 9, 6, 2), (4, 6, 5, 1)]), Chain.monarch((48, 20), rank=2))


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, complex(0, np.nan)])
@pytest.mark.parametrize("permute", [None, ("bit_reversal", "bit_reversal")])
def test_what_is_no_number_is_named(chain: Chain, bad: complex, permute: Any) -> None:
    a = np.ones(chain.shape, type(bad))
    a[3, 5] = bad
    with pytest.raises(ValueError, match=r"^a: expected finite entries, got NaN or infinity at \(3, 5\)"):
        bitterfly.factorize(a, chain, order="balanced", permute=permute)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chain", CHAINS, ids=repr)
@pytest.mark.parametrize("permute", [None, ("bit_reversal", None)])
def test_the_error_is_the_true_one_at_any_scale(dtype: Any, chain: Chain, permute: Any) -> None:
    info, wide = np.finfo(dtype), np.result_type(dtype, np.longdouble)
    a = gaussian(np.random.default_rng(1), chain.shape, dtype) / 8
    for scale in (info.smallest_subnormal * 2.0**30, info.tiny, info.tiny**0.5, 1, info.max**0.5, info.max / 256):
        scaled = a * info.dtype.type(scale)
        op = bitterfly.factorize(scaled, chain, order="balanced", permute=permute)
        dense = op.astype(np.result_type(dtype, np.float64)).todense().astype(wide)
        true = float(np.linalg.norm((dense - scaled) / wide.type(scale)) / np.linalg.norm(a.astype(wide)))
        assert true <= op.relative_error * (1 + 1e-6)
        assert op.relative_error <= true * (1 + 1e-6) + 100 * eps(dtype)


@pytest.mark.parametrize(("dtype", "size"), [(np.complex64, 2e38), (np.complex128, 8e307), (np.float32, 3e38)])
def test_factors_that_overflow_are_refused(dtype: Any, size: float) -> None:
    a = np.full((16, 16), size, dtype)
    a = a * dtype(1 + 1j) if np.dtype(dtype).kind == "c" else a
    with pytest.raises(ValueError, match="the factors overflow the range of the dtype"):
        bitterfly.factorize(a, DYADIC, order="balanced", permute=None)


def test_entries_outside_the_support_alone() -> None:
    """All of the matrix is missed, whatever its scale beside what is on the support."""
    for inside, outside in ((0.0, 1e-200), (0.0, 1e200), (1.0, 1e300), (1e-300, 1.0)):
        a = np.full(CUT.shape, outside)
        a[bitterfly.ButterflyOperator([np.ones(p) for p in CUT]).todense() > 0] = inside
        op = bitterfly.factorize(a, CUT, order="balanced", permute=None)
        assert op.relative_error == pytest.approx(1, rel=1e-12)


def test_an_array_is_neither_changed_nor_copied_in_vain() -> None:
    a = np.random.default_rng(2).standard_normal((16, 16)) * 1e-200
    before = a.copy()
    bitterfly.factorize(a, DYADIC, order="balanced", permute=None)
    np.testing.assert_array_equal(a, before)
    fortran, read_only = np.asfortranarray(a * 1e200), a * 1e200
    read_only.flags.writeable = False
    ops = [bitterfly.factorize(x, DYADIC, order="balanced", permute=None) for x in (fortran, read_only)]
    np.testing.assert_array_equal(ops[0].values, ops[1].values)
