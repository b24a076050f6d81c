"""Sums of signed cuts: what they take, what they refuse, their bits, errors and truncations."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import exact
from bitterfly import SignedCut, _core, reference


def drawn(width: int, shape: tuple[int, int], dtype: Any = np.float32, **facts: Any) -> SignedCut:
    rng = np.random.default_rng([width, *shape])
    signs = (rng.choice([-1, 1], (width, size)) for size in shape)
    return SignedCut(rng.standard_normal(width).astype(dtype), *signs, **facts)


@pytest.mark.parametrize("shape", [(1, 1), (7, 130), (64, 32), (129, 65)])
@pytest.mark.parametrize("width", [1, 17, 70])
def test_bits_and_signs(shape: tuple[int, int], width: int) -> None:
    op = drawn(width, shape, errors=np.linspace(1, 0.5, width))
    rows, columns = op.signs
    expected = np.einsum("w,wm,wn", op.coefficients.astype("f8"), rows, columns)
    np.testing.assert_allclose(reference.dense(op), expected, rtol=1e-13, atol=1e-13)
    again = SignedCut.from_bits(shape, op.coefficients, *op.bits)
    for one, other in zip(again.bits, op.bits, strict=True):
        np.testing.assert_array_equal(one, other)
    assert op.nbytes == sum(part.nbytes for part in (*op.bits, op.coefficients))
    assert op.mean_bits == 1
    assert [each.shape for each in op.T.signs] == [each.shape for each in op.signs[::-1]]
    copied = pickle.loads(pickle.dumps(op.T))
    np.testing.assert_array_equal(copied.todense(), op.T.todense())
    np.testing.assert_array_equal(copied.errors, op.errors)


def test_truncations_are_the_first_cuts() -> None:
    op = drawn(40, (50, 33), errors=np.linspace(1, 0.5, 40), relative_error=0.5, error_kind="measured")
    rows, columns = op.signs
    for width in (1, 16, 39):
        part = op.T.truncated(width)
        assert (part.width, part.relative_error, part.error_kind) == (width, op.errors[width - 1], "measured")
        expected = np.einsum("w,wm,wn", op.coefficients[:width].astype("f8"), rows[:width], columns[:width])
        np.testing.assert_allclose(part.T.todense(), expected, atol=1e-5)
    assert op.truncated(40) is op
    assert np.isnan(drawn(4, (5, 6)).truncated(3).relative_error)
    for bad in (0, 41):
        with pytest.raises(ValueError, match="width: expected 1 to 40"):
            op.truncated(bad)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_have_the_same_bits_everywhere(dtype: str, transposed: bool) -> None:
    op = drawn(333, (300, 1200), dtype)
    op = op.T if transposed else op
    x = np.random.default_rng(0).standard_normal((op.shape[1], 3)).astype(dtype)
    before, work = _core.active_isa(), _core.set_least_parallel_work(0)
    try:
        found = []
        for isa in _core.available_isas():
            _core.select_isa(isa)
            found += [op.apply(x, workers=workers) for workers in (1, 3)]
            found.append(np.stack([op @ column for column in x.T], axis=1))
    finally:
        _core.select_isa(before)
        _core.set_least_parallel_work(work)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    expected = reference.dense(op) @ x.astype(np.float64)
    missed = np.linalg.norm(found[0] - expected) / np.linalg.norm(expected)
    assert missed < (1e-7 if dtype == "f4" else 1e-14)


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-30, 2.0**1010])
def test_any_scale(scale: float) -> None:
    op = drawn(9, (30, 40), "f8")
    large = SignedCut(op.coefficients * scale, *op.signs)
    x = np.random.default_rng(1).standard_normal(40)
    np.testing.assert_allclose(large @ x, (op @ x) * scale, rtol=1e-12, atol=0)
    np.testing.assert_allclose(large @ (x / scale), op @ x, rtol=1e-12, atol=0)


def test_vectors_that_are_not_finite_give_nan() -> None:
    op = drawn(3, (4, 5))
    x = np.ones((5, 2), np.float32)
    x[2, 0] = np.inf
    y = op @ x
    assert np.all(np.isnan(y[:, 0]))
    np.testing.assert_array_equal(y[:, 1], op @ np.ones(5, np.float32))


def test_precisions() -> None:
    op = drawn(20, (30, 20), "f8", relative_error=0.0, error_kind="exact")
    narrow = op.astype(np.float32)
    true = exact.error(reference.dense(op), narrow)
    assert 0 < true <= narrow.relative_error
    assert np.all(np.isnan(narrow.errors))
    assert narrow.astype(np.float64).relative_error == narrow.relative_error


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"coefficients": []}, ValueError, "coefficients: expected shape"),
        ({"coefficients": [1j, 1]}, TypeError, "coefficients: expected real numbers"),
        ({"coefficients": [np.nan, 1]}, ValueError, "coefficients: expected finite numbers"),
        ({"coefficients": [1e300, 1], "dtype": "f4"}, OverflowError, "dtype: the coefficients do not fit float32"),
        ({"dtype": "c8"}, TypeError, "dtype: signed cuts are real"),
        ({"rows": [[1, 0], [1, 1]]}, ValueError, "rows: expected numbers -1 and 1"),
        ({"columns": [[1, 1]]}, ValueError, "columns: expected shape"),
        ({"errors": [1, -1]}, ValueError, "errors: expected 2 numbers"),
        ({"mode": "upward"}, ValueError, "mode: expected one of"),
    ],
)
def test_refusals(change: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"coefficients": [1.0, 2.0], "rows": [[1, -1], [1, 1]], "columns": [[1, 1, 1], [-1, 1, 1]]}
    given = good | change
    with pytest.raises(error, match=message):
        SignedCut(given.pop("coefficients"), given.pop("rows"), given.pop("columns"), **given)


def test_bits_that_are_refused() -> None:
    op = drawn(3, (9, 12))
    left, right = op.bits
    for sides, error, message in (
        ((left.astype(np.int64), right), TypeError, "left: expected an array of uint8, got int64"),
        ((left, right.tolist()), TypeError, "right: expected an array of uint8, got list"),
        ((left[:2], right), ValueError, "left: expected a row of bytes for each cut"),
        ((left, left[:, :1]), ValueError, "right: expected a row of bytes for each cut"),
    ):
        with pytest.raises(error, match=message):
            SignedCut.from_bits((9, 12), op.coefficients, *sides)
    with pytest.raises(TypeError, match="unknown option 'scale'"):
        SignedCut.from_bits((9, 12), op.coefficients, left, right, scale=2)
    backwards = SignedCut.from_bits((9, 12), op.coefficients[::-1], left[::-1], right[::-1])
    np.testing.assert_allclose(backwards.todense(), op.todense(), atol=1e-6)
