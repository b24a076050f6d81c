"""Random rotations of the core: ranges of numbers, layouts, tiers, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from bitterfly import _core

SIZES = [1, 2, 3, 12, 13, 28, 56, 63, 96, 100, 320, 400, 1024]


def rotated(n: int, x: np.ndarray, adjoint: bool = False, workers: int = 1) -> np.ndarray:
    out = np.full_like(x, 7)
    _core.rotation(n, 11).apply(x, out, adjoint, workers)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("n", SIZES)
def test_neither_tiers_nor_workers_nor_layouts_change_a_bit(n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    x = (rng.standard_normal((n, 18)) + 1j * rng.standard_normal((n, 18))).astype(np.complex128)
    x = (x if dtype.startswith("c") else x.real).astype(dtype)
    before, work = _core.active_isa(), _core.set_least_parallel_work(0)
    try:
        for adjoint in (False, True):
            y = rotated(n, x, adjoint)
            for tier in _core.available_isas():
                _core.select_isa(tier)
                np.testing.assert_array_equal(rotated(n, x, adjoint, workers=3), y)
            np.testing.assert_array_equal(rotated(n, np.asfortranarray(x)[:, ::-2], adjoint), y[:, ::-2])
            for v in range(18):
                np.testing.assert_array_equal(rotated(n, x[:, v], adjoint), y[:, v])
            out = np.full((2 * n, 36), 7, dtype)
            _core.rotation(n, 11).apply(x, out[::-2, ::2], adjoint)
            np.testing.assert_array_equal(out[::-2, ::2], y)
            assert np.all(out[::2] == 7)
            assert np.all(out[:, 1::2] == 7)
    finally:
        _core.select_isa(before)
        _core.set_least_parallel_work(work)


@pytest.mark.parametrize("n", [64, 100, 384])
def test_numbers_of_any_size(isa: str, n: int) -> None:
    rng = np.random.default_rng(n)
    for dtype, powers in (("float32", (-100, 126)), ("float64", (-1000, 1000))):
        x = np.rint(rng.uniform(-2, 2, n) * 1024).astype(dtype) / 1024
        for power in powers:
            np.testing.assert_array_equal(rotated(n, np.ldexp(x, power)), np.ldexp(rotated(n, x), power))
        x[1] = np.inf
        assert np.isnan(rotated(n, x)).all()
        assert np.all(rotated(n, np.zeros(n, dtype)) == 0)


def test_refusals() -> None:
    for n in (0, 2**40):
        with pytest.raises(ValueError, match="n: expected"):
            _core.rotation(n, 0)
    rotation, x = _core.rotation(5, 0), np.zeros(5)
    for args in ((x[1:], x), (x, x[1:]), (x, np.zeros((5, 2))), (x, x.astype(complex)), (x, x.astype(np.float32))):
        with pytest.raises(ValueError, match="out"):
            rotation.apply(*args, False)
    with pytest.raises(ValueError, match="x"):
        rotation.apply(x.astype(int), x, False)
