"""Inverses of damped sums of rank-one matrices: any damping and scale, bounds, windows that move, refusals."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import strategies as own
import tolerances
from bitterfly import reference
from bitterfly.structures import InverseFisherOperator


def matrix(g: np.ndarray, damping: float) -> np.ndarray:
    """The sum itself, gradient by gradient."""
    wide = g.astype(np.result_type(g.dtype, np.float64))
    return damping * np.eye(g.shape[1]) + sum(np.outer(each, each.conj()) for each in wide) / len(g)


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (4, 9), (9, 9), (20, 3)])
def test_the_oracle_is_the_inverse(shape: tuple[int, int], dtype: Any) -> None:
    g = own.gaussian(np.random.default_rng(0), shape, dtype)
    op = InverseFisherOperator(g, 0.25)
    np.testing.assert_allclose(reference.dense(op), np.linalg.inv(matrix(g, 0.25)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(op.todense(), reference.dense(op), atol=8 * np.finfo(dtype).eps / 0.25)
    np.testing.assert_allclose(op.diagonal(), np.diag(op.todense()).real, atol=8 * np.finfo(dtype).eps / 0.25)
    np.testing.assert_allclose(op.inverse().todense(), matrix(g, 0.25), rtol=40 * np.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("power", [-300, 0, 300])
@pytest.mark.parametrize("damping", [2.0**-80, 2.0**-40, 2.0**-20, 1.0, 2.0**40])
def test_small_damping_costs_nothing_where_gradients_are_apart(dtype: Any, power: int, damping: float) -> None:
    """Errors are units roundoff of ``|x| / damping``, though condition numbers are up to 2^85."""
    dtype = np.dtype(dtype)
    power = power if np.finfo(dtype).bits == 64 else power // 30
    rng = np.random.default_rng(0)
    g = own.ldexp(own.gaussian(rng, (6, 25), dtype), power).astype(dtype)
    op = InverseFisherOperator(g, float(np.ldexp(damping, 2 * power)))
    x = own.gaussian(rng, (25, 4), dtype)
    missed = (op @ x - reference.dense(op) @ x) * op.damping
    assert np.linalg.norm(missed) < 20 * np.finfo(dtype).eps * np.linalg.norm(x)
    assert op.log2_rounding_gain + np.log2(op.damping) < (-36 if np.finfo(dtype).bits == 64 else -20)


def woodbury(g: np.ndarray, damping: float) -> np.ndarray:
    """``(I - G^T (m damping I + G G^T)^-1 G) / damping`` in double precision."""
    inner = np.linalg.solve(len(g) * damping * np.eye(len(g)) + g @ g.T, g)
    return (np.eye(g.shape[1]) - g.T @ inner) / damping


def test_errors_grow_with_the_root_of_the_condition_number_at_worst() -> None:
    """Gradients that nearly depend on each other, one of their singular values near the root of the damping."""
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(50):
        u = rng.standard_normal((3, 30))
        op = InverseFisherOperator(np.stack([u[0], u[0] + 1e-6 * u[1], 1e-6 * u[2]]), 1e-12)
        dense = reference.dense(op)
        missed = np.linalg.norm((op.todense() - dense) * 1e-12, 2)
        assert missed < 1e-3 * np.linalg.norm((woodbury(op.gradients, 1e-12) - dense) * 1e-12, 2)
        assert missed < 2.0 ** (op.log2_rounding_gain + np.log2(1e-12)) < 1e-6
        worst = max(worst, float(missed))
    assert worst > 1e-12  # the term in the root of the condition number is there


@pytest.mark.parametrize("first", range(0, 400, 50))
def test_bounds_hold(first: int) -> None:
    for seed in range(first, first + 50):
        drawn = own._inverse_fisher(np.random.default_rng([1, seed]))
        op, dense = drawn.op, drawn.dense
        size, room = np.linalg.norm(dense), len(dense) * 2.0**op.log2_rounding_gain
        assert np.log2(size) <= op.log2_norm <= np.log2(1.01 * size + room), drawn.how
        with np.errstate(divide="ignore"):
            missed = np.log2(np.linalg.norm(op.todense() - dense, 2))
        assert missed <= op.log2_rounding_gain, drawn.how
        assert np.all(op.diagonal() > 0)
        assert np.log2(np.max(np.abs(op.diagonal() - np.diag(dense).real)) + 5e-324) <= op.log2_rounding_gain


def moved(op: Any, rng: np.random.Generator, times: int) -> Any:
    for _ in range(times):
        new = own.gaussian(rng, (int(rng.integers(1, 3)), op.shape[0]), op.dtype)
        new = np.concatenate([new, 3 * op.gradients[-1:], np.zeros_like(new)]) if rng.random() < 0.3 else new
        op = op.updated(new, drop=min(len(new), len(op.gradients) - 1))
    return op


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("damping", [2.0**-40, 1.0])
def test_windows_that_move_are_as_good_as_new_ones(dtype: Any, damping: float) -> None:
    rng = np.random.default_rng(0)
    for d in (1, 4, 30):
        op = moved(InverseFisherOperator(own.gaussian(rng, (5, d), dtype), damping), rng, 40)
        assert op.basis_size <= min(2 * len(op.gradients), d)
        dense, bound = reference.dense(op), tolerances.products(op)[0]
        assert np.all(np.abs(op.todense() - dense) <= bound)
        assert np.linalg.norm((op.todense() - dense) * damping) < 60 * np.finfo(dtype).eps * np.sqrt(d)
        again = InverseFisherOperator(op.gradients, damping)
        np.testing.assert_array_equal(again.gradients, op.gradients)
        assert np.all(np.abs(again.todense() - dense) <= bound)


def test_what_moves_on_is_the_view() -> None:
    rng = np.random.default_rng(0)
    g, new = (own.gaussian(rng, (3, 5), np.complex128) for _ in range(2))
    op = InverseFisherOperator(g, 0.5)
    for view, a in ((op, g), (op.T, g.conj()), (op.conj(), g.conj()), (op.H, g)):
        later = view.updated(new, drop=2)
        assert later.mode == view.mode
        np.testing.assert_allclose(later.todense(), np.linalg.inv(matrix(np.concatenate([a[2:], new]), 0.5)))
        np.testing.assert_allclose(later.inverse().todense(), matrix(np.concatenate([a[2:], new]), 0.5))
        x = own.gaussian(rng, (5,), np.complex128)
        np.testing.assert_allclose(later.solve(later @ x), x)
    one = op.updated(new[0])
    np.testing.assert_array_equal(one.gradients, np.concatenate([g, new[:1]]))


def test_gradients_of_other_kinds_and_layouts() -> None:
    g = np.random.default_rng(0).integers(-9, 9, (8, 12))
    want = InverseFisherOperator(g.astype(np.float64), 0.1)
    for other in (g, g.tolist(), np.asfortranarray(g), g[::-1].copy()[::-1], np.repeat(g, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(InverseFisherOperator(other, 0.1).todense(), want.todense())
    assert InverseFisherOperator(g.astype(np.float16), 0.1).dtype == np.float32
    fixed = g.astype(np.float64)
    fixed.flags.writeable = False
    np.testing.assert_array_equal(InverseFisherOperator(fixed, 0.1).todense(), want.todense())
    with pytest.raises(ValueError, match="read-only"):
        want.gradients[0] = 0
    again = pickle.loads(pickle.dumps(want.T))
    np.testing.assert_array_equal(again.todense(), want.T.todense())


def test_casts_count_what_they_change() -> None:
    rng = np.random.default_rng(0)
    for damping in (1e-6, 1.0):
        op = InverseFisherOperator(rng.standard_normal((4, 20)) + rng.standard_normal(20), damping)
        narrow = op.astype(np.float32)
        want = reference.dense(op)
        true = np.linalg.norm(reference.dense(narrow) - want) / np.linalg.norm(want)
        assert 0 < true <= narrow.relative_error < 1e-3
        assert narrow.astype(np.float64).relative_error == narrow.relative_error
        assert np.isnan(narrow.inverse().relative_error)
        assert np.isnan(narrow.updated(np.ones(20)).relative_error)
    assert op.inverse().relative_error == 0
    thirds = InverseFisherOperator(np.ones((3, 4)), 1.0).inverse()
    assert 0 < thirds.relative_error < 1e-15


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_errors_of_casts_hold(first: int) -> None:
    counted = 0
    for seed in range(first, first + 50):
        drawn = own._inverse_fisher(np.random.default_rng([5, seed]))
        op, narrow = drawn.op, np.complex64 if drawn.op.dtype.kind == "c" else np.float32
        try:
            with np.errstate(all="ignore"):
                cast = op.astype(narrow)
        except OverflowError:
            continue
        missed = np.linalg.norm(reference.dense(cast) - drawn.dense) / np.linalg.norm(drawn.dense)
        assert missed <= cast.relative_error, drawn.how
        counted += missed > 0
    assert counted > 10


def test_zeros_and_the_least_numbers() -> None:
    op = InverseFisherOperator(np.zeros((3, 5)), 0.5)
    np.testing.assert_array_equal(op.todense(), 2 * np.eye(5))
    tiny = np.zeros((2, 3))
    tiny[0, 0] = 5e-324
    np.testing.assert_allclose(InverseFisherOperator(tiny, 1e-300).todense(), 1e300 * np.eye(3))
    op = op.updated(np.ones(5), drop=3)
    np.testing.assert_allclose(op.todense(), np.linalg.inv(matrix(np.ones((1, 5)), 0.5)))


ONES = np.ones((2, 3))


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: InverseFisherOperator(ONES, 0), ValueError, "damping: expected a positive number"),
        (lambda: InverseFisherOperator(ONES, -1.0), ValueError, "damping: expected a positive number"),
        (lambda: InverseFisherOperator(ONES, np.inf), ValueError, "damping: expected a positive number"),
        (lambda: InverseFisherOperator(ONES, np.nan), ValueError, "damping: expected a positive number"),
        (lambda: InverseFisherOperator(ONES.astype("f4"), 1e-39), ValueError, "whose reciprocal fits float32"),
        (lambda: InverseFisherOperator(ONES, "1"), TypeError, "damping: expected a number, got str"),
        (lambda: InverseFisherOperator(ONES[0], 1.0), ValueError, r"gradients: expected shape \(m, d\)"),
        (lambda: InverseFisherOperator(ONES[:0], 1.0), ValueError, r"gradients: expected shape \(m, d\)"),
        (lambda: InverseFisherOperator(ONES * np.inf, 1.0), ValueError, "gradients: expected finite numbers"),
        (
            lambda: InverseFisherOperator(ONES, 1.0).updated(ONES[:, :2]),
            ValueError,
            r"gradients: .* \(k, 3\) or \(3,\)",
        ),
        (lambda: InverseFisherOperator(ONES, 1.0).updated(ONES * np.nan), ValueError, "gradients: expected finite"),
        (lambda: InverseFisherOperator(ONES, 1.0).updated(1j * ONES), TypeError, "gradients: expected real numbers"),
        (
            lambda: InverseFisherOperator(ONES.astype("f4"), 1.0).updated(1e300 * ONES),
            OverflowError,
            "do not fit float32",
        ),
        (lambda: InverseFisherOperator(ONES, 1.0).updated(ONES[:0], drop=2), ValueError, "drop: expected to leave"),
        (lambda: InverseFisherOperator(ONES, 1.0).updated(ONES, drop=3), ValueError, "drop: expected to leave"),
        (lambda: InverseFisherOperator(1e100 * ONES, 1.0).astype("f4"), OverflowError, "do not fit float32"),
        (lambda: InverseFisherOperator(ONES, 1e100).astype("f4"), OverflowError, "do not fit float32"),
    ],
)
def test_refusals(ask: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        ask()
