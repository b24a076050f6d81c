"""Rounding in a metric: what it gains, how rates are shared out, codes that stand for the values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategies
from bitterfly import reference
from bitterfly.accuracy.metric import as_metric, metric_error
from bitterfly.dense import feedback
from bitterfly.dense.feedback import (
    DampedMetric,
    Rounded,
    round_columns,
    unequal_half_bits,
)
from bitterfly.stores.dense.codes import BLOCK
from bitterfly.stores.dense.tiles import panel_rows, streams_of_tiles, tiles_of_streams
from bitterfly.stores.dense.windows import RATES, SCALAR_RATES, window_code

NAMES = ("window7", "window11")


def equal_half_bits(n: int, bits: float) -> list[int]:
    """Twice the rate of each block of columns where all have one."""
    return [round(2 * bits)] * -(-n // BLOCK)


def expected_square(variances: np.ndarray, half_bits: Sequence[int], name: str) -> float:
    """The sum of `variances` times the squared errors of the codes: that of a row of normal numbers."""
    errors = [window_code(name, half / 2).error for half in half_bits]
    return float(variances @ np.repeat(np.square(errors), BLOCK)[: len(variances)])


def metric(n: int, decades: float, seed: int = 0) -> np.ndarray:
    """Eigenvalues over so many decades, in a random basis."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    found = as_metric((basis * np.geomspace(1, 10.0**-decades, n)) @ basis.T, n)
    assert found is not None
    return found


def normal(m: int, n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((m, n))


def error(x: np.ndarray, found: Rounded, h: np.ndarray | None) -> float:
    return metric_error(x - found.factors[:, None] * found.values, x, h)


def assert_codes_are_the_values(found: Rounded, m: int, half_bits: Sequence[int], name: str) -> None:
    """Streams, through tiles and back, decode to the values; columns that pad the last tile are zero bytes."""
    n = found.values.shape[1]
    for at, half in enumerate(half_bits):
        code = window_code(name, half / 2)
        values = found.values[:, at * BLOCK : (at + 1) * BLOCK]
        width = values.shape[1]
        streams = streams_of_tiles(tiles_of_streams(found.streams[at]), (m, width), half)
        assert len(streams) == len(panel_rows(m))
        rows = []
        for panel, own in zip(streams, found.streams[at], strict=True):
            np.testing.assert_array_equal(panel, own)
            assert not panel[width:].any()
            rows.append(reference.window_decode(panel[:width], code.table, code.masks, code.rate).T)
        entries = np.concatenate(rows)[:m].astype(np.float64)
        np.testing.assert_array_equal(values, entries * code.step)
    assert len(half_bits) == -(-n // BLOCK) and found.values.dtype == np.float64


# ---- the factor ----


@given(st.integers(1, 40), st.integers(0, 12), strategies.seeds)
def test_variances_are_those_given_later_inputs(n: int, decades: int, seed: int) -> None:
    h = metric(n, decades, seed)
    damped = DampedMetric(h)
    np.testing.assert_allclose(damped.matrix, h + 0.01 * h.trace() / n * np.eye(n), rtol=1e-14)
    found = DampedMetric(h).variances
    for j in (0, n // 2, n - 1):
        later = slice(j + 1, n)
        inner, row = damped.matrix[later, later], damped.matrix[j, later]
        expected = damped.matrix[j, j] - row @ np.linalg.solve(inner, row)
        assert found[j] == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(np.log(found).sum(), np.linalg.slogdet(damped.matrix)[1], rtol=1e-10, atol=1e-10)


def test_the_variances_of_a_diagonal_are_its_entries() -> None:
    np.testing.assert_allclose(DampedMetric(np.array([1.0, 0, 2])).variances, [1.01, 0.01, 2.01])


# ---- rates ----


@given(
    st.integers(1, 700),
    st.sampled_from([1, 1.5, 2, 2.3, 3.7, 5, 7.9]),
    st.sampled_from(NAMES),
    strategies.seeds,
)
def test_rates_fill_the_budget(n: int, bits: float, name: str, seed: int) -> None:
    """They spend at most the bits, and no block can have its next rate with what is left."""
    variances = np.exp(np.random.default_rng(seed).standard_normal(n) * 2)
    found = unequal_half_bits(variances, bits, name)
    assert found == unequal_half_bits(variances, bits, name)
    widths = np.minimum(BLOCK, n - BLOCK * np.arange(len(found)))
    left = 2 * bits * n * (1 + 1e-12) - widths @ found
    steps = [round(2 * rate) for rate in (*RATES, *SCALAR_RATES)]
    assert left >= 0
    for half, width in zip(found, widths, strict=True):
        assert half == steps[-1] or (steps[steps.index(half) + 1] - half) * width > left


def test_rates_are_the_best_ones_of_all() -> None:
    """Of all choices for three blocks."""
    variances = np.repeat([1, 0.05, 7.0], 32)
    halves = [round(2 * rate) for rate in (*RATES, *SCALAR_RATES)]
    for bits in (1.5, 2, 3, 4):
        choices = [(a, b, c) for a in halves for b in halves for c in halves if a + b + c <= 6 * bits]
        best = min(expected_square(variances, choice, "window11") for choice in choices)
        found = unequal_half_bits(variances, bits, "window11")
        assert expected_square(variances, found, "window11") <= best * 1.3
        assert expected_square(variances, found, "window11") < expected_square(
            variances, [round(2 * bits)] * 3, "window11"
        )


def test_equal_variances_have_equal_rates() -> None:
    assert unequal_half_bits(np.ones(100), 2.5, "window7") == equal_half_bits(100, 2.5) == [5, 5, 5, 5]


def test_many_columns_are_no_burden() -> None:
    found = unequal_half_bits(np.exp(normal(1, 16384)[0] * 3), 2, "window11")
    assert len(found) == 512 and np.mean(found) == 4


def test_too_few_bits_are_named() -> None:
    with pytest.raises(ValueError, match=r"bits: expected at least 1, got 0\.9"):
        unequal_half_bits(np.ones(64), 0.9, "window7")


# ---- rounding ----


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("m", [1, 17, 63, 64, 65])
@pytest.mark.parametrize("n", [1, 31, 33, 70])
def test_values_are_what_the_streams_stand_for(name: str, m: int, n: int) -> None:
    x, damped = normal(m, n), DampedMetric(metric(n, 3))
    rates = [7, 16, 3][: -(-n // BLOCK)]
    for kwargs in ({}, {"feedback": False}, {"sweeps": 1}):
        found = round_columns(x, damped, rates, name, **kwargs)
        assert_codes_are_the_values(found, m, rates, name)
    assert_codes_are_the_values(round_columns(x, None, rates, name), m, rates, name)


@pytest.mark.parametrize("rate", [*RATES, *SCALAR_RATES])
def test_without_a_metric_the_error_is_that_of_the_code(rate: float) -> None:
    x = normal(300, 96)
    half_bits = equal_half_bits(96, rate)
    found = round_columns(x, None, half_bits, "window11")
    assert error(x, found, None) <= window_code("window11", rate).error * 1.03
    without = round_columns(x, DampedMetric(metric(96, 2)), half_bits, "window11", feedback=False)
    assert without.streams[1][0].tobytes() == found.streams[1][0].tobytes()
    diagonal = round_columns(x, DampedMetric(np.geomspace(1, 1e-3, 96)), half_bits, "window11", sweeps=1)
    np.testing.assert_array_equal(diagonal.values, found.values)


def slow(x: np.ndarray, h: np.ndarray, half_bits: Sequence[int], name: str, stretch: float) -> np.ndarray:
    """Values of columns one after the other, by the inverse of what is left of the metric (GPTQ)."""
    x, h = x.copy(), h.copy()
    out = np.empty_like(x)
    for j in range(len(h)):
        code = window_code(name, half_bits[j // BLOCK] / 2)
        streams = feedback.encode(x[:, j][None] / stretch / code.step, code)
        out[:, j] = reference.window_decode(streams, code.table, code.masks, code.rate)[0] * code.step
        inverse = np.linalg.inv(h[j:, j:])
        x[:, j:] -= np.outer(x[:, j] - stretch * out[:, j], inverse[0] / inverse[0, 0])
    return out


def test_feedback_is_that_of_the_inverse() -> None:
    x, damped = normal(32, 80), DampedMetric(metric(80, 3))
    half_bits = [4, 6, 10]
    errors = np.repeat([window_code("window7", half / 2).error for half in half_bits], 32)[:80]
    assert damped.pull is not None
    expected = slow(x, damped.matrix, half_bits, "window7", feedback._stretch(damped.pull, errors))
    np.testing.assert_allclose(round_columns(x, damped, half_bits, "window7").values, expected, rtol=1e-6)


@pytest.mark.parametrize("decades", [1, 2, 3])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_feedback_gains_what_the_variances_say(decades: float, bits: float) -> None:
    x, h = normal(256, 192), metric(192, decades)
    damped, half_bits = DampedMetric(h), equal_half_bits(192, bits)
    plain = error(x, round_columns(x, damped, half_bits, "window7", feedback=False), damped.matrix)
    found = error(x, round_columns(x, damped, half_bits, "window7"), damped.matrix)
    gain = np.sqrt(damped.diagonal.mean() / damped.variances.mean())
    assert plain / found == pytest.approx(gain, rel={2: 0.1, 3: 0.04, 4: 0.02}[bits])
    assert error(x, round_columns(x, damped, half_bits, "window7"), h) < plain


@pytest.mark.parametrize("name", NAMES)
def test_unequal_rates_and_sweeps_gain_more(name: str) -> None:
    x, h = normal(128, 256), metric(256, 4)
    damped = DampedMetric(h)
    rates = unequal_half_bits(damped.variances, 3, name)
    equal = error(x, round_columns(x, damped, equal_half_bits(256, 3), name), h)
    unequal = error(x, round_columns(x, damped, rates, name), h)
    swept = error(x, round_columns(x, damped, rates, name, sweeps=1), h)
    assert np.mean(rates) == 6 and swept < unequal < equal


def test_thorough_gains_a_little() -> None:
    x, damped, rates = normal(256, 96), DampedMetric(metric(96, 2)), [4, 4, 4]
    for own in (None, damped):
        h = None if own is None else own.matrix
        found = round_columns(x, own, rates, "window11", thorough=True)
        usual = round_columns(x, own, rates, "window11")
        assert 0.98 < error(x, found, h) / error(x, usual, h) < 0.998
        assert_codes_are_the_values(found, 256, rates, "window11")


@settings(max_examples=15)
@given(st.integers(1, 70), st.integers(1, 50), st.sampled_from([2, 3, 4, 8, 12]), strategies.seeds)
def test_sweeps_never_raise_the_error(m: int, n: int, half: int, seed: int) -> None:
    x, damped = normal(m, n, seed), DampedMetric(metric(n, 2, seed))
    half_bits = [half] * -(-n // BLOCK)
    errors = []
    for sweeps in range(3):
        found = round_columns(x, damped, half_bits, "window7", sweeps=sweeps)
        errors.append(error(x, found, damped.matrix))
    assert errors[1] <= errors[0] * 1.0000001 and errors[2] <= errors[1] * 1.0000001


def degenerate(kind: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    if kind == "rank one":
        v = rng.standard_normal((1, n))
        found = as_metric(v.T @ v, n)
    elif kind == "low rank":
        v = rng.standard_normal((5, n))
        found = as_metric(v.T @ v, n)
    elif kind == "unseen":
        v = rng.standard_normal((4 * n, n)) * (np.arange(n) % 3 != 1)
        found = as_metric(v.T @ v, n)
    elif kind == "graded":
        scale = np.geomspace(1, 1e-6, n)
        found = as_metric(metric(n, 1) * scale * scale[:, None], n)
    else:
        found = metric(n, 12)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["rank one", "low rank", "unseen", "graded", "steep"])
@pytest.mark.parametrize("n", [1, 31, 96])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_degenerate_metrics(kind: str, n: int, bits: float) -> None:
    """Never worse than without feedback, up to the scales of rows."""
    h, x = degenerate(kind, n), normal(65, n)
    damped = DampedMetric(h)
    rates = unequal_half_bits(damped.variances, bits, "window7")
    found = round_columns(x, damped, rates, "window7")
    plain = round_columns(x, damped, rates, "window7", feedback=False)
    assert np.all(np.isfinite(found.factors)) and np.all(np.isfinite(found.values))
    assert error(x, found, h) <= error(x, plain, h) * 1.02 + 1e-9


def test_panels_that_feedback_makes_worse_are_coded_without(monkeypatch: pytest.MonkeyPatch) -> None:
    x, damped, half_bits = normal(130, 64), DampedMetric(metric(64, 2)), [4, 4]
    plain = round_columns(x, damped, half_bits, "window7", feedback=False)
    monkeypatch.setattr(feedback, "_stretch", lambda pull, errors: 30.0)
    found = round_columns(x, damped, half_bits, "window7")
    np.testing.assert_array_equal(found.values, plain.values)
    np.testing.assert_array_equal(found.factors, plain.factors)
    for a, b in zip(found.streams, plain.streams, strict=True):
        assert [s.tobytes() for s in a] == [s.tobytes() for s in b]


def test_rows_of_zeros_become_zeros() -> None:
    x = normal(70, 40)
    x[[0, 69]] = 0
    for damped in (None, DampedMetric(metric(40, 2))):
        found = round_columns(x, damped, [4, 4], "window7")
        assert found.factors[0] == found.factors[69] == 0 and np.all(found.factors[1:69] > 0)


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("m", [100, 2100])
def test_workers_do_not_change_bytes(m: int, workers: int) -> None:
    x, damped = normal(m, 40), DampedMetric(metric(40, 2))
    one = round_columns(x, damped, [4, 6], "window7", sweeps=1)
    more = round_columns(x, damped, [4, 6], "window7", sweeps=1, workers=workers)
    np.testing.assert_array_equal(one.values, more.values)
    np.testing.assert_array_equal(one.factors, more.factors)
    for a, b in zip(one.streams, more.streams, strict=True):
        assert [s.tobytes() for s in a] == [s.tobytes() for s in b]
    assert_codes_are_the_values(more, m, [4, 6], "window7")
