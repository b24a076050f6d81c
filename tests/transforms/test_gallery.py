"""The kernels: entry functions against matrices, identities, and the ranks of their blocks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.fft
from scipy import special

from bitterfly import gallery

ALL = gallery.KERNELS | gallery.FULL_RANK
# Smallest uniform rank of contiguous 32 x 32 blocks, n = 1024, for a Frobenius error of 1e-2, 1e-4, 1e-8.
RANKS = {
    "dft": (4, 6, 9),
    "nonuniform_dft": (4, 6, 9),
    "fourier_integral": (4, 6, 10),
    "hankel": (3, 5, 8),
    "bessel_j0": (5, 8, 13),
    "legendre": (6, 8, 14),
    "dct": (6, 8, 14),
    "helmholtz_plates": (6, 12, 25),
    "hadamard": (32, 32, 32),
}


@pytest.mark.parametrize("name", ALL)
def test_entry_function(name: str) -> None:
    kernel = ALL[name](64)
    dense = kernel.todense()
    assert dense.shape == kernel.shape == (64, 64) and dense.dtype == kernel.dtype and np.all(np.isfinite(dense))
    rng = np.random.default_rng(1)
    rows, cols = rng.integers(64, size=9), rng.integers(64, size=5)
    np.testing.assert_array_equal(kernel(rows, cols), dense[np.ix_(rows, cols)])
    np.testing.assert_array_equal(kernel(3, 4), dense[3:4, 4:5])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(kernel)).todense(), dense)
    assert kernel.name in repr(kernel) and kernel.formula
    with pytest.raises(IndexError, match="0 to 63"):
        kernel([64], [0])
    with pytest.raises(TypeError, match="vectors of integers"):
        kernel([0.5], [0])


@pytest.mark.parametrize("name", RANKS)
def test_block_ranks(name: str) -> None:
    kernel = gallery.helmholtz_plates(1024, wavelengths=16) if name == "helmholtz_plates" else ALL[name](1024)
    blocks = kernel.todense().reshape(32, 32, 32, 32).transpose(0, 2, 1, 3)
    energies = np.sum(np.linalg.svd(blocks, compute_uv=False) ** 2, axis=(0, 1))
    tails = np.append(np.cumsum(energies[::-1])[::-1], 0) / np.sum(energies)
    for tolerance, rank in zip((1e-2, 1e-4, 1e-8), RANKS[name], strict=True):
        assert abs(int(np.argmax(tails <= tolerance**2)) - rank) <= 1


def test_known_values() -> None:
    n, eye = 64, np.eye(64)
    np.testing.assert_allclose(gallery.dft(n).todense(), scipy.fft.fft(eye), atol=1e-13)
    for kind in (2, 4):
        expected = scipy.fft.dct(eye, type=kind, axis=0) / 2
        np.testing.assert_allclose(gallery.dct(n, kind=kind).todense(), expected, atol=1e-13)
    np.testing.assert_allclose(gallery.dct(n, kind=3).todense(), gallery.dct(n, kind=2).todense().T, atol=1e-15)
    hartley = gallery.hartley(n).todense()
    np.testing.assert_allclose(hartley @ hartley, n * eye, atol=1e-10)
    np.testing.assert_allclose(gallery.hadamard(n).todense() @ gallery.hadamard(n).todense(), n * eye)
    x, weights = special.roots_legendre(n)
    legendre = gallery.legendre(n).todense()
    np.testing.assert_allclose(legendre[:, 5], special.eval_legendre(5, x) * np.sqrt(5.5), rtol=1e-11)
    np.testing.assert_allclose(legendre.T @ (weights[:, None] * legendre), eye, atol=1e-11)
    assert gallery.bessel_j0(n)(0, 7) == 1
    np.testing.assert_allclose(gallery.hankel(n)(2, 3)[0, 0], special.hankel1(3, n + 4 * np.pi / 3))
    near = gallery.helmholtz_plates(n, dim=2, wavelengths=2)(5, 5)[0, 0]
    np.testing.assert_allclose(near, np.exp(-4j * np.pi), atol=1e-12)


def test_bad_sizes() -> None:
    for call, message in (
        (lambda: gallery.dft(0), "n: expected a positive integer"),
        (lambda: gallery.hadamard(12), "power of two"),
        (lambda: gallery.dct(8, kind=1), "kind: expected 2, 3 or 4"),
        (lambda: gallery.helmholtz_plates(8), "a square"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
