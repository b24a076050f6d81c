"""The nearest matrices of a structure: their errors are not below the true ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
