"""Signed cuts of tensors of any order: errors, contractions, what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from bitterfly import cuts


def drawn(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


def product(cut: cuts.CutTensor, width: int) -> np.ndarray:
    """The first cuts in double precision, one after the other."""
    out = np.zeros(cut.shape)
    for j in range(width):
        part = np.float64(cut.coefficients[j])
        for side in cut.signs:
            part = np.multiply.outer(part, side[j])
        out += part
    return out


@pytest.mark.parametrize("shape", [(9,), (1, 1, 1), (12, 7), (5, 8, 9), (3, 1, 4, 6)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_errors_are_those_of_the_first_cuts(shape: tuple[int, ...], dtype: str) -> None:
    x = drawn(shape, dtype)
    cut = cuts.tensor(x, width=20, rng=0)
    for width in range(1, cut.width + 1):
        true = np.linalg.norm(x - product(cut, width)) / np.linalg.norm(x.astype(np.float64))
        part = cut.truncated(width)
        assert true <= part.relative_error <= true * (1 + 1e-5) + 1e-6
        assert part.nbytes == width * (sum(-(-n // 8) for n in shape) + x.itemsize)
    np.testing.assert_allclose(cut.todense(), product(cut, cut.width), atol=1e-5 if dtype == "f4" else 1e-13)
    assert np.all(np.diff(cut.errors) <= 1e-6)


def test_contractions_along_any_axes() -> None:
    cut = cuts.tensor(drawn((6, 7, 8)), width=30, rng=1)
    dense, vectors = cut.todense(), [drawn((n,)) for n in cut.shape]
    np.testing.assert_allclose(cut.contract({1: vectors[1]}).todense(), np.einsum("ijk,j", dense, vectors[1]))
    both = cut.contract({0: vectors[0], -1: vectors[2] * (1 + 2j)})
    np.testing.assert_allclose(both.todense(), np.einsum("ijk,i,k", dense, vectors[0], vectors[2] * (1 + 2j)))
    assert np.isclose(cut.contract(dict(enumerate(vectors))), np.einsum("ijk,i,j,k", dense, *vectors))
    assert np.isnan(both.relative_error)


def test_tensors_of_two_axes_are_matrices() -> None:
    a = drawn((40, 50), "f4")
    by_tensor = cuts.tensor(a, width=60, rng=0).relative_error
    assert abs(by_tensor / cuts.matrix(a, width=60, sweeps=0, starts=1, rng=0).relative_error - 1) < 0.03


@pytest.mark.parametrize("exponent", [-900, 900])
def test_scales_zeros_and_starts(exponent: int) -> None:
    x = drawn((5, 6, 7))
    plain, cut = (cuts.tensor(each, width=9, rng=3) for each in (x, np.ldexp(x, exponent)))
    np.testing.assert_array_equal(np.ldexp(cut.coefficients, -exponent), plain.coefficients)
    assert cuts.tensor(x, width=9, starts=8, rng=3).relative_error < plain.relative_error
    nothing = cuts.tensor(np.zeros((2, 3, 4)), width=5)
    assert (nothing.width, nothing.relative_error) == (1, 0)
    copied = pickle.loads(pickle.dumps(cut))
    np.testing.assert_array_equal(copied.todense(), cut.todense())


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (1.0, {"width": 1}, ValueError, "x: expected axes of a length"),
        (np.ones((2, 0)), {"width": 1}, ValueError, "x: expected axes of a length"),
        (np.ones((2, 2), "c8"), {"width": 1}, TypeError, "x: expected real numbers"),
        ([[np.nan]], {"width": 1}, ValueError, "x: expected finite numbers"),
        ([1.0], {"width": 0}, ValueError, "width, starts: expected at least 1"),
        ([1.0], {"width": 1, "starts": 0}, ValueError, "width, starts: expected at least 1"),
    ],
)
def test_refusals(x: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cuts.tensor(x, **options)


def test_refused_contractions() -> None:
    cut = cuts.tensor(drawn((3, 4)), width=2, rng=0)
    for vectors, message in (
        ({2: np.ones(3)}, "expected different axes from -2 to 1, got 2"),
        ({0: np.ones(3), -2: np.ones(3)}, "expected different axes"),
        ({1: np.ones(3)}, r"vectors\[1\]: expected shape \(4,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            cut.contract(vectors)
