"""Hypothesis strategies: sizes, dtypes, seeds, and matrices of the kinds that break numerics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

DTYPES = (np.float32, np.float64, np.complex64, np.complex128)
WIDTHS = {"angle": range(1, 17), "phase": range(1, 25), "sphere": range(1, 33)}
KINDS = (
    "gaussian",
    "butterfly",
    "graded",
    "rank_one",
    "zero_blocks",
    "zero_columns",
    "zero",
    "identity",
    "one_entry",
    "wide_range",
    "decaying",
    "subnormal",
    "tiny",
    "huge",
)

dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([2, 4, 8, 16, 32, 64, 128])
vector_sizes = st.sampled_from([2**p for p in range(1, 12)])
kinds = st.sampled_from(KINDS)


def code_kinds(dtype: Any) -> list[str]:
    """The codes that an operator of `dtype` takes."""
    return ["angle", "phase", "sphere"] if np.dtype(dtype).kind == "c" else ["angle"]


def gaussian(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def ldexp(x: np.ndarray, exponent: int) -> np.ndarray:
    """x * 2**exponent without an overflow on the way, complex numbers too."""
    if x.dtype.kind != "c":
        return np.ldexp(x, exponent)
    return np.ldexp(x.real, exponent) + 1j * np.ldexp(x.imag, exponent)


def wide(a: np.ndarray) -> tuple[np.ndarray, int]:
    """The matrix in double precision with its largest entry near 1, and the exponent that was taken out."""
    a = a.astype(np.result_type(a.dtype, np.float64))
    largest = float(max(np.max(np.abs(a.real), initial=0), np.max(np.abs(a.imag), initial=0)))
    exponent = int(np.frexp(largest)[1]) if largest > 0 else 0
    return ldexp(a, -exponent), exponent


def regauge(factors: Sequence[np.ndarray], rng: np.random.Generator, decades: float) -> list[np.ndarray]:
    """Factors with an equal product: columns of each divided by numbers that multiply the rows of the next."""
    out = [np.array(f) for f in factors]
    for left, right in pairwise(out):
        s = (10.0 ** rng.uniform(-decades, decades, left.size // 2)).astype(left.real.dtype)
        left *= s.reshape(left.shape[0], 1, 2, -1)
        right /= s.reshape(right.shape[0], 2, 1, -1)
    return out


def _scaled_butterfly(n: int, dtype: Any, rng: np.random.Generator, size: float) -> np.ndarray:
    import bitterfly

    a = bitterfly.transforms.random(n, rng=rng, dtype=np.result_type(dtype, np.float64)).todense()
    return (a / np.max(np.abs(a)) * size).astype(dtype)


def matrix(kind: str, n: int, dtype: Any, seed: int) -> np.ndarray:
    rng, info = np.random.default_rng(seed), np.finfo(dtype)
    a = gaussian(rng, (n, n), dtype)
    if kind == "butterfly":
        return _scaled_butterfly(n, dtype, rng, 1)
    if kind in ("subnormal", "tiny", "huge"):
        # "huge": the factors hold norms of rows, up to sqrt(2 n) times the largest entry.
        size = {"subnormal": float(info.tiny) / 64, "tiny": float(info.tiny) * 64, "huge": float(info.max) / (64 * n)}
        return _scaled_butterfly(n, dtype, rng, size[kind])
    if kind == "wide_range":
        exponents = rng.uniform(-0.9, 0.9, (n, n)) * np.log10(float(info.max) / n)
        return (a / np.maximum(np.abs(a), 1) * 10.0**exponents).astype(dtype)
    if kind == "decaying":  # as exp(-x) does, down to subnormal numbers and zero
        exponents = -rng.random((n, n)) * np.log10(1 / float(info.smallest_subnormal))
        return (a / np.maximum(np.abs(a), 1) * 10.0**exponents).astype(dtype)
    if kind == "graded":
        u, _, v = np.linalg.svd(a)
        return ((u * 10.0 ** -np.linspace(0, 12, n)) @ v).astype(dtype)
    if kind == "rank_one":
        return np.outer(a[0], a[1]).astype(dtype)
    if kind == "zero_blocks":
        a[: n // 2, n // 2 :] = 0
        a[:, 0] = 0
        return a
    if kind == "zero_columns":
        return a * (rng.random(n) < 0.5)
    if kind == "zero":
        return np.zeros((n, n), dtype)
    if kind == "identity":
        return np.eye(n, dtype=dtype)
    if kind == "one_entry":
        out = np.zeros((n, n), dtype)
        out[n // 3, n // 2] = 3
        return out
    return a
