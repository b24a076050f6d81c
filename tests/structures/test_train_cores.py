"""Tensor trains of coded cores, short floats and rows of any order: bounds, sums, rounding, changes, refusals."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import bitterfly
import exact
import strategies as own
from bitterfly import reference, structures
from bitterfly.accuracy import rounding
from bitterfly.precision import in_double
from bitterfly.structures import CodedCore, TensorTrainOperator


@pytest.mark.parametrize("part", range(4))
def test_bounds_hold_for_any_train(part: int) -> None:
    """Norms from both sides, what decoding changes, what products round."""
    for seed in range(15 * part, 15 * part + 15):
        rng = np.random.default_rng([seed, 5])
        drawn = own._tensor_train(rng)
        op, true = drawn.op, exact.dense(drawn.op)
        low, high = op.log2_norms
        norm = exact.norm(true)
        with np.errstate(divide="ignore", invalid="ignore"):
            assert low <= np.log2(norm) <= high <= op.log2_norm + 1e-6, drawn.how
        assert exact.error(true, op.dequantize()) <= op.dequantize().relative_error, drawn.how
        x = own.gaussian(rng, (op.shape[1], 3), op.dtype)
        missed = exact.norm((op @ x) - true @ x.astype(true.dtype))
        bound = op.log2_applied(float(np.log2(np.linalg.norm(x.astype(np.complex128)))), 3)
        assert missed <= 2.0**bound, drawn.how
        wide = in_double(op)
        columns = wide._with_quick_columns()._some_columns(0, op.shape[1])
        assert exact.norm(columns - true) <= 2.0 ** rounding.log2_rounding(wide), drawn.how
        i, j = (rng.integers(0, size, 9) for size in op.shape)
        most = 4 * 2.0 ** op.log2_applied(0.0, 1) + 4 * np.finfo(op.dtype).eps * 2.0**op.log2_norm
        assert np.all(np.abs(op.entries(i, j) - true[i, j]) <= most), drawn.how


@pytest.mark.parametrize("part", range(4))
def test_sums_and_fewer_ranks_err_by_no_more_than_they_say(part: int) -> None:
    """Terms that cancel too, and the change of rounded trains against what they were."""
    for seed in range(12 * part, 12 * part + 12):
        rng = np.random.default_rng([seed, 6])
        first = own._tensor_train(rng).op.replaced(relative_error=0.0, error_kind="exact")
        second = first.dequantize()
        if rng.random() < 0.6:
            cores = [core * (1 + 10.0 ** -rng.integers(0, 7)) for core in second.cores]
            sign = -1 if rng.random() < 0.7 else 1
            cores[0] = sign * cores[0]
            second = TensorTrainOperator(cores, rows=first.stored_rows)._flipped(*own_flags(first))
        whole = structures.added(first, second)
        assert whole.ranks[1:-1] == tuple(2 * r for r in first.ranks[1:-1])
        terms = exact.dense(first), exact.dense(second)
        missed, rounding = exact.norm(exact.dense(whole) - terms[0] - terms[1]), 1e-16 * sum(map(exact.norm, terms))
        assert not missed > whole.relative_error * exact.norm(terms[0] + terms[1]) + rounding, seed
        less = structures.rounded(
            whole.replaced(relative_error=0.0, error_kind="exact"), float(10 ** rng.uniform(-6, -1))
        )
        assert not exact.error(exact.dense(whole), less) > less.relative_error, seed


def own_flags(op: Any) -> tuple[bool, bool]:
    from bitterfly.operators.views import FLAGS

    return FLAGS[op.mode]


def test_errors_of_terms_are_those_of_sums() -> None:
    x = np.arange(64) / 64
    a, b = np.exp(-np.add.outer(x, x)), np.cos(np.subtract.outer(x, x))
    ops = [structures.tensor_train(each, [8, 8], [8, 8], ranks=1) for each in (a, b)]
    whole = structures.added(*ops)
    error = np.linalg.norm(whole.todense() - a - b) / np.linalg.norm(a + b)
    assert error <= whole.relative_error < 10 * error + 0.1
    assert (2 * ops[0] + whole).relative_error >= 0
    again = structures.rounded(structures.added(whole, whole), 1e-9)
    assert again.ranks == whole.ranks


def test_of_low_rank_products_take_no_more_than_the_factors() -> None:
    """A product with two factors of rank 4 is no outer product of all rows and columns."""
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((100_000, 4)), rng.standard_normal((4, 100_000))
    op = TensorTrainOperator([u.reshape(1, -1, 1, 4), v.reshape(4, 1, -1, 1)])
    x = rng.standard_normal(100_000)
    np.testing.assert_allclose(op @ x, u @ (v @ x), rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(op.T @ x, v.T @ (u.T @ x), rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(op.rows([99_999, 5]), u[[99_999, 5]] @ v)


def test_short_floats_stay_short() -> None:
    rng = np.random.default_rng(0)
    cores = [rng.standard_normal(shape).astype(np.float16) for shape in ((1, 3, 4, 2), (2, 5, 2, 1))]
    op = TensorTrainOperator(cores, dtype=np.float64)
    assert op.dtype == np.float64 and op.nbytes == 2 * (24 + 20) and op.mean_bits == 16
    assert [core.dtype for core in op.cores] == [np.float64] * 2
    for same in (copy.deepcopy(op), pickle.loads(pickle.dumps(op)), op.astype(np.complex64).astype(np.complex128)):
        np.testing.assert_array_equal(np.real(reference.dense(same)), reference.dense(op))
    assert pickle.loads(pickle.dumps(op)).dtype == np.float64
    assert op.dequantize().nbytes == 4 * op.nbytes and op.dequantize().relative_error < 1e-11


def test_rows_are_those_of_the_train() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((24, 10))
    train = structures.tensor_train(a, [4, 6], [5, 2], rtol=0)
    rows = rng.permutation(24)[:17]
    op = TensorTrainOperator(train.cores, rows=rows)
    assert op.shape == (17, 10) and op.nbytes == train.nbytes + 4 * 17
    np.testing.assert_allclose(op.todense(), a[rows], atol=1e-12)
    np.testing.assert_allclose(op.H @ np.ones(17), a[rows].sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(op.entries([3, 0], [9, 1]), a[rows][[3, 0], [9, 1]], atol=1e-12)
    np.testing.assert_allclose(op.T.entries([9, 1], [3, 0]), a[rows][[3, 0], [9, 1]], atol=1e-12)
    assert 2.0 ** op.log2_norms[0] <= np.linalg.norm(a[rows]) <= 2.0 ** op.log2_norms[1]
    assert np.isclose(op.log2_norms[0], np.log2(np.linalg.norm(a[rows])), atol=1e-9)


A = np.ones((1, 2, 2, 1))


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (
            lambda: TensorTrainOperator([A], rows=[0, 2]),
            ValueError,
            "rows: expected rows of the train, 0 to 1, got 0 to 2",
        ),
        (lambda: TensorTrainOperator([A], rows=[1, 1]), ValueError, "rows: expected no row twice"),
        (lambda: TensorTrainOperator([A], rows=[0.5]), ValueError, "rows: expected integers of shape"),
        (lambda: TensorTrainOperator([A], dtype=np.int8), TypeError, "dtype: expected float32"),
        (lambda: TensorTrainOperator([CodedCore(A, (1, 2, 2, 1))]), TypeError, r"cores\[0\]: expected an operator"),
        (
            lambda: TensorTrainOperator([CodedCore(bitterfly.SparseOperator(np.eye(4)), (1, 2, 2, 1))]),
            ValueError,
            r"cores\[0\]: expected an operator of shape \(2, 2\), got \(4, 4\)",
        ),
        (
            lambda: TensorTrainOperator([CodedCore(bitterfly.SparseOperator(np.eye(4)), (1, 4, 4))]),
            ValueError,
            r"cores\[0\]: expected shape \(r, m, n, s\)",
        ),
        (lambda: TensorTrainOperator([np.full(A.shape, np.nan, np.float16)]), ValueError, "expected finite numbers"),
        (
            lambda: structures.added(TensorTrainOperator([A]), A),
            TypeError,
            r"others\[0\]: expected a TensorTrainOperator",
        ),
        (
            lambda: structures.added(TensorTrainOperator([A]), TensorTrainOperator([A], rows=[0])),
            ValueError,
            r"others\[0\]: expected a tensor train of the same digits",
        ),
        (
            lambda: TensorTrainOperator([A]).change_to(TensorTrainOperator([A]).T),
            ValueError,
            "other: expected a tensor train of the same digits",
        ),
    ],
)
def test_refusals(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_precisions_are_set_for_all_codes_and_no_others() -> None:
    w = bitterfly.quantize_dense(np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32), bits=4, rng=0)
    core = CodedCore(w @ bitterfly.SparseOperator(np.eye(64, dtype=np.float32)), (1, 32, 64, 1))
    op = TensorTrainOperator([core])
    x = np.random.default_rng(1).standard_normal(64).astype(np.float32)
    y = op @ x
    op.precision = "int8"
    assert op.precision == "int8" and w.precision == "float"
    assert not np.array_equal(op @ x, y) and np.array_equal(op.astype(np.float32) @ x, y)
    with pytest.raises(ValueError, match="precision: expected float, half, int8"):
        op.precision = "double"
    with pytest.raises(AttributeError, match="immutable"):
        op.mode = "transpose"
    assert TensorTrainOperator([A]).precision == "float"
