"""Second moments of inputs: any batches, exactly symmetric, nothing added where something is wrong."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
import tolerances
from bitterfly.accuracy import moments
from bitterfly.accuracy.moments import SecondMoments


def assert_near(found: np.ndarray, x: np.ndarray) -> None:
    """Each entry within what the sum over the inputs rounds."""
    x = x.astype(np.float64)
    bound = tolerances.gamma(2 * len(x) + 2, np.float64) * (np.abs(x).T @ np.abs(x))
    assert np.all(np.abs(found - x.T @ x) <= bound)


@given(st.integers(1, 40), st.lists(st.integers(0, 30), min_size=1, max_size=4), strategies.seeds)
def test_batches_add_up(n: int, sizes: list[int], seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((sum(sizes), n))
    found = SecondMoments(n)
    for batch in np.split(x, np.cumsum(sizes)[:-1]):
        assert found.update(batch) is found
    assert found.count == len(x)
    assert_near(found.matrix, x)
    np.testing.assert_array_equal(found.matrix, found.matrix.T)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint64, bool])
def test_dtypes_and_shapes(dtype: type) -> None:
    x = np.random.default_rng(0).integers(0, 2, (2, 3, 5)).astype(dtype)
    found = SecondMoments(5).update(x).update(x[0, 0]).update(x[:, ::-1, :][:0])
    assert found.count == 7
    np.testing.assert_array_equal(found.matrix, sum(np.outer(v, v) for v in [*x.reshape(6, 5) * 1.0, x[0, 0] * 1.0]))


def test_panels_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((50, 37)).astype(np.float32)
    monkeypatch.setattr(moments, "_PANEL", 200)
    monkeypatch.setattr(moments, "_BLOCK", 8)
    found = SecondMoments(37).update(x)
    assert_near(found.matrix, x)
    np.testing.assert_array_equal(found.matrix, found.matrix.T)


@given(strategies.seeds)
def test_merged_is_one_update(seed: int) -> None:
    x = np.random.default_rng(seed).integers(-8, 9, (20, 7))
    one = SecondMoments(7).update(x[:6]).merge(SecondMoments(7).update(x[6:]))
    both = SecondMoments(7).update(x)
    np.testing.assert_array_equal(one.matrix, both.matrix)
    assert one.count == both.count == 20


def test_views_follow_and_cannot_be_written_to() -> None:
    found = SecondMoments(2)
    view = found.matrix
    found.update([1, 2])
    np.testing.assert_array_equal(view, [[1, 2], [2, 4]])
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1


def test_pickles_and_says_what_it_is() -> None:
    found = SecondMoments(3).update(np.eye(3)[:2])
    assert repr(found) == "SecondMoments(n=3, count=2)"
    again = pickle.loads(pickle.dumps(found)).update([0, 0, 1])
    np.testing.assert_array_equal(again.matrix, np.eye(3))
    assert found.matrix[2, 2] == 0 and found.n == 3


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones(4), ValueError, r"x: expected shape \(\.\.\., 3\), got \(4,\)"),
        (1.0, ValueError, "x: expected shape"),
        (np.ones((2, 3), complex), TypeError, "x: expected real numbers, got complex128"),
        ([0, np.nan, 0], ValueError, "x: expected finite numbers"),
        ([0, -np.inf, 0], ValueError, "x: expected finite numbers"),
        ([1e200, 0, 0], ValueError, "x: the sum of squares overflows: entries as large as 1e[+]200"),
        (np.full((100, 3), 1e154), ValueError, "x: the sum of squares overflows"),
        ("abc", TypeError, "x: expected"),
    ],
)
def test_what_is_wrong_is_named_and_adds_nothing(x: object, error: type[Exception], message: str) -> None:
    found = SecondMoments(3).update([1, 1, 1])
    with pytest.raises(error, match=message):
        found.update(x)
    assert found.count == 1
    np.testing.assert_array_equal(found.matrix, np.ones((3, 3)))


def test_merges_that_are_wrong_are_named() -> None:
    large = SecondMoments(2).update([1.2e154, 0])
    with pytest.raises(ValueError, match="other: the sum of squares overflows"):
        large.merge(large)
    with pytest.raises(ValueError, match="other: expected moments of 2 inputs, got 3"):
        large.merge(SecondMoments(3))
    with pytest.raises(TypeError, match="other: expected SecondMoments, got ndarray"):
        large.merge(np.eye(2))  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("3", TypeError)])
def test_sizes_that_are_wrong_are_named(n: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="n: expected"):
        SecondMoments(n)  # type: ignore[arg-type]


def test_threads_may_update_one() -> None:
    x = np.random.default_rng(0).standard_normal((200, 20, 100))
    found = SecondMoments(100)

    def add(first: int) -> None:
        for batch in x[first::4]:
            found.update(batch)

    threads = [threading.Thread(target=add, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = x.reshape(-1, 100)
    assert found.count == len(rows)
    np.testing.assert_allclose(found.matrix, rows.T @ rows, rtol=1e-10, atol=1e-8)


def test_copies_are_others() -> None:
    found = SecondMoments(2).update([1.0, 2.0])
    other = copy.copy(found)
    other.update([1.0, 1.0])
    assert (found.count, other.count) == (1, 2)
    np.testing.assert_array_equal(found.matrix, [[1, 2], [2, 4]])
