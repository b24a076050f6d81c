"""What is said of the rounding of products holds for numbers and vectors of any scale, underflow among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import exact
import strategies as own
from bitterfly.accuracy.rounding import log2_applied, log2_rounding
from bitterfly.structures import ToeplitzOperator

RANGES = {32: (-145, 120), 64: (-1070, 1010)}  # exponents, subnormal ones too


def at_scale(rng: np.random.Generator, x: np.ndarray, power: int, dtype: Any) -> np.ndarray:
    """Numbers times a power of two, graded or not."""
    wide = x.astype(np.result_type(x.dtype, np.longdouble))
    if rng.random() < 0.5:
        wide = wide * np.exp2(-rng.integers(0, 300) * rng.random(x.shape)).astype(np.longdouble)
    with np.errstate(under="ignore"):
        return (wide * np.longdouble(2) ** power).astype(dtype)


def toeplitz(rng: np.random.Generator, m: int, n: int, dtype: Any) -> ToeplitzOperator:
    low, high = RANGES[np.finfo(dtype).bits]
    t = at_scale(rng, own.gaussian(rng, (1, 1, m + n - 1), dtype), int(rng.integers(low, high)), dtype)
    return ToeplitzOperator(t, [m], [n])


def size(x: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log2(exact.norm(x)))


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("kind", ["toeplitz", "product"])
def test_products_of_any_vectors(kind: str, dtype: Any) -> None:
    low, high = RANGES[np.finfo(dtype).bits]
    seen = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        m, n = (int(k) for k in rng.integers(1, 20, 2))
        op: Any = toeplitz(rng, m, n, dtype)
        op = op @ toeplitz(rng, n, n, dtype) if kind == "product" else op
        dense = exact.dense(op)
        x = at_scale(rng, own.gaussian(rng, (op.shape[1], 2), dtype), int(rng.integers(low, high)), dtype)
        y = at_scale(rng, own.gaussian(rng, (op.shape[0], 2), dtype), int(rng.integers(low, high)), dtype)
        for found, wide, vectors in ((op @ x, dense, x), (op.T @ y, dense.T, y)):
            if np.all(np.isfinite(found)):
                seen += 1
                missed = size(found - wide @ vectors.astype(wide.dtype))
                assert missed <= log2_applied(op, size(vectors), 2), seed
        if np.all(np.isfinite(op.todense())):
            assert size(op.todense() - dense) <= log2_rounding(op), seed
    assert seen > 50
