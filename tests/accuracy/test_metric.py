"""Metrics that users hand in, and errors in them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from bitterfly.accuracy.metric import as_metric, metric_error
from bitterfly.accuracy.moments import SecondMoments

ORTHOGONAL = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))[0]


def spectrum(values: list[float]) -> np.ndarray:
    return (ORTHOGONAL * values) @ ORTHOGONAL.T


# ---- what is a metric ----


@given(st.integers(1, 20), st.integers(0, 20), st.integers(-900, 900), strategies.seeds)
def test_moments_of_any_size_are_scaled(n: int, inputs: int, power: int, seed: int) -> None:
    """By powers of two: exactly."""
    x = np.random.default_rng(seed).standard_normal((inputs + 1, n))
    given_ = np.ldexp(x.T @ x, power)
    found = as_metric(given_, n)
    assert found is not None and 0.5 <= np.abs(found).max() < 1
    ratio = np.ldexp(found, 1 - np.frexp(found[0, 0])[1] + np.frexp(given_[0, 0])[1] - 1)
    np.testing.assert_allclose(ratio, given_, rtol=1e-13, atol=1e-15 * np.abs(given_).max())
    np.testing.assert_array_equal(found, found.T)
    diagonal = as_metric(given_.diagonal(), n)
    assert diagonal is not None and diagonal.shape == (n,) and 0.5 <= diagonal.max() < 1


def test_what_may_be_handed_in() -> None:
    assert as_metric(None, 3) is None
    moments = SecondMoments(3).update(np.eye(3))
    for metric in (
        moments,
        moments.matrix,
        np.eye(3, dtype=np.float32),
        np.eye(3, dtype=int),
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    ):
        found = as_metric(metric, 3)
        np.testing.assert_array_equal(found, np.eye(3) / 2)
    np.testing.assert_array_equal(moments.matrix, np.eye(3))
    np.testing.assert_array_equal(as_metric([4, 0, 1], 3), [0.5, 0, 0.125])


def test_rounding_of_symmetry_and_definiteness_is_forgiven() -> None:
    bent = spectrum([1, 1, 1, 1, 1, 0])
    bent[0, 1] += 1e-10
    found = as_metric(bent, 6)
    np.testing.assert_array_equal(found, found.T)
    assert as_metric(spectrum([1, 1e-3, 1e-6, 0, 0, -1e-10]), 6) is not None


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        (np.eye(5), ValueError, r"metric: expected shape \(6, 6\), or \(6,\) for a diagonal, got \(5, 5\)"),
        (np.ones(5), ValueError, "metric: expected shape"),
        (np.ones((6, 1)), ValueError, "metric: expected shape"),
        (SecondMoments(5), ValueError, "metric: expected shape"),
        (np.eye(6) * 1j, TypeError, "metric: expected real numbers, got complex128"),
        (np.full((6, 6), np.nan), ValueError, "metric: expected finite numbers"),
        (np.full(6, np.inf), ValueError, "metric: expected finite numbers"),
        (np.zeros((6, 6)), ValueError, "metric: expected a number other than zero"),
        (np.zeros(6), ValueError, "metric: expected a number other than zero"),
        (SecondMoments(6), ValueError, "metric: expected a number other than zero"),
        (np.triu(np.ones((6, 6))), ValueError, "metric: expected a symmetric matrix, got entries 0.5 of"),
        (np.diag([1, 1, -2.0, 1, 1, 1]), ValueError, "metric: expected a diagonal that is not negative, got -2 at 2"),
        ([1, 1, 1, 1, -0.5, 1], ValueError, "metric: expected a diagonal that is not negative, got -0.5 at 4"),
        (spectrum([1, 1, 1, 1, 1, -1e-3]), ValueError, "metric: expected a positive semidefinite matrix, got eigenv"),
        ("gram", TypeError, "metric: expected"),
    ],
)
def test_what_is_wrong_is_named(metric: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_metric(metric, 6)


# ---- errors ----


def exact_trace(x: np.ndarray, metric: np.ndarray) -> Fraction:
    rows = [[Fraction(float(v)) for v in row] for row in x]
    h = [[Fraction(float(v)) for v in row] for row in metric]
    n = range(len(h))
    return sum((row[i] * h[i][j] * row[j] for row in rows for i in n for j in n), Fraction(0))


@given(
    st.sampled_from(["full", "low", "diagonal", "none"]), st.integers(1, 6), st.integers(-300, 300), strategies.seeds
)
def test_errors_are_bounds_close_to_the_truth(kind: str, n: int, power: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, d = rng.standard_normal((2, 3, n))
    d *= 10.0 ** rng.integers(-8, 2)
    factor = rng.standard_normal((n if kind == "full" else 1, n))
    metric = {"diagonal": rng.random(n), "none": None}.get(kind, factor.T @ factor)
    dense = np.eye(n) if metric is None else np.diag(metric) if metric.ndim == 1 else metric
    found = metric_error(np.ldexp(d, power), np.ldexp(x, power), metric)
    truth = float(exact_trace(d, dense) / exact_trace(x, dense)) ** 0.5
    assert truth <= found <= truth * (1 + 1e-6) + 1e-6


def test_zeros() -> None:
    x, h = np.ones((2, 3)), np.ones((3, 3))
    assert metric_error(0 * x, 0 * x, h) == metric_error(0 * x, x, h) == metric_error(0 * x, x, None) == 0
    assert metric_error(x, 0 * x, h) == metric_error(x, 0 * x, None) == np.inf
    unseen = np.array([[0, 0, 1.0]])
    assert metric_error(unseen, unseen, np.array([1.0, 1, 0])) == 0
    across = np.array([[1, -1.0, 0]])
    assert metric_error(across, across, h) == 0
    assert metric_error(x, x, h) == pytest.approx(1, rel=1e-12)
    assert metric_error(1e-300 * x, 1e300 * x, h) == 0 or metric_error(1e-300 * x, 1e300 * x, h) < 1e-300


def test_zero_rows_and_columns() -> None:
    assert metric_error(np.empty((0, 3)), np.empty((0, 3)), np.eye(3)) == 0
