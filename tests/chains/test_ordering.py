"""Orderings: digit reversals, space-filling curves, median splits and recursive permutations against slow twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitterfly import ordering

radices = st.lists(st.integers(1, 5), min_size=1, max_size=5)
names = ("separate", "reverse_first", "reverse_second")


@st.composite
def grids(draw: st.DrawFn) -> np.ndarray:
    """Points with many ties: small integers, as float64."""
    dim = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(st.integers(0, 7), min_size=dim, max_size=dim), max_size=40))
    return np.array(rows, float).reshape(-1, dim)


def number(digits: list[int], bases: list[int]) -> int:
    out = 0
    for digit, base in zip(digits, bases, strict=True):
        out = out * base + digit
    return out


@pytest.mark.parametrize("n", [1, 2, 8, 1024])
def test_bit_reversal(n: int) -> None:
    order = ordering.bit_reversal(n)
    width = n.bit_length() - 1
    expected = [int(f"{i:0{width}b}"[::-1], 2) if width else 0 for i in range(n)]
    assert order.dtype == np.intp
    assert order.tolist() == expected
    assert np.array_equal(order[order], np.arange(n))


@pytest.mark.parametrize("n", [-2, 0, 3])
def test_bit_reversal_refuses_other_sizes(n: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        ordering.bit_reversal(n)


@given(radices)
def test_digit_reversal(bases: list[int]) -> None:
    order = ordering.digit_reversal(bases)
    assert order.dtype == np.intp
    expected = [number([*digits][::-1], bases[::-1]) for digits in np.ndindex(*bases)]
    assert order.tolist() == expected


@given(radices)
def test_reversed_radices_give_the_inverse(bases: list[int]) -> None:
    order, inverse = ordering.digit_reversal(bases), ordering.digit_reversal(bases[::-1])
    assert np.array_equal(order[inverse], np.arange(order.size))
    assert np.array_equal(inverse[order], np.arange(order.size))


@pytest.mark.parametrize("p", range(11))
def test_digit_reversal_of_bits_is_bit_reversal(p: int) -> None:
    assert np.array_equal(ordering.digit_reversal([2] * p or [1]), ordering.bit_reversal(2**p))


def test_digit_reversal_is_not_its_own_inverse() -> None:
    order = ordering.digit_reversal([3, 2])
    assert order.tolist() == [0, 3, 1, 4, 2, 5]
    assert not np.array_equal(order[order], np.arange(6))


@pytest.mark.parametrize("digits", [[], [0], [2, -1]])
def test_digit_reversal_refuses_radices_below_one(digits: list[int]) -> None:
    with pytest.raises(ValueError, match=r"at least 1, got \["):
        ordering.digit_reversal(digits)


def test_digit_reversal_refuses_floats() -> None:
    with pytest.raises(TypeError, match="integer"):
        ordering.digit_reversal([2.0])  # type: ignore[list-item]


def interleaved(cell: list[int], bits: int) -> int:
    return int("".join(f"{x >> bit & 1}" for bit in range(bits - 1, -1, -1) for x in cell), 2)


@given(grids())
def test_morton(points: np.ndarray) -> None:
    """Corners 0 and 8 fix the range, so that the cells of 3 bits are the integers; ties keep their order."""
    dim = points.shape[1]
    x = np.concatenate([points, np.zeros((1, dim)), np.full((1, dim), 8.0)])
    codes = [interleaved([min(int(c), 7) for c in row], 3) for row in x]
    expected = sorted(range(len(x)), key=lambda at: codes[at])
    order = ordering.morton(x, bits=3)
    assert order.dtype == np.intp
    assert order.tolist() == expected


@given(grids())
def test_morton_does_not_see_scale_and_shift(points: np.ndarray) -> None:
    """Powers of two and shifts of small integers are exact."""
    scale = 2.0 ** np.arange(-3, points.shape[1] - 3)
    assert np.array_equal(ordering.morton(points), ordering.morton(points * scale + 64))


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_morton_of_a_diagonal_sorts_it(dim: int) -> None:
    """At 12 bits or more, the cells of 100 numbers 1/128 apart differ."""
    x = np.random.default_rng(dim).permutation(100) / 128
    assert np.array_equal(ordering.morton(np.tile(x[:, None], dim)), np.argsort(x))


def test_morton_of_most_coordinates_has_a_bit_for_each() -> None:
    x = np.random.default_rng(0).permutation(101)
    assert np.array_equal(ordering.morton(np.tile(x[:, None], 63)), np.argsort(x >= 50, kind="stable"))


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("sentinel", [1e20, -1e300, 1.7e308, -9999.0])
@pytest.mark.parametrize("coordinates", [1, 3])
def test_outliers_do_not_move_the_others(dim: int, sentinel: float, coordinates: int) -> None:
    """A number for missing points, in one coordinate or in all: the others stay as near to each other, nearly.

    Cells as long as 1 + 4 (or 1 + 8) widths on the side of one coordinate instead of 1: two or three levels of it are
    lost, and the step of the curve grows by less than half, where it was ten times as long.
    """
    x = np.random.default_rng(dim).random((1024, dim))
    marked = np.arange(1024) % 100 == 17
    far = np.where(marked[:, None] & (np.arange(dim) < coordinates), sentinel, x)
    kept = ~marked

    def step(points: np.ndarray) -> float:
        order = ordering.morton(points)
        assert np.array_equal(np.sort(order), np.arange(1024))
        return float(np.mean(np.linalg.norm(np.diff(x[order[kept[order]]], axis=0), axis=1)))

    assert step(far) < 1.5 * step(x)


def test_morton_halves_the_square_by_its_first_coordinate() -> None:
    x = np.random.default_rng(0).random((1000, 2))
    x[:2] = [[0, 0], [1, 1]]
    first = x[ordering.morton(x), 0] >= 0.5
    assert np.array_equal(first, np.sort(first))


@pytest.mark.parametrize("order", [ordering.morton, ordering.kd_tree])
def test_orders_of_few_equal_and_extreme_points(order: Callable[..., Any]) -> None:
    assert order(np.zeros((0, 2))).tolist() == []
    assert order([[5.0, 5.0]]).tolist() == [0]
    assert order(np.ones((6, 3))).tolist() == list(range(6))
    assert order([[1e308], [-1e308], [0.0]]).tolist() == [1, 2, 0]
    assert order([[2.0**-1072], [0.0]]).tolist() == [1, 0]
    assert order(np.array([[3], [1], [2]], np.int8)).tolist() == [1, 2, 0]
    assert order([[2], [0], [1]]).dtype == np.intp


@pytest.mark.parametrize("order", [ordering.morton, ordering.kd_tree])
@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        ([1.0, 2.0], ValueError, r"got shape \(2,\)"),
        (np.zeros((2, 0)), ValueError, r"got shape \(2, 0\)"),
        (np.zeros((2, 64)), ValueError, r"got shape \(2, 64\)"),
        ([[0.0], [np.nan]], ValueError, "NaN"),
        ([[0.0], [np.inf]], ValueError, "infinity"),
        ([[1j]], TypeError, "complex128"),
        ([["a"]], TypeError, "real coordinates"),
    ],
)
def test_points_that_are_refused(order: Callable[..., Any], points: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        order(points)


@pytest.mark.parametrize(("dim", "bits", "most"), [(1, 53, 52), (2, 32, 31), (3, 0, 21)])
def test_morton_refuses_bits_that_do_not_fit(dim: int, bits: int, most: int) -> None:
    with pytest.raises(ValueError, match=f"bits: expected 1 to {most} for {dim} coordinates, got {bits}"):
        ordering.morton(np.zeros((2, dim)), bits=bits)


def slow_kd_tree(x: np.ndarray, at: list[int], leaf: int) -> list[int]:
    if len(at) <= leaf:
        return at
    axis = int(np.argmax(np.ptp(x[at], axis=0)))
    at = sorted(at, key=lambda i: (x[i, axis], i))
    half = (len(at) + 1) // 2
    return slow_kd_tree(x, at[:half], leaf) + slow_kd_tree(x, at[half:], leaf)


@given(grids(), st.sampled_from([1, 2, 3, 50]))
def test_kd_tree(points: np.ndarray, leaf: int) -> None:
    assert ordering.kd_tree(points, leaf).tolist() == slow_kd_tree(points, list(range(len(points))), leaf)


@pytest.mark.parametrize("n", [1, 2, 1000, 1024])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_kd_tree_of_random_points(n: int, dim: int) -> None:
    x = np.random.default_rng(n + dim).standard_normal((n, dim))
    order = ordering.kd_tree(x)
    assert order.tolist() == slow_kd_tree(x, list(range(n)), 1)
    assert np.array_equal(np.sort(order), np.arange(n))


def test_kd_tree_separates_boxes_along_their_longest_side() -> None:
    x = np.random.default_rng(0).random((256, 2)) * [1, 3]
    low, high = np.split(x[ordering.kd_tree(x)], 2)
    assert low[:, 1].max() <= high[:, 1].min()


def test_kd_tree_does_not_overflow() -> None:
    x = np.array([[1e308, 0.0], [-1e308, 1.0], [1.7e308, 2.0], [-1.7e308, 3.0]])
    assert ordering.kd_tree(x).tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize("leaf", [0, -1])
def test_kd_tree_refuses_leaves_below_one(leaf: int) -> None:
    with pytest.raises(ValueError, match=f"leaf: expected at least 1, got {leaf}"):
        ordering.kd_tree([[0.0]], leaf)


def slow_recursive(x: list[int], separate: bool, first: bool, second: bool) -> list[int]:
    if len(x) == 1:
        return x
    x = x[::2] + x[1::2] if separate else x
    low, high = x[: len(x) // 2], x[len(x) // 2 :]
    low, high = low[::-1] if first else low, high[::-1] if second else high
    return slow_recursive(low, separate, first, second) + slow_recursive(high, separate, first, second)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 64])
def test_recursive_permutations(n: int) -> None:
    orders = ordering.recursive(n)
    assert len(orders) == 8
    for choice in np.ndindex(2, 2, 2):
        name = "_".join(name for name, does in zip(names, choice, strict=True) if does) or "identity"
        assert orders[name].dtype == np.intp
        assert orders[name].tolist() == slow_recursive(list(range(n)), *map(bool, choice))
    assert np.array_equal(orders["identity"], np.arange(n))
    assert np.array_equal(orders["separate"], ordering.bit_reversal(n))


@pytest.mark.parametrize("n", [8, 16, 1024])
def test_recursive_permutations_differ(n: int) -> None:
    orders = ordering.recursive(n)
    assert len({order.tobytes() for order in orders.values()}) == 8


@pytest.mark.parametrize("n", [-2, 0, 3])
def test_recursive_refuses_other_sizes(n: int) -> None:
    with pytest.raises(ValueError, match=f"power of two, got {n}"):
        ordering.recursive(n)
