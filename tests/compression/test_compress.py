"""compress: the fewest bits, measured errors, honest refusals."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact
from bitterfly import ButterflyOperator, Chain, IncompressibleError, compress, factorize, gallery, quantize, transforms
from bitterfly.accuracy.measured import measure
from bitterfly.sources import given

Matrix = np.ndarray[Any, np.dtype[Any]]


def true_error(a: Matrix, op: Any) -> float:
    wide = np.result_type(a.dtype, np.float64)
    dense = np.asarray(op.todense(), dtype=wide)
    return float(np.linalg.norm(a.astype(wide) - dense) / np.linalg.norm(a.astype(wide)))


def butterfly(n: int, dtype: str = "f8", seed: int = 0) -> Matrix:
    return np.asarray(transforms.random(n, rng=seed, dtype=dtype).todense())


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("rtol", [0.3, 1e-2, 1e-3])
def test_equal_widths_of_fewer_bytes_miss_rtol(dtype: str, rtol: float) -> None:
    a = butterfly(128, dtype)
    op = compress(a, rtol=rtol, structure="butterfly")
    reals = 4 if op.dtype.kind == "c" else 2
    assert op.report.relative_error <= rtol
    assert op.relative_error == pytest.approx(true_error(a, op), rel=1e-3, abs=1e-7)
    assert op.error_kind == "measured"
    for width in range(1, max(code.bits for code in op.codes)):
        narrower = quantize(factorize(a), bits=width / reals)
        assert narrower.nbytes >= op.nbytes or true_error(a, narrower) > rtol


def test_exact_transforms_take_their_natural_bits() -> None:
    hadamard = compress(transforms.hadamard(256).todense(), rtol=1e-13)
    assert [code.bits for code in hadamard.codes] == [2] * 8
    dft = compress(np.fft.fft(np.eye(64)), rtol=1e-13)
    assert [code.bits for code in dft.codes] == [1, 2, 3, 4, 5, 6]
    assert dft.report.bits == 3.5 / 4


@pytest.mark.parametrize("noise", [1e-3, 1e-1])
def test_measurement_beats_the_triangle_inequality(noise: float) -> None:
    """Next to the noise floor the sum of both errors is more than rtol, their true sum is not."""
    clean = butterfly(256)
    noisy = clean + noise * np.std(clean) * np.random.default_rng(1).standard_normal(clean.shape)
    rtol = 1.05 * factorize(noisy).relative_error
    op = compress(noisy, rtol=rtol)
    assert true_error(noisy, op) <= rtol


def test_bits_alone_are_taken_as_they_are() -> None:
    a = butterfly(64)
    op = compress(a, bits=3)
    assert op.report.bits == 3 and op.report.rtol is None
    assert max(code.bits for code in op.codes) == 6
    assert op.relative_error == pytest.approx(true_error(a, op), rel=1e-9)


def test_bits_and_rtol_are_checked_together() -> None:
    a = butterfly(64)
    assert compress(a, bits=6, rtol=1e-2).report.bits == 6
    with pytest.raises(ValueError, match=r"rtol: 0\.001 is not met: 2 bits per stored number reach"):
        compress(a, bits=2, rtol=1e-3)


def test_nbytes_of_general_chains() -> None:
    a = gallery.KERNELS["nonuniform_dft"](256).todense()
    op = compress(a, nbytes=a.nbytes // 16)
    assert op.nbytes <= a.nbytes // 16
    error = true_error(a, op)
    assert error == pytest.approx(op.relative_error, rel=1e-6)
    again = compress(a, rtol=error)  # shares its bytes between factors and codes in one way only
    assert op.nbytes <= 1.25 * again.nbytes


def test_nbytes_of_square_dyadic_chains() -> None:
    a = butterfly(64)
    op = compress(a, nbytes=700)
    assert op.nbytes <= 700 and op.chain.is_square_dyadic
    assert op.relative_error == pytest.approx(true_error(a, op), rel=1e-9)
    assert compress(np.fft.fft(np.eye(64)), nbytes=2000).relative_error < 1e-12


def test_nbytes_that_do_not_suffice() -> None:
    with pytest.raises(ValueError, match=r"nbytes: no butterfly of at most 20 bytes"):
        compress(butterfly(64), nbytes=20)
    with pytest.raises(TypeError, match=r"nbytes: expected an integer, got 700\.5"):
        compress(butterfly(64), nbytes=700.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"rtol: 1e-06 is not met: 700 bytes reach"):
        compress(butterfly(64), nbytes=700, rtol=1e-6)


def test_no_butterfly_is_said_so() -> None:
    a = np.random.default_rng(0).standard_normal((64, 64))
    with pytest.raises(IncompressibleError, match="not a butterfly at rtol"):
        compress(a, rtol=1e-2, structure="butterfly")


def test_codes_that_are_too_coarse_are_said_so() -> None:
    with pytest.raises(ValueError, match=r"8 bits per stored number reach \S+, the float factors"):
        compress(butterfly(64), rtol=1e-7, structure="butterfly")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "at least one"),
        ({"bits": 4, "nbytes": 99}, "at most one"),
        ({"nbytes": 0}, "nbytes"),
        ({"rtol": -1.0}, "rtol"),
        ({"rtol": float("nan")}, "rtol"),
    ]
    + [({"bits": bits}, "bits") for bits in (0, -1, 0.3, 9, float("nan"), float("inf"))],
)
def test_bad_requests(request_: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compress(np.eye(8), **request_)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_entries(bad: float) -> None:
    a = np.eye(16)
    a[3, 5] = bad
    with pytest.raises(ValueError, match="finite"):
        compress(a, bits=4)


def test_zero_matrix() -> None:
    op = compress(np.zeros((16, 16)), rtol=0.0)
    assert op.relative_error == 0
    assert not np.any(op.todense())


def test_report() -> None:
    a = butterfly(64, "f4")
    op = compress(a, rtol=1e-2)
    report = op.report
    assert report.shape == (64, 64) and report.dtype == "float32" and report.rtol == 1e-2
    assert report.nbytes == op.nbytes and report.dense_nbytes == a.nbytes
    assert report.bits_per_entry == op.bits_per_entry == 8 * op.nbytes / a.size
    assert report.bits == op.mean_bits and report.bits_per_number == op.bits_per_number
    assert set(report.seconds) == {"look", "factorize", "quantize", "measure", "allocate"}
    assert all(seconds >= 0 for seconds in report.seconds.values())
    text = str(report)
    assert "64 x 64, float32" in text and "at most 0.01 asked for" in text and "measured" in text
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.bits = 1


def test_progress_runs_from_zero_to_one_in_every_stage() -> None:
    calls: dict[str, list[float]] = {}
    compress(
        butterfly(32),
        bits=2,
        progress=lambda stage, fraction: calls.setdefault(stage, []).append(fraction),
    )
    assert list(calls) == ["factorize", "quantize", "measure"]
    for fractions in calls.values():
        assert fractions[0] == 0 and fractions[-1] == 1 and fractions == sorted(fractions)


def test_memory_map(tmp_path: Path) -> None:
    a = butterfly(64)
    np.save(tmp_path / "a.npy", a)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.array_equal(compress(mapped, bits=4).words, compress(a, bits=4).words)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_measure(dtype: str, order: str) -> None:
    op = transforms.random(64, rng=0, dtype=dtype)
    rng = np.random.default_rng(1)
    a = np.asarray(op.todense() + 0.01 * rng.standard_normal((64, 64)), dtype=dtype, order=order)
    assert measure(a, op) == pytest.approx(true_error(a, op), rel=1e-4)
    assert measure(a[::-1, ::-1][::-1, ::-1], op) == pytest.approx(true_error(a, op), rel=1e-4)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_measure_neither_overflows_nor_underflows(factor: float) -> None:
    op = transforms.hadamard(16)
    scaled = ButterflyOperator.from_values(op.values * factor ** (1 / 4))
    a = op.todense() * factor
    a[0, 0] *= 1.5
    assert measure(a, scaled) == pytest.approx(0.5 / np.sqrt(255 + 1.5**2), rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_measure_lets_no_nan_through(bad: float) -> None:
    values = transforms.hadamard(16).values.copy()
    values[-1, 0] = bad
    assert np.isnan(measure(np.eye(16), ButterflyOperator.from_values(values)))


def test_measure_forms_no_dense_matrix() -> None:
    n = 4096
    op = transforms.hadamard(n, dtype="f4")
    a = np.ones((n, n), dtype=np.float32)
    tracemalloc.start()
    error = measure(a, op)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error == pytest.approx(np.sqrt(2 - 2 / n), rel=1e-6)
    assert peak <= 0.8 * a.nbytes


@pytest.mark.parametrize(("name", "n"), [("nonuniform_dft", 1024), ("hankel", 512), ("legendre", 1024)])
def test_general_chains(name: str, n: int) -> None:
    a = gallery.KERNELS[name](n).todense()
    op = compress(a, rtol=1e-2, structure="butterfly")
    true = np.linalg.norm(op.todense() - a) / np.linalg.norm(a)
    assert true == pytest.approx(op.relative_error) and true <= 1e-2 and op.error_kind == "measured"
    assert op.nbytes < 0.2 * a.nbytes
    with pytest.raises(ValueError, match="is not met"):
        compress(a, bits=op.report.bits - 1, rtol=op.relative_error)


def test_rectangular_and_odd_sizes() -> None:
    m, n = 700, 450
    rows, cols = np.arange(m) / m, np.arange(n) - n // 2
    a = np.exp(-2j * np.pi * 0.3 * np.outer(rows, cols))
    op = compress(a, rtol=1e-3)
    assert op.shape == (m, n) and op.relative_error <= 1e-3
    x = np.random.default_rng(0).standard_normal(n)
    assert np.linalg.norm(op @ x - a @ x) <= 1e-2 * np.linalg.norm(a @ x)
    odd = compress(np.outer(np.arange(1, 8), np.arange(1, 6)).astype(float), bits=8)
    assert odd.shape == (7, 5) and odd.relative_error < 0.05


def test_large_entry_functions_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "_EVALUATED_BYTES", 0)
    kernel = gallery.hankel(512)
    op = compress(kernel, rtol=1e-2)
    true = np.linalg.norm(op.todense() - kernel.todense()) / np.linalg.norm(kernel.todense())
    assert true <= op.relative_error <= 1e-2 and op.error_kind == "estimated" == op.report.error_kind
    assert compress(kernel, bits=8).relative_error < 0.05  # a search, as for arrays


def test_on_a_chain_given() -> None:
    a = np.random.default_rng(0).standard_normal((32, 16))
    chain = Chain.monarch((32, 16), rank=2)
    op = compress(a, chain, bits=8)
    assert op.chain == chain and 0 < op.relative_error < 1
    with pytest.raises(ValueError, match="on this chain reach"):
        compress(a, chain, rtol=0.1)


def test_single_precision_near_its_rounding() -> None:
    """The bound on the rounding of splits in single precision, 3e-5 here, takes no part of the tolerance."""
    a = gallery.nonuniform_dft(256).todense()
    single, double = (compress(x, rtol=4e-5) for x in (a.astype("c8"), a))
    assert single.relative_error <= 4e-5 and single.dtype == "c8"
    assert single.report.bits <= double.report.bits + 0.5
    with pytest.raises(ValueError, match=r"rtol: 1e-06 is not met: 16 bits .* \(factorize keeps them\)"):
        compress(gallery.dct(256).todense(), rtol=1e-6, structure="butterfly")


def test_bytes_to_spare_for_a_matrix_of_low_rank() -> None:
    """Codes of 16 bits of its factors err more than single precision: then no rest is coded beside them."""
    rng = np.random.default_rng(0)
    a = (rng.standard_normal((42, 3)) @ rng.standard_normal((3, 276))).astype("f4")
    op = compress(a, nbytes=12_000, rng=0)
    assert op.nbytes <= 12_000 and exact.error(a, op) <= op.relative_error < 1e-4
