"""Butterflies from entry functions: the error asked for, few entries, reproducible, and what users get wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator

import bitterfly
from bitterfly import Chain, gallery
from bitterfly.accuracy.sampled import sampled_error
from bitterfly.sources import given
from bitterfly.sources.given import EntrySource
from bitterfly.stores.floats import TiledFloats


@pytest.fixture(autouse=True)
def _by_skeletons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate small matrices alone as a whole: the sizes of these tests go by skeletons, as large ones do."""
    monkeypatch.setattr(given, "_EVALUATED_BYTES", 1 << 18)


class Counted:
    """An entry function that counts what is asked of it."""

    def __init__(self, kernel: Callable) -> None:
        self.kernel, self.entries, self.largest = kernel, 0, 0

    def __call__(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        self.entries += len(rows) * len(cols)
        self.largest = max(self.largest, len(rows) * len(cols))
        return self.kernel(rows, cols)


@pytest.mark.parametrize("name", ["fourier_integral", "nonuniform_dft", "hankel", "bessel_j0"])
@pytest.mark.parametrize("rtol", [1e-2, 1e-5])
def test_tolerance(name: str, rtol: float) -> None:
    kernel = gallery.KERNELS[name](1024)
    op = bitterfly.factorize(kernel, rtol=rtol)  # a kernel knows its shape
    dense = kernel.todense()
    true = np.linalg.norm(op.todense() - dense) / np.linalg.norm(dense)
    assert true <= rtol and true <= 1.1 * op.relative_error <= 1.1 * rtol  # an upper bound with a confidence
    assert op.error_kind == "estimated" and op.dtype == dense.dtype
    store = op.store
    assert isinstance(store, TiledFloats) and all(store.ranks[:-1])  # skeletons: identity rows are not stored
    assert sum(b.nbytes for b in store.buffers.values()) < 0.75 * op.chain.nbytes(op.dtype)


def test_few_entries() -> None:
    """Entries per n log n stay the same from n = 1024 to 4096, and no block is the matrix."""
    counts = []
    for n in (1024, 4096):
        entry = Counted(gallery.fourier_integral(n))
        bitterfly.factorize(entry, shape=(n, n), rtol=1e-3)
        counts.append(entry.entries / (n * np.log2(n)))
        assert entry.largest < n * n / 3
    assert counts[1] < 1.6 * counts[0]


def test_reproducible_by_seed() -> None:
    kernel = gallery.fourier_integral(512)
    a, b, c = (bitterfly.factorize(kernel, rtol=1e-3, rng=seed).values for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not (a.shape == c.shape and np.array_equal(a, c))


@pytest.mark.parametrize("shape", [(700, 512), (512, 1500), (3000, 300)])
def test_rectangular_and_padded(shape: tuple[int, int]) -> None:
    m, n = shape

    def entry(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return np.exp(-2j * np.pi * np.outer(rows / m, cols - n // 2) * min(1.0, m / n))

    op = bitterfly.factorize(entry, shape=shape, rtol=1e-3)
    dense = entry(np.arange(m), np.arange(n))
    assert op.shape == shape
    assert np.linalg.norm(op.todense() - dense) / np.linalg.norm(dense) <= 1e-3


def test_small_matrices_are_read_whole() -> None:
    op = bitterfly.factorize(gallery.hankel(128), rtol=1e-2)
    assert op.error_kind == "ledger" and op.relative_error <= 1e-2


def test_estimate_covers_the_truth() -> None:
    """The upper bound of sampled rows holds in nearly all draws: 97.7 % each."""
    kernel = gallery.nonuniform_dft(512)
    op = bitterfly.factorize(kernel.todense(), rtol=3e-2)
    true = np.linalg.norm(op.todense() - kernel.todense()) / np.linalg.norm(kernel.todense())
    source = EntrySource(kernel, (512, 512))
    bounds = [sampled_error(source, op, 64, np.random.default_rng(seed)) for seed in range(100)]
    assert np.mean([upper >= true for _, upper in bounds]) >= 0.9
    assert np.median([estimate for estimate, _ in bounds]) == pytest.approx(true, rel=0.05)
    assert sampled_error(source, op, 512, np.random.default_rng(0)) == (pytest.approx(true), pytest.approx(true))


@pytest.mark.parametrize("name", ["one heavy row", "Hilbert"])
def test_estimate_covers_uneven_rows(name: str) -> None:
    """Rows that weigh more err more, and are drawn more often."""
    n = 512
    kernel = gallery.nonuniform_dft(n)

    def heavy(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return kernel(rows, cols) * np.where(rows == 7, 300, 1)[:, None]

    def hilbert(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return 1 / (rows[:, None] + cols[None, :] + 1.0)

    entry = heavy if name == "one heavy row" else hilbert
    dense = entry(np.arange(n), np.arange(n))
    for seed in range(4):
        op = bitterfly.factorize(entry, shape=(n, n), rtol=1e-3, rng=seed)
        true = np.linalg.norm(op.todense() - dense) / np.linalg.norm(dense)
        assert true <= op.relative_error <= 1e-3


def test_full_rank_is_refused_early() -> None:
    entry = Counted(gallery.gaussian(1024))
    with pytest.raises(bitterfly.IncompressibleError, match="not a butterfly"):
        bitterfly.factorize(entry, shape=(1024, 1024), rtol=1e-3)


def _wrong_shape(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    return np.zeros((len(cols), len(rows) + 1))


def _random(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    return np.random.default_rng().standard_normal((len(rows), len(cols)))


def _nan(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    out = np.ones((len(rows), len(cols)))
    out[0, 0] = np.nan
    return out


def _text(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    return np.full((len(rows), len(cols)), "x")


def _paired(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    return np.add.outer(rows[::-1] ** 2.0, 1000.0 * cols)


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        (_wrong_shape, ValueError, "entry: expected a block of shape"),
        (_random, ValueError, "the same block for the same rows"),
        (_nan, ValueError, r"entry: expected finite entries, got nan at \(0, 0\)"),
        (_text, TypeError, "entry: expected real or complex numbers"),
        (_paired, ValueError, "blocks and single entries differ"),
    ],
)
def test_bad_entry_functions(entry: Callable, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        bitterfly.factorize(entry, shape=(512, 512), rtol=1e-3)


def test_exceptions_reach_the_user() -> None:
    calls = 0

    def entry(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls > 150:
            raise RuntimeError("the disk is gone")
        return gallery.fourier_integral(512)(rows, cols)

    with pytest.raises(RuntimeError, match="the disk is gone"):
        bitterfly.factorize(entry, shape=(512, 512), rtol=1e-4)


def test_missing_arguments() -> None:
    entry = gallery.dft(64).__call__
    with pytest.raises(ValueError, match=r"shape: expected \(m, n\)"):
        bitterfly.factorize(entry, rtol=1e-2)
    with pytest.raises(ValueError, match="rtol: expected a tolerance, or a chain"):
        bitterfly.factorize(entry, shape=(64, 64))
    with pytest.raises(ValueError, match="shape: expected"):
        bitterfly.factorize(np.eye(4), shape=(3, 3))
    with pytest.raises(ValueError, match="at least one row"):
        bitterfly.factorize(entry, shape=(0, 4), rtol=1e-2)


class Products:
    """A dense matrix behind products, counted."""

    def __init__(self, a: np.ndarray) -> None:
        self.a, self.count = a, 0

    def operator(self) -> LinearOperator:
        return LinearOperator(
            self.a.shape,
            dtype=self.a.dtype,
            matvec=lambda x: self._times(self.a, x),
            rmatvec=lambda x: self._times(self.a.conj().T, x),
            matmat=lambda x: self._times(self.a, x),
            rmatmat=lambda x: self._times(self.a.conj().T, x),
        )

    def _times(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        self.count += 1 if x.ndim == 1 else x.shape[1]
        return a @ x


@pytest.mark.parametrize("dtype", ["complex128", "float64"])
def test_linear_operators(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = gallery.nonuniform_dft(512) if dtype == "complex128" else gallery.bessel_j0(1024)
    counted = Products(kernel.todense())
    op = bitterfly.factorize(counted.operator(), rtol=1e-3)
    assert counted.count <= op.shape[1] + 5 and op.error_kind == "ledger" and op.relative_error <= 1e-3
    monkeypatch.setattr(given, "_SMALL_SIDE", 256)
    random = bitterfly.factorize(counted.operator(), rtol=1e-3)
    true = np.linalg.norm(random.todense() - counted.a) / np.linalg.norm(counted.a)
    assert random.error_kind == "estimated" and true <= random.relative_error <= 1e-3


def test_linear_operators_on_a_chain() -> None:
    a = np.random.default_rng(0).standard_normal((24, 12))
    counted = Products(a)
    chain = Chain.for_shape((24, 12))
    found = bitterfly.factorize(counted.operator(), chain, permute=None)
    np.testing.assert_allclose(found.todense(), bitterfly.factorize(a, chain, permute=None).todense(), atol=1e-12)
    assert counted.count <= 12 + 5  # columns, and what compares products
    with pytest.raises(ValueError, match="shape: expected"):
        bitterfly.factorize(counted.operator(), chain, shape=(3, 3))
    broken = LinearOperator((64, 64), matvec=lambda x: np.full(64, np.nan), dtype=float)
    with pytest.raises(ValueError, match="finite products"):
        bitterfly.factorize(broken, rtol=1e-2)


def test_linear_operators_that_lie() -> None:
    a = gallery.dft(16).todense()
    real = LinearOperator((16, 16), dtype=np.float64, matvec=lambda x: a @ x, rmatvec=lambda x: a.conj().T @ x)
    with pytest.raises(TypeError, match="expected real numbers, its dtype being float64, got complex128"):
        bitterfly.factorize(real, rtol=1e-3)
    forward = LinearOperator((16, 16), dtype=np.complex128, matvec=lambda x: a @ x)
    assert bitterfly.factorize(forward, rtol=1e-3).relative_error <= 1e-3  # columns suffice
    assert bitterfly.factorize(forward, Chain.square_dyadic(16)).relative_error < 1e-12


def test_tolerance_below_the_precision() -> None:
    with pytest.raises(ValueError, match=r"rtol: 1e-18 is below the precision of complex128"):
        bitterfly.factorize(gallery.dft(16).todense(), rtol=1e-18)
