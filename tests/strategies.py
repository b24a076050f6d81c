"""Hypothesis strategies: sizes, dtypes, seeds, and matrices of the kinds that break numerics."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

DTYPES = (np.float32, np.float64, np.complex64, np.complex128)
KINDS = ("gaussian", "butterfly", "graded", "rank_one", "zero_blocks", "zero", "identity", "one_entry")

dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([2, 4, 8, 16, 32, 64, 128])
kinds = st.sampled_from(KINDS)


def gaussian(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def matrix(kind: str, n: int, dtype: Any, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = gaussian(rng, (n, n), dtype)
    if kind == "butterfly":
        import bitterfly

        return bitterfly.transforms.random(n, rng=rng, dtype=dtype).todense()
    if kind == "graded":
        u, _, v = np.linalg.svd(a)
        return ((u * 10.0 ** -np.linspace(0, 12, n)) @ v).astype(dtype)
    if kind == "rank_one":
        return np.outer(a[0], a[1]).astype(dtype)
    if kind == "zero_blocks":
        a[: n // 2, n // 2 :] = 0
        a[:, 0] = 0
        return a
    if kind == "zero":
        return np.zeros((n, n), dtype)
    if kind == "identity":
        return np.eye(n, dtype=dtype)
    if kind == "one_entry":
        out = np.zeros((n, n), dtype)
        out[n // 3, n // 2] = 3
        return out
    return a
