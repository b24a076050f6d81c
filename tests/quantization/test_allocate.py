"""Bits of each factor: predicted bytes and errors, budgets, tolerances."""

from __future__ import annotations

import numpy as np
import pytest

import bitterfly
from bitterfly import Chain, gallery
from bitterfly.quantization.quantize import quantize
from bitterfly.quantization.widths import Allocation


@pytest.fixture(scope="module")
def op() -> bitterfly.ButterflyOperator:
    return bitterfly.factorize(gallery.nonuniform_dft(256).todense().astype("complex64"), rtol=1e-2)


@pytest.mark.parametrize("kind", ["skeleton", "lattice"])
def test_predictions(op: bitterfly.ButterflyOperator, kind: str) -> None:
    allocation = Allocation(op, kind, 8, np.random.default_rng(0))
    sizes = [allocation.least]
    assert allocation.packed([2] * len(op.chain)).nbytes == allocation.least
    for change in (0.1, 0.03, 0.01):
        widths = allocation.within(change)
        assert widths is not None
        packed = allocation.packed(widths)
        reached = (packed.relative_error - op.relative_error) / (1 + op.relative_error)
        assert change / 2.2 <= reached <= 1.3 * change  # a step of the knapsack is a bit or more
        assert allocation.of_bytes(packed.nbytes) is not None
        sizes.append(packed.nbytes)
    assert sizes == sorted(sizes)
    assert allocation.of_bytes(allocation.least - 1) is None


@pytest.mark.parametrize("kind", ["skeleton", "lattice"])
def test_bytes_are_kept_and_spent(op: bitterfly.ButterflyOperator, kind: str) -> None:
    least = Allocation(op, kind, 6, np.random.default_rng(0)).least
    errors = []
    for budget in (least + 4000, least + 12000, least + 30000):
        packed = quantize(op, nbytes=budget, code=kind)
        assert budget - 3000 < packed.nbytes <= budget
        errors.append(packed.relative_error)
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(ValueError, match=f"nbytes: expected at least {least}"):
        quantize(op, nbytes=least - 1, code=kind)


def test_allocated_bits_meet_rtol_in_no_more_bytes(op: bitterfly.ButterflyOperator) -> None:
    rtol = 4 * op.relative_error
    packed = quantize(op, rtol=rtol)
    uniform = next(q for q in (quantize(op, bits=b) for b in range(2, 17)) if q.relative_error <= rtol)
    assert packed.relative_error <= rtol and packed.nbytes <= uniform.nbytes


def test_one_factor_and_zero_factors() -> None:
    dense = bitterfly.factorize(np.arange(12.0).reshape(3, 4), Chain([(1, 3, 4, 1)]))
    assert quantize(dense, nbytes=400, code="lattice").nbytes <= 400
    zero = bitterfly.factorize(np.zeros((16, 16)), Chain.monarch((16, 16)))
    assert quantize(zero, rtol=1e-3).relative_error <= 1e-3
    assert quantize(zero, nbytes=2000).relative_error <= 1e-3


def test_directions_in_bytes() -> None:
    g = bitterfly.transforms.random(64, rng=0)
    packed = quantize(g, nbytes=600)
    assert packed.nbytes <= 600 < quantize(g, bits=max(code.bits for code in packed.codes) / 2 + 0.5).nbytes
    with pytest.raises(ValueError, match="one bit a column"):
        quantize(g, nbytes=10)
    with pytest.raises(ValueError, match="exactly one"):
        quantize(g, nbytes=1000, bits=2)
