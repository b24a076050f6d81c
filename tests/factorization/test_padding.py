"""Matrices smaller than their chain, padded with zeros: every chain, every code, and what becomes of operators."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitterfly
from bitterfly import Chain, reference
from bitterfly.stores.floats import DyadicFloats, TiledFloats
from strategies import DTYPES, gaussian
from tolerances import gamma

CHAINS = {
    "square dyadic 2": Chain.square_dyadic(2),
    "square dyadic 8": Chain.square_dyadic(8),
    "square dyadic 32": Chain.square_dyadic(32),
    "prime factors": Chain.for_shape((12, 30)),
    "monarch": Chain.monarch((24, 20), rank=2),
    "dyadic": Chain.butterfly((32, 32), rank=(2, 3, 2), leaf=4, groups=2),
    "a and d": Chain([(2, 4, 6, 6), (6, 4, 5, 3)]),
    "dense": Chain([(1, 9, 7, 1)]),
}
CODES = {"skeleton": 8, "lattice": 8, "power_of_two": 3, "shift": 3, "ternary": 2, "sign": 1, "float": 9}


@st.composite
def padded(draw: Any) -> tuple[Chain, tuple[int, int]]:
    """A chain, and a shape that it has room for."""
    chain = CHAINS[draw(st.sampled_from(sorted(CHAINS)))]
    m, n = chain.shape
    return chain, (draw(st.integers(1, m)), draw(st.integers(1, n)))


def oracle(op: Any) -> np.ndarray:
    """The matrix from the factors, in double precision: the product between the permutations, without the padding."""
    product = reference.product([f.astype(np.result_type(f, np.float64)) for f in op.factors])
    rows, columns = (
        np.arange(size) if p is None else p for p, size in zip(op.permutations, product.shape, strict=True)
    )
    out = np.zeros_like(product)
    out[np.ix_(rows, columns)] = product
    return out[: op.shape[0], : op.shape[1]]


def close(op: Any, expected: np.ndarray, moduli: float, dtype: Any) -> None:
    """Check forward and adjoint products with a vector and few columns; `expected` was rounded to `dtype` once."""
    assert op.shape == expected.shape
    rng = np.random.default_rng(0)
    bound = gamma(64 * (len(op.chain) + 1) * max(op.chain.shape), dtype) * moduli
    for view, matrix in ((op, expected), (op.T, expected.T), (op.H, expected.conj().T), (op.conj(), expected.conj())):
        for columns in (1, 3, 17):
            x = gaussian(rng, (matrix.shape[1], columns), op.dtype)
            assert np.linalg.norm(view @ x - matrix @ x) <= bound * np.linalg.norm(x)
            assert np.linalg.norm(view @ x[:, 0] - matrix @ x[:, 0]) <= bound * np.linalg.norm(x[:, 0])


def moduli_of(op: Any) -> float:
    """The norm of the product of the moduli of all factors: what rounding errors of products are relative to."""
    return float(np.prod([np.linalg.norm(f.astype(np.result_type(f, np.float64))) for f in op.factors]))


def check_everywhere(op: Any, tmp_path: Path) -> None:
    """The operator, its casts, copies and files all are the matrix of their factors."""
    floats = op.dequantize() if hasattr(op, "dequantize") else op
    expected, moduli = oracle(floats), moduli_of(floats)
    close(op, expected, moduli, op.dtype)
    bitterfly.save(tmp_path / "op", op)
    for again in (pickle.loads(pickle.dumps(op)), bitterfly.load(tmp_path / "op"), floats):
        close(again, expected, moduli, op.dtype)
        assert again.nbytes == op.nbytes or again is floats
    close(op.astype(_double(op.dtype)), expected, moduli, op.dtype)


def _double(dtype: Any) -> Any:
    return np.result_type(dtype, np.float64)


@given(case=padded(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99), permute=st.sampled_from(["auto", None]))
def test_factors_of_padded_matrices(
    case: tuple[Chain, tuple[int, int]], dtype: Any, seed: int, permute: Any, tmp_path_factory: Any
) -> None:
    chain, shape = case
    a = gaussian(np.random.default_rng(seed), shape, dtype)
    op = bitterfly.factorize(a, chain, permute=permute)
    assert op.chain == chain and op.shape == shape and op.dtype == a.dtype
    assert isinstance(op.store, DyadicFloats) == (chain.is_square_dyadic and shape == chain.shape)
    assert np.linalg.norm(a - oracle(op)) <= op.relative_error * np.linalg.norm(a.astype(_double(dtype)))
    check_everywhere(op, tmp_path_factory.mktemp("padded"))


@settings(max_examples=60)
@given(case=padded(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99), code=st.sampled_from(["auto", *CODES]))
def test_codes_of_padded_matrices(
    case: tuple[Chain, tuple[int, int]], dtype: Any, seed: int, code: str, tmp_path_factory: Any
) -> None:
    chain, shape = case
    a = gaussian(np.random.default_rng(seed), shape, dtype)
    op = bitterfly.factorize(a, chain)
    if code == "float":
        if any(rank > 1 for rank in chain.ranks):
            return
        q = bitterfly.quantize(op, code=code, significand=CODES[code])
    else:
        q = bitterfly.quantize(op, code=code, bits=CODES.get(code, 8))
    assert q.shape == shape
    check_everywhere(q, tmp_path_factory.mktemp("padded"))


@given(case=padded(), seed=st.integers(0, 99))
def test_operators_of_given_factors(case: tuple[Chain, tuple[int, int]], seed: int, tmp_path_factory: Any) -> None:
    chain, shape = case
    rng = np.random.default_rng(seed)
    factors = [gaussian(rng, p, np.float64) for p in chain]
    op = bitterfly.ButterflyOperator(factors, shape=shape)
    np.testing.assert_array_equal(oracle(op), reference.product(factors)[: shape[0], : shape[1]])
    check_everywhere(op, tmp_path_factory.mktemp("padded"))


def test_the_chain_asked_for_is_the_chain_returned() -> None:
    a = np.random.default_rng(0).standard_normal((4, 4))
    op = bitterfly.factorize(a, Chain.square_dyadic(8), permute=None)
    assert op.chain == Chain.square_dyadic(8) and op.shape == (4, 4)


@pytest.mark.parametrize("shape", [(7, 7), (7, 8), (1, 8)])
def test_direction_codes_are_not_padded(shape: tuple[int, int]) -> None:
    a = np.random.default_rng(0).standard_normal(shape)
    op = bitterfly.factorize(a, Chain.square_dyadic(8))
    assert isinstance(op.store, TiledFloats)
    with pytest.raises(ValueError, match="code: 'direction' needs the square dyadic chain, without padding"):
        bitterfly.quantize(op, code="direction", bits=4)
    full = bitterfly.quantize(bitterfly.factorize(np.eye(8)), bits=4)
    with pytest.raises(ValueError, match=r"shape: expected \(8, 8\)"):
        bitterfly.PackedButterfly(full.words, full.codes, full.scale, shape=shape, relative_error=0.0)


@given(case=padded(), seed=st.integers(0, 9))
def test_compress_of_padded_matrices(case: tuple[Chain, tuple[int, int]], seed: int) -> None:
    chain, shape = case
    a = gaussian(np.random.default_rng(seed), shape, np.float64)
    packed = bitterfly.compress(a, chain, bits=8)
    error = np.linalg.norm(a - oracle(packed.dequantize())) / np.linalg.norm(a)
    slack = gamma(64 * (len(chain) + 1) * max(chain.shape), np.float64) * moduli_of(packed.dequantize())
    assert packed.shape == shape and error <= packed.relative_error + slack / np.linalg.norm(a)
