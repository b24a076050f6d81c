"""Matrices from their own rows and columns: which ones, errors within their bounds, and what entries do not show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import exact
import strategies as own
import tolerances
from bitterfly import structures
from bitterfly.inputs import UnmetError

STRONG = 1.25  # the largest combination that strong pivoting leaves, up to rounding


def tails(a: np.ndarray) -> np.ndarray:
    """What ranks 0, 1, .. leave at least, relative to all."""
    s = np.append(np.linalg.svd(own.wide(a)[0], compute_uv=False), 0)
    return np.sqrt(np.cumsum(np.square(s)[::-1])[::-1] / np.sum(np.square(s)))


def kernel(m: int, n: int) -> np.ndarray:
    return 1 / (0.1 + np.abs(np.subtract.outer(np.arange(m) / m, np.arange(n) / n)))


def kahan(n: int) -> np.ndarray:
    """Pivoted QR without exchanges errs by far more than it has to here."""
    c = 0.285
    s = np.sqrt(1 - c**2)
    return np.diag(s ** np.arange(n)) @ (np.eye(n) - c * np.triu(np.ones((n, n)), 1))


def matrices(dtype: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {
        "kernel": kernel(60, 45),
        "noise": own.gaussian(rng, (40, 50), dtype),
        "exact": own.gaussian(rng, (40, 4), dtype) @ own.gaussian(rng, (4, 30), dtype),
        "kahan": kahan(60),
    }
    return {name: a.astype(dtype) for name, a in found.items()}


# ---- interpolative decompositions ----


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("name", ["kernel", "noise", "exact", "kahan"])
@pytest.mark.parametrize("axis", [0, 1])
def test_interpolative_decompositions(dtype: Any, name: str, axis: Any) -> None:
    """Columns as they are, small combinations, and an error within the bound of strong pivoting."""
    a = matrices(dtype)[name]
    for rank in (1, 3, 10, 29):
        found = structures.interpolative(a, rank=rank, axis=axis)
        index = found.columns if axis else found.rows
        assert index is not None and (found.rows is None) == (axis == 1)
        left, right = found.operator.cores[0][0, :, 0, :], found.operator.cores[1][:, 0, :, 0]
        lines, t = (left, right) if axis else (right.T, left.T)
        assert np.array_equal(lines, a[:, index] if axis else a[index].T)
        assert np.array_equal(t[:, index], np.eye(rank))
        assert np.abs(t).max() < STRONG * 1.05
        assert exact.error(a, found.operator) <= found.operator.relative_error
        n = a.shape[axis]
        bound = np.sqrt(1 + STRONG**2 * rank * (n - rank)) * tails(a)[rank]
        assert found.operator.relative_error <= bound + n * tolerances.low_rank_excess(rank, a.size, dtype)


@pytest.mark.parametrize("axis", [0, 1])
def test_combinations_are_the_best_of_the_columns(axis: Any) -> None:
    a = matrices(np.float64)["noise"]
    found = structures.interpolative(a, rank=7, axis=axis)
    x = a if axis else a.T
    index = found.columns if axis else found.rows
    rest = x - x[:, index] @ np.linalg.lstsq(x[:, index], x, rcond=None)[0]
    assert found.operator.relative_error == pytest.approx(np.linalg.norm(rest) / np.linalg.norm(x), rel=1e-10)


@pytest.mark.parametrize("make", [structures.interpolative, structures.cur])
@pytest.mark.parametrize("rtol", [0.3, 1e-2, 1e-5])
def test_tolerances_are_met(make: Callable[..., Any], rtol: float) -> None:
    rng = np.random.default_rng(0)
    for a in (rng.standard_normal((80, 70)) / np.arange(1, 71) ** 2, kernel(50, 70)):
        op = make(a, rtol=rtol).operator
        assert exact.error(a, op) <= op.relative_error <= rtol
        assert op.ranks[1] <= 2 * np.count_nonzero(tails(a) > rtol) + 1
    with pytest.raises(UnmetError, match=r"rtol: 1e-20 is not met: rank \d+ reaches"):
        make(kernel(20, 20), rtol=1e-20)
    with pytest.raises(UnmetError, match=r"rtol: 0\.01 is not met: rank 2 reaches"):
        make(kernel(20, 20), rtol=0.01, rank=2)


# ---- columns, rows, and what stands between them ----


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("name", ["kernel", "noise", "kahan"])
def test_columns_and_rows(dtype: Any, name: str) -> None:
    """As they are; no other middle leaves less; squared errors are at most the sums of those of both sides."""
    a = matrices(dtype)[name]
    for rank in (1, 4, 12):
        found = structures.cur(a, rank=rank)
        left, middle, right = (core.reshape(core.shape[0] * core.shape[1], -1) for core in found.operator.cores)
        assert np.array_equal(left, a[:, found.columns]) and np.array_equal(right, a[found.rows])
        assert exact.error(a, found.operator) <= found.operator.relative_error
        wide = a.astype(np.result_type(dtype, np.float64))
        best = np.linalg.pinv(left.astype(wide.dtype)) @ wide @ np.linalg.pinv(right.astype(wide.dtype))
        scale = np.linalg.norm(left) * np.linalg.norm(middle) * np.linalg.norm(right) / np.linalg.norm(a)
        rounding = 10 * scale * np.finfo(dtype).eps + tolerances.low_rank_excess(rank, a.size, dtype)
        least = np.linalg.norm(wide - left @ best @ right) / np.linalg.norm(wide)
        assert abs(found.operator.relative_error - least) < rounding
        sides = [structures.interpolative(a, rank=rank, axis=axis).operator.relative_error for axis in (0, 1)]  # type: ignore[arg-type]
        assert found.operator.relative_error <= np.hypot(*sides) + rounding


@pytest.mark.parametrize("dtype", own.DTYPES)
def test_middles_of_graded_matrices_do_no_harm(dtype: Any) -> None:
    """Columns that depend on each other but for rounding; zeros would err by 1."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        with np.errstate(all="ignore"):
            a = own.matrix(str(rng.choice(["graded", "wide_range", "rank_one"])), 16, dtype, seed)
        op = structures.cur(a, rank=int(rng.integers(1, 17))).operator
        assert exact.error(a, op) <= op.relative_error <= 1.01


def test_a_middle_beyond_the_range_is_refused() -> None:
    a = (np.float32(2.0**-140) * np.random.default_rng(0).standard_normal((8, 8))).astype(np.float32)
    with pytest.raises(OverflowError, match="a: the middle of C U R leaves the range of float32"):
        structures.cur(a, rank=8)


# ---- positive semidefinite matrices ----


def semidefinite(n: int, dtype: Any, rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(n)
    x = own.gaussian(rng, (n, rank or n), np.result_type(dtype, np.float64)) * np.geomspace(1, 1e-4, rank or n)
    return (x @ x.conj().T).astype(dtype)


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("exponent", [0, 100, -100])
def test_nystroem_from_chosen_columns(dtype: Any, exponent: int) -> None:
    """It is ``C W^+ C^H``, and semidefinite itself, of arrays and of entry functions."""
    a = own.ldexp(semidefinite(60, dtype), exponent).astype(dtype)
    for source, known in ((a, {}), (lambda i, j: a[np.ix_(i, j)], {"shape": a.shape})):
        found = structures.nystroem(source, rank=8, rng=0, **known)
        left, right = found.operator.cores[0][0, :, 0, :], found.operator.cores[1][:, 0, :, 0]
        assert np.array_equal(right, left.conj().T) and len(set(found.columns)) == 8
        near = own.wide(a)[0]
        columns = near[:, found.columns]
        expected = columns @ np.linalg.solve(columns[found.columns], columns.conj().T)
        got = own.ldexp(exact.dense(found.operator).astype(near.dtype), -own.wide(a)[1])
        assert np.linalg.norm(got - expected) < 1e3 * np.finfo(dtype).eps * np.linalg.norm(near)
        assert exact.error(a, found.operator) <= found.operator.relative_error < 4 * tails(a)[8]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.complex64, np.int64])
def test_nystroem_of_what_was_rounded(dtype: Any) -> None:
    """Rounding makes small eigenvalues negative: that is no reason to refuse."""
    for seed in range(20):
        x = own.gaussian(np.random.default_rng(seed), (80, 12), np.result_type(dtype, np.float64))
        x = np.rint(9 * x) if dtype == np.int64 else x
        a = (x @ x.conj().T).astype(dtype)
        for source in (a, lambda i, j, a=a: a[np.ix_(i, j)]):
            op = structures.nystroem(source, rank=10, shape=a.shape, rng=seed).operator
            assert exact.error(a, op) <= op.relative_error < 1
    with pytest.raises(ValueError, match="a: expected a positive semidefinite matrix"):
        structures.nystroem(
            (a - np.linalg.norm(a.astype(np.complex128)) * np.eye(80) / 10).astype(dtype), rank=10, rng=0
        )


@pytest.mark.parametrize("rtol", [0.1, 1e-3, 1e-6])
def test_nystroem_to_a_tolerance(rtol: float) -> None:
    x = np.sort(np.random.default_rng(0).random(400))
    a = np.exp(-30 * np.square(np.subtract.outer(x, x)))
    seen = 0

    def entries(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += len(i) * len(j)
        return a[np.ix_(i, j)]

    op = structures.nystroem(a, rtol=rtol, rng=0).operator
    assert exact.error(a, op) <= op.relative_error <= rtol and op.error_kind == "measured"
    assert op.ranks[1] <= 2 * np.count_nonzero(tails(a) > rtol) + 2
    found = structures.nystroem(entries, rtol=rtol, shape=a.shape, rng=0)
    assert exact.error(a, found.operator) <= found.operator.relative_error <= rtol
    assert found.operator.error_kind == "estimated" and found.entries == seen < 0.5 * a.size


def test_nystroem_estimates_over_many_draws() -> None:
    """From rows, three standard errors above: of 150 matrices none is found to err by more than a little above that."""
    worst = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(20, 200))
        x = rng.standard_normal((n, n)) * np.geomspace(1, 10.0 ** -rng.uniform(0, 8), n)
        a = x @ x.T
        rank = int(rng.integers(1, n // 2))
        op = structures.nystroem(lambda i, j, a=a: a[np.ix_(i, j)], rank=rank, shape=a.shape, rng=seed).operator
        worst.append(float(exact.error(a, op) / op.relative_error))
    assert max(worst) < 1.02 and np.mean(np.array(worst) <= 1) > 0.98


def test_what_is_not_semidefinite_is_refused() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 30))
    indefinite = x + x.T
    for a, message in (
        (x, "a: expected a Hermitian matrix, got one that is .* apart from its adjoint"),
        (indefinite, "a: expected a positive semidefinite matrix, got an eigenvalue of -"),
        (-semidefinite(30, np.float64), "a: expected a positive semidefinite matrix"),
        (semidefinite(30, np.float64) * 1j, "a: expected a Hermitian matrix"),
        (x[:20], "a: expected a square matrix"),
    ):
        with pytest.raises(ValueError, match=message):
            structures.nystroem(a, rank=5, rng=0)
        with pytest.raises(ValueError, match=message.split(",")[0]):
            structures.nystroem(lambda i, j, a=a: a[np.ix_(i, j)], rank=5, shape=a.shape, rng=0)
    with pytest.raises(TypeError, match="a: expected an array or an entry function, got an operator"):
        structures.nystroem(scipy.sparse.linalg.aslinearoperator(np.eye(4)), rank=2)
    with pytest.raises(UnmetError, match=r"rtol: 0\.001 is not met: 3 columns reach"):
        structures.nystroem(semidefinite(40, np.float64), rtol=1e-3, rank=3, rng=0)
    assert structures.nystroem(np.zeros((6, 6)), rtol=0.1).operator.relative_error == 0


@pytest.mark.parametrize("dtype", own.DTYPES)
def test_semidefinite_matrices_of_low_rank_end_early(dtype: Any) -> None:
    a = semidefinite(50, dtype, rank=6)
    found = structures.nystroem(a, rank=40, rng=0)
    assert 5 <= len(found.columns) < 40 and found.operator.relative_error < 1e3 * np.finfo(dtype).eps


# ---- crosses ----


def by_entries(a: np.ndarray, **asked: Any) -> Any:
    return structures.cross_approximation(lambda i, j: a[np.ix_(i, j)], a.shape, **asked)


@pytest.mark.parametrize("rtol", [0.1, 1e-4, 1e-9])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_cross_approximation_of_kernels(rtol: float, dtype: Any) -> None:
    x, y = np.arange(500) / 500, 1.5 + np.arange(400) / 400
    a = (1 / np.subtract.outer(y, x)).astype(dtype) * (1 if dtype == np.float64 else np.exp(2j * np.add.outer(y, x)))
    found = by_entries(a, rtol=rtol, rng=0)
    assert exact.error(a, found.operator) <= found.operator.relative_error <= rtol
    assert found.operator.error_kind == "estimated"
    assert found.entries < 0.5 * a.size and len(found.rows) == len(found.columns)
    assert found.operator.ranks[1] <= np.count_nonzero(tails(a) > rtol) + 2


@pytest.mark.parametrize("blocks", [2, 5, 12])
def test_blocks_that_crosses_do_not_meet_are_found(blocks: int) -> None:
    """Where a cross lies in one block of the diagonal, it sees nothing of the others."""
    rng = np.random.default_rng(0)
    parts = [np.outer(rng.standard_normal(240 // blocks), rng.standard_normal(180 // blocks)) for _ in range(blocks)]
    a = scipy.linalg.block_diag(*parts)
    a = a[rng.permutation(len(a))]
    found = by_entries(a, rtol=1e-6, rng=0)
    assert exact.error(a, found.operator) < 1e-12 and found.operator.ranks[1] == blocks


def test_estimates_of_crosses_over_many_draws() -> None:
    worst = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        m, n = (int(size) for size in rng.integers(30, 150, 2))
        sizes = np.geomspace(1, 10.0 ** -rng.uniform(0, 8), 30)
        a = rng.standard_normal((m, 30)) * sizes @ rng.standard_normal((30, n))
        a *= 2.0 ** float(rng.integers(-900, 900))
        op = by_entries(a, rtol=float(10 ** rng.uniform(-6, -0.5)), rng=seed).operator
        worst.append(float(exact.error(a, op) / op.relative_error))
    assert max(worst) < 1.05 and np.mean(np.array(worst) <= 1) > 0.97


def test_refusals_of_crosses() -> None:
    a = np.random.default_rng(0).standard_normal((60, 60))
    with pytest.raises(UnmetError, match=r"rtol: 0\.001 is not met: 10 crosses leave about"):
        by_entries(a, rtol=1e-3, rank=10, rng=0)
    with pytest.raises(ValueError, match="rtol: expected a positive number, got 0"):
        by_entries(a, rtol=0.0)
    with pytest.raises(ValueError, match="entry: expected finite entries"):
        by_entries(np.full((4, 4), np.inf), rtol=0.1)
    with pytest.raises(ValueError, match="a: expected a matrix with at least one row"):
        structures.cross_approximation(lambda i, j: np.zeros((0, 3)), (0, 3), rtol=0.1)
    assert by_entries(np.zeros((40, 30)), rtol=0.1, rng=0).operator.relative_error == 0
    assert by_entries(a, rtol=1e-6, rng=0).operator.relative_error <= 1e-6


# ---- errors of all, over all kinds of matrices ----


@pytest.mark.parametrize("kind", own.KINDS)
def test_reported_errors_are_not_below_the_true_ones(kind: str) -> None:
    for seed in range(16):
        rng = np.random.default_rng([6, seed])
        dtype = own.DTYPES[seed % 4]
        m, n = (int(size) for size in rng.integers(1, 17, 2))
        with np.errstate(all="ignore"):
            a = own.matrix(kind, 16, dtype, seed)[:m, :n]
        if not np.all(np.isfinite(a)):
            continue
        rank = int(rng.integers(1, 6))
        made = [structures.interpolative(a, rank=rank, axis=axis).operator for axis in (0, 1)]  # type: ignore[arg-type]
        if kind not in ("subnormal", "tiny", "huge", "wide_range", "decaying", "graded"):
            made.append(structures.cur(a, rank=rank).operator)
        for op in made:
            assert exact.error(a, op) <= op.relative_error, (seed, op)
