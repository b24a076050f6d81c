"""Operator: the contract with SciPy, pickling, views, immutability, threads."""

from __future__ import annotations

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import bitterfly
import strategies as own
import tolerances
from bitterfly import reference, transforms

Operator = bitterfly.ButterflyOperator | bitterfly.PackedButterfly
N = 64


def build(packed: bool, dtype: type, n: int = N) -> Operator:
    rng = np.random.default_rng(11)
    factors = transforms.random(n, rng=rng, dtype=dtype).factors
    op = bitterfly.ButterflyOperator(factors, permutations=(None, rng.permutation(n)))
    return bitterfly.quantize(op, bits=3) if packed else op


@pytest.fixture(params=["float", "packed"])
def packed(request: pytest.FixtureRequest) -> bool:
    return request.param == "packed"


@pytest.fixture(params=own.DTYPES, ids=lambda d: np.dtype(d).name)
def op(packed: bool, request: pytest.FixtureRequest) -> Operator:
    return build(packed, request.param)


def close(got: np.ndarray, expected: np.ndarray, dtype: np.dtype) -> None:
    """Both are products with the same matrix of a small random operator: n terms each, and the norms bound the sums."""
    bound = tolerances.gamma(32 * N, dtype) * np.linalg.norm(expected)
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) <= bound


def test_it_is_a_linear_operator(op: Operator) -> None:
    assert isinstance(op, LinearOperator)
    assert aslinearoperator(op) is op
    assert op.shape == (N, N)


@pytest.mark.parametrize("x_dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_products_by_every_name(op: Operator, x_dtype: type) -> None:
    a = op.todense()
    rng = np.random.default_rng(1)
    x, xs = own.gaussian(rng, (N,), x_dtype), own.gaussian(rng, (N, 5), x_dtype)
    for got, expected in [
        (op @ x, a @ x),
        (op @ xs, a @ xs),
        (op.matvec(x), a @ x),
        (op.matmat(xs), a @ xs),
        (op.matmat(xs[:, :1]), a @ xs[:, :1]),
        (op.rmatvec(x), a.conj().T @ x),
        (op.rmatmat(xs), a.conj().T @ xs),
        (op.dot(x), a @ x),
        (op * x, a @ x),
        (op.T @ x, a.T @ x),
        (op.H @ xs, a.conj().T @ xs),
        (op.conj() @ x, a.conj() @ x),
        (x @ op, x @ a),
        (xs.T @ op, xs.T @ a),
        (np.asfortranarray(xs.T) @ op, xs.T @ a),
    ]:
        assert got.dtype == expected.dtype
        close(got, expected, op.dtype)


def test_column_vectors(op: Operator) -> None:
    x = np.ones((N, 1), op.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # SciPy 1.18 deprecates this shape for matvec
        close(op.matvec(x), op.todense() @ x, op.dtype)
        close(op.rmatvec(x), op.todense().conj().T @ x, op.dtype)


def test_batches(op: Operator) -> None:
    """SciPy 1.18 hands (..., n) to _matvec and (..., n, k) to _matmat."""
    a = op.todense()
    x = own.gaussian(np.random.default_rng(2), (3, 2, N), op.dtype)
    close(op._matvec(x), x @ a.T, op.dtype)
    close(op._rmatvec(x), x @ a.conj(), op.dtype)
    y = own.gaussian(np.random.default_rng(2), (3, N, 2), op.dtype)
    close(op._matmat(y), a @ y, op.dtype)
    close(op._rmatmat(y), a.conj().T @ y, op.dtype)


def test_composition(op: Operator) -> None:
    a = op.todense()
    x = own.gaussian(np.random.default_rng(3), (N,), op.dtype)
    close((2 * op + op @ op - op.H) @ x, 2 * (a @ x) + a @ (a @ x) - a.conj().T @ x, op.dtype)
    close((op**2) @ x, a @ (a @ x), op.dtype)


def test_views(op: Operator) -> None:
    a = op.todense()
    for view, dense in [(op.T, a.T), (op.H, a.conj().T), (op.conj(), a.conj()), (op.T.T, a), (op.H.conj(), a.T)]:
        close(view.todense(), dense, op.dtype)
        assert view.nbytes == op.nbytes
        assert view.chain == op.chain
        assert view.relative_error == op.relative_error
    assert type(op.T) is type(op)
    assert op.T.T.mode == op.H.H.mode == "forward"


def test_factors_and_permutations_of_views() -> None:
    """The rule of transposition: digits of both sides reversed, patterns (a, b, c, d) -> (d, c, b, a)."""
    for dtype in own.DTYPES:
        op = build(False, dtype, 32)
        for view in (op, op.T, op.H, op.conj()):
            rows, columns = (np.arange(32) if p is None else p for p in view.permutations)
            product = reference.product(view.factors)
            a = view.todense()[np.ix_(rows, columns)]
            assert np.linalg.norm(a - product) <= tolerances.exact_codes(32, dtype) * np.linalg.norm(a)
            assert [f.shape for f in view.factors] == list(view.chain)
            again = bitterfly.ButterflyOperator(view.factors, permutations=view.permutations)
            np.testing.assert_allclose(again.todense(), view.todense(), rtol=0, atol=1e3 * tolerances.eps(dtype))


def test_dense(op: Operator) -> None:
    a = op.todense()
    assert np.asarray(op).shape == (N, N)
    assert np.asarray(op, dtype=np.complex128).dtype == np.complex128
    np.testing.assert_array_equal(np.array(op), a)
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(op, copy=False)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(op: Operator, protocol: int) -> None:
    for view in (op, op.H):
        again = pickle.loads(pickle.dumps(view, protocol=protocol))
        assert type(again) is type(op)
        assert (again.mode, again.relative_error, again.error_kind) == (view.mode, view.relative_error, view.error_kind)
        np.testing.assert_array_equal(again.todense(), view.todense())


def test_copies(op: Operator) -> None:
    for again in (copy.copy(op), copy.deepcopy(op), copy.deepcopy({"op": op})["op"]):
        np.testing.assert_array_equal(again.todense(), op.todense())


def test_joblib_workers(packed: bool) -> None:
    joblib = pytest.importorskip("joblib")
    op = build(packed, np.float64)
    xs = np.random.default_rng(4).standard_normal((4, N))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(multiply)(op, x) for x in xs)
    np.testing.assert_array_equal(got, [op @ x for x in xs])


def multiply(op: Operator, x: np.ndarray) -> np.ndarray:
    return op @ x


def test_threads(packed: bool) -> None:
    op = build(packed, np.float32, 4096)
    xs = np.random.default_rng(5).standard_normal((16, 4096)).astype(np.float32)
    expected = [op @ x for x in xs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            np.testing.assert_array_equal(list(pool.map(op.apply, xs)), expected)


def test_immutable(op: Operator) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        op.relative_error = 0.0
    with pytest.raises(AttributeError, match="immutable"):
        del op.mode
    buffers = [op.values, *op.factors] if isinstance(op, bitterfly.ButterflyOperator) else [op.words, op.scale]
    for buffer in buffers:
        with pytest.raises(ValueError, match="read-only"):
            buffer.reshape(-1)[0] = 1


def test_astype(op: Operator) -> None:
    a = op.todense()
    for dtype in own.DTYPES:
        if op.dtype.kind == "c" and np.dtype(dtype).kind != "c":
            with pytest.raises(TypeError, match="complex operator"):
                op.astype(dtype)
            continue
        other = op.astype(dtype)
        assert other.dtype == dtype
        worse = max(tolerances.eps(dtype), tolerances.eps(op.dtype))
        assert np.linalg.norm(other.todense() - a) <= 64 * worse * np.linalg.norm(a)
    with pytest.raises(TypeError, match="dtype: expected"):
        op.astype(np.int32)


def test_facts(op: Operator) -> None:
    reals = 2 * N * 6 * (2 if op.dtype.kind == "c" else 1)
    assert op.bits_per_factor_entry == pytest.approx(8 * op.nbytes / reals)
    assert op.bits_per_entry == pytest.approx(8 * op.nbytes / N**2)
    assert "\n" not in repr(op)
    for fact in ("64 x 64", str(op.dtype), "bits", "error"):
        assert fact in repr(op)
    assert "<table>" in op._repr_html_()
    assert op.nbytes > 4 * N  # the index array of the columns is counted


@pytest.mark.parametrize(
    ("factors", "error"),
    [([], ValueError), ([np.ones((1, 2, 2, 2))], ValueError), ([np.ones(4)], ValueError), (["x"], TypeError)],
)
def test_bad_factors(factors: list, error: type) -> None:
    with pytest.raises(error, match="factors"):
        bitterfly.ButterflyOperator(factors)


def test_bad_packed() -> None:
    op = build(True, np.float64, 8)
    for words, codes, scale in [
        (op.words[:-1], op.codes, op.scale),
        (op.words, op.codes[:-1], op.scale),
        (op.words, [("angle", 17)] * 3, op.scale),
        (op.words, [("sphere", 6)] * 3, op.scale),
        (op.words, op.codes, op.scale[:-1]),
    ]:
        with pytest.raises(ValueError, match=r"words|codes|bits|power of two"):
            bitterfly.PackedButterfly(words, codes, scale, relative_error=0.0)
