"""Structures beside sparse matrices: exact recovery, never worse than without, errors that hold, refusals."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import bitterfly
import errors
import exact
import strategies as own
from bitterfly import Chain, structures


def low_rank(rank: int) -> Any:
    return lambda a: structures.tensor_train(a, [a.shape[0], 1], [1, a.shape[1]], ranks=rank)


def outliers(rng: np.random.Generator, shape: tuple[int, int], count: int, dtype: Any) -> np.ndarray:
    out = np.zeros(shape[0] * shape[1], dtype)
    out[rng.permutation(out.size)[:count]] = own.gaussian(rng, (count,), dtype)
    return out.reshape(shape)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("size", [0.3, 10.0, 1e6])
@pytest.mark.parametrize("scale", [1.0, 2.0**900, 2.0**-900])
def test_toeplitz_and_outliers_are_told_apart(dtype: Any, size: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    t = own.gaussian(rng, (2, 60), dtype)
    s = size * outliers(rng, (60, 60), 40, dtype)
    a = (scipy.linalg.toeplitz(t[0], t[1]) + s) * scale
    op = structures.with_sparse(a, 40, structures.toeplitz)
    assert op.relative_error < 1e-11 < 1e-2 < structures.toeplitz(a).relative_error
    assert exact.error(a, op) <= op.relative_error
    found = op.terms[1].matrix.toarray() / scale
    assert op.terms[1].nnz <= 40
    inner = np.abs(s) > 0
    inner[:, :4] = inner[:, -4:] = inner[:4] = inner[-4:] = (
        False  # short diagonals may take their outliers for themselves
    )
    np.testing.assert_allclose(found[inner], s[inner], rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("size", [1.0, 10.0, 100.0])
def test_low_rank_and_outliers_are_told_apart(dtype: Any, size: float) -> None:
    rng = np.random.default_rng(0)
    rank, count = 3, 200
    a = own.gaussian(rng, (80, rank), dtype) @ own.gaussian(rng, (rank, 60), dtype)
    a = a + size * outliers(rng, (80, 60), count, dtype)
    op = structures.with_sparse(a, count, low_rank(rank), rounds=100)
    assert op.relative_error < 1e-9 < 5e-2 < low_rank(rank)(a).relative_error
    assert exact.error(a, op) <= op.relative_error


PROJECTIONS: dict[str, Any] = {
    "toeplitz": structures.toeplitz,
    "low rank": low_rank(1),
    "sparse": lambda a: structures.sparse(a, 3),
    "monarch": structures.monarch,
    "butterfly": lambda a: bitterfly.factorize(a, Chain.for_shape(a.shape)),
    "wrong": lambda a: (
        structures.PermutationOperator(np.arange(min(a.shape))) if a.shape[0] == a.shape[1] else structures.toeplitz(a)
    ),
}


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("first", range(0, 60, 20))
def test_never_worse_than_without_and_errors_hold(name: str, first: int) -> None:
    for seed in range(first, first + 20):
        rng = np.random.default_rng(seed)
        dtype, shape = own.DTYPES[rng.integers(4)], tuple(int(s) for s in rng.integers(1, 13, 2))
        kind = str(
            rng.choice(["gaussian", "graded", "rank_one", "zero_blocks", "zero", "identity", "one_entry", "decaying"])
        )
        with np.errstate(all="ignore"):
            a = own.matrix(kind, max(*shape, 2), dtype, seed)[: shape[0], : shape[1]]
            if np.finfo(dtype).bits == 64 and kind != "decaying":
                a = own.ldexp(a, int(rng.choice([-900, 0, 900]))).astype(dtype)
        count = int(rng.integers(0, 2 + a.size // 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            op = structures.with_sparse(a, count, PROJECTIONS[name], rounds=4)
            plain = PROJECTIONS[name](a)
        true = exact.error(a, op)
        assert op.terms[1].nnz <= count
        assert true <= op.relative_error
        assert true <= exact.error(a, plain) * (1 + 1e-5) + 64 * np.finfo(dtype).eps, (seed, kind)


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_errors_of_any_source_hold(first: int) -> None:
    """Integers, half precision, denormal and huge numbers."""
    for seed in range(first, first + 20):
        rng = np.random.default_rng([12, seed])
        a = errors.matrix(rng)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for name in ("toeplitz", "low rank", "monarch"):
                op = structures.with_sparse(a, int(rng.integers(0, 5)), PROJECTIONS[name], rounds=3)
                assert exact.error(a, op) <= op.relative_error, (seed, name, a.dtype, a.shape)


@pytest.mark.parametrize(("dtype", "largest"), [("f4", 3.4e38), ("f8", 1.7e308), ("c8", 3.4e38)])
def test_the_largest_numbers(dtype: str, largest: float) -> None:
    signs = np.sign(np.random.default_rng(0).standard_normal((2, 32, 24)))
    a = (largest * (signs[0] + 1j * signs[1] if dtype == "c8" else signs[0])).astype(dtype)
    for projection in (structures.toeplitz, structures.hankel):
        alone = projection(a)  # warnings are errors
        assert exact.error(a, alone) <= alone.relative_error < 1.1
        if dtype == "f8":
            continue
        both = structures.with_sparse(a, 10, projection)
        assert exact.error(a, both) <= both.relative_error <= alone.relative_error * (1 + 1e-6)


def test_integers_and_half_precision() -> None:
    a = np.arange(64).reshape(8, 8)
    a[3, 5] = 2**40
    op = structures.with_sparse(a, 1, structures.toeplitz)
    assert op.dtype == np.float64 and exact.error(a, op) <= op.relative_error
    half = structures.with_sparse(a.clip(0, 100).astype(np.float16), 1, structures.toeplitz)
    assert half.dtype == np.float32 and exact.error(a.clip(0, 100), half) <= half.relative_error
    big = np.full((4, 4), 2**62 + 1)
    op = structures.with_sparse(big, 1, structures.toeplitz)
    assert 0 < exact.error(big, op) <= op.relative_error < 1e-12


def test_all_entries_beside() -> None:
    a = np.random.default_rng(0).standard_normal((5, 6))
    op = structures.with_sparse(a, 30, structures.toeplitz)
    assert exact.error(a, op) <= op.relative_error < 1e-13
    none = structures.with_sparse(a, 0, structures.toeplitz)
    assert none.relative_error == pytest.approx(structures.toeplitz(a).relative_error)
    assert none.terms[1].nnz == 0


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ((np.ones(3), 1, structures.toeplitz), ValueError, r"a: expected shape \(m, n\)"),
        ((np.full((3, 3), np.nan), 1, structures.toeplitz), ValueError, "a: expected finite entries"),
        ((np.ones((3, 3)), -1, structures.toeplitz), ValueError, "count: expected a number that is not negative"),
        ((np.ones((3, 3)), 1.5, structures.toeplitz), TypeError, "count: expected an integer"),
        ((np.ones((3, 3)), 1, np.asarray), TypeError, "projection: expected a function that returns an operator"),
        ((np.ones((3, 3)), 1, lambda a: structures.toeplitz(a[:2])), ValueError, r"projection: .* of shape \(3, 3\)"),
    ],
)
def test_refusals(asked: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        structures.with_sparse(*asked)
    with pytest.raises(ValueError, match="rounds: expected at least 1"):
        structures.with_sparse(np.ones((3, 3)), 1, structures.toeplitz, rounds=0)
