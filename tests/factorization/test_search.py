"""Searches: transforms of composite sizes, digits in any order, bits that search, warnings and refusals."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitterfly
from bitterfly import Chain, IncompressibleError, gallery, transforms
from bitterfly.chains.radices import Radices
from bitterfly.factorization.digits import Digit, digits_of, still_free
from bitterfly.factorization.truncated import truncated_svds


def fourier(n: int) -> np.ndarray:
    return np.fft.fft(np.eye(n))


def missed(a: np.ndarray, op: bitterfly.ButterflyOperator) -> float:
    return float(np.linalg.norm(a - op.todense()) / np.linalg.norm(a))


def share(op: bitterfly.ButterflyOperator) -> float:
    return op.nbytes / (op.shape[0] * op.shape[1] * op.dtype.itemsize)


@pytest.mark.parametrize("n", [96, 100, 120, 243, 360, 500, 600, 1000])
def test_fourier_matrices_of_any_smooth_size(n: int) -> None:
    a = fourier(n)
    op, default = bitterfly.factorize(a, rtol=1e-10), bitterfly.factorize(a)
    assert missed(a, op) <= op.relative_error <= 1e-10
    assert op.nbytes <= default.nbytes  # found without a tolerance


@pytest.mark.parametrize("rtol", [1e-10, 1e-3])
def test_images_in_either_memory_order(rtol: float) -> None:
    a = np.kron(fourier(32), fourier(32))
    for matrix in (a, a[:, np.arange(1024).reshape(32, 32).T.ravel()]):
        op = bitterfly.factorize(matrix, rtol=rtol)
        assert missed(matrix, op) <= op.relative_error <= 1e-10 and share(op) <= 0.025


@given(
    sizes=st.lists(st.sampled_from([2, 3, 4, 5, 6, 8, 12]), min_size=2, max_size=3),
    axes=st.randoms(use_true_random=False),
)
def test_volumes_with_shuffled_axes(sizes: list[int], axes: object) -> None:
    a, order = np.ones((1, 1)), list(range(len(sizes)))
    for n in sizes:
        a = np.kron(a, fourier(n))
    axes.shuffle(order)  # type: ignore[attr-defined]
    a = a[np.arange(len(a)).reshape(sizes).transpose(order).ravel()]
    if not 100 <= len(a) <= 400:
        return
    op = bitterfly.factorize(a, rtol=1e-10)
    assert missed(a, op) <= op.relative_error <= 1e-10
    assert op.nbytes <= 1.01 * bitterfly.factorize(fourier(len(a))).nbytes + 8 * len(a)


@pytest.mark.parametrize("part", [np.s_[100:433], np.s_[:, :250], np.s_[50:450]])
def test_parts_of_transforms(part: object) -> None:
    a = fourier(500)[part]  # type: ignore[index]
    op = bitterfly.factorize(a, rtol=1e-10)
    assert missed(a, op) <= op.relative_error <= 1e-10 and share(op) < 0.12


def test_two_kinds_of_axes_and_real_transforms() -> None:
    hadamard = transforms.hadamard(1024).todense()[np.arange(1024).reshape(4, 8, 32).transpose(2, 0, 1).ravel()]
    assert share(bitterfly.factorize(hadamard, rtol=1e-10)) < 0.025
    hartley = fourier(360).real - fourier(360).imag
    for rtol in (1e-10, 1e-3):
        op = bitterfly.factorize(hartley, rtol=rtol)
        assert missed(hartley, op) <= op.relative_error <= rtol and share(op) < 0.2


def test_compress_takes_no_more_than_on_the_chain_of_the_shape() -> None:
    a = fourier(500)
    assert (
        bitterfly.compress(a, rtol=1e-3).nbytes <= bitterfly.compress(a, Chain.for_shape((500, 500)), rtol=1e-3).nbytes
    )


def test_single_precision_is_not_refused_where_it_is_met() -> None:
    a = fourier(480).astype(np.complex64)
    assert bitterfly.factorize(a, rtol=1e-5).relative_error == bitterfly.factorize(a).relative_error <= 1e-5
    with pytest.raises(ValueError, match=r"in complex128 it may be met"):
        bitterfly.factorize(a, rtol=1e-8)


def test_bits_search_too() -> None:
    for a in (gallery.dct(256).todense(), gallery.nonuniform_dft(256).todense()):
        assert bitterfly.compress(a, bits=8).relative_error < 0.05


def test_errors_above_one_half_are_warned_of() -> None:
    noise = np.random.default_rng(0).standard_normal((64, 64))
    with pytest.warns(UserWarning, match=r"the relative error is 0\.\d+, .* rtol= searches") as caught:
        op = bitterfly.factorize(noise)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="that of the float factors already"):
        bitterfly.quantize(op, bits=4)
    with pytest.warns(UserWarning, match="the relative error is"):
        bitterfly.compress(np.random.default_rng(0).standard_normal((512, 512)), bits=4, structure="butterfly")
    good = bitterfly.factorize(fourier(64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bitterfly.quantize(good, bits=4)


def test_refusals_name_what_was_asked() -> None:
    noise = np.random.default_rng(0).standard_normal((64, 64))
    with pytest.raises(IncompressibleError, match=r"at rtol=0\.013: .* \d\.\d times the bytes") as caught:
        bitterfly.compress(noise, rtol=0.013, structure="butterfly")
    assert caught.value.storage > 0.9
    for shape in ((1, 1), (1, 50), (50, 1)):
        with pytest.raises(IncompressibleError, match="a single row or column"):
            bitterfly.factorize(noise.reshape(-1)[: shape[0] * shape[1]].reshape(shape), rtol=1e-3)
    for work in (bitterfly.factorize, bitterfly.compress):
        with pytest.raises(ValueError, match="rtol: expected a number below 1"):
            work(noise, rtol=2)


@pytest.mark.parametrize("shape", [(7000, 24), (24, 7000)])
def test_rectangular_matrices_take_a_few_times_their_memory(shape: tuple[int, int]) -> None:
    """The longer side alone, squared, would take 400 MB."""
    a = 1 / (np.linspace(0, 1, shape[0])[:, None] + np.linspace(2, 3, shape[1]))
    tracemalloc.start()
    op = bitterfly.factorize(a, rtol=1e-6, workers=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert op.shape == shape
    assert op.nbytes < a.nbytes / 4
    assert peak < 4 * a.nbytes
    assert np.linalg.norm(op.todense() - a) <= op.relative_error * np.linalg.norm(a)


def test_refusals_of_tall_matrices_say_that_their_transpose_was_searched() -> None:
    a = np.random.default_rng(0).standard_normal((900, 30))
    with pytest.raises(IncompressibleError, match=r"those of a\.T"):
        bitterfly.factorize(a, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("n", [2999, 3000])
def test_truncated_svds_of_blocks_are_those_of_the_general_algorithm(dtype: str, n: int) -> None:
    x, y = np.linspace(0, 1, n), np.linspace(2, 3, 20)
    a = (1 / (y[:, None] + x) * (np.exp(5j * np.outer(y, x)) if dtype[0] == "c" else 1)).astype(dtype)
    radices, rtol = Radices((20, 1), (16, 188)), 1e-4
    found = truncated_svds(a, radices, rtol, 2)
    assert found is not None
    factors, ranks, ledger = found
    op = bitterfly.ButterflyOperator(factors, shape=a.shape)
    wide = a.astype(np.result_type(dtype, np.float64))
    error = np.linalg.norm(wide - op.astype(wide.dtype).todense()) / np.linalg.norm(wide)
    assert 0.99 * ledger.relative < error <= ledger.relative <= rtol
    assert ledger.total == pytest.approx(np.linalg.norm(wide) ** 2)
    (pattern, _), smaller = op.chain, ranks[0] - 1
    values = [np.linalg.svd(part, compute_uv=False) for part in np.split(wide, range(188, n, 188), axis=1)]
    tails = [float(np.sqrt(sum(np.sum(v[r:] ** 2) for v in values) / ledger.total)) for r in (smaller, ranks[0])]
    assert pattern == (1, 20, 16 * ranks[0], 1) and tails[0] > 0.9 * rtol
    assert ledger.relative == pytest.approx(tails[1], rel=0.1)


def test_gram_matrices_are_left_where_they_do_not_tell() -> None:
    a = np.random.default_rng(0).standard_normal((10, 400))
    assert truncated_svds(a, Radices((10, 1), (16, 25)), 1e-3, 2) is not None
    assert truncated_svds(a, Radices((10, 1), (16, 25)), 1e-9, 2) is None
    assert truncated_svds(a, Radices((10, 1), (64, 7)), 1e-3, 2) is None
    for scale in (1e-200, 1e200, np.nan, 0):
        assert truncated_svds(scale * a, Radices((10, 1), (16, 25)), 1e-3, 2) is None


@pytest.mark.parametrize("scale", [1e-170, 1e170])
@pytest.mark.parametrize("rtol", [1e-3, 1e-12])
def test_thin_matrices_of_any_scale(scale: float, rtol: float) -> None:
    a = 1 / (np.linspace(2, 3, 24)[:, None] + np.linspace(0, 1, 2000))
    op = bitterfly.factorize(scale * a, rtol=rtol)
    assert np.linalg.norm(op.todense() / scale - a) <= op.relative_error * np.linalg.norm(a) <= rtol * np.linalg.norm(a)


@given(st.lists(st.sampled_from([2, 3, 4, 5, 6]), min_size=1, max_size=4), st.data())
def test_digits_that_are_free_after_another_one(radices: list[int], data: st.DataObject) -> None:
    digits, free = digits_of(int(np.prod(radices))), [Digit(int(np.prod(radices)), 1)]
    while free:
        possible = [digit for digit in digits if digit.fits(free) is not None]
        still = still_free(digits, free)
        for digit in possible:
            after = digit.without(free)
            assert still[digits.index(digit)].tolist() == [x.fits(after) is not None for x in digits]
        free = data.draw(st.sampled_from(possible)).without(free)
