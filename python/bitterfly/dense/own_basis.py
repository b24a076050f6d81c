"""Codes in a basis that users bring, of an operator or of scales of columns, or in one in which rows are white."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.accuracy.metric import as_metric
from bitterfly.dense.measured import counted, measured
from bitterfly.dense.rates import codes_bytes
from bitterfly.dense.search import Asked, coded
from bitterfly.inputs import Array, UnmetError, as_floating
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.contract import ButterflyProduct, Operator
from bitterfly.powers import near_one, scaled
from bitterfly.precision import in_double
from bitterfly.stores.dense.codes import BLOCK, HALF_BITS

_ORTHOGONAL = 1e-4  # what Q^H Q may be off the identity
_INVERSE = 1e-8  # what P^-1 P may be off the identity
_ROOT_BITS = (3, 4, 5)  # of the numbers of a root of second moments
_LEAST = 1e-3  # of the mean of eigenvalues: what codes of so few bits keep apart
_MOST = 60  # of the exponent of the largest scale, and between the scales
_SPREAD = 20  # of the exponents of scales that follow the columns


def in_basis_of(q: Operator, a: Array, asked: Asked, rng: np.random.Generator) -> ButterflyProduct:
    """Return codes of ``a Q^H``, times Q, where it is orthogonal."""
    n = a.shape[1]
    if q.shape != (n, n):
        raise ValueError(f"rotate: expected an operator of shape {(n, n)}, got {q.shape}")
    if q.dtype.kind == "c" and (a.dtype.kind != "c" or asked.metric is not None):
        raise TypeError(f"rotate: expected real numbers for a real matrix, and for a metric, got {q.dtype}")
    wide = in_double(q)
    probe = rng.standard_normal((n, 4))
    apart = float(np.linalg.norm(wide.H @ (wide @ probe) - probe) / np.linalg.norm(probe))
    if not apart < _ORTHOGONAL:
        return over_operator(q, a, asked, rng)
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
    given = np.ones(len(s)) if asked.metric is None else asked.metric
    metric = given * (s**2 if given.ndim == 1 else np.outer(s, s))
    return _over(diagonal, a, _narrow(x / s, exponent, a.dtype), metric, asked, rng)


def over_operator(p: Operator, a: Array, asked: Asked, rng: np.random.Generator) -> ButterflyProduct:
    """Return codes of ``a P^-1``, times P; without a metric, errors of the matrix itself count."""
    if p.dtype.kind == "c":
        raise TypeError(f"rotate: expected real numbers of an operator that is not orthogonal, got {p.dtype}")
    dense, power = near_one(in_double(p).todense())
    with np.errstate(all="ignore"):
        try:
            inverse = np.linalg.inv(dense)
        except np.linalg.LinAlgError:
            inverse = np.full_like(dense, np.nan)
        apart = float(np.linalg.norm(inverse @ dense - np.eye(len(dense))))
    if not apart < _INVERSE:
        raise ValueError(f"rotate: expected an operator with an inverse, got one whose P^-1 P is {apart:.2g} off")
    x, exponent = near_one(a)
    rest = x @ inverse
    half = dense if asked.metric is None else dense * asked.metric if asked.metric.ndim == 1 else dense @ asked.metric
    whole = half @ dense.T
    return _over(p, a, _narrow(rest, exponent - power, a.dtype), (whole + whole.T) / 2, asked, rng)


def _over(
    p: Operator, a: Array, rest: Array, metric: Array, asked: Asked, rng: np.random.Generator
) -> ButterflyProduct:
    """Return codes of what P leaves, in the metric of its errors, times P."""
    less = asked._replace(metric=as_metric(metric, len(metric)), rotate="auto", beside=asked.beside + p.nbytes)
    whole = measured(a, ButterflyProduct([coded(rest, less, rng), p]), asked.metric)
    if asked.rtol is not None and not counted(whole, asked.metric) <= asked.rtol:
        raise UnmetError(f"rtol: {asked.rtol:.3g} is not met: codes reach {counted(whole, asked.metric):.3g}")
    return whole


def whitening(a: Array, asked: Asked, rng: np.random.Generator) -> Operator | None:
    """Return a coded root P of ``K = A^H A``, or None where it is not expected to save more bytes than it takes.

    Codes of ``A P^-1`` err by about ``tr(K S^-1) det(S)^(1/n)``, ``S = P^T P``, where columns make good for each other:
    at ``S = K`` the arithmetic mean of the eigenvalues of K becomes the geometric one. What P has lost in its codes
    is no error of the product, it only keeps S from K.
    """
    n, rows = a.shape[1], len(a) * (2 if a.dtype.kind == "c" else 1)
    x, exponent = near_one(a)
    k = (x.conj().T @ x).real
    if n == 1 or not k.any():
        return None
    k /= np.trace(k) / n
    values, vectors = np.linalg.eigh(k)
    root = (vectors * np.sqrt(np.maximum(values, _LEAST))) @ vectors.T
    if _gain(k, root) * rows <= n * _ROOT_BITS[0]:  # no code of it pays
        return None
    least = codes_bytes((rows, n), np.full(-(-n // BLOCK), HALF_BITS[0]), 2)
    room = float("inf") if asked.nbytes is None else asked.nbytes - asked.beside - least
    found = []
    for bits in _ROOT_BITS:
        plain = asked._replace(bits=bits, nbytes=None, rtol=None, metric=None, rotate="inputs", beside=0)
        p = coded(_narrow(root, exponent // 2, a.real.dtype), plain, rng)  # the other half is left to the codes
        saved = _gain(k, near_one(in_double(p).todense())[0]) * rows * n / 8 - p.nbytes
        if saved > 0 and p.nbytes <= room:
            found.append((saved, p))
    return max(found, key=lambda each: each[0])[1] if found else None


def _gain(k: Array, p: Array) -> float:
    """Return the bits a number that codes of ``A P^-1`` are expected to save, minus infinity where there are none."""
    n = len(k)
    sign, log = np.linalg.slogdet(p)
    if sign == 0:
        return -np.inf
    whitened = np.linalg.solve(p.T, np.linalg.solve(p.T, k).T)
    return -float(np.log2(np.trace(whitened) / n) / 2 + log / (n * np.log(2)))


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
