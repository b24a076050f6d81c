"""Random rotations: Hadamard matrices of any order, signs from a seed, orthogonal to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

import strategies as own
import tolerances
from bitterfly.stores.rotations import Rotation, paley, signs

SIZES = [1, 2, 3, 5, 12, 13, 20, 24, 28, 63, 64, 65, 100, 384, 400, 560]
M64 = 2**64 - 1


def split_mix(seed: int, count: int) -> list[int]:
    """The generator in Python's integers."""
    out = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & M64
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & M64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
        out.append(z ^ (z >> 31))
    return out


def dense(n: int, seed: int) -> np.ndarray:
    """The matrix from its definition, entry by entry."""
    sizes = [order << p for order in (1, 12, 20, 28) for p in range(32) if order << p <= n]
    size = max(sizes)
    order = min(k for k in (1, 12, 20, 28) if size % k == 0 and (size // k) & (size // k - 1) == 0)
    hadamard = np.kron(paley(order) if order > 1 else [[1]], scipy.linalg.hadamard(size // order))
    out = np.eye(n)
    for at, first in enumerate([0] if size == n else [0, n - size]):
        words = split_mix(seed + at, -(-n // 64))
        s = np.array([1 - 2 * (words[i // 64] >> (i % 64) & 1) for i in range(n)])
        step = np.eye(n)
        part = slice(first, first + size)
        step[part, part] = hadamard * s[part] / np.sqrt(size)
        out = step @ out
    return out


def test_signs_are_those_of_the_generator() -> None:
    assert split_mix(1234567, 2) == [6457827717110365317, 3203168211198807973]  # as published
    for seed in (0, 1, 1234567, M64):
        words = split_mix(seed, 4)
        want = [1 - 2 * (words[i // 64] >> (i % 64) & 1) for i in range(200)]
        assert signs(200, seed).tolist() == want
    assert signs(1, 5).shape == (1,)


@pytest.mark.parametrize("order", [4, 8, 12, 20, 24, 28, 36, 44])
def test_orders_of_paley(order: int) -> None:
    matrix = paley(order).astype(int)
    assert set(np.unique(matrix)) == {-1, 1}
    assert np.array_equal(matrix @ matrix.T, order * np.eye(order))


def test_orders_out_of_reach_are_refused() -> None:
    with pytest.raises(ValueError, match="do not reach 52"):
        paley(52)


@pytest.mark.parametrize("n", SIZES)
def test_rotation(isa: str, n: int) -> None:
    for seed in (0, 9, M64 - 1):
        want, got = dense(n, seed), Rotation(n, seed)
        bound = 2 * tolerances.gamma(2 * n, np.float64)
        assert np.max(np.abs(got.dense() - want)) <= bound
        assert np.max(np.abs(got.adjoint(np.eye(n)) - want.T)) <= bound


@given(st.integers(1, 300), st.sampled_from(own.DTYPES), st.integers(1, 5), own.seeds)
def test_the_adjoint_is_the_inverse(n: int, dtype: type, columns: int, seed: int) -> None:
    x = own.gaussian(np.random.default_rng(seed), (n, columns), dtype)
    rotation = Rotation(n, seed)
    y = rotation.forward(x)
    assert y.dtype == dtype and y.shape == x.shape
    back = rotation.adjoint(y)
    assert np.linalg.norm(back - x) <= 4 * tolerances.gamma(4 * n, dtype) * np.linalg.norm(x)
    assert np.array_equal(rotation.forward(x, workers=2), y)
