"""What operators are multiplied with: wide vectors far from one, batches, and shapes that do not fit."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator, gmres

import bitterfly
from bitterfly import Chain, algebra, transforms
from bitterfly.inputs import Array

KINDS = ["dyadic", "directions", "tiles", "skeleton", "sum", "stack"]
VIEWS = ["forward", "T", "H", "conj"]


@cache
def operator(kind: str, dtype: str) -> Any:
    dyadic = transforms.random(16, rng=1, dtype=dtype)
    if kind == "dyadic":
        return dyadic
    if kind == "directions":
        return bitterfly.quantize(dyadic, bits=3)
    rng = np.random.default_rng(2)
    factors = [rng.standard_normal(p) + (1j * rng.standard_normal(p) if dtype[0] == "c" else 0) for p in CHAIN]
    tiles = bitterfly.ButterflyOperator([f.astype(dtype) for f in factors], shape=(11, 20))
    if kind == "sum":
        return algebra.ButterflySum([tiles, tiles.conj()])
    if kind == "stack":
        return algebra.vstack([tiles, bitterfly.quantize(tiles, bits=9)])
    return tiles if kind == "tiles" else bitterfly.quantize(tiles, bits=5)


CHAIN = Chain([(1, 3, 2, 4), (2, 4, 12, 1)])


def view(op: Any, name: str) -> Any:
    return op if name == "forward" else op.conj() if name == "conj" else getattr(op, name)


def scaled(x: Array, powers: Any) -> Array:
    """The columns of x times powers of two, exactly."""
    exponents = np.asarray(powers, int)
    if x.dtype.kind != "c":
        return np.ldexp(x, exponents)
    out = np.empty(x.shape, x.dtype)
    out.real, out.imag = np.ldexp(x.real, exponents), np.ldexp(x.imag, exponents)
    return out


# ---- vectors wider than the operator ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["f4", "c8"])
@given(
    name=st.sampled_from(VIEWS),
    exponents=st.lists(st.integers(-980, 980), min_size=0, max_size=3),
    is_complex=st.booleans(),
    order=st.sampled_from("CF"),
    seed=st.integers(0, 2**32 - 1),
)
def test_powers_of_two_change_nothing(
    kind: str, dtype: str, name: str, exponents: list[int], is_complex: bool, order: Any, seed: int
) -> None:
    """Columns with parts from 1/2 to 1, times powers of two in the range of float64: bit for bit."""
    op, rng = view(operator(kind, dtype), name), np.random.default_rng(seed)
    x = rng.uniform(0.5, 1, (op.shape[1], len(exponents))) * rng.choice([-1, 1], (op.shape[1], len(exponents)))
    x = np.asarray(x + 1j * x[::-1] if is_complex else x, order=order)
    expected = scaled(op.apply(x), exponents)
    for product in (op.apply, op.matmat, op.dot):
        got = product(scaled(x, exponents))
        assert got.dtype == expected.dtype == np.result_type(np.float64, x.dtype, op.dtype)
        assert np.array_equal(got, expected)
    for at, exponent in enumerate(exponents):
        assert np.array_equal(op.matvec(scaled(x[:, at], exponent)), scaled(op.matvec(x[:, at]), exponent))


@pytest.mark.parametrize("dtype", ["f4", "c8"])
@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-200, 1e-50, 1e-38, 1e38, 1e200, 1.7e308])
def test_every_range_of_double_precision(dtype: str, size: float) -> None:
    """A diagonal of ones: nothing but the cast to the operator's precision rounds, subnormal numbers not at all."""
    op = bitterfly.ButterflyOperator([np.eye(8, dtype=dtype).reshape(1, 8, 8, 1)])
    x = np.where(np.arange(8) % 2, size, 0.0)
    assert np.all(np.abs(op @ x - x) <= np.finfo(np.float32).eps / 2 * x)


@pytest.mark.parametrize("exponent", [-100, 100])
def test_operators_and_vectors_at_both_ends(exponent: int) -> None:
    """The product overflows or vanishes in single precision, the scaled one does not."""
    op = transforms.random(16, rng=0, dtype="f4")
    far = bitterfly.ButterflyOperator.from_values(
        np.concatenate([op.values[:-1], np.ldexp(op.values[-1:], exponent)]), permutations=op.base_permutations
    )
    x = np.random.default_rng(0).uniform(0.5, 1, 16)
    for more in (0, 20, exponent, 8 * exponent):
        assert np.array_equal(far @ np.ldexp(x, more), np.ldexp(op @ x, exponent + more))


@pytest.mark.parametrize("dtype", ["f4", "c8"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("kind", ["dyadic", "directions", "skeleton"])
def test_infinity_and_nan_stay_in_their_column(kind: str, dtype: str, bad: float) -> None:
    op = operator(kind, dtype)
    x = np.random.default_rng(0).uniform(0.5, 1, (op.shape[1], 3)) * [1e39, 1e300, 1e-300]
    expected = op @ x[:, [0, 2]]
    x[3, 1] = bad
    got = op @ x
    assert np.array_equal(got[:, [0, 2]], expected)
    assert not np.any(np.isfinite(got[:, 1]))


def test_zeros_and_other_columns() -> None:
    op = operator("dyadic", "f4")
    x = np.zeros((16, 2))
    x[:, 1] = 1e39
    assert np.array_equal(op @ x, np.stack([np.zeros(16), op @ x[:, 1]], axis=1))


@pytest.mark.parametrize("scale", [1e-45, 1e-150, 1.0, 1e38, 1e150])
def test_solvers_far_from_one(scale: float) -> None:
    """The Fourier matrix has four eigenvalues: GMRES ends after four steps, whatever the size of b."""
    op = transforms.dft(64, dtype="c8")
    b = np.random.default_rng(0).standard_normal(64)
    x, failed = gmres(op, b * scale, rtol=1e-5, atol=0)
    assert not failed
    residual = np.fft.fft(x / scale) - b
    assert np.linalg.norm(residual) <= 2e-5 * np.linalg.norm(b)


# ---- batches ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["f8", "c8"])
@pytest.mark.parametrize("batch", [(3, 5), (2, 3, 1), (0, 2), (4, 0)])
def test_batches_of_matrices(kind: str, dtype: str, batch: tuple[int, ...]) -> None:
    op = operator(kind, dtype)
    m, n = op.shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((*batch[:-1], n, batch[-1]))
    expected = np.empty((*batch[:-1], m, batch[-1]), np.result_type(op.dtype, x.dtype))
    for at in np.ndindex(batch[:-1]):
        expected[at] = op.apply(x[at])
    out = np.empty_like(expected)
    assert op.apply(x, out=out) is out
    for got in (out, op @ x, op.apply(x), op.dot(x), op.matmat(x), op(x), op.apply(x.swapaxes(0, 0))):
        assert got.dtype == expected.dtype and np.array_equal(got, expected)
    left = np.swapaxes(x, -1, -2)
    assert np.array_equal(left @ op.T, np.swapaxes(op @ x, -1, -2))
    y = rng.standard_normal((*batch[:-1], m, batch[-1]))
    assert np.array_equal(op.rmatmat(y), op.H @ y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(3,), (2, 3), (0,)])
def test_batches_of_vectors(kind: str, batch: tuple[int, ...]) -> None:
    op = operator(kind, "f8")
    for product, same in ((op.matvec, op), (op.rmatvec, op.H)):
        m, n = same.shape
        x = np.random.default_rng(0).standard_normal((*batch, n))
        expected = same.apply(x.reshape(-1, n).T).T.reshape(*batch, m)
        assert np.array_equal(product(x), expected)


def test_batches_in_place() -> None:
    op = operator("dyadic", "f8")
    x = np.random.default_rng(0).standard_normal((3, 16, 2))
    expected = op @ x
    assert op.apply(x, out=x) is x and np.array_equal(x, expected)
    twice = algebra.ButterflySum([op, op])
    expected = twice @ x
    twice.apply(x, out=x)
    assert np.array_equal(x, expected)


# ---- shapes that do not fit ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(9,), (9, 2), (2, 9, 3), (9, 1), (1, 9), ()])
def test_messages_have_the_shapes(kind: str, shape: tuple[int, ...]) -> None:
    op = operator(kind, "f8")
    m, n = op.shape
    x = np.full(shape, 7.5)
    calls = [op.apply, op.matmat, op.matvec] + ([op.dot, lambda x: op @ x] if shape else [])
    calls = [(call, n) for call in calls] + [(call, m) for call in (op.rmatvec, op.rmatmat)]
    calls += [(lambda x: x @ op, m)] if shape else []
    for call, size in calls:
        with pytest.raises(ValueError, match=rf"x: expected shape .*\b{size}\b.*, got ") as caught:
            call(x)
        message = str(caught.value)
        assert message.endswith(f"got {shape}") and len(message) < 100


def test_products_with_operators_and_numbers_are_scipys() -> None:
    op = operator("tiles", "f8")
    x = np.ones(op.shape[1])
    assert np.allclose((2 * op) @ x, 2 * (op @ x)) and np.allclose((op * 2) @ x, 2 * (op @ x))
    assert np.allclose((op.H @ op) @ x, op.H @ (op @ x))
    assert np.allclose((aslinearoperator(np.eye(op.shape[0])) @ op) @ x, op @ x)
    with pytest.raises(ValueError, match=r"[Ss]calar"):
        op @ 2
