"""Random rotations: Hadamard matrices of any order, signs from a seed, orthogonal to rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies as own
import tolerances
from bitterfly import reference
from bitterfly.stores.dense.rotations import Rotation

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


def test_signs_are_those_of_the_generator() -> None:
    """All entries of the first row of Sylvester's matrices are 1."""
    assert split_mix(1234567, 2) == [6457827717110365317, 3203168211198807973]  # as published
    for seed in (0, 1, 1234567, M64):
        words = split_mix(seed, 4)
        want = [1 - 2 * (words[i // 64] >> (i % 64) & 1) for i in range(256)]
        assert (16 * Rotation(256, seed).adjoint(np.eye(256)[:, :1])[:, 0]).tolist() == want


@pytest.mark.parametrize("n", SIZES)
def test_rotation(isa: str, n: int) -> None:
    for seed in (0, 9, M64 - 1):
        want, got = reference.rotation(n, seed), Rotation(n, seed)
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
