"""Quantize: the codes against brute force, the error laws, the ledger, exact transforms, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitterfly
import strategies as own
import tolerances
from bitterfly import _core, reference, transforms

WIDTHS = {"angle": range(1, 17), "phase": range(1, 25), "sphere": range(1, 33)}


@given(st.sampled_from(sorted(WIDTHS)), st.data())
def test_decoded_columns(kind: str, data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from(WIDTHS[kind]))
    q = data.draw(st.integers(0, 2**bits - 1))
    column = np.array(_core.decode(kind, bits, [q])[0])
    np.testing.assert_allclose(column, reference.decode(kind, bits, q), atol=8 * tolerances.eps(float), rtol=0)
    assert abs(np.linalg.norm(column) - 1) <= 4 * tolerances.eps(float)


@pytest.mark.parametrize(("kind", "bits"), [("angle", 2), ("angle", 5), ("phase", 3), ("sphere", 4), ("sphere", 7)])
def test_codes_are_the_nearest(kind: str, bits: int) -> None:
    """Same error as brute force at each column: ties may take either code."""
    dtype = float if kind == "angle" else complex
    op = transforms.random(8, rng=np.random.default_rng(1), dtype=dtype)
    coded, lengths = reference.quantize_left_to_right(op.factors, kind, bits)
    expected = reference.product(coded) * lengths
    packed = bitterfly.quantize(op, bits=bits / (2 if dtype is float else 4), code=kind)
    a = op.todense()
    assert np.linalg.norm(packed.todense() - a) == pytest.approx(np.linalg.norm(expected - a), rel=1e-9)


@pytest.mark.parametrize("n", [64, 256])
@pytest.mark.parametrize("bits", range(2, 9))
def test_real_error_law(n: int, bits: int) -> None:
    rng = np.random.default_rng(n + bits)
    errors = [bitterfly.quantize(transforms.random(n, rng=rng), bits=bits).relative_error for _ in range(50)]
    law = tolerances.REAL_LAW * np.sqrt(np.log2(n)) / 4**bits
    assert np.sqrt(np.mean(np.square(errors))) <= tolerances.REAL_MARGIN * law + tolerances.exact_factors(n, float)


@pytest.mark.parametrize("bits", [2, 3.25, 4, 6, 8])
def test_complex_error_law(bits: float) -> None:
    rng = np.random.default_rng(7)
    ops = [transforms.random(64, rng=rng, dtype=complex) for _ in range(20)]
    errors = [bitterfly.quantize(op, bits=bits).relative_error for op in ops]
    assert np.sqrt(np.mean(np.square(errors))) <= tolerances.COMPLEX_LAW * np.sqrt(6) / 4**bits


@given(own.sizes, own.dtypes, st.sampled_from([1, 2, 3.5, 5, 8]), own.seeds)
def test_the_ledger_is_true(n: int, dtype: type, bits: float, seed: int) -> None:
    op = transforms.random(n, rng=np.random.default_rng(seed), dtype=dtype)
    a = op.astype(np.complex128).todense()
    packed = bitterfly.quantize(op, bits=bits)
    error = np.linalg.norm(packed.astype(np.complex128).todense() - a) / np.linalg.norm(a)
    assert error <= packed.relative_error
    assert packed.relative_error <= (1 + tolerances.LEDGER) * error + 3 * tolerances.exact_factors(n, dtype)


@given(own.kinds, own.sizes, own.dtypes, own.seeds)
def test_error_against_the_original_matrix(kind: str, n: int, dtype: type, seed: int) -> None:
    a = own.matrix(kind, n, dtype, seed)
    packed = bitterfly.quantize(bitterfly.factorize(a), bits=4)
    wide = a.astype(np.complex128)
    difference = np.linalg.norm(packed.astype(np.complex128).todense() - wide)
    assert difference <= packed.relative_error * np.linalg.norm(wide)


@pytest.mark.parametrize("n", [2, 4, 64, 1024])
@pytest.mark.parametrize("dtype", own.DTYPES)
def test_hadamard_is_exact_at_one_bit(n: int, dtype: type) -> None:
    op = transforms.hadamard(n, dtype=dtype)
    packed = bitterfly.quantize(op, bits=1)
    a = op.todense()
    assert np.max(np.abs(packed.todense() - a)) <= tolerances.exact_codes(n, dtype) * np.sqrt(n)
    assert all(code.bits <= 2 for code in packed.codes)


@pytest.mark.parametrize("p", [1, 2, 5, 8, 10])
@pytest.mark.parametrize("inverse", [False, True])
def test_dft_is_exact_at_p_bits(p: int, inverse: bool) -> None:
    n = 2**p
    op = transforms.idft(n) if inverse else transforms.dft(n)
    packed = bitterfly.quantize(op, bits=p / 4)
    a = op.todense()
    assert np.linalg.norm(packed.todense() - a) <= tolerances.exact_codes(n, float) * np.linalg.norm(a)
    assert [code.bits for code in packed.codes] == list(range(1, p + 1))


def test_trimmed_widths_lose_nothing() -> None:
    op = transforms.hadamard(64)
    wide, narrow = bitterfly.quantize(op, bits=8), bitterfly.quantize(op, bits=1)
    np.testing.assert_array_equal(wide.words, narrow.words)
    np.testing.assert_array_equal(wide.todense(), narrow.todense())


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("rtol", [0.3, 1e-2, 1e-4])
def test_rtol_takes_the_fewest_bits(dtype: type, rtol: float) -> None:
    op = transforms.random(64, rng=np.random.default_rng(3), dtype=dtype)
    packed = bitterfly.quantize(op, rtol=rtol)
    assert packed.relative_error <= rtol
    reals = 2 if dtype is float else 4
    width = max(code.bits for code in packed.codes)
    if width > 1:
        assert bitterfly.quantize(op, bits=(width - 1) / reals).relative_error > rtol


def test_rtol_out_of_reach() -> None:
    op = transforms.random(64, rng=np.random.default_rng(3))
    with pytest.raises(ValueError, match=r"rtol: 1e-09 cannot be met: 8 bits reach"):
        bitterfly.quantize(op, rtol=1e-9)


@pytest.mark.parametrize("exponent", [-290, -30, 30, 290])
def test_scales(exponent: int) -> None:
    op = transforms.random(32, rng=np.random.default_rng(5))
    factors = list(op.factors)
    factors[2] = factors[2] * 10.0**exponent
    scaled = bitterfly.ButterflyOperator(factors)
    packed = bitterfly.quantize(scaled, bits=4)
    np.testing.assert_allclose(packed.relative_error, bitterfly.quantize(op, bits=4).relative_error, rtol=1e-6)


def test_scale_overflow() -> None:
    factors = [f * 1e30 for f in transforms.random(8, rng=np.random.default_rng(5), dtype=np.float32).factors]
    with pytest.raises(OverflowError, match="scale vector"):
        bitterfly.quantize(bitterfly.ButterflyOperator(factors), bits=4)


def test_zero_columns_and_factors() -> None:
    factors = [f.copy() for f in transforms.random(16, rng=np.random.default_rng(6)).factors]
    factors[1][:, :, 0] = 0
    op = bitterfly.ButterflyOperator(factors)
    packed = bitterfly.quantize(op, bits=6)
    a = op.todense()
    assert np.linalg.norm(packed.todense() - a) <= packed.relative_error * np.linalg.norm(a)
    zero = bitterfly.quantize(bitterfly.ButterflyOperator([0 * f for f in factors]), bits=2)
    np.testing.assert_array_equal(zero.todense(), 0)
    assert np.isfinite(zero.relative_error)


def test_a_complex_identity_is_exact() -> None:
    packed = bitterfly.compress(np.diag(np.exp(1j * np.arange(32))), bits=1)
    assert packed.relative_error <= 1e-13


@pytest.mark.parametrize(
    ("dtype", "bits", "code"),
    [
        (float, 0, "auto"),
        (float, 8.5, "auto"),
        (float, 0.75, "auto"),
        (float, np.nan, "auto"),
        (complex, 0.1, "auto"),
        (complex, 8.25, "auto"),
        (complex, 6.25, "phase"),
        (complex, 4.25, "angle"),
    ],
)
def test_bad_bits(dtype: type, bits: float, code: str) -> None:
    op = transforms.random(8, rng=np.random.default_rng(0), dtype=dtype)
    with pytest.raises(ValueError, match="bits: expected a multiple of"):
        bitterfly.quantize(op, bits=bits, code=code)


def test_bad_arguments() -> None:
    op = transforms.hadamard(8)
    with pytest.raises(ValueError, match="exactly one"):
        bitterfly.quantize(op)
    with pytest.raises(ValueError, match="exactly one"):
        bitterfly.quantize(op, bits=1, rtol=1)
    with pytest.raises(ValueError, match="code: expected one of"):
        bitterfly.quantize(op, bits=1, code="lattice")
    with pytest.raises(ValueError, match="the operator is real"):
        bitterfly.quantize(op, bits=1, code="phase")
    with pytest.raises(TypeError, match="op: expected a ButterflyOperator"):
        bitterfly.quantize(np.eye(8), bits=1)  # type: ignore[arg-type]
    bad = [f.copy() for f in op.factors]
    bad[1][0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite factors"):
        bitterfly.quantize(bitterfly.ButterflyOperator(bad), bits=1)
