"""To and from lazylinop, pyfaust and pylops: the real packages, products equal to rounding."""

from __future__ import annotations

import numpy as np
import pytest

import bitterfly
from bitterfly import Chain, gallery, interop, transforms
from tolerances import product_bound

RNG = np.random.default_rng(5)


def general(dtype: str = "complex128") -> bitterfly.ButterflyOperator:
    a = RNG.standard_normal((48, 20)) + (1j * RNG.standard_normal((48, 20)) if dtype[0] == "c" else 0)
    return bitterfly.factorize(a.astype(dtype), Chain([(1, 4, 6, 12), (2, 9, 6, 4), (6, 8, 4, 1)]))


def fitted() -> bitterfly.ButterflyOperator:
    return bitterfly.factorize(gallery.nonuniform_dft(256).todense(), rtol=1e-3)


OPERATORS = {
    "dft": lambda: transforms.dft(64),
    "dct": lambda: transforms.dct(32),
    "rectangular": general,
    "real": lambda: general("float32"),
    "fitted": fitted,
    "padded": lambda: bitterfly.factorize(
        RNG.standard_normal((13, 11)), Chain.butterfly((16, 16), rank=2, leaf=4, groups=4)
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_sparse_factors(name: str) -> None:
    op = OPERATORS[name]()
    product = np.eye(op.shape[0])
    for factor in interop.to_sparse(op):
        product = product @ factor
    assert np.linalg.norm(product - op.todense()) <= 1e3 * np.finfo(op.dtype).eps * np.linalg.norm(product)


@pytest.mark.parametrize("name", OPERATORS)
def test_lazylinop(name: str) -> None:
    pytest.importorskip("lazylinop")
    op = OPERATORS[name]()
    theirs = interop.to_lazylinop(op)
    assert theirs.shape == op.shape
    for x in (RNG.standard_normal(op.shape[1]), RNG.standard_normal((op.shape[1], 3))):
        x = x.astype(op.dtype)
        np.testing.assert_allclose(theirs @ x, op @ x, atol=1e3 * np.finfo(op.dtype).eps * np.linalg.norm(op @ x))
    y = RNG.standard_normal(op.shape[0]).astype(op.dtype)
    np.testing.assert_allclose(theirs.H @ y, op.H @ y, atol=1e3 * np.finfo(op.dtype).eps * np.linalg.norm(op.H @ y))


def test_from_lazylinop() -> None:
    pytest.importorskip("lazylinop")
    from lazylinop.butterfly import Chain as TheirChain
    from lazylinop.butterfly import ksd

    a = np.fft.fft(np.eye(32))
    theirs = ksd(a, TheirChain.square_dyadic(a.shape))
    ours = interop.from_lazylinop(theirs)
    assert ours.chain == Chain.square_dyadic(32)
    x = RNG.standard_normal(32)
    np.testing.assert_allclose(ours @ x, theirs @ x, atol=1e-12)
    again = interop.from_lazylinop(list(theirs.ks_values))
    np.testing.assert_array_equal(again.values, ours.values)


@pytest.mark.parametrize("values", [3, "text", np.zeros(4)])
def test_what_lazylinop_values_are_not(values: object) -> None:
    with pytest.raises(TypeError, match="ks_values"):
        interop.from_lazylinop(values)


@pytest.mark.parametrize("name", ["dft", "rectangular", "padded"])
def test_faust(name: str) -> None:
    pytest.importorskip("pyfaust")
    op = OPERATORS[name]()
    theirs = interop.to_faust(op)
    assert theirs.shape == op.shape
    x = RNG.standard_normal(op.shape[1])
    np.testing.assert_allclose(theirs @ x, op @ x, atol=1e-12 * np.linalg.norm(op @ x))
    y = RNG.standard_normal(op.shape[0])
    np.testing.assert_allclose(theirs.H @ y, op.H @ y, atol=1e-12 * np.linalg.norm(op.H @ y))


@pytest.mark.parametrize(
    ("dtype", "known"), [("float32", "float32"), ("float64", "float64"), ("complex64", "complex128")]
)
def test_precision_of_a_faust(dtype: str, known: str) -> None:
    pytest.importorskip("pyfaust")
    op = transforms.random(64, rng=0, dtype=dtype)
    theirs = interop.to_faust(op)
    assert theirs.dtype == np.dtype(known)
    assert [factor.dtype for factor in interop.to_sparse(op)] == [op.dtype] * 6
    x = RNG.standard_normal(64).astype(dtype)
    moduli = np.abs(x)
    for factor in reversed(interop.to_sparse(op)):
        moduli = abs(factor) @ moduli
    assert np.all(np.abs(theirs @ x.astype(known) - op @ x) <= product_bound(64, dtype) * moduli)


def test_from_faust() -> None:
    pytest.importorskip("pyfaust")
    op = general()
    plain = bitterfly.ButterflyOperator(list(op.factors))
    theirs = interop.to_faust(plain)
    ours = interop.from_faust(theirs, plain.chain)
    np.testing.assert_array_equal(ours.values, plain.values)
    with pytest.raises(ValueError, match="patterns, one a factor"):
        interop.from_faust(theirs, Chain.square_dyadic(16))


def test_factors_that_do_not_fit() -> None:
    chain = Chain.square_dyadic(4)
    dense = [np.eye(4), np.ones((4, 4))]
    with pytest.raises(ValueError, match="factor 1: has entries outside"):
        interop.from_faust(dense, chain)
    with pytest.raises(ValueError, match="factor 0: expected shape"):
        interop.from_faust([np.eye(3), np.eye(4)], chain)


def test_pylops() -> None:
    pylops = pytest.importorskip("pylops")
    op = general()
    theirs = pylops.aslinearoperator(op)
    x = RNG.standard_normal(op.shape[1])
    np.testing.assert_array_equal(theirs @ x, op @ x)
    np.testing.assert_array_equal(theirs.H @ (op @ x), op.H @ (op @ x))
    stacked = pylops.VStack([theirs, 2 * theirs])
    np.testing.assert_allclose(stacked @ x, np.concatenate([op @ x, 2 * (op @ x)]), atol=1e-12)
    assert pylops.utils.dottest(theirs, *op.shape, complexflag=3)


def test_lazylinop_quantizes_to_fewer_candidates() -> None:
    """Real data: `t` is ignored, and breakpoints are those of 10 bits where float16 rounds to 11."""
    quantization = pytest.importorskip("lazylinop.quantization")
    rng = np.random.default_rng(0)
    worse = 0
    for _ in range(20):
        x, y = rng.standard_normal((2, 2))
        columns, target = (x[:, np.newaxis], y[:, np.newaxis]), np.dtype(np.float16)
        xh, yh, _ = quantization.qrank_one(*columns, target)
        short = quantization.qrank_one(*columns, target, t=4)
        assert np.array_equal(xh, short[0])
        assert np.array_equal(yh, short[1])
        exact = np.outer(x, y)
        theirs = np.linalg.norm(exact - xh.astype(float) @ yh.astype(float).T) / np.linalg.norm(exact)
        ours = bitterfly.quantize_rank_one(x, y, significand=11)[2]
        assert ours <= theirs * (1 + 1e-9)
        worse += ours < 0.99 * theirs
    assert worse > 0
