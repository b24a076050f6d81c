"""Codes in a basis that users bring: of an orthogonal operator, or of columns over scales of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.accuracy.metric import as_metric
from bitterfly.dense.measured import counted, measured
from bitterfly.dense.search import Asked, coded
from bitterfly.inputs import Array, UnmetError, as_floating
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.contract import ButterflyProduct, Operator
from bitterfly.powers import near_one, scaled
from bitterfly.precision import in_double

_ORTHOGONAL = 1e-4  # what Q^H Q may be off the identity
_MOST = 60  # of the exponent of the largest scale, and between the scales
_SPREAD = 20  # of the exponents of scales that follow the columns


def in_basis_of(q: Operator, a: Array, asked: Asked, rng: np.random.Generator) -> ButterflyProduct:
    """Return codes of ``a Q^H``, times Q."""
    n = a.shape[1]
    if q.shape != (n, n):
        raise ValueError(f"rotate: expected an operator of shape {(n, n)}, got {q.shape}")
    if q.dtype.kind == "c" and (a.dtype.kind != "c" or asked.metric is not None):
        raise TypeError(f"rotate: expected real numbers for a real matrix, and for a metric, got {q.dtype}")
    wide = in_double(q)
    probe = rng.standard_normal((n, 4))
    apart = float(np.linalg.norm(wide.H @ (wide @ probe) - probe) / np.linalg.norm(probe))
    if not apart < _ORTHOGONAL:
        raise ValueError(f"rotate: expected an orthogonal operator, got one whose Q^H Q is {apart:.2g} off")
    x, exponent = near_one(a)
    rotated = _narrow((wide @ x.conj().T).conj().T, exponent, a.dtype)
    metric = asked.metric
    if metric is not None:
        half = wide @ (np.diag(metric) if metric.ndim == 1 else metric)
        whole = wide @ half.T
        metric = as_metric((whole + whole.T) / 2, n)
    if asked.rtol is not None:
        asked = asked._replace(rtol=asked.rtol * (1 - 2 * apart))
    codes = coded(rotated, asked._replace(metric=metric, rotate=None, beside=asked.beside + q.nbytes), rng)
    return measured(a, ButterflyProduct([codes, q]), asked.metric)


def over_scales(scales: Array, a: Array, asked: Asked, rng: np.random.Generator) -> ButterflyProduct:
    """Return codes of ``a S^-1``, times S, a diagonal; without a metric, errors of the matrix itself count."""
    diagonal = ButterflyOperator([scales.reshape(1, 1, 1, -1).astype(a.real.dtype)])
    s = diagonal.factors[0].ravel().astype(np.float64)
    x, exponent = near_one(a)
    narrow = _narrow(x / s, exponent, a.dtype)
    given = np.ones(len(s)) if asked.metric is None else asked.metric
    metric = as_metric(given * (s**2 if given.ndim == 1 else np.outer(s, s)), len(s))
    less = asked._replace(metric=metric, rotate="auto", beside=asked.beside + diagonal.nbytes)
    whole = measured(a, ButterflyProduct([coded(narrow, less, rng), diagonal]), asked.metric)
    if asked.rtol is not None and not counted(whole, asked.metric) <= asked.rtol:
        raise UnmetError(f"rtol: {asked.rtol:.3g} is not met: codes reach {counted(whole, asked.metric):.3g}")
    return whole


def column_scales(a: Array) -> Array:
    """Return the norms of columns, of those of zeros the least one.

    Codes of columns over s err by about ``sum(|a_j|^2 / s_j^2) det(S G S)^(1/n)``, where columns make good for each
    other in a metric G, the identity too: the product is least where all ``|a_j| / s_j`` are equal.
    """
    norms = np.asarray(np.linalg.norm(near_one(a)[0], axis=0))
    some = norms[norms > 0]
    if not some.size:
        return np.ones(len(norms))
    least = max(float(some.min() / some.max()), 2.0**-_SPREAD)
    return np.asarray(np.maximum(norms / some.max(), least))


def as_scales(rotate: Any, n: int) -> Array:
    """Return positive scales of columns, float64."""
    scales = as_floating(rotate, "rotate")
    if scales.dtype.kind == "c" or scales.shape != (n,):
        got = f"{scales.dtype} of {scales.shape}"
        raise ValueError(f"rotate: expected an operator, or ({n},) real scales of columns, got an array, {got}")
    if not np.all(np.isfinite(scales)) or not np.all(scales > 0):
        raise ValueError("rotate: expected positive finite scales")
    out = scales.astype(np.float64)
    if not 2.0**-_MOST * out.max() < out.min() or abs(np.frexp(out.max())[1]) > _MOST:
        raise ValueError(f"rotate: expected scales near one, got {out.min():.3g} to {out.max():.3g}")
    return out


def _narrow(x: Array, exponent: int, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
        out = scaled(x, exponent).astype(dtype)
    if not np.all(np.isfinite(out)):
        raise OverflowError(f"rotate: the matrix in this basis does not fit {dtype}")
    return out
