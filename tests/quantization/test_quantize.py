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
from exact import floats, true_error

EVERY_CODE = [(kind, bits) for kind, widths in own.WIDTHS.items() for bits in widths]


def reals(dtype: type) -> int:
    return 4 if np.dtype(dtype).kind == "c" else 2


@pytest.mark.parametrize(("kind", "bits"), EVERY_CODE)
def test_decoded_columns_of_every_width(kind: str, bits: int) -> None:
    """The first and last codes, those about the quarters, and some between."""
    rng = np.random.default_rng(bits)
    quarters = [2**bits * k // 4 + o for k in range(5) for o in (-2, -1, 0, 1)]
    q = np.unique([c % 2**bits for c in [*quarters, *rng.integers(0, 2**bits, 64)]])
    columns = np.array(_core.decode(kind, bits, q.tolist()))
    np.testing.assert_allclose(columns, reference.decode(kind, bits, q), atol=tolerances.decoded(float), rtol=0)
    lengths = np.linalg.norm(columns, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=4 * tolerances.eps(float), rtol=0)


def test_axes_and_diagonals_are_exact() -> None:
    half = np.sqrt(0.5)
    assert _core.decode("angle", 2, [0, 1, 2, 3]) == [(1, 0), (half, half), (0, 1), (-half, half)]
    assert _core.decode("phase", 2, [0, 1, 2, 3]) == [(half, half * z) for z in (1, 1j, -1, -1j)]


@given(st.sampled_from(sorted(own.WIDTHS)), st.data())
def test_decoded_columns(kind: str, data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from(own.WIDTHS[kind]))
    q = data.draw(st.integers(0, 2**bits - 1))
    column = np.array(_core.decode(kind, bits, [q])[0])
    np.testing.assert_allclose(column, reference.decode(kind, bits, q), atol=tolerances.decoded(float), rtol=0)
    assert abs(np.linalg.norm(column) - 1) <= 4 * tolerances.eps(float)


@pytest.mark.parametrize(("kind", "bits"), [(k, b) for k, b in EVERY_CODE if b <= 12])
def test_codes_are_the_nearest(kind: str, bits: int) -> None:
    """The first factor sees its columns as they are: no code of the book is better aligned than the one chosen."""
    op = transforms.random(512, rng=np.random.default_rng(bits), dtype=complex if own.CODES[kind].is_complex else float)
    packed = bitterfly.quantize(op, bits=bits / reals(op.dtype), code=kind)
    columns = op.factors[0][0].transpose(1, 2, 0).reshape(-1, 2)
    chosen = floats(packed).factors[0][0].transpose(1, 2, 0).reshape(-1, 2)
    alignment = np.abs(np.sum(chosen.conj() * columns, axis=1))
    best = np.max(np.abs(columns @ reference.codebook(kind, bits).conj().T), axis=1)
    assert np.all(best - alignment <= tolerances.reference_quantizer(2) * np.linalg.norm(columns, axis=1))


@pytest.mark.parametrize("encode", [reference.encode_angle, reference.encode_phase])
@pytest.mark.parametrize("bits", [1, 2, 5, 9])
def test_the_reference_rounds_to_the_nearest(encode: object, bits: int) -> None:
    kind = encode.__name__.removeprefix("encode_")  # type: ignore[attr-defined]
    for x in own.gaussian(np.random.default_rng(0), (100, 2), complex if own.CODES[kind].is_complex else float):
        assert encode(bits, x) == reference.encode(kind, bits, x)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kind", "bits"),
    [("angle", 1), ("angle", 3), ("angle", 8), ("phase", 3), ("sphere", 1), ("sphere", 4), ("sphere", 7)],
)
@pytest.mark.parametrize("n", [2, 16])
def test_the_quantizer_is_that_of_the_reference(kind: str, bits: int, n: int) -> None:
    op = transforms.random(n, rng=np.random.default_rng(1), dtype=complex if own.CODES[kind].is_complex else float)
    factors = op.factors
    p = len(factors)
    codes, scale, ledger = reference.quantize_left_to_right(factors, [kind] * p, [bits] * p)
    packed = bitterfly.quantize(op, bits=bits / reals(op.dtype), code=kind)
    for mine, theirs, code in zip(packed.unpack(), codes, packed.codes, strict=True):
        np.testing.assert_array_equal(mine.astype(np.int64) << (bits - code.bits), theirs)
    bound = tolerances.reference_quantizer(n)
    np.testing.assert_allclose(packed.scale, scale, rtol=0, atol=bound * np.linalg.norm(scale))
    rounding = bound + tolerances.ledger_excess(n, op.dtype, np.linalg.norm(op.todense()))
    assert ledger - rounding <= packed.relative_error <= ledger + rounding


def root_mean_square_error(n: int, bits: float, dtype: type, rng: np.random.Generator) -> float:
    """Of what is reported, over 50 draws of Gaussian factors."""
    ops = (transforms.random(n, rng=rng, dtype=dtype) for _ in range(50))
    return float(np.sqrt(np.mean([bitterfly.quantize(op, bits=bits).relative_error ** 2 for op in ops])))


@pytest.mark.parametrize("n", [64, 256, 1024])
@pytest.mark.parametrize("bits", range(2, 9))
def test_real_error_law(n: int, bits: int) -> None:
    """Scales in single precision where the law is well above its roundoff."""
    rng = np.random.default_rng(n + bits)
    dtype = np.float32 if bits <= 5 else np.float64
    law = tolerances.REAL_LAW * np.sqrt(np.log2(n)) / 4**bits
    assert root_mean_square_error(n, bits, dtype, rng) <= tolerances.REAL_MARGIN * law


@pytest.mark.parametrize("n", [64, 256, 1024])
@pytest.mark.parametrize("bits", [2, 3, 3.25, 4, 5, 6, 7, 8])
def test_complex_error_law(n: int, bits: float) -> None:
    rng = np.random.default_rng(7)
    dtype = np.complex64 if bits <= 5 else np.complex128
    law = tolerances.COMPLEX_LAW * np.sqrt(np.log2(n)) / 4**bits
    assert root_mean_square_error(n, bits, dtype, rng) <= law


@pytest.mark.parametrize(
    ("dtype", "decades"),
    [
        *[(dtype, decades) for dtype in own.DTYPES for decades in (1, 10)],
        (np.float32, 18),
        (np.complex64, 18),
        (np.float64, 18),
        (np.complex128, 18),
        *[(dtype, d) for dtype in (np.float64, np.complex128) for d in (30, 100)],
    ],
)
def test_the_gauge_does_not_matter(dtype: type, decades: float) -> None:
    """Columns of a factor scaled, rows of the next scaled back: an equal operator, so equal errors, and true ones."""
    op = transforms.random(64, rng=np.random.default_rng(2), dtype=dtype)
    expected = bitterfly.quantize(op, bits=4)
    scaled = bitterfly.ButterflyOperator(own.regauge(op.factors, np.random.default_rng(3), decades))
    packed = bitterfly.quantize(scaled, bits=4)
    error = true_error(op.todense(), packed)
    # Scaling rounds the factors; where that moves a column across the edge of a cell, both codes are nearly as good.
    rounding = tolerances.gauge(64, dtype)
    assert error <= packed.relative_error + rounding
    change = abs(packed.relative_error - expected.relative_error)
    assert change <= tolerances.LEDGER * expected.relative_error + rounding


@given(own.sizes, own.dtypes, st.sampled_from([1, 2, 3.5, 5, 8]), own.seeds)
def test_the_ledger_is_true(n: int, dtype: type, bits: float, seed: int) -> None:
    op = transforms.random(n, rng=np.random.default_rng(seed), dtype=dtype)
    a = op.astype(np.complex128).todense()
    packed = bitterfly.quantize(op, bits=bits)
    error = true_error(a, packed)
    assert error <= packed.relative_error
    excess = tolerances.ledger_excess(n, dtype, float(np.linalg.norm(a)))
    assert packed.relative_error <= (1 + tolerances.LEDGER) * error + excess


@given(own.dtypes, st.integers(2, 6), own.seeds)
def test_factors_with_zeros_and_of_wide_range(dtype: type, p: int, seed: int) -> None:
    """Any float factors: entries over half of the range of the dtype, a quarter of them zero."""
    rng = np.random.default_rng(seed)
    decades = np.log10(float(np.finfo(dtype).max)) / (2 * p)
    factors = []
    for f in transforms.random(2**p, rng=rng, dtype=dtype).factors:
        sizes = 10.0 ** rng.uniform(-decades, decades, f.shape) * (rng.random(f.shape) > 0.25)
        factors.append((f * sizes).astype(dtype))
    op = bitterfly.ButterflyOperator(factors)
    packed = bitterfly.quantize(op, bits=rng.integers(1, 9))
    a = op.astype(np.result_type(dtype, np.float64)).todense()
    assert true_error(a, packed) <= packed.relative_error


@given(own.kinds, own.sizes, own.dtypes, own.seeds)
def test_error_against_the_original_matrix(kind: str, n: int, dtype: type, seed: int) -> None:
    a = own.matrix(kind, n, dtype, seed)
    packed = bitterfly.quantize(bitterfly.factorize(a, permute=None), bits=4)
    assert true_error(a, packed) <= packed.relative_error


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
def test_rtol_takes_no_more_bytes_than_any_width(dtype: type, rtol: float) -> None:
    op = transforms.random(64, rng=np.random.default_rng(3), dtype=dtype)
    packed = bitterfly.quantize(op, rtol=rtol)
    assert packed.relative_error <= rtol
    for width in range(1, 8 * reals(dtype) + 1):
        equal = bitterfly.quantize(op, bits=width / reals(dtype))
        assert equal.relative_error > rtol or equal.nbytes >= packed.nbytes


def test_rtol_takes_the_fewest_bits_where_errors_are_not_monotone() -> None:
    """The cells of a sphere code are not those of the next wider one cut in two: here 6 bits are better than 7."""
    op = transforms.random(2, rng=np.random.default_rng(33), dtype=complex)
    errors = [bitterfly.quantize(op, bits=bits / 4).relative_error for bits in range(1, 13)]
    assert min(errors[:6]) < errors[6]
    rtol = errors[5] * (1 + tolerances.LEDGER)
    packed = bitterfly.quantize(op, rtol=rtol)
    assert max(code.bits for code in packed.codes) == 1 + next(i for i, e in enumerate(errors) if e <= rtol)


def test_rtol_out_of_reach() -> None:
    op = transforms.random(64, rng=np.random.default_rng(3))
    with pytest.raises(ValueError, match=r"rtol: 1e-09 cannot be met: 8 bits per stored number reach"):
        bitterfly.quantize(op, rtol=1e-9)


@pytest.mark.parametrize("exponent", [-290, -30, 30, 290])
def test_scales(exponent: int) -> None:
    op = transforms.random(32, rng=np.random.default_rng(5))
    factors = list(op.factors)
    factors[2] = factors[2] * 10.0**exponent
    scaled = bitterfly.ButterflyOperator(factors)
    packed = bitterfly.quantize(scaled, bits=4)
    np.testing.assert_array_equal([code.bits for code in packed.codes], 8)
    expected = bitterfly.quantize(op, bits=4).relative_error
    assert abs(packed.relative_error - expected) <= tolerances.gauge(32, float)


def test_scale_overflow() -> None:
    factors = [f * 1e30 for f in transforms.random(8, rng=np.random.default_rng(5), dtype=np.float32).factors]
    with pytest.raises(OverflowError, match="scale vector"):
        bitterfly.quantize(bitterfly.ButterflyOperator(factors), bits=4)


def test_zero_columns_and_factors() -> None:
    factors = [f.copy() for f in transforms.random(16, rng=np.random.default_rng(6)).factors]
    factors[1][:, :, 0] = 0
    op = bitterfly.ButterflyOperator(factors)
    packed = bitterfly.quantize(op, bits=6)
    assert true_error(op.todense(), packed) <= packed.relative_error
    zero = bitterfly.quantize(bitterfly.ButterflyOperator([0 * f for f in factors]), bits=2)
    np.testing.assert_array_equal(zero.todense(), 0)
    assert np.isfinite(zero.relative_error)


def test_a_complex_identity_is_exact() -> None:
    packed = bitterfly.compress(np.diag(np.exp(1j * np.arange(32))), bits=1)
    bound = tolerances.exact_codes(32, complex) + 2 * tolerances.ledger_excess(32, complex, np.sqrt(32))
    assert packed.relative_error <= bound


@pytest.mark.parametrize(
    ("dtype", "bits", "code"),
    [
        (float, 0, "auto"),
        (float, 8.5, "auto"),
        (float, np.nan, "auto"),
        (complex, 0.1, "auto"),
        (complex, 8.25, "auto"),
        (complex, 6.25, "phase"),
        (complex, 4.25, "angle"),
    ],
)
def test_bad_bits(dtype: type, bits: float, code: str) -> None:
    op = transforms.random(8, rng=np.random.default_rng(0), dtype=dtype)
    with pytest.raises(ValueError, match="bits: expected a number from"):
        bitterfly.quantize(op, bits=bits, code=code)


@pytest.mark.parametrize("name", ["bits", "rtol"])
@pytest.mark.parametrize("value", ["2", [1], 1j])
def test_bits_and_rtol_are_numbers(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=name):
        bitterfly.quantize(transforms.hadamard(8), **{name: value})  # type: ignore[arg-type]


def test_bad_arguments() -> None:
    op = transforms.hadamard(8)
    with pytest.raises(ValueError, match="exactly one"):
        bitterfly.quantize(op)
    with pytest.raises(ValueError, match="exactly one"):
        bitterfly.quantize(op, bits=1, rtol=0.1)
    with pytest.raises(ValueError, match="code: expected one of"):
        bitterfly.quantize(op, bits=1, code="vector")
    with pytest.raises(ValueError, match="bits: expected a number from 2 to 16"):
        bitterfly.quantize(op, bits=1, code="lattice")
    with pytest.raises(ValueError, match="the operator is real"):
        bitterfly.quantize(op, bits=1, code="phase")
    with pytest.raises(TypeError, match="op: expected a ButterflyOperator"):
        bitterfly.quantize(np.eye(8), bits=1)  # type: ignore[arg-type]
    bad = [f.copy() for f in op.factors]
    bad[1][0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite factors"):
        bitterfly.quantize(bitterfly.ButterflyOperator(bad), bits=1)
    with pytest.raises(ValueError, match="finite factors"):
        bitterfly.quantize(bitterfly.ButterflyOperator(bad), bits=2, code="lattice")
