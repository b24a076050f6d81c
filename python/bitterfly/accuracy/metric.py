"""Errors of matrices as their products with given inputs show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigh

from bitterfly.accuracy.moments import SecondMoments
from bitterfly.accuracy.rounding import log2_rounding
from bitterfly.inputs import Array, as_floating
from bitterfly.panels import identity_panel
from bitterfly.powers import exponent_of
from bitterfly.precision import in_double

_SLACK = 1e-8  # of the largest entry, or eigenvalue: what rounding may have made of a metric
_PANEL = 1 << 20  # entries of rows that are looked at at once
_EPS = float(np.finfo(np.float64).eps)
_NOTHING = -4000  # the exponent of zero


def as_metric(metric: Any, n: int) -> Array | None:
    """Return a metric for errors of matrices with n columns: a new array of (n, n), of (n,), a diagonal, or None.

    Parameters
    ----------
    metric : None, array_like or SecondMoments
        Symmetric and positive semidefinite, up to rounding; a vector is the diagonal of one.
    n : int

    Returns
    -------
    ndarray or None
        float64, exactly symmetric, multiplied by a power of two such that the largest entry lies between 1/2 and 1.

    Raises
    ------
    ValueError, TypeError
        Where it is no such metric; the message says why.
    """
    if metric is None:
        return None
    given = metric.matrix if isinstance(metric, SecondMoments) else metric
    array = as_floating(given, "metric")
    if array.dtype.kind == "c":
        raise TypeError(f"metric: expected real numbers, got {array.dtype}")
    if array.shape not in ((n, n), (n,)):
        raise ValueError(f"metric: expected shape ({n}, {n}), or ({n},) for a diagonal, got {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError("metric: expected finite numbers, got infinities or NaNs")
    largest = float(np.abs(array).max(initial=0))
    if largest == 0:
        raise ValueError("metric: expected a number other than zero, got zeros alone")
    scaled = _scaled(array, largest)
    diagonal = scaled if scaled.ndim == 1 else scaled.diagonal()
    if diagonal.min() < 0:
        at = int(diagonal.argmin())
        raise ValueError(
            f"metric: expected a diagonal that is not negative, got {array[(at,) * array.ndim]:.3g} at {at}"
        )
    return scaled if scaled.ndim == 1 else _semidefinite(scaled, max(_SLACK, 100 * _unit_of(given)))


def _scaled(a: Array, largest: float) -> Array:
    out: Array = np.ldexp(a.astype(np.float64), -np.frexp(largest)[1])
    return out


def _unit_of(given: Any) -> float:
    """Return the distance of one to the next number in the precision of what users hand in."""
    dtype = np.dtype(getattr(given, "dtype", np.float64))
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else _EPS


def _semidefinite(a: Array, slack: float) -> Array:
    """Return the nearest semidefinite matrix to one with entries of at most one, if rounding keeps them apart."""
    skew = float(np.abs(a - a.T).max())
    if skew > slack:
        raise ValueError(f"metric: expected a symmetric matrix, got entries {skew:.3g} of the largest one apart")
    a = (a + a.T) / 2
    damped = a.copy()
    damped.flat[:: len(a) + 1] += _SLACK * a.diagonal().max()
    try:  # what is semidefinite up to the rounding of double precision stays as it is
        cholesky(damped, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        values, vectors = eigh(a)
        if values[0] < -slack * max(values[-1], 0.0):
            raise ValueError(
                f"metric: expected a positive semidefinite matrix, got eigenvalues from {values[0]:.3g} to "
                f"{values[-1]:.3g} of the largest entry"
            ) from None
        a = (vectors * np.maximum(values, 0)) @ vectors.T
        a = (a + a.T) / 2
    return a


def metric_error(difference: Array, x: Array, metric: Array | None) -> float:
    """Return a bound on ``sqrt(trace(D H D^T) / trace(X H X^T))``, a few roundings above it; 0 / 0 is 0.

    Parameters
    ----------
    difference, x : numpy.ndarray
        D and X, (m, n), finite.
    metric : numpy.ndarray or None
        H as `as_metric` returns it; None for the identity.
    """
    above, above_rounding, above_power = trace(difference, metric)
    below, below_rounding, below_power = trace(x, metric)
    if above + above_rounding == 0 or (below <= below_rounding and above <= above_rounding):
        return 0.0
    if below <= below_rounding:
        return float("inf")
    ratio = (above + above_rounding) / (below - below_rounding)
    with np.errstate(over="ignore", under="ignore"):
        return float(np.ldexp(np.sqrt(ratio) * (1 + 8 * _EPS), above_power - below_power))


def measure_in_metric(a: Array, op: Any, metric: Array) -> float:
    """Return a bound on the error of an operator in a metric of its inputs; infinite where the matrix may be nothing.

    Parameters
    ----------
    a : numpy.ndarray
        (m, n), finite, real or complex.
    op : operator
        Of the same shape, multiplied with unit vectors in double precision.
    metric : numpy.ndarray
        H as `as_metric` returns it.

    Notes
    -----
    Products and differences are off by at most r in the Frobenius norm, hence by ``r sqrt(||H||)`` in the metric.
    """
    wide = in_double(op)
    return bound_in_metric(_differences(a, wide), log2_rounding(wide), metric)


def _differences(a: Array, op: Any) -> Iterator[tuple[Array, Array]]:
    """Yield rows of a matrix, and their differences to those of an operator, in double precision."""
    height = max(_PANEL // a.shape[1], 1)
    for first in range(0, len(a), height):
        part = a[first : first + height].astype(np.result_type(a.dtype, np.float64))
        unit = identity_panel(len(a), first, len(part), op.dtype)
        yield part, part - (op.T @ unit).T


def bound_in_metric(parts: Iterable[tuple[Array, Array]], rounding: float, metric: Array) -> float:
    """Return a bound on the error in a metric; infinite where the matrix may be nothing.

    Parameters
    ----------
    parts : iterable of pairs of numpy.ndarray
        Rows of the matrix, and as many differences, in double precision.
    rounding : float
        The logarithm to base 2 of a bound on what the differences are off by, in the Frobenius norm.
    metric : numpy.ndarray
        H as `as_metric` returns it.
    """
    sums = np.zeros(3)
    power = _NOTHING
    for part, apart in parts:
        own = max(exponent_of(part) if part.any() else _NOTHING, power)
        sums *= 4.0 ** (power - own)
        power = own
        for x, d in zip(_planes(part), _planes(apart), strict=True):
            x, d = np.ldexp(x, -power), np.ldexp(d, -power)
            sums += bounds_of_trace(d, metric)[1], bounds_of_trace(x, metric)[0], float(np.einsum("ij,ij", d, d))
    missed, least, lost = sums
    with np.errstate(over="ignore"):
        off = float(np.exp2(rounding - power)) + _EPS * np.sqrt(lost)
    below = np.sqrt(max(least, 0.0) * (1 - 1e-9))
    above = np.sqrt(missed * (1 + 1e-9)) + off * np.sqrt(np.linalg.norm(metric)) * (1 + 1e-9)
    if below > 0:
        return float(above / below * (1 + 1e-12))
    return float("inf") if above > 0 else 0.0


def _planes(x: Array) -> list[Array]:
    return [x.real, x.imag] if x.dtype.kind == "c" else [x]


def bounds_of_trace(x: Array, metric: Array | None) -> tuple[float, float]:
    """Return ``trace(X H X^T)`` from below and from above, by what it rounds."""
    value, rounding, power = trace(x, metric)
    least, most = (np.ldexp(max(bound, 0.0), 2 * power) for bound in (value - 2 * rounding, value + 2 * rounding))
    return float(least), float(most)


def trace(x: Array, metric: Array | None) -> tuple[float, float, int]:
    """Return ``trace(X H X^T) / 4^p``, a bound on its rounding errors, and p.

    Entries of a semidefinite matrix are at most the roots of those of the diagonal: what the sums of a row round is
    below ``(2 n + 4) u`` times the square of ``sum |x_j| sqrt(H_jj)``.
    """
    largest = float(np.abs(x).max(initial=0))
    if largest == 0:
        return 0.0, 0.0, 0
    power = int(np.frexp(largest)[1])
    x = np.ldexp(x.astype(np.float64), -power)
    if metric is None or metric.ndim == 1:
        squares = np.square(x).sum(axis=0)
        value = float(squares.sum() if metric is None else squares @ metric)
        return value, x.size * _EPS * value, power
    value = float(np.einsum("ij,ij", x @ metric, x))
    moduli = np.abs(x) @ np.sqrt(metric.diagonal())
    return max(value, 0.0), (x.shape[1] + 4) * _EPS * float(moduli @ moduli), power
