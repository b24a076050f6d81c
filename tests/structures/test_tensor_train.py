"""Tensor trains: truncated SVDs with their bound, rounding, single entries, and trains of tables by entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import exact
import strategies as own
from bitterfly import reference, structures
from bitterfly.inputs import UnmetError
from bitterfly.structures.tensor_trains import decompositions


@pytest.mark.parametrize("ranks", [1.5, "2", [2.0], [None]])
def test_ranks_are_integers(ranks: Any) -> None:
    with pytest.raises(TypeError, match="ranks: expected an integer, got"):
        structures.tensor_train(np.eye(4), [2, 2], [2, 2], ranks=ranks)


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def kernel() -> np.ndarray:
    x = np.arange(256) / 256
    return 1 / (1 + np.add.outer(x, x**2))


@pytest.mark.parametrize("rtol", [0.3, 1e-2, 1e-5, 1e-9])
@pytest.mark.parametrize("size", [1.0, 2.0**900, 2.0**-900])
def test_errors_meet_tolerances(rtol: float, size: float) -> None:
    a = size * kernel()
    op = structures.tensor_train(a, [4, 8, 8], [8, 4, 8], rtol=rtol)
    assert relative(reference.dense(op) / size, kernel()) <= op.relative_error <= rtol
    less = structures.rounded(op, 0.1)
    assert relative(reference.dense(less) / size, kernel()) <= less.relative_error <= op.relative_error * 1.11 + 0.1001
    assert all(r <= s for r, s in zip(less.ranks, op.ranks, strict=True))


@pytest.mark.parametrize("size", [1.0, 2.0**900, 2.0**-900])
@pytest.mark.parametrize("rtol", [0.03, 1e-4, 1e-9])
@pytest.mark.parametrize("name", ["kernel", "waves", "noisy"])
def test_a_range_of_the_middle_unfolding_is_as_good(
    name: str, rtol: float, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is of low rank there; all else goes the long way, and both give about the same ranks."""
    x, rng = np.arange(512) / 512, np.random.default_rng(3)
    a = {
        "kernel": 1 / (1 + np.add.outer(x, 3 * x**2)),
        "waves": np.exp(30j * np.outer(x, x[:300])),
        "noisy": np.add.outer(x, x) + 0.01 * rng.standard_normal((512, 512)),
    }[name] * size
    rows, columns = [2, 16, 4, 4], [4, 5, 3, 5] if name == "waves" else [2, 16, 4, 4]
    if name == "noisy" and rtol < 0.01:  # of full rank
        rtol = 0.02
    found = structures.tensor_train(a, rows, columns, rtol=rtol)
    monkeypatch.setattr(decompositions, "_from_the_middle", lambda *_: None)
    long = structures.tensor_train(a, rows, columns, rtol=rtol)
    assert exact.error(a, found) <= found.relative_error <= rtol
    assert sum(map(abs, np.subtract(found.ranks, long.ranks))) <= 2


@pytest.mark.parametrize("dtype", own.DTYPES)
def test_full_ranks_are_exact(dtype: Any) -> None:
    a = own.gaussian(np.random.default_rng(0), (24, 30), dtype)
    op = structures.tensor_train(a, [2, 3, 4], [5, 3, 2], rtol=0.0)
    assert op.dtype == dtype
    assert relative(op.todense(), a) < 50 * np.finfo(dtype).eps  # what is reported adds what measuring it may round
    assert op.ranks == (1, 10, 8, 1)


def test_given_ranks_are_within_the_bound() -> None:
    """The error is at most the root of the sum of squares of what each unfolding has to lose."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((64, 64)) + 20 * np.outer(rng.standard_normal(64), rng.standard_normal(64))
    op = structures.tensor_train(a, [4, 4, 4], [4, 4, 4], ranks=[5, 7])
    tensor = a.reshape(4, 4, 4, 4, 4, 4).transpose(0, 3, 1, 4, 2, 5)
    lost = [np.linalg.svd(tensor.reshape(16**k, -1), compute_uv=False)[r:] for k, r in ((1, 5), (2, 7))]
    missed = [np.linalg.norm(s) / np.linalg.norm(a) for s in lost]
    assert max(missed) <= op.relative_error <= np.hypot(*missed) * (1 + 1e-9)
    assert op.ranks == (1, 5, 7, 1)


def test_entries() -> None:
    rng = np.random.default_rng(0)
    a = own.gaussian(rng, (24, 30), np.complex128)
    op = structures.tensor_train(a, [2, 12], [15, 2], rtol=1e-12)
    i, j = rng.integers(0, 24, (5, 7)), rng.integers(0, 30, (5, 7))
    np.testing.assert_allclose(op.entries(i, j), a[i, j], atol=1e-10)
    np.testing.assert_allclose(op.H.entries(j, i), a[i, j].conj(), atol=1e-10)
    with pytest.raises(IndexError, match="columns: expected 0 to 29"):
        op.entries([0], [30])
    with pytest.raises(TypeError, match="rows, columns: expected integers"):
        op.entries([0.5], [3])


@pytest.mark.parametrize(
    ("cores", "message"),
    [
        ([], "cores: expected at least one"),
        ([np.ones((1, 2, 2))], r"cores\[0\]: expected shape \(r, m, n, s\)"),
        ([np.ones((1, 2, 2, 2)), np.ones((3, 2, 2, 1))], r"cores\[1\]: expected shape \(2, m, n, s\)"),
        ([np.ones((1, 2, 2, 2))], r"cores\[0\]: expected shape \(r, m, n, 1\)"),
        ([np.full((1, 2, 2, 1), np.inf)], r"cores\[0\]: expected finite numbers"),
    ],
)
def test_wrong_cores(cores: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        structures.TensorTrainOperator(cores)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rows": [4, 4], "columns": [4, 4]}, "rtol, ranks: expected at least one"),
        ({"rows": [4, 5], "columns": [4, 4], "rtol": 0.1}, "rows, columns: expected sizes whose products"),
        ({"rows": [4, 4], "columns": [16], "rtol": 0.1}, "rows, columns: expected sizes whose products"),
        ({"rows": [4, 4], "columns": [4, 4], "ranks": [1, 2]}, "ranks: expected a positive integer, or 1 of them"),
        ({"rows": [4, 4], "columns": [4, 4], "ranks": 0}, "ranks: expected a positive integer"),
        ({"rows": [4, 4], "columns": [4, 4], "rtol": -1.0}, "rtol: expected"),
    ],
)
def test_refusals(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        structures.tensor_train(np.ones((16, 16)), **asked)


TABLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rational": lambda x: 1 / (1 + x.sum(axis=1)),
    "sine": lambda x: np.sin(x.sum(axis=1)),
    "wave": lambda x: np.exp(2j * x.sum(axis=1)) / (1 + x[:, 0] * x[:, 3]),
    "distance": lambda x: 1 / np.sqrt(np.square(x + 1 / 32).sum(axis=1)),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
def test_tables_of_six_variables_by_entries(name: str, rtol: float) -> None:
    """The error asked for, from a thousandth of 32^6 entries."""
    seen = 0

    def entries(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += len(i)
        assert not j.any()
        return TABLES[name](i / 32)

    op = structures.tensor_train_of_entries(entries, [32] * 6, rtol=rtol, rng=0)
    assert seen < 32**6 / 1000
    assert op.shape == (32**6, 1)
    assert op.error_kind == "estimated"
    digits = np.random.default_rng(1).integers(0, 32, (20000, 6))
    rows = np.ravel_multi_index(tuple(digits.T), [32] * 6)
    assert relative(op.entries(rows, 0), TABLES[name](digits / 32)) < 1.2 * rtol


def test_matrices_by_entries() -> None:
    def entries(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        x, y = i @ [64, 8, 1] / 512, j @ [64, 8, 1] / 512
        return np.exp(-np.square(x - y))

    op = structures.tensor_train_of_entries(entries, [8, 8, 8], [8, 8, 8], rtol=1e-9, rng=0)
    x = np.arange(512) / 512
    assert relative(reference.dense(op), np.exp(-np.square(np.subtract.outer(x, x)))) < 1e-8


def test_what_is_no_tensor_train_is_refused() -> None:
    numbers = np.random.default_rng(0).standard_normal(8**4)
    with pytest.raises(UnmetError, match=r"rtol: 0\.001 is not met"):
        structures.tensor_train_of_entries(lambda i, j: numbers[i @ [512, 64, 8, 1]], [8] * 4, rtol=1e-3, rank=4, rng=0)
    with pytest.raises(ValueError, match="entries: expected finite numbers"):
        structures.tensor_train_of_entries(lambda i, j: np.full(len(i), np.nan), [8] * 4, rtol=1e-3)
    with pytest.raises(TypeError, match=r"entries: expected .* numbers"):
        structures.tensor_train_of_entries(lambda i, j: 3, [8] * 4, rtol=1e-3)
    zero = structures.tensor_train_of_entries(lambda i, j: np.zeros(len(i)), [8] * 4, rtol=1e-3, rng=0)
    assert zero.relative_error == 0
