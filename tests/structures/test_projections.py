"""The nearest matrices of a structure: their errors are not below the true ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg

import exact
from bitterfly import structures
from bitterfly.inputs import UnmetError
from bitterfly.structures import projections

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def normal(seed: int, shape: tuple[int, int], dtype: Any) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise", [0, 1e-16, 1e-12, 1e-7])
@pytest.mark.parametrize("exponent", [0, -1060])
def test_errors_of_kronecker_products_are_not_below_the_true_ones(dtype: Any, noise: float, exponent: int) -> None:
    """Against products in extended precision, where numbers are those of double precision too."""
    if exponent and np.finfo(dtype).bits < 64:
        pytest.skip("below single precision")
    long = np.clongdouble if np.dtype(dtype).kind == "c" else np.longdouble
    for seed in range(40):
        a = np.kron(normal(seed, (3, 2), dtype), normal(seed + 1, (2, 5), dtype))
        a = ((a + noise * normal(seed + 2, a.shape, dtype)) * 2.0**exponent).astype(dtype)
        op = projections.kronecker(a, (2, 5))
        left, right = (each.factors[0][0, :, :, 0].astype(long) for each in op.members)  # type: ignore[attr-defined]
        wide = np.ldexp(np.longdouble(1), -exponent) * a.astype(long)
        apart = wide - np.ldexp(np.longdouble(1), -exponent) * np.kron(left, right)
        true = np.sqrt(np.sum(np.abs(apart) ** 2) / np.sum(np.abs(wide) ** 2))
        assert true <= op.relative_error
        assert op.relative_error <= 1.01 * true + (1e-15 if exponent == 0 else 1)


# ---- Toeplitz matrices known by their entries ----


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (40, 30), (300, 200), (130, 400)])
def test_toeplitz_of_entries(shape: tuple[int, int], dtype: str) -> None:
    rng = np.random.default_rng(0)
    t = (rng.standard_normal(sum(shape)) + (1j if dtype[0] == "c" else 0)).astype(dtype)
    seen: list[int] = []

    def entries(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        seen.append(len(i) * len(j))
        return np.asarray(t[np.subtract.outer(i, j) + shape[1] - 1])

    op = structures.toeplitz_of_entries(entries, shape, rtol=1e-5, rng=1)
    a = t[np.subtract.outer(np.arange(shape[0]), np.arange(shape[1])) + shape[1] - 1]
    assert op.dtype == a.dtype and exact.error(a, op) <= op.relative_error <= 1e-6
    assert sum(seen) <= 70 * sum(shape) + 20 * shape[0]
    assert op.error_kind == ("measured" if shape[0] <= 64 else "estimated")


def test_toeplitz_of_entries_finds_circulant_ones_and_refuses_others() -> None:
    t = np.random.default_rng(0).standard_normal(100)
    op = structures.toeplitz_of_entries(lambda i, j: t[np.subtract.outer(i, j) % 100], (100, 100), rng=0)
    assert op.nbytes == t.nbytes and op.relative_error < 1e-14
    noise = np.random.default_rng(1).standard_normal((150, 90))
    with pytest.raises(UnmetError, match=r"rtol: 0\.1 is not met: 64 rows err by 1"):
        structures.toeplitz_of_entries(lambda i, j: noise[np.ix_(i, j)], noise.shape, rtol=0.1)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        near = scipy.linalg.toeplitz(rng.standard_normal(80), rng.standard_normal(70))
        near = near + 10.0 ** rng.uniform(-9, 0) * rng.standard_normal(near.shape)
        op = structures.toeplitz_of_entries(lambda i, j, a=near: a[np.ix_(i, j)], near.shape, rng=seed)
        assert exact.error(near, op) <= op.relative_error
    with pytest.raises(ValueError, match="entry: expected finite entries"):
        structures.toeplitz_of_entries(lambda i, j: np.full((len(i), len(j)), np.nan), (5, 5))
    integers = structures.toeplitz_of_entries(lambda i, j: np.subtract.outer(i, j) + 2**53, (40, 40))
    assert integers.dtype == np.float64 and 0 < integers.relative_error < 1e-12
    with pytest.raises(TypeError, match="entries: expected a function of rows and columns, got ndarray"):
        structures.toeplitz_of_entries(noise, noise.shape)  # type: ignore[arg-type]
