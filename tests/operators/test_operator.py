"""Operator: the contract with SciPy, pickling, views, immutability, threads."""

from __future__ import annotations

import copy
import multiprocessing
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
from exact import true_error

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
    bound = tolerances.gamma(4 * N, dtype) * np.linalg.norm(expected)
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


def test_batches_by_public_names(op: Operator) -> None:
    a, rng = op.todense(), np.random.default_rng(2)
    x, xs = own.gaussian(rng, (3, 2, N), op.dtype), own.gaussian(rng, (3, N, 2), op.dtype)
    close(op.matvec(x), x @ a.T, op.dtype)
    close(op.rmatvec(x), x @ a.conj(), op.dtype)
    close(op.matmat(xs), a @ xs, op.dtype)
    close(op.rmatmat(xs), a.conj().T @ xs, op.dtype)
    close(op @ xs, a @ xs, op.dtype)
    for broadcast in (np.broadcast_to(x[:1, :1], (2, 2, N)), x[::-1, ::-1], x.transpose(1, 0, 2)):
        close(op.matvec(broadcast), broadcast @ a.T, op.dtype)
    assert op.matmat(np.zeros((0, N, 2), op.dtype)).shape == (0, N, 2)


def test_batch_of_the_size_of_the_matrix(op: Operator) -> None:
    """(n, n) as a batch of vectors is not to be taken for a matrix of columns."""
    x = own.gaussian(np.random.default_rng(6), (N, N), op.dtype)
    close(op._matvec(x), x @ op.todense().T, op.dtype)


@pytest.mark.parametrize("x", [np.ones(N - 1), np.ones((N - 1, 2)), np.ones((1, N)), np.float64(1) * np.ones(())])
def test_wrong_shapes(op: Operator, x: np.ndarray) -> None:
    for product in (op.matvec, op.rmatvec, op.matmat, op.rmatmat, op.apply):
        if x.shape == (1, N) and product in (op.matvec, op.rmatvec):
            continue  # a batch of one
        with pytest.raises(ValueError):
            product(x)


def test_scalars_keep_the_precision(op: Operator) -> None:
    """A Python number scales an operator in its own dtype; the result of a product has that dtype."""
    a, x = op.todense(), own.gaussian(np.random.default_rng(3), (N,), op.dtype)
    for scaled, expected in [(2 * op, 2 * a), (op * 0.5, a * 0.5), (-op, -a), (op / 4, a / 4)]:
        assert (scaled @ x).dtype == op.dtype
        close(scaled @ x, expected @ x, op.dtype)
    close((1j * op) @ x, 1j * (a @ x), op.dtype)
    close((1j * op).H @ x, -1j * (a.conj().T @ x), op.dtype)


def test_adjoints_of_compositions(op: Operator) -> None:
    a, x = op.todense(), own.gaussian(np.random.default_rng(3), (N,), op.dtype)
    close((op @ op.H).H @ x, a @ (a.conj().T @ x), op.dtype)
    close((op + op.T).H @ x, a.conj().T @ x + a.conj() @ x, op.dtype)
    assert (op.H @ op).shape == (N, N)


def test_operators_of_other_dtypes() -> None:
    """The sum of a real and a complex operator is complex, that of two precisions the wider one."""
    for dtype, other in [(np.float32, np.complex64), (np.float32, np.float64), (np.complex64, np.float64)]:
        a, b = build(True, dtype), build(False, other)
        x = np.ones(N, np.float32)
        expected = a.todense() @ x + b.todense() @ x
        assert ((a + b) @ x).dtype == (a + b).dtype == np.result_type(dtype, other)
        close((a + b) @ x, expected, np.dtype(np.float32))


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


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(op: Operator, protocol: int) -> None:
    for view in (op, op.H):
        again = pickle.loads(pickle.dumps(view, protocol=protocol))
        assert type(again) is type(op)
        assert (again.mode, again.relative_error, again.error_kind) == (view.mode, view.relative_error, view.error_kind)
        np.testing.assert_array_equal(again.todense(), view.todense())


def test_a_pickle_holds_the_buffers_once(packed: bool) -> None:
    op = build(packed, np.float32, 1024)
    indices = 2 * op.base_permutations[1].nbytes  # intp, not the 32 bits of nbytes
    assert len(pickle.dumps(op)) <= op.nbytes + indices + 1000


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


def test_threads_with_operators_of_their_own() -> None:
    """Every thread multiplies with another operator, view and number of columns: none sees the other's workspace."""
    ops = [build(packed, dtype, 512) for packed in (False, True) for dtype in own.DTYPES]
    rng = np.random.default_rng(7)
    jobs = [(v, own.gaussian(rng, (512, k), v.dtype)) for k, op in enumerate(ops, 1) for v in (op, op.T, op.H)]
    expected = [v @ x for v, x in jobs]
    with ThreadPoolExecutor(8) as pool:
        for got, y in zip(pool.map(lambda job: job[0] @ job[1], jobs * 20), expected * 20, strict=True):
            np.testing.assert_array_equal(got, y)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(packed: bool, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    op = build(packed, np.float64)
    x = np.random.default_rng(8).standard_normal(N)
    expected = op @ x
    with multiprocessing.get_context(method).Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(op.matvec, (x,)), expected)


def test_what_the_caller_keeps_does_not_matter() -> None:
    """Arrays handed to a constructor may change afterwards."""
    source = build(True, np.float64, 16)
    words, scale, order = source.words.copy(), source.scale.copy(), np.random.default_rng(9).permutation(16)
    packed = bitterfly.PackedButterfly(words, source.codes, scale, permutations=(order, None), relative_error=0.0)
    factors = [f.copy() for f in source.dequantize().factors]
    floats = bitterfly.ButterflyOperator(factors, permutations=(order, None))
    expected = packed.todense(), floats.todense()
    for array in (words, scale, order, *factors):
        array[...] = array.reshape(-1)[::-1].reshape(array.shape).copy()
    np.testing.assert_array_equal(floats.todense(), expected[1])
    np.testing.assert_array_equal(packed.todense(), expected[0])


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
        worse = dtype if tolerances.eps(dtype) > tolerances.eps(op.dtype) else op.dtype
        assert np.linalg.norm(other.todense() - a) <= tolerances.exact_codes(N, worse) * np.linalg.norm(a)
    with pytest.raises(TypeError, match="dtype: expected"):
        op.astype(np.int32)


@pytest.mark.parametrize("exponent", [-300, -60, -44, -36, 36, 60, 300])
def test_astype_says_what_it_loses(packed: bool, exponent: int) -> None:
    """Where numbers underflow in the lower precision the error says so; where they overflow it is refused."""
    base = transforms.random(16, rng=np.random.default_rng(10))
    factors = [base.factors[0], base.factors[1] * 10.0**exponent, *base.factors[2:]]
    op = bitterfly.ButterflyOperator(factors)
    op = bitterfly.quantize(op, bits=8) if packed else op
    a = op.todense()
    try:
        single = op.astype(np.float32)
    except OverflowError:
        assert not 10.0**-30 < 10.0**exponent < 10.0**30
        return
    assert true_error(a, single) <= single.relative_error


def test_trace_and_views_of_the_dense_matrix(op: Operator) -> None:
    a = op.todense()
    for view, dense in [(op, a), (op.T, a.T), (op.H, a.conj().T)]:
        assert abs(view.trace() - np.trace(dense)) <= tolerances.gamma(4 * N, op.dtype) * np.linalg.norm(a)
        assert view.trace().dtype == op.dtype
        close(np.asarray(view), dense, op.dtype)
    assert np.linalg.norm(op) == np.linalg.norm(a)
    assert np.asarray([op, op]).shape == (2, N, N)


def test_facts(op: Operator) -> None:
    reals = 2 * N * 6 * (2 if op.dtype.kind == "c" else 1)
    assert op.bits_per_number == pytest.approx(8 * op.nbytes / reals)
    assert op.bits_per_entry == pytest.approx(8 * op.nbytes / N**2)
    assert "\n" not in repr(op)
    for fact in ("64 x 64", str(op.dtype), "bits", "error"):
        assert fact in repr(op)
    assert "<table>" in op._repr_html_()
    assert op.nbytes > 4 * N  # the index array of the columns is counted


@pytest.mark.parametrize(
    ("factors", "error"),
    [
        ([], ValueError),
        ([np.ones((1, 2, 2, 2)), np.ones((4, 2, 2, 1))], ValueError),
        ([np.ones(4)], ValueError),
        (["x"], TypeError),
    ],
)
def test_bad_factors(factors: list, error: type) -> None:
    with pytest.raises(error, match=r"factors|chainable"):
        bitterfly.ButterflyOperator(factors)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scales_must_be_finite(value: float) -> None:
    op = build(True, np.float64, 8)
    scale = op.scale.copy()
    scale[3] = value
    with pytest.raises(ValueError, match="scale"):
        bitterfly.PackedButterfly(op.words, op.codes, scale, relative_error=0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("words", np.ones(48)),
        ("words", np.ones(48, np.int64)),
        ("words", np.ones((3, 16), np.uint32)),
        ("codes", None),
        ("codes", [4, 4, 4]),
        ("codes", [("angle", "x")] * 3),
        ("scale", np.ones((8, 1))),
        ("scale", ["a"] * 8),
    ],
)
def test_bad_packed_arguments_are_named(name: str, value: object) -> None:
    op = build(True, np.float64, 8)
    arguments = {"words": op.words, "codes": op.codes, "scale": op.scale, name: value}
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
        bitterfly.PackedButterfly(**arguments, relative_error=0.0)


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
