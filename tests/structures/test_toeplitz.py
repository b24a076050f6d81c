"""Toeplitz matrices and convolutions against SciPy; projections to structures are the nearest ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from scipy.signal import correlate

import bitterfly
import strategies as own
from bitterfly import reference, structures

DTYPES = [np.float32, np.complex128]


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("dtype", DTYPES)
def test_convolutions_are_those_of_scipy(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for shape, window, strides, padding in (
        ((17,), (5,), 1, 0),
        ((16, 21), (3, 4), [2, 3], [1, 2]),
        ((6, 5, 7), (2, 3, 3), 2, 1),
    ):
        kernel, x = own.gaussian(rng, (3, 2, *window), dtype), own.gaussian(rng, (2, *shape), dtype)
        op = structures.convolution(kernel, shape, strides=strides, padding=padding)
        pads = np.broadcast_to(padding, len(shape))
        padded = np.pad(x, [(0, 0), *((p, p) for p in pads)])
        parts = [[correlate(padded[q], kernel[p, q].conj(), "valid", "direct") for q in range(2)] for p in range(3)]
        whole = np.array(parts).sum(axis=1)
        steps = tuple(slice(None, None, s) for s in np.broadcast_to(strides, len(shape)))
        expected = whole[(slice(None), *steps)]
        assert op.shape == (expected.size, x.size)
        assert relative(op @ x.ravel(), expected.ravel()) < 50 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_projections_are_orthogonal(dtype: Any) -> None:
    """The rest has nothing of the structure: its own projection is zero."""
    rng = np.random.default_rng(0)
    a = own.gaussian(rng, (40, 40), dtype)
    for project in (structures.toeplitz, structures.circulant, structures.hankel):
        op = project(a)
        found = reference.dense(op)
        assert relative(found, a) <= op.relative_error < relative(found, a) * (1 + 1e-6)
        assert np.linalg.norm(reference.dense(project(a - found))) < 1e-5 * np.linalg.norm(a)
        again = project(found.astype(dtype))
        assert again.relative_error < 4 * np.finfo(dtype).eps
        np.testing.assert_allclose(op @ a, found @ a, atol=1e-4)


def test_exact_structure_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    t = rng.standard_normal((2, 50)).astype(np.float32)
    assert structures.toeplitz(scipy.linalg.toeplitz(t[0], t[1])).relative_error == 0
    assert structures.circulant(scipy.linalg.circulant(t[0])).relative_error == 0
    assert structures.hankel(scipy.linalg.hankel(t[0], t[1])).relative_error == 0
    banded = structures.toeplitz(np.eye(30, 20, 2) - np.eye(30, 20, -1))
    assert banded.nbytes == 8 * 4
    nothing = structures.toeplitz(np.zeros((3, 4)))
    assert nothing.relative_error == 0 and not nothing.todense().any()


def test_kronecker_products() -> None:
    rng = np.random.default_rng(0)
    for dtype in DTYPES:
        b, c = own.gaussian(rng, (6, 5), dtype), own.gaussian(rng, (3, 8), dtype)
        for size in (1e-30, 1.0, 1e30):
            a = (size * np.kron(b, c)).astype(dtype)
            op = structures.kronecker(a, (3, 8))
            assert op.relative_error < 4 * np.finfo(dtype).eps
        noisy = np.kron(b, c) + 0.1 * own.gaussian(rng, (18, 40), dtype)
        op = structures.kronecker(noisy, (3, 8))
        rows = noisy.reshape(6, 3, 5, 8).transpose(0, 2, 1, 3).reshape(30, 24)
        s = np.linalg.svd(rows, compute_uv=False)
        assert op.relative_error < 1.001 * np.sqrt(np.sum(s[1:] ** 2) / np.sum(s**2))
    with pytest.raises(ValueError, match="block: expected a shape that divides"):
        structures.kronecker(a, (4, 8))


def test_sparse_projections_keep_the_largest() -> None:
    a = np.random.default_rng(0).standard_normal((30, 20))
    op = structures.sparse(a, 50)
    assert op.nnz == 50
    assert np.min(np.abs(op.matrix.data)) == np.sort(np.abs(a), axis=None)[-50]
    assert relative(op.todense(), a) <= op.relative_error < relative(op.todense(), a) * (1 + 1e-9)
    assert structures.sparse(a).relative_error == 0
    with pytest.raises(ValueError, match="count: expected a number that is not negative"):
        structures.sparse(a, -1)


def test_permutations() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(33)
    op = structures.permutation(np.eye(33)[order])
    np.testing.assert_array_equal(op.order, order)
    np.testing.assert_array_equal(op.T.order, np.argsort(order))
    np.testing.assert_array_equal(op.T @ (op @ np.arange(33.0)), np.arange(33))
    for bad in (2 * np.eye(3), np.ones((3, 3)), np.eye(3)[[0, 0, 2]], np.eye(3, 4)):
        with pytest.raises(ValueError, match="a: expected a permutation matrix"):
            structures.permutation(bad)
    for bad in ([0, 0], [1, 2], [[0, 1]], [0.0, 1.0], []):
        with pytest.raises(ValueError, match="order: expected"):
            structures.PermutationOperator(bad)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rows": [3], "columns": [3, 3]}, "columns: expected 1 integers"),
        ({"rows": [0], "columns": [3]}, "rows: expected positive numbers"),
        ({"rows": [5], "columns": [4], "periodic": True}, "periodic: expected rows and columns of"),
        ({"rows": [5], "columns": [5], "periodic": True, "strides": [1]}, "periodic: expected .* neither first nor"),
        ({"rows": [5, 5], "columns": [5, 5]}, "coefficients: expected 2 or 4 dimensions"),
        ({"rows": [3], "columns": [3], "mode": "up"}, "mode: expected one of"),
    ],
)
def test_refusals(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        structures.ToeplitzOperator(np.arange(5.0), **asked)
    with pytest.raises(ValueError, match="coefficients: expected finite numbers"):
        structures.ToeplitzOperator([np.nan], [1], [1])
    with pytest.raises(ValueError, match="kernel: expected 2 or 4 dimensions"):
        structures.convolution([1.0], [3, 3])
    with pytest.raises(ValueError, match="shape: expected inputs that the window"):
        structures.convolution(np.ones((4, 4)), [3, 3])
    cases: list[tuple[dict[str, Any], str]]
    cases = [({"strides": 0}, "strides"), ({"strides": [1]}, "strides"), ({"padding": -1}, "padding")]
    for more, name in cases:
        with pytest.raises(ValueError, match=f"{name}: expected"):
            structures.convolution(np.ones((2, 2)), [5, 5], **more)
    with pytest.raises(TypeError, match="padding: expected integers"):
        structures.convolution(np.ones((2, 2)), [5, 5], padding=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="strides: expected numbers below"):
        structures.ToeplitzOperator([1.0, 2], [5], [2], strides=[1 << 62])
    with pytest.raises(ValueError, match="rows, columns: expected transforms of fewer"):
        structures.ToeplitzOperator(np.ones((1, 1 << 16)), [1, 1 << 16], [1 << 16, 1])


@pytest.mark.parametrize("dtype", own.DTYPES)
def test_products_have_the_range_of_their_precision(dtype: Any) -> None:
    """Neither transforms nor sums on the way leave it, and no bound is broken at its bottom."""
    info = np.finfo(dtype)
    for size in (float(info.max) / 8, 2.0 ** (info.minexp + 4), 1.0):
        t = np.full(127, size).astype(dtype)
        op = structures.ToeplitzOperator(t, [64], [64])
        assert np.all(np.isfinite(op.todense()))
        x = np.zeros(64, dtype)
        x[3] = 2.0 ** (-8 if size > 1 else 20)
        np.testing.assert_allclose(op @ x, t[:64] * x[3], rtol=1e-4)
    assert structures.ToeplitzOperator([1.0, 1e-200, 0, 0], [1], [1], first=[-1]).log2_norm > -665


def test_what_integers_lose_is_counted() -> None:
    a = np.full((3, 3), 2**60 + 1)
    for op in (structures.toeplitz(a), structures.circulant(a), structures.sparse(a), bitterfly.SparseOperator(a)):
        assert op.relative_error > 8e-19
    assert bitterfly.SparseOperator(np.full((3, 3), 2**50 + 1)).relative_error == 0


def test_tall_matrices_are_as_fast_as_wide_ones() -> None:
    a = np.broadcast_to(np.float32(3), (200_000, 2))
    op = structures.toeplitz(a)
    assert op.shape == a.shape and op.relative_error == 0
    kron = structures.kronecker(a, (1000, 1))
    assert kron.shape == a.shape and kron.relative_error < 1e-6


def test_a_large_one_takes_no_dense_matrix() -> None:
    n = 1 << 18
    t = np.zeros(2 * n - 1, np.float32)
    t[n - 1], t[n] = 2, -1  # the diagonal and the one below
    op = structures.ToeplitzOperator(t, [n], [n])
    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    expected = 2 * x
    expected[1:] -= x[:-1]
    assert relative(op @ x, expected) < 1e-6
    assert bitterfly.vstack([op, op]).shape == (2 * n, n)
