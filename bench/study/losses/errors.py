"""Errors of matrices, as a network may feel them, and approximations of a matrix that err in different ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import bitterfly

WEIGHTED = ("relative", "metric", "outputs")  # those that are also taken over those of probes
PREDICTORS = ("relative", "spectral", "metric", "relative, weighted", "metric, weighted", "outputs, weighted", "Fisher")
ROUNDS = 30  # of the power iteration

Errors = dict[str, float]


def norm(a: np.ndarray) -> float:
    """The largest singular value, by the power iteration from random numbers."""
    x = np.random.default_rng(0).standard_normal(a.shape[1]).astype(a.dtype)
    size = 0.0
    for _ in range(ROUNDS):
        x = a.T @ (a @ x)
        size = float(np.linalg.norm(x))
        if size == 0:
            return 0.0
        x /= size
    return size**0.5


def errors(w: np.ndarray, found: np.ndarray, products: Callable[[np.ndarray], np.ndarray]) -> Errors:
    """Of all entries, of the largest singular value, and of the products with the inputs of the matrix."""
    d, outputs = found - w, float(np.linalg.norm(products(w)))
    return {
        "relative": float(np.linalg.norm(d) / np.linalg.norm(w)),
        "spectral": norm(d) / norm(w),
        "metric": float(np.linalg.norm(products(d))) / outputs if outputs else 0.0,  # behind units that are dead
    }


def joined(parts: list[tuple[Errors, Errors, float]]) -> Errors:
    """Errors of several matrices as one, each with the errors and the loss of a probe of its own.

    Squares add up; weighted errors are those over that of the probe, times the root of its loss.
    """
    found = {name: float(np.sqrt(sum(e[name] ** 2 for e, _, _ in parts))) for name in parts[0][0]}
    for name in (name for name in WEIGHTED if name in found):
        weighted = sum(loss * (e[name] / probe[name]) ** 2 for e, probe, loss in parts)
        found[f"{name}, weighted"] = float(np.sqrt(weighted))
    return found


# ---- approximations ----


def rounded(w: np.ndarray, bits: int) -> np.ndarray:
    """To the nearest of 2^bits evenly spaced numbers, one step a row, the best of a scan."""
    top, largest = 2 ** (bits - 1) - 0.5, np.abs(w).max(axis=1, keepdims=True)
    best, found = np.full((len(w), 1), np.inf), w
    for share in np.linspace(0.3, 1, 15):
        step = np.where(largest > 0, largest, 1) * share / top
        new = (np.clip(np.floor(w / step), -top - 0.5, top - 0.5) + 0.5) * step
        missed = np.square(w - new).sum(axis=1, keepdims=True)
        found, best = np.where(missed < best, new, found), np.minimum(missed, best)
    return found.astype(w.dtype)


def low_rank(w: np.ndarray, share: float) -> np.ndarray:
    """The truncated SVD of a share of all ranks."""
    tall = w if len(w) >= w.shape[1] else w.T
    v = np.linalg.eigh(tall.astype(np.float64).T @ tall)[1][:, -max(round(share * tall.shape[1]), 1) :]
    found = ((tall @ v) @ v.T).astype(w.dtype)
    return found if tall is w else found.T


def noisy(w: np.ndarray, error: float, rng: np.random.Generator) -> np.ndarray:
    """Normal numbers added, of this relative error."""
    noise = rng.standard_normal(w.shape).astype(w.dtype)
    return w + noise * w.dtype.type(error * np.linalg.norm(w) / np.linalg.norm(noise))


def window_codes(w: np.ndarray, bits: float, metric: Any = None) -> np.ndarray:
    return bitterfly.quantize_dense(w, bits=bits, code="window7", metric=metric, rng=0).todense()


def approximations(metric: Any = None) -> Iterator[tuple[str, float, Callable[[np.ndarray], np.ndarray]]]:
    """Names, how much, and functions of a matrix."""
    for bits in (1, 1.5, 2, 3, 4):
        yield "window codes", bits, partial(window_codes, bits=bits)
        if metric is not None:
            yield "window codes, metric", bits, partial(window_codes, bits=bits, metric=metric)
    for whole in (1, 2, 3, 4, 5):
        yield "rounding", whole, partial(rounded, bits=whole)
    for share in (0.75, 0.5, 0.25, 0.12, 0.06):
        yield "low rank", share, partial(low_rank, share=share)
    for error in (0.03, 0.1, 0.2, 0.4, 0.8):
        yield "noise", error, partial(noisy, error=error, rng=np.random.default_rng(0))
