"""Casts: the error that is reported is never below the true one, also where factors cancel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bitterfly
from bitterfly import ButterflyOperator, Chain, algebra, transforms
from bitterfly.accuracy.change import change_of
from strategies import gaussian


def _true(a: np.ndarray, op: Any) -> float:
    return float(np.linalg.norm(op.todense() - a) / np.linalg.norm(a))


def _cancelling(chain: Chain) -> ButterflyOperator:
    """Factors near [1, 1 + 1e-6] and [1, -1], at junctions of rank 2."""
    left, right = (np.ones(p) for p in chain)
    left[:, :, 1::2] += 1e-6 * np.arange(1, left[:, :, 1::2].size + 1).reshape(left[:, :, 1::2].shape)
    right[:, right.shape[1] // 2 :] = -1
    return ButterflyOperator([left, right])


@pytest.mark.parametrize("chain", [Chain([(1, 2, 2, 1), (1, 2, 2, 1)]), Chain.monarch((16, 16), rank=2)], ids=repr)
def test_factors_that_cancel(chain: Chain) -> None:
    op = _cancelling(chain)
    single = op.astype(np.float32)
    assert 1e-4 < _true(op.todense(), single) <= single.relative_error < 1
    assert single.error_kind == op.error_kind
    assert op.astype(np.complex128).relative_error == op.relative_error


def test_sums_that_cancel() -> None:
    a = transforms.random(16, rng=np.random.default_rng(0))
    b = algebra.diagonal_product(a, left=np.full(16, -1.0 - 1e-6))
    both = algebra.ButterflySum([a, b], 0.0, "exact")
    single = both.astype(np.float32)
    assert 1e-3 < _true(both.todense(), single) <= single.relative_error


@pytest.mark.parametrize("op", [transforms.dft(2048), transforms.random(2048, rng=np.random.default_rng(1))], ids=repr)
def test_large_operators_are_estimated(op: ButterflyOperator) -> None:
    packed = bitterfly.quantize(op, bits=8)
    for each in (op, packed):
        single = each.astype(np.complex64 if op.dtype.kind == "c" else np.float32)
        assert single.error_kind == "estimated" and _true(each.todense(), single) <= single.relative_error
        assert single.relative_error <= each.relative_error + 1e-5


@pytest.mark.parametrize("shape", [(1500, 1400), (60, 40000)])
def test_the_estimate_lies_above_the_change(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    chain = Chain.monarch(shape, rank=2)
    op = ButterflyOperator([gaussian(rng, p, np.float64) for p in chain])
    near = ButterflyOperator([f + 1e-3 * gaussian(rng, f.shape, np.float64) for f in op.factors])
    change, full = change_of(op, near)
    true = float(np.linalg.norm(near.todense() - op.todense()) / np.linalg.norm(op.todense()))
    assert not full and true <= change <= 1.3 * true


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_real_factors_of_any_chain_become_complex(dtype: Any) -> None:
    """Dense factors, and skeletons."""
    kernel = bitterfly.gallery.bessel_j0(256)
    for op in (_cancelling(Chain.monarch((16, 16), rank=2)), bitterfly.factorize(kernel, rtol=1e-4)):
        other = op.astype(dtype)
        assert other.dtype == dtype and _true(op.todense(), other) <= other.relative_error
        x = 1j * np.ones(op.shape[1])
        np.testing.assert_allclose(other @ x, op @ x, rtol=1e-2, atol=1e-3 * np.linalg.norm(op @ x))


def test_a_zero_operator() -> None:
    zero = ButterflyOperator([np.zeros(p) for p in Chain.square_dyadic(8)])
    assert zero.astype(np.float32).relative_error < 1e-5
    assert change_of(zero, transforms.hadamard(8)) == (float("inf"), True)
