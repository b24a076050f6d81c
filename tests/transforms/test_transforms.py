"""The analytic factors: against the definitions of the transforms, and to a million points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.linalg

from bitterfly import ButterflyOperator, transforms

DTYPES = ["f4", "f8", "c8", "c16"]
SIZES = [2, 4, 8, 64, 512]


def exact_dft(n: int) -> np.ndarray[Any, np.dtype[np.complex128]]:
    j = np.arange(n)
    return np.exp(-2j * np.pi * (np.outer(j, j) % n) / n)


def exact_roots(count: int) -> np.ndarray[Any, np.dtype[np.complex128]]:
    """Return exp(-pi i t / count) by extended precision, in every octant from its own angle."""
    angle = np.arccos(np.longdouble(-1)) * np.arange(count) / count
    return (np.cos(angle) - 1j * np.sin(angle)).astype(np.complex128)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_hadamard(n: int, dtype: str) -> None:
    op = transforms.hadamard(n, dtype=dtype)
    assert op.dtype == np.dtype(dtype) and op.shape == (n, n)
    assert np.array_equal(op.todense(), scipy.linalg.hadamard(n))
    assert op.relative_error == 0 and op.error_kind == "exact"
    assert op.nbytes == 0 and op.mean_bits == 0 and op.T.astype("c16").nbytes == 0
    plain = ButterflyOperator(op.factors)
    assert plain.nbytes > 0 and np.array_equal(plain.todense(), op.todense())


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ["c8", "c16"])
def test_dft(n: int, dtype: str) -> None:
    op = transforms.dft(n, dtype=dtype)
    a = exact_dft(n)
    error = np.linalg.norm(op.todense() - a) / np.linalg.norm(a)
    assert op.dtype == np.dtype(dtype)
    assert error <= (n.bit_length() - 1) * np.finfo(dtype).eps


@pytest.mark.parametrize("n", SIZES)
def test_idft_inverts_dft(n: int) -> None:
    forward, backward = transforms.dft(n).todense(), transforms.idft(n).todense()
    eps = np.finfo(float).eps
    assert np.max(np.abs(backward @ forward - np.eye(n))) <= 4 * n.bit_length() * eps
    assert np.array_equal(backward, forward.conj() / n)


def test_twiddles_are_within_an_ulp_and_symmetric() -> None:
    n = 2**12
    roots = transforms.dft(n).factors[0][0, 0, 1]
    assert roots[0] == 1 and roots[n // 4] == -1j
    eighth = roots[n // 8]
    assert eighth.real == -eighth.imag
    difference = roots - exact_roots(n // 2)
    eps = np.finfo(float).eps
    assert max(np.max(np.abs(difference.real)), np.max(np.abs(difference.imag))) <= eps / 2
    assert np.array_equal(roots[1:].real, -roots[:0:-1].real)
    assert np.array_equal(roots[1:].imag, roots[:0:-1].imag)


def test_a_million_points() -> None:
    n = 2**20
    x = np.random.default_rng(0).standard_normal(n)
    op = transforms.dft(n, dtype="c8")
    expected = scipy.fft.fft(x)
    assert np.linalg.norm(op @ x - expected) <= 1e-6 * np.linalg.norm(expected)
    assert op.values.shape == (20, 2 * n) and op.values.ctypes.data % 64 == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_gaussian(dtype: str) -> None:
    op = transforms.random(512, rng=5, dtype=dtype)
    values = op.values.ravel()
    count = values.size
    assert op.dtype == np.dtype(dtype)
    assert abs(np.mean(values)) <= 5 / np.sqrt(2 * count)
    assert abs(np.mean(np.abs(values) ** 2) - 0.5) <= 5 * np.sqrt(0.5 / count)
    if values.dtype.kind == "c":  # circular: no correlation of a number with itself
        assert abs(np.mean(values**2)) <= 5 * np.sqrt(0.5 / count)


@pytest.mark.parametrize("n", [2, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_random_orthogonal(n: int, dtype: str) -> None:
    a = transforms.random(n, rng=3, dtype=dtype, orthogonal=True).todense()
    eps = float(np.finfo(dtype).eps)
    assert np.max(np.abs(a.conj().T @ a - np.eye(n))) <= 8 * n.bit_length() * eps


def test_orthogonal_blocks_have_both_determinants() -> None:
    (factor,) = {f.shape: f for f in transforms.random(2, rng=1, orthogonal=True).factors}.values()
    assert factor.shape == (1, 2, 2, 1)
    blocks = transforms.random(256, rng=1, orthogonal=True).factors[0][0]
    determinants = np.linalg.det(np.moveaxis(blocks, -1, 0))
    assert np.allclose(np.abs(determinants), 1)
    assert 32 <= np.sum(determinants > 0) <= 96


def test_random_is_reproducible() -> None:
    def draw(rng: np.random.Generator | int) -> ButterflyOperator:
        return transforms.random(16, rng=rng)

    assert np.array_equal(draw(7).values, draw(7).values)
    assert np.array_equal(draw(7).values, draw(np.random.default_rng(7)).values)
    assert not np.array_equal(draw(7).values, draw(8).values)


def test_random_needs_rng() -> None:
    with pytest.raises(TypeError, match="rng"):
        transforms.random(16)  # type: ignore[call-arg]


@pytest.mark.parametrize("make", [transforms.hadamard, transforms.dft, transforms.idft])
@pytest.mark.parametrize("n", [0, 1, 3, 100])
def test_sizes_that_do_not_fit(make: Any, n: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        make(n)


@pytest.mark.parametrize("dtype", ["f2", "i4", "O", "U3"])
def test_dtypes_that_do_not_fit(dtype: str) -> None:
    with pytest.raises(ValueError, match="dtype: expected float32"):
        transforms.hadamard(4, dtype=dtype)


@pytest.mark.parametrize("make", [transforms.dft, transforms.idft])
def test_fourier_is_complex(make: Any) -> None:
    with pytest.raises(ValueError, match="dtype: expected complex64 or complex128, got float64"):
        make(4, dtype=float)
