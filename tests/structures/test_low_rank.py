"""The nearest matrices of low rank: optimal to rounding, in a metric too; by products nearly so; sums of Kronecker."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import bitterfly
import exact
import strategies as own
import tolerances
from bitterfly import structures
from bitterfly.inputs import UnmetError


def decaying(seed: int, shape: tuple[int, int], dtype: Any = np.float64, power: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (own.gaussian(rng, shape, dtype) / np.arange(1, shape[1] + 1) ** power).astype(dtype)


def tails(a: np.ndarray) -> np.ndarray:
    """What ranks 0, 1, .. leave at least, relative to all."""
    s = np.linalg.svd(own.wide(a)[0], compute_uv=False)
    return np.sqrt(np.cumsum(np.square(s)[::-1])[::-1] / np.sum(np.square(s)))


def kernel(n: int) -> np.ndarray:
    x = np.arange(n) / n
    return 1 / (0.1 + np.abs(np.subtract.outer(x, x)))


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (1, 30), (30, 1)])
@pytest.mark.parametrize("exponent", [0, 900, -900])
def test_no_matrix_of_the_rank_is_nearer(dtype: Any, shape: tuple[int, int], exponent: int) -> None:
    """The error is the tail of singular values to rounding (Eckart and Young)."""
    exponent = exponent if np.finfo(dtype).bits == 64 else exponent // 9
    a = own.ldexp(decaying(0, shape, dtype), exponent).astype(dtype)
    least = tails(a)
    for rank in {1, min(shape) // 3 or 1, min(shape)}:
        op = structures.low_rank(a, rank=rank)
        expected = least[rank] if rank < len(least) else 0.0
        assert op.dtype == dtype and op.ranks == (1, rank, 1)
        assert op.error_kind == "measured"
        assert exact.error(a, op) <= op.relative_error
        assert abs(op.relative_error - expected) <= tolerances.low_rank_excess(rank, a.size, dtype)


@pytest.mark.parametrize("method", ["svd", "randomized"])
@pytest.mark.parametrize("rtol", [0.3, 1e-2, 1e-4, 1e-8])
def test_tolerances_are_met_by_the_least_rank(method: Any, rtol: float) -> None:
    for a in (decaying(1, (150, 130), power=2), kernel(140)):
        op = structures.low_rank(a, rtol=rtol, method=method, rng=0)
        least = int(np.count_nonzero(tails(a) > rtol))
        assert exact.error(a, op) <= op.relative_error <= rtol
        assert op.ranks[1] == least if method == "svd" else least <= op.ranks[1] <= 1.05 * least + 1


@pytest.mark.parametrize("dtype", own.DTYPES)
def test_products_with_random_vectors_are_nearly_optimal(dtype: Any) -> None:
    """Over spectra that decay and that do not; without looking at more than is needed."""
    worst = 0.0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a = decaying(seed, tuple(rng.integers(60, 120, 2)), dtype, power=float(rng.uniform(0, 3)))
        rank = int(rng.integers(1, 40))
        op = structures.low_rank(a, rank=rank, method="randomized", rng=seed)
        assert exact.error(a, op) <= op.relative_error
        excess = tolerances.low_rank_excess(rank, a.size, dtype)
        worst = max(worst, (op.relative_error - excess) / tails(a)[rank])
    assert worst < 1.05


@pytest.mark.parametrize("kind", ["operator", "entries", "map"])
def test_sources_are_read_by_products(kind: str, tmp_path: Any) -> None:
    a = kernel(600)[:, :500] @ np.diag(np.arange(1.0, 501))
    known: dict[str, Any] = {}
    source: Any = a
    if kind == "operator":
        source = aslinearoperator(a)
    elif kind == "entries":
        source, known = (lambda i, j: a[np.ix_(i, j)]), {"shape": a.shape}
    else:
        source = np.memmap(tmp_path / "a", a.dtype, "w+", shape=a.shape)
        source[...] = a
    op = structures.low_rank(source, rtol=1e-3, method="randomized", rng=0, **known)
    assert op.error_kind == ("estimated" if kind == "operator" else "measured")
    assert exact.error(a, op) <= op.relative_error <= 1e-3
    same = structures.low_rank(source, rtol=1e-3, method="svd", **known)
    assert same.ranks[1] <= op.ranks[1] <= 1.2 * same.ranks[1]
    assert same.error_kind == "measured"


@pytest.mark.parametrize("asked", [{"rank": 20}, {"rtol": 1e-2}])
def test_products_make_no_dense_copy(asked: dict[str, Any]) -> None:
    x = np.arange(4000, dtype=np.float32) / 4000
    a = 1 / (0.1 + np.abs(np.subtract.outer(x, x)))
    tracemalloc.start()
    op = structures.low_rank(a, rng=0, **asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * a.nbytes and op.relative_error < 0.05


def test_operators_of_the_package() -> None:
    dft = bitterfly.transforms.dft(64)
    smooth = bitterfly.SparseOperator(np.diag(np.exp(-np.arange(64.0))))
    op = structures.low_rank(dft @ smooth.astype(np.complex128), rtol=1e-6, rng=0)
    assert op.ranks[1] < 20 and op.relative_error <= 1e-6


# ---- metrics ----


def metrics(rng: np.random.Generator, n: int) -> dict[str, Any]:
    seen = rng.standard_normal((3 * n, n)) * np.geomspace(1, 0.01, n)
    few = rng.standard_normal((n // 3, n))
    return {
        "moments": bitterfly.SecondMoments(n).update(seen),
        "singular": few.T @ few,
        "diagonal": np.square(rng.standard_normal(n)) * (rng.random(n) < 0.8),
    }


def as_matrix(metric: Any) -> np.ndarray:
    g = metric.matrix if isinstance(metric, bitterfly.SecondMoments) else metric
    return np.diag(g) if g.ndim == 1 else g


def true_in_metric(a: np.ndarray, op: Any, metric: Any) -> float:
    """In extended precision: the metric in its root would lose half of the digits."""
    wide = np.result_type(a.dtype, np.longdouble)
    d, g = a.astype(wide) - exact.dense(op), as_matrix(metric).astype(np.longdouble)
    above, below = (float(np.einsum("ij,ij", x @ g, x.conj()).real) for x in (d, a.astype(wide)))
    return float(np.sqrt(max(above, 0.0) / below))


@pytest.mark.parametrize("name", ["moments", "singular", "diagonal"])
@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("method", ["svd", "randomized"])
def test_no_matrix_of_the_rank_is_nearer_in_a_metric(name: str, dtype: Any, method: Any) -> None:
    """The error is the tail of singular values of ``A G^(1/2)``."""
    rng = np.random.default_rng(0)
    a = decaying(3, (50, 60), dtype, power=0.5)
    metric = metrics(rng, 60)[name]
    values, vectors = np.linalg.eigh(as_matrix(metric))
    least = tails(a.astype(np.result_type(dtype, np.float64)) @ (vectors * np.sqrt(np.maximum(values, 0))))
    plain = structures.low_rank(a, rank=8)
    op = structures.low_rank(a, rank=8, metric=metric, method=method, rng=0)
    assert true_in_metric(a, op, metric) <= op.metric_error
    assert np.isnan(op.T.metric_error)
    slack = tolerances.low_rank_excess(8, a.size, dtype) + 1e-7  # metrics round by the root of a unit
    assert least[8] - slack <= op.metric_error <= least[8] * (1 if method == "svd" else 1.02) + slack
    assert op.metric_error < true_in_metric(a, plain, metric)
    assert exact.error(a, op) <= op.relative_error < 1
    rtol = structures.low_rank(a, rtol=0.2, metric=metric, method=method, rng=0)
    assert rtol.metric_error <= 0.2 < least[rtol.ranks[1] - (1 if method == "svd" else 2)]


def test_errors_in_metrics_are_kept(tmp_path: Any) -> None:
    """By views, pickles and files; not by what changes the matrix."""
    op = structures.low_rank(decaying(0, (20, 24)), rank=4, metric=np.geomspace(1, 0.1, 24))
    bitterfly.save(tmp_path / "op", op.T)
    for kept in (pickle.loads(pickle.dumps(op)), bitterfly.load(tmp_path / "op").T, op.conj(), op.T.T):
        assert kept.metric_error == op.metric_error > 0
    assert np.isnan(bitterfly.load(tmp_path / "op").metric_error)
    assert np.isnan(op.astype(np.float32).metric_error)
    assert op.astype(np.complex128).metric_error == op.metric_error


def test_errors_in_metrics_are_not_below_the_true_ones() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        m, n = rng.integers(1, 20, 2)
        dtype = own.DTYPES[seed % 4]
        a = own.ldexp(decaying(seed, (m, n), dtype), int(rng.integers(-60, 60))).astype(dtype)
        seen = rng.standard_normal((int(rng.integers(1, 2 * n + 1)), n)) * 10.0 ** rng.uniform(-6, 0, n)
        metric = seen.T @ seen if seed % 3 else np.square(seen).sum(axis=0)
        op = structures.low_rank(a, rank=int(rng.integers(1, 6)), metric=metric)
        assert not true_in_metric(a, op, metric) > op.metric_error
        assert exact.error(a, op) <= op.relative_error


def test_what_converting_integers_rounds_is_counted_in_a_metric() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-(2**62), 2**62, (12, 9))
    metric = np.geomspace(1, 1e-8, 9)
    op = structures.low_rank(a, rank=9, metric=metric)
    assert true_in_metric(a, op, metric) <= op.metric_error < 1e-11
    assert exact.error(a, op) <= op.relative_error < 1e-13


# ---- what is handed in ----


def test_inputs_of_any_kind() -> None:
    a = decaying(0, (30, 24))
    expected = structures.low_rank(a, rank=4).relative_error
    frozen = a.copy()
    frozen.flags.writeable = False
    strided = np.zeros((60, 72))
    strided[::2, ::3] = a
    reverse = np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]
    for given in (frozen, strided[::2, ::3], reverse, np.asfortranarray(a), a.astype(">f8"), a.tolist()):
        assert structures.low_rank(given, rank=4).relative_error == pytest.approx(expected, rel=1e-12)
    assert structures.low_rank(a.astype(np.float16), rank=4).dtype == np.float32
    assert structures.low_rank((100 * a).astype(np.int8), rank=4).dtype == np.float64
    zero = structures.low_rank(np.zeros((5, 4)), rtol=0)
    assert zero.relative_error == 0 and zero.ranks == (1, 1, 1)
    assert structures.low_rank(np.outer(np.ones(5), np.ones(4)), rank=3).ranks == (1, 1, 1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "rank, rtol: expected at least one of them"),
        ({"rank": 0}, "rank: expected a positive number, got 0"),
        ({"rank": -1}, "rank: expected a number that is not negative"),
        ({"rtol": -0.1}, "rtol: expected a number that is not negative"),
        ({"rtol": 1.5}, "rtol: expected a number below 1"),
        ({"rank": 2, "method": "qr"}, "method: expected 'auto', 'svd' or 'randomized', got 'qr'"),
        ({"rank": 2, "metric": np.ones(5)}, r"metric: expected shape \(6, 6\)"),
    ],
)
def test_refusals(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        structures.low_rank(np.ones((5, 6)), **asked)


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="a: expected finite entries"):
        structures.low_rank(np.full((3, 3), np.nan), rank=1)
    with pytest.raises(ValueError, match="a: expected a matrix"):
        structures.low_rank(np.ones(3), rank=1)
    with pytest.raises(TypeError, match="rank: expected an integer"):
        structures.low_rank(np.eye(3), rank=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="rtol: expected a number"):
        structures.low_rank(np.eye(3), rtol="small")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["svd", "randomized"])
def test_what_cannot_be_met_is_refused(method: Any) -> None:
    a = np.random.default_rng(0).standard_normal((40, 40))
    with pytest.raises(UnmetError, match=r"rtol: 0\.1 is not met: rank 5 reaches 0\.[6-9]"):
        structures.low_rank(a, rtol=0.1, rank=5, method=method, rng=0)
    with pytest.raises(UnmetError, match=r"rtol: 0 is not met: rank 40 reaches .*e-1"):
        structures.low_rank(a, rtol=0.0, method=method, rng=0)
    with pytest.raises(UnmetError, match=r"rtol: 1e-09 is not met: rank 40 reaches .*e-0"):
        structures.low_rank(a.astype(np.float32), rtol=1e-9, method=method, rng=0)


# ---- sums of Kronecker products ----


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("terms", [2, 3, 7])
def test_no_sum_of_kronecker_products_is_nearer(dtype: Any, terms: int) -> None:
    a = decaying(0, (24, 30), dtype)
    blocks = a.reshape(6, 4, 6, 5).transpose(0, 2, 1, 3).reshape(36, 20)
    op = structures.kronecker(a, (4, 5), terms=terms)
    assert isinstance(op, structures.TensorTrainOperator)
    assert [core.shape for core in op.cores] == [(1, 6, 6, terms), (terms, 4, 5, 1)]
    assert exact.error(a, op) <= op.relative_error
    assert abs(op.relative_error - tails(blocks)[terms]) <= tolerances.low_rank_excess(terms, a.size, dtype)
    left, right = op.cores
    summed = sum(np.kron(left[0, :, :, k], right[k, :, :, 0]) for k in range(terms))
    np.testing.assert_allclose(op.todense(), summed, atol=1e-5)


def test_terms_from_a_tolerance() -> None:
    rng = np.random.default_rng(0)
    b, c = rng.standard_normal((3, 4, 6)), rng.standard_normal((3, 5, 7))
    a = np.einsum("kij,kpq->ipjq", b, c).reshape(20, 42)
    op = structures.kronecker(a, (5, 7), rtol=1e-10)
    assert op.nbytes == b.nbytes + c.nbytes and op.relative_error <= 1e-10
    one = structures.kronecker(a, (5, 7))
    assert one.kind == "kron" and one.relative_error > 0.1
    assert structures.kronecker(a, (5, 7), terms=1).kind == "kron"
    with pytest.raises(UnmetError, match="rtol: 1e-10 is not met: rank 2 reaches"):
        structures.kronecker(a, (5, 7), terms=2, rtol=1e-10)
    with pytest.raises(ValueError, match="terms: expected a positive number, got 0"):
        structures.kronecker(a, (5, 7), terms=0)
    with pytest.raises(ValueError, match="block: expected a shape that divides"):
        structures.kronecker(a, (5, 5), terms=2)


# ---- errors of all, over all kinds of matrices ----


@pytest.mark.parametrize("kind", own.KINDS)
def test_reported_errors_are_not_below_the_true_ones(kind: str) -> None:
    for seed in range(16):
        rng = np.random.default_rng([5, seed])
        dtype = own.DTYPES[seed % 4]
        m, n = (int(size) for size in rng.integers(1, 17, 2))
        with np.errstate(all="ignore"):
            a = own.matrix(kind, 16, dtype, seed)[:m, :n]
        if not np.all(np.isfinite(a)):
            continue
        rank, method = int(rng.integers(1, 6)), ["svd", "randomized"][seed % 3 == 0]
        made: list[Any] = [structures.low_rank(a, rank=rank, method=method, rng=0)]  # type: ignore[arg-type]
        block = [int(rng.choice([d for d in range(1, size + 1) if size % d == 0])) for size in a.shape]
        made.append(structures.kronecker(a, (block[0], block[1]), terms=rank + 1))
        made += [structures.interpolative(a, rank=rank, axis=axis).operator for axis in (0, 1)]
        for op in made:
            assert exact.error(a, op) <= op.relative_error, (seed, op)
            assert not np.any(a) or op.relative_error < 10
