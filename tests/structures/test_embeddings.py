"""Tables of rows in any order as tensor trains: order, padding, look-ups, errors, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import exact
import strategies as own
from bitterfly import structures
from bitterfly.inputs import UnmetError


def table(rng: np.random.Generator, m: int = 500, n: int = 24) -> np.ndarray:
    return np.cos(np.outer(rng.random(m), np.arange(n)))


def test_clusters_save_bytes_where_rows_are_alike() -> None:
    a = table(np.random.default_rng(0), 1000, 48)
    found = [structures.tensor_train_rows(a, rtol=1e-2, permute=p, rng=0) for p in (True, False)]
    assert all(exact.error(a, op) <= op.relative_error <= 1e-2 for op in found)
    assert found[0].nbytes < 0.8 * found[1].nbytes


def test_views_of_tables() -> None:
    a = table(np.random.default_rng(0), 90, 32) * (1 + 1j)
    for view in (np.asfortranarray(a), np.repeat(a, 2, axis=1)[:, ::2], a[::-1]):
        op = structures.tensor_train_rows(view, rtol=1e-3, permute=False)
        assert exact.error(view, op) <= op.relative_error <= 1e-3


def test_cores_too_coarse_for_an_error_are_refused() -> None:
    a = np.random.default_rng(0).standard_normal((48, 100)) * 5e-320
    for make in (
        lambda: structures.tensor_train_rows(a, rtol=1e-6, permute=False),
        lambda: structures.tensor_train(a, [6, 8], [10, 10], rtol=1e-6),
    ):
        with pytest.raises(UnmetError, match="rtol: 1e-06 is not met: cores of float64 leave"):
            make()


@pytest.mark.parametrize("seed", range(24))
def test_tables_of_any_shape_and_precision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype = own.DTYPES[seed % 4]
    m, n = int(rng.choice([1, 2, 7, 31, 128, 200])), int(rng.choice([1, 2, 13, 24]))
    a = own.gaussian(rng, (m, n), dtype) if rng.random() < 0.7 else table(rng, m, n).astype(dtype)
    a = own.ldexp(a, int(rng.integers(-60, 60)) * (15 if np.finfo(dtype).bits == 64 else 1)).astype(dtype)
    a = a[::-1] if rng.random() < 0.3 else a
    op = structures.tensor_train_rows(a, rtol=float(10 ** rng.uniform(-4, -0.3)), permute=bool(seed % 3), rng=0)
    assert op.shape == a.shape and op.dtype == dtype
    assert exact.error(a, op) <= op.relative_error
    some = rng.integers(0, m, 5)
    np.testing.assert_allclose(op.rows(some), op.todense()[some], rtol=1e-3, atol=float(np.abs(a).max()) * 1e-5)


def test_digits_of_your_own() -> None:
    a = table(np.random.default_rng(0))
    op = structures.tensor_train_rows(a, ranks=[3, 4], rows=[8, 8, 8], columns=[2, 3, 4], rng=0)
    assert [core.shape[1:3] for core in op.cores] == [(8, 2), (8, 3), (8, 4)]
    assert op.ranks == (1, 3, 4, 1)
    plain = structures.tensor_train_rows(a, ranks=3, rows=[20, 25], columns=[6, 4], permute=False)
    assert plain.stored_rows is None


def test_equal_rows_and_zeros() -> None:
    for a in (np.zeros((40, 6)), np.ones((40, 6))):
        op = structures.tensor_train_rows(a, rtol=1e-6, rng=0)
        assert op.ranks == (1, 1, 1, 1) and exact.error(a, op) <= op.relative_error < 1e-6


def test_equal_seeds_make_equal_orders() -> None:
    a = np.random.default_rng(0).standard_normal((300, 12))
    first, second = (structures.tensor_train_rows(a, ranks=4, rng=3) for _ in range(2))
    np.testing.assert_array_equal(first.stored_rows, second.stored_rows)


@pytest.mark.parametrize(
    ("a", "asked", "message"),
    [
        (np.ones(4), {"ranks": 1}, "table: expected a matrix"),
        (np.full((4, 4), np.inf), {"ranks": 1}, "table: expected finite entries"),
        (np.ones((4, 4)), {}, "rtol, ranks: expected at least one"),
        (np.ones((9, 4)), {"ranks": 1, "rows": [2, 4]}, "rows, columns: expected as many digits"),
        (np.ones((4, 4)), {"ranks": 1, "columns": [2, 3]}, "rows, columns: expected as many digits"),
        (np.ones((4, 4)), {"ranks": 0}, "ranks: expected a positive integer"),
    ],
)
def test_refusals(a: np.ndarray, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        structures.tensor_train_rows(a, **asked)
