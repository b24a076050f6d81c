"""Closed-form factors of trigonometric transforms: against definitions in extended precision, SciPy and each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.fft

from bitterfly import Chain, reference, transforms
from bitterfly.transforms import real_chains
from bitterfly.transforms.real_chains import (
    Factored,
    dct_factors,
    dst_factors,
    hartley_factors,
    idct_factors,
    idst_factors,
)

Array = np.ndarray[Any, np.dtype[Any]]
EPS = float(np.finfo(np.float64).eps)
PROMISED = 1e-14
SIZES = [2, 4, 8, 32, 256, 1024]
KINDS = [2, 3, 4]
NORMS: list[real_chains.Norm] = [None, "ortho"]
FUNCTIONS = {"dct": dct_factors, "dst": dst_factors, "idct": idct_factors, "idst": idst_factors}
SCIPY = {name: getattr(scipy.fft, name) for name in FUNCTIONS}
ALL = [(name, kind, norm) for name in FUNCTIONS for kind in KINDS for norm in NORMS]


def levels(n: int) -> int:
    return n.bit_length() - 1


def product_error(n: int) -> float:
    """Relative Frobenius error of the product of the rounded factors, formed in double precision.

    A stage is sqrt(2) times orthogonal, but for `k = 0`, where it is a sum and a copy. Rounding its roots (each part by
    eps / 4 at most) moves it by eps / 2 of that; gain, root and their product in the first stage by 2 eps. The sums of
    the three terms of a row err by gamma_3 | |F| |, at most 1.7 * sqrt(2) * 1.5 eps. All stages: below 3 eps each.
    """
    return (3 * levels(n) + 2) * EPS


def scipy_error(n: int) -> float:
    """The same for SciPy's own transforms of unit vectors: log2(n) butterflies and two passes, 3 eps each."""
    return 3 * (levels(n) + 2) * EPS


def applied(factors: list[Array], x: Array) -> Array:
    """Return the product of factors with a panel, (columns, panel)."""
    for v in reversed(factors):
        a, b, c, d = v.shape
        x = np.einsum("ijkt,iktp->ijtp", v, x.reshape(a, c, d, -1)).reshape(a * b * d, -1)
    return x


def dense(found: Factored) -> Array:
    """Return the transform itself, in natural order."""
    factors, rows, columns = found
    n = len(rows)
    out = np.empty((n, n))
    out[np.ix_(rows, columns)] = reference.product(factors) if n <= 128 else applied(factors, np.eye(n))
    return out


def circle(numerator: Array, full: int) -> tuple[Array, Array]:
    """Return cosine and sine of ``2 pi numerator / full``, in extended precision where there is one."""
    angle = np.arccos(np.longdouble(-1)) * (2 * (numerator % full)) / full
    return np.cos(angle), np.sin(angle)


def definition(name: str, kind: int, k: Array, m: Array, n: int) -> Array:
    """Return entries (k, m) of the unnormalised transform from its defining sum."""
    if name == "hartley":
        cosine, sine = circle(np.multiply.outer(k, m), n)
        return np.asarray(cosine + sine, np.float64)
    if kind == 3:  # weights below: the constant of DCT-III and DST-III stands once, all else twice
        single = m == (0 if name == "dct" else n - 1)
        return definition(name, 2, m, k, n).T * np.where(single, 0.5, 1.0)
    shift = (1 if name == "dst" else 0) if kind == 2 else 0.5
    numerator = np.multiply.outer((2 * (k + shift)).astype(np.int64), 2 * m + 1)
    return np.asarray(2 * circle(numerator, 8 * n)[name == "dst"], np.float64)


def error(found: Array, expected: Array) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("n", SIZES)
def test_hartley_is_its_definition(n: int) -> None:
    k = np.arange(n)
    a = dense(hartley_factors(n))
    assert error(a, definition("hartley", 0, k, k, n)) <= min(product_error(n), PROMISED)
    fourier = scipy.fft.fft(np.eye(n), axis=0)
    assert error(a, fourier.real - fourier.imag) <= product_error(n) + scipy_error(n)
    # Two products with a matrix of norm sqrt(n), whose square has the norm n * sqrt(n).
    assert error(a @ a, n * np.eye(n)) <= np.sqrt(n) * (2 * product_error(n) + np.sqrt(n) * EPS)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["dct", "dst"])
def test_kinds_are_their_definitions(name: str, kind: int, n: int) -> None:
    k = np.arange(n)
    a = dense(FUNCTIONS[name](n, kind))
    assert error(a, definition(name, kind, k, k, n)) <= min(product_error(n), PROMISED)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("name", "kind", "norm"), ALL)
def test_agrees_with_scipy(name: str, kind: int, norm: real_chains.Norm, n: int) -> None:
    expected = SCIPY[name](np.eye(n), type=kind, norm=norm, axis=0)
    assert error(dense(FUNCTIONS[name](n, kind, norm=norm)), expected) <= product_error(n) + scipy_error(n)


@pytest.mark.parametrize(("name", "kind"), [("hartley", 0), *((x, kind) for x in ("dct", "dst") for kind in KINDS)])
def test_large(name: str, kind: int) -> None:
    n = 4096
    factors, rows, columns = hartley_factors(n) if name == "hartley" else FUNCTIONS[name](n, kind)
    panel = np.r_[0:8, n // 2 - 4 : n // 2 + 4, n - 8 : n, np.random.default_rng(0).integers(n, size=40)]
    unit = np.zeros((n, len(panel)))
    unit[panel, np.arange(len(panel))] = 1
    assert error(applied(factors, unit), definition(name, kind, rows, columns[panel], n)) <= PROMISED


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["dct", "dst"])
def test_inverse_of_forward(name: str, kind: int, norm: real_chains.Norm, n: int) -> None:
    """In norm the two err by their products' errors times sqrt(n), which Frobenius and spectral norm differ by."""
    forward, backward = FUNCTIONS[name](n, kind, norm=norm), FUNCTIONS[f"i{name}"](n, kind, norm=norm)
    middle = np.empty((n, n))
    middle[forward[1]] = applied(forward[0], np.eye(n)[forward[2]])
    out = np.empty((n, n))
    out[backward[1]] = applied(backward[0], middle[backward[2]])
    # Relative to the identity: the condition number of the unnormalised kinds 2 and 3 is sqrt(2).
    assert error(out, np.eye(n)) <= 2 * np.sqrt(2) * product_error(n)


@pytest.mark.parametrize("n", [2, 64])
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in ("dct", "dst") for kind in KINDS])
def test_orthogonal(name: str, kind: int, n: int) -> None:
    a = dense(FUNCTIONS[name](n, kind, norm="ortho"))
    assert np.max(np.abs(a.T @ a - np.eye(n))) <= 2 * np.sqrt(n) * product_error(n)


def every(n: int) -> list[Factored]:
    return [hartley_factors(n), *(FUNCTIONS[name](n, kind, norm=norm) for name, kind, norm in ALL)]


@pytest.mark.parametrize("n", SIZES)
def test_form(n: int) -> None:
    patterns = [(1, 2, 2, 1)] if n == 2 else [(1 << at, 4, 4, n >> (at + 2)) for at in range(levels(n) - 1)]
    for factors, rows, columns in every(n):
        chain = Chain(f.shape for f in factors)
        assert list(chain) == patterns and chain.ranks == (2,) * (len(patterns) - 1)
        assert all(f.dtype == np.float64 and f.flags.c_contiguous and f.flags.writeable for f in factors)
        for order in (rows, columns):
            assert order.dtype == np.intp and np.array_equal(np.sort(order), np.arange(n))


def test_rank_one_would_not_do() -> None:
    """Every block at every junction has rank 2 exactly: in these orders no junction can be narrower."""
    n = 64
    for factors, _, _ in every(n):
        a = reference.product(factors)
        for pattern in Chain(f.shape for f in factors).patterns[:-1]:
            groups, classes = 2 * pattern[0], pattern[3]
            blocks = a.reshape(n // classes, classes, groups, n // groups).transpose(1, 2, 0, 3)
            assert blocks.shape[2] * blocks.shape[3] == 2 * n
            assert np.all(np.linalg.matrix_rank(blocks, tol=1e-10) == 2)


def test_axes_and_diagonals_are_exact() -> None:
    inner = hartley_factors(256)[0][1]
    assert set(inner[0, :, :, 0].ravel()) <= {0.0, 1.0, -1.0}
    assert np.count_nonzero(inner) * 4 <= inner.size * 3
    (only,) = hartley_factors(4)[0]
    assert set(only.ravel()) == {1.0, -1.0}
    eight = hartley_factors(8)[0][0]
    assert set(np.abs(eight[0, :, :, 1]).ravel()) <= {0.0, 1.0, np.sqrt(2.0)}


def test_roots_are_within_an_ulp() -> None:
    full = 2**14
    turns = np.arange(-full, 2 * full)
    roots = real_chains._unit(turns, full)
    cosine, sine = circle(turns, full)
    assert np.max(np.abs(roots.real - cosine)) <= EPS / 2
    assert np.max(np.abs(roots.imag - sine)) <= EPS / 2
    assert np.array_equal(roots[:full], roots[full : 2 * full])
    assert np.array_equal(roots[: full // 4] * 1j, roots[full // 4 : full // 2])


@pytest.mark.parametrize("n", [-2, 0, 1, 3, 12, 1000])
@pytest.mark.parametrize("make", [hartley_factors, *FUNCTIONS.values()])
def test_sizes_are_powers_of_two(make: Callable[[int], Factored], n: int) -> None:
    with pytest.raises(ValueError, match=rf"n: expected .*power of two.* got {n}"):
        make(n)


@pytest.mark.parametrize("make", [hartley_factors, *FUNCTIONS.values()])
def test_sizes_are_integers(make: Callable[[Any], Factored]) -> None:
    with pytest.raises(TypeError, match="integer"):
        make(8.0)


@pytest.mark.parametrize("make", FUNCTIONS.values())
def test_kind_and_norm_are_checked(make: Any) -> None:
    with pytest.raises(ValueError, match="kind: expected 2, 3 or 4, got 1"):
        make(8, 1)
    for norm in ("backward", "forward", 2):
        with pytest.raises(ValueError, match="norm: expected None or 'ortho', got"):
            make(8, norm=norm)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 4, 64, 512])
@pytest.mark.parametrize(("name", "kind", "norm"), [("hartley", 0, None), *ALL])
def test_operators(name: str, kind: int, norm: real_chains.Norm, n: int, dtype: type) -> None:
    x = np.random.default_rng(n).standard_normal((n, 3))
    if name == "hartley":
        op, fourier = transforms.hartley(n, dtype=dtype), scipy.fft.fft(x, axis=0)
        expected = fourier.real - fourier.imag
    else:
        op = getattr(transforms, name)(n, kind, norm=norm, dtype=dtype)
        expected = SCIPY[name](x, type=kind, norm=norm, axis=0)
    assert op.dtype == dtype and set(op.chain.ranks) <= {2}
    assert error(op @ x.astype(dtype), expected) <= 4 * op.relative_error < 1000 * np.finfo(dtype).eps


@pytest.mark.parametrize("make", [transforms.hartley, transforms.dct, transforms.idst])
def test_operators_are_real(make: Any) -> None:
    with pytest.raises(ValueError, match="dtype: expected float32 or float64, got complex64"):
        make(8, dtype=np.complex64)
