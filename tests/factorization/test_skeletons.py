"""Skeletons: scales, pivots, the entries they take, single precision, threads."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import bitterfly
import strategies as own
from bitterfly import _core, gallery
from bitterfly.sources import given
from tolerances import gamma


@pytest.fixture(autouse=True)
def _by_skeletons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "_EVALUATED_BYTES", 1 << 18)


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [("float32", -80), ("float32", 70), ("complex64", -80), ("complex64", 70), ("float64", -600), ("complex128", 500)],
)
def test_powers_of_two_change_nothing(dtype: str, exponent: int) -> None:
    kernel = gallery.nonuniform_dft(512) if np.dtype(dtype).kind == "c" else gallery.bessel_j0(512)

    def scaled(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        numbers = np.ascontiguousarray(kernel(rows, cols).astype(dtype))
        return np.ldexp(numbers.view(numbers.real.dtype), exponent).view(dtype)

    plain = bitterfly.factorize(lambda rows, cols: kernel(rows, cols).astype(dtype), shape=(512, 512), rtol=1e-3)
    op = bitterfly.factorize(scaled, shape=(512, 512), rtol=1e-3)
    assert op.chain == plain.chain and op.relative_error == pytest.approx(plain.relative_error, rel=1e-12)
    for factor, expected in zip(op.factors[:-1], plain.factors[:-1], strict=True):
        assert np.array_equal(factor, expected)
    last = np.ascontiguousarray(op.factors[-1])
    assert np.array_equal(np.ldexp(last.view(last.real.dtype), -exponent).view(last.dtype), plain.factors[-1])


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_pivots(dtype: str, isa: str) -> None:
    """Tails fall to what least squares on the pivots leave; blocks of any scale count with their energies."""
    rng = np.random.default_rng(0)
    eps = float(np.finfo(dtype).eps)
    x = rng.standard_normal((6, 12, 9)) * np.array([1, 1e-3, 1, 1e3, 0, 1])[:, None, None]
    x[2, :, 4:] = x[2, :, :4] @ rng.standard_normal((4, 5))
    x = (x + 1j * x[:, ::-1] if np.dtype(dtype).kind == "c" else x).astype(dtype)
    wide = x.astype(np.result_type(dtype, np.float64))
    tails = _core.pivot_tails(x)
    energies = np.sum(np.abs(wide) ** 2, axis=(1, 2))
    unit = 4.0 ** np.frexp(np.max(np.abs(np.ascontiguousarray(x).view(x.real.dtype))))[1]
    np.testing.assert_allclose(tails[:, 0] * unit, energies, rtol=100 * eps)
    assert np.all(np.diff(tails, axis=1) <= 0) and np.all(tails[:, 9:] <= 1e3 * eps**2 * tails[:, :1])
    any_rank = _core.pivot_tails(x, of_any=True)
    least = np.cumsum(np.linalg.svd(wide, compute_uv=False)[:, ::-1] ** 2, axis=1)[:, ::-1] / unit
    rounding = 1e3 * eps**2 * tails[:, :1]
    assert np.all(any_rank[:, :9] >= least * (1 - 100 * eps) - rounding)
    assert np.all(any_rank[:, :9] <= 2 * least + rounding) and np.all(any_rank[:, 9:] <= rounding)
    rank = 5
    flags, t, left = _core.skeletonize(x, rank)
    assert left == pytest.approx(unit * tails[:, rank].sum(), rel=1e-3)
    for block, pivots, combinations in zip(wide, flags.astype(bool), t, strict=True):
        assert pivots.sum() == rank and np.all(np.isfinite(combinations))
        best = np.linalg.lstsq(block[pivots].T, block[~pivots].T, rcond=4 * eps)[0].T
        missed, least = (np.linalg.norm(block[~pivots] - c @ block[pivots]) for c in (combinations, best))
        assert missed <= least + 1e3 * eps * np.linalg.norm(block)


SHAPES = [(1, 1), (1, 7), (9, 1), (2, 3), (12, 9), (5, 16), (17, 33), (40, 40), (64, 17), (20, 70)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize(("b", "s"), SHAPES)
def test_tails_are_what_projections_leave(b: int, s: int, dtype: str, isa: str) -> None:
    """Gaussian, graded and rank-deficient blocks, and zeros, against projections of each block in double precision.

    What k reflectors round is gamma(10 s k) of the norm (Higham, Accuracy and Stability of Numerical Algorithms, 19.3).
    """
    rng = np.random.default_rng([b, s])
    x = own.gaussian(rng, (4, b, s), dtype)
    x[1] *= (2.0 ** -np.arange(b)[:, None]).astype(x.real.dtype)
    x[2] = x[2][:, :1] * x[2][:1]
    x[3, :, s // 2 :] = x[3, ::2] = 0
    wide = x.astype(np.result_type(dtype, np.float64))
    unit = 4.0 ** np.frexp(np.max(np.abs(x.view(x.real.dtype))))[1]
    tails = _core.pivot_tails(x) * unit
    totals = np.sum(np.abs(wide) ** 2, axis=(1, 2))
    for k in range(min(b, s) + 1):
        chosen = _core.pivot_rows(x, np.zeros((4, b), np.uint8), k).astype(bool)
        rounding = gamma(10 * s * max(k, 1), dtype)
        for block, rows, tail, total in zip(wide, chosen, tails[:, k], totals, strict=True):
            q = np.linalg.qr(block[rows].T)[0]
            left = np.sum(np.abs(block - block @ q.conj() @ q.T) ** 2)
            assert abs(tail - left) <= 2 * rounding * np.sqrt(left * total) + rounding**2 * total


def test_rows_that_are_pivots_in_any_case() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 20, 3)) @ rng.standard_normal((3, 8))
    known = np.zeros((3, 20), np.uint8)
    known[:, [4, 17]] = 1
    flags = _core.pivot_rows(x, known, 6)
    assert np.all(flags[:, [4, 17]] == 1)
    assert np.all(flags.sum(axis=1) == 3)  # the third leaves nothing
    with pytest.raises(ValueError, match="known"):
        _core.pivot_rows(x, known[:, :5].copy(), 6)


@pytest.mark.parametrize("name", ["fourier_integral", "nonuniform_dft", "helmholtz_plates"])
def test_tolerance_is_spent(name: str) -> None:
    """Of kernels whose ranks are even the error is met at once, and not by far."""
    kernel = gallery.KERNELS[name](1024)
    dense = kernel.todense()
    for rtol in (1e-2, 1e-4):
        op = bitterfly.factorize(kernel, rtol=rtol)
        true = np.linalg.norm(op.todense() - dense) / np.linalg.norm(dense)
        assert 0.15 * rtol <= true <= op.relative_error <= rtol


def test_entries_of_a_fourier_integral_operator() -> None:
    n, asked = 4096, [0]
    kernel = gallery.fourier_integral(n)

    def entry(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        asked[0] += len(rows) * len(cols)
        return kernel(rows, cols)

    op = bitterfly.factorize(entry, shape=(n, n), rtol=1e-4)
    assert asked[0] <= 0.4 * n * n
    assert op.nbytes <= 0.1 * n * n * 16


def test_single_precision_to_its_end() -> None:
    kernel = gallery.fourier_integral(1024)
    op = bitterfly.factorize(lambda i, j: kernel(i, j).astype(np.complex64), shape=(1024, 1024), rtol=1e-6)
    dense = kernel.todense()
    assert op.dtype == np.complex64
    assert np.linalg.norm(op.astype(np.complex128).todense() - dense) <= 1e-6 * np.linalg.norm(dense)


def test_blocks_of_zeros_and_of_one_row() -> None:
    """Most of the matrix is zero; what is not lies in a few rows."""

    def entry(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return np.where(rows[:, None] % 97 == 3, np.cos(np.outer(rows, cols) / 1024.0), 0.0)

    op = bitterfly.factorize(entry, shape=(1024, 1024), rtol=1e-3)
    dense = entry(np.arange(1024), np.arange(1024))
    assert np.linalg.norm(op.todense() - dense) <= 1e-3 * np.linalg.norm(dense)
    zero = bitterfly.factorize(lambda i, j: np.zeros((len(i), len(j))), shape=(1024, 1024), rtol=1e-3)
    assert zero.relative_error == 0 and not np.any(zero @ np.ones(1024))


def test_one_worker_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for workers in (1, 2):
        op = bitterfly.factorize(gallery.bessel_j0(512), rtol=1e-3, workers=workers)
        assert op.relative_error <= 1e-3


def test_at_interpreter_shutdown() -> None:
    code = (
        "import atexit\nfrom bitterfly import factorize, gallery\nfrom bitterfly.sources import given\n"
        "given._EVALUATED_BYTES = 1 << 18\n"
        "atexit.register(lambda: print(factorize(gallery.bessel_j0(512), rtol=1e-3).relative_error <= 1e-3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "True", done.stderr
