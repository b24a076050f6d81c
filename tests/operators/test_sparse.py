"""Sparse operators: what they take, what they refuse, and that they are operators as all others are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import lsqr

import bitterfly
from bitterfly import SparseOperator, reference


@pytest.mark.parametrize("make", [scipy.sparse.coo_array, scipy.sparse.csc_matrix, scipy.sparse.dia_array, np.asarray])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128, np.int16, np.bool_])
def test_matrices_of_all_sorts(make: Any, dtype: Any) -> None:
    a = (np.arange(35).reshape(5, 7) % 3).astype(dtype)
    op = SparseOperator(make(a))
    assert op.dtype == (dtype if np.dtype(dtype).kind in "fc" else np.float64)
    assert op.nnz == np.count_nonzero(a)
    assert (op.relative_error, op.error_kind) == (0, "exact")
    if make is scipy.sparse.dia_array:
        assert op.nbytes == 7 * len(op.matrix.offsets) * op.dtype.itemsize + 4 * len(op.matrix.offsets)
    else:
        assert op.nbytes == op.nnz * (op.dtype.itemsize + 4) + 4 * 6
    np.testing.assert_array_equal(op.todense(), a)
    np.testing.assert_array_equal(op.rows([3, -1, 3]), a[[3, -1, 3]])
    np.testing.assert_array_equal(op.H.rows([6]), a.T[[6]])


def test_buffers_are_its_own_and_read_only() -> None:
    a = scipy.sparse.random_array((30, 20), density=0.1, rng=np.random.default_rng(0))
    op = SparseOperator(a)
    before = op.todense()
    a.data[:] = 7
    np.testing.assert_array_equal(op.todense(), before)
    with pytest.raises(ValueError, match="read-only"):
        op.matrix.data[0] = 1


def test_entries_stored_twice_are_added_and_zeros_dropped() -> None:
    a = scipy.sparse.coo_array(([1.0, 2.0, 0.0, 4.0, -4.0], ([0, 0, 1, 2, 2], [1, 1, 1, 0, 0])), shape=(3, 2))
    op = SparseOperator(a)
    assert op.nnz == 1
    np.testing.assert_array_equal(op @ np.array([0.0, 1.0]), [3, 0, 0])


@pytest.mark.parametrize(
    ("matrix", "dtype", "error", "message"),
    [
        (np.ones(3), None, ValueError, r"matrix: expected shape \(m, n\)"),
        (np.zeros((0, 3)), None, ValueError, r"matrix: expected shape \(m, n\), neither of them zero"),
        ([[np.inf, 1]], None, ValueError, "matrix: expected finite entries"),
        ([["a"]], None, TypeError, "matrix: expected"),
        ([[1e300]], "f4", OverflowError, "dtype: the entries do not fit float32"),
        ([[1j]], "f8", TypeError, "dtype: a complex operator cannot become float64"),
        ([[1.0]], "i4", TypeError, "dtype: expected float32"),
    ],
)
def test_refusals(matrix: Any, dtype: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SparseOperator(matrix, dtype=dtype)


def test_precisions() -> None:
    a = np.array([[1 / 3, 0], [2, 1e-3]])
    op = SparseOperator(a)
    narrow = op.astype(np.float32)
    true = np.linalg.norm(reference.dense(narrow) - a) / np.linalg.norm(a)
    assert 0 < true <= narrow.relative_error < 1.01 * true
    assert SparseOperator([[1.0, 0.5]]).astype(np.float32).relative_error == 0
    assert narrow.astype(np.float64).relative_error == narrow.relative_error


def test_in_sums_solvers_and_empty_ones() -> None:
    rng = np.random.default_rng(0)
    diagonal = SparseOperator(scipy.sparse.diags_array(rng.uniform(1, 2, 64)))
    both = diagonal + bitterfly.transforms.hadamard(64) / 100
    b = rng.standard_normal(64)
    x = lsqr(both, b, atol=1e-12, btol=1e-12)[0]
    np.testing.assert_allclose(both @ x, b, atol=1e-5)
    nothing = SparseOperator(scipy.sparse.csr_array((3, 4)))
    assert nothing.mean_bits == 0
    np.testing.assert_array_equal(nothing @ np.ones(4), np.zeros(3))
    assert (diagonal - diagonal).relative_error == 0
