"""Widths of direction codes for each factor: means, tolerances, bytes; the knapsack behind them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitterfly
from bitterfly import quantize, transforms
from bitterfly.quantization.directions import DirectionAllocation
from bitterfly.quantization.knapsack import Knapsack, Option
from exact import true_error

OPTIONS = st.lists(st.builds(Option, st.integers(1, 40), st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=4)


@given(st.lists(OPTIONS, min_size=1, max_size=4), st.integers(0, 160), st.floats(0, 4))
def test_knapsack(parts: list[list[Option]], nbytes: int, square: float) -> None:
    """What is asked holds, is found where it exists, and is no worse than the relaxed optimum one step short."""
    everything = list(product(*parts))
    sack = Knapsack(parts)
    chosen = sack.within(square)
    good = [sum(o.nbytes for o in way) for way in everything if sum(o.square for o in way) <= square]
    assert (chosen is None) == (not good)
    if chosen is not None:
        largest = max(o.nbytes for part in parts for o in part)
        assert sum(o.square for o in chosen) <= square
        assert min(good) <= sum(o.nbytes for o in chosen) <= min(good) + largest
    chosen = sack.in_bytes(nbytes)
    fitting = [way for way in everything if sum(o.nbytes for o in way) <= nbytes]
    assert (chosen is None) == (not fitting)
    assert chosen is None or sum(o.nbytes for o in chosen) <= nbytes


@pytest.mark.parametrize("dtype", [np.float32, complex])
@pytest.mark.parametrize("bits", [2.1, 3.3, 5.9])
def test_any_mean(dtype: type, bits: float) -> None:
    op = transforms.random(512, rng=0, dtype=dtype)
    reals = 4 if np.dtype(dtype).kind == "c" else 2
    packed = quantize(op, bits=bits)
    mean = float(np.mean([code.bits for code in packed.codes])) / reals
    assert bits - 1 / reals / 9 - 1e-9 <= mean <= bits + 1e-9
    below = quantize(op, bits=np.floor(bits * reals) / reals)
    assert packed.relative_error < below.relative_error and packed.nbytes > below.nbytes
    assert true_error(op.astype(np.result_type(dtype, float)).todense(), packed) <= packed.relative_error


@pytest.mark.parametrize("dtype", [float, complex])
def test_losses_are_predicted(dtype: type) -> None:
    """Widths of the other factors hardly matter to the loss of one."""
    op = transforms.random(256, rng=1, dtype=dtype)
    allocation = DirectionAllocation(op, ("angle",) if dtype is float else ("sphere",), 8 if dtype is float else 14)
    for change in (0.1, 0.04):
        chosen = allocation.within(change)
        assert chosen is not None and len(set(chosen.widths)) <= 3
        error = allocation.packed(chosen).relative_error
        assert 0.8 * change <= error <= 1.1 * change


def test_rtol_takes_no_more_bytes_than_equal_widths() -> None:
    op = transforms.random(256, rng=2, dtype=complex)
    for rtol in (0.05, 0.012, 2e-3):
        equal = next(q for q in (quantize(op, bits=w / 4) for w in range(1, 33)) if q.relative_error <= rtol)
        packed = quantize(op, rtol=rtol)
        assert packed.relative_error <= rtol
        assert packed.nbytes <= equal.nbytes


@pytest.mark.parametrize(("dtype", "first"), [(float, 2700), (complex, 4700)])
def test_bytes_are_spent(dtype: type, first: int) -> None:
    """What is left is less than one more bit for the columns of a factor; errors fall."""
    op = transforms.random(256, rng=3, dtype=dtype)
    errors = []
    for nbytes in range(first, first + 1000, 100):
        packed = quantize(op, nbytes=nbytes)
        assert nbytes - 256 <= packed.nbytes <= nbytes
        errors.append(packed.relative_error)
    assert errors == sorted(errors, reverse=True)


def test_exact_factors_keep_their_bits() -> None:
    rng = np.random.default_rng(0)
    noisy = np.fft.fft(np.eye(64)) + 1e-3 * rng.standard_normal((64, 64))
    packed = bitterfly.compress(noisy, rtol=1e-2)
    equal = bitterfly.quantize(bitterfly.factorize(noisy), bits=1.5)
    assert packed.relative_error <= 1e-2 and packed.nbytes <= equal.nbytes
    assert all(code.bits <= at for at, code in enumerate(packed.codes, 1))
