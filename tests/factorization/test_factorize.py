"""Factorize: exact transforms, the ledger, noise, layouts, scales, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import bitterfly
import strategies as own
import tolerances
from bitterfly import _core, reference
from bitterfly.ordering import bit_reversal
from exact import true_error

SIZES = [2**p for p in range(1, 13)]


def dft(n: int) -> np.ndarray:
    k = np.arange(n)
    return np.exp(-2j * np.pi * (np.outer(k, k) % n) / n)


def hadamard(n: int) -> np.ndarray:
    return scipy.linalg.hadamard(n).astype(float)


def error_of(a: np.ndarray, op: bitterfly.ButterflyOperator) -> float:
    """Relative error of the float factors, multiplied out in double precision, the matrix scaled to about one."""
    a, exponent = own.wide(a)
    factors = [f.astype(a.dtype) for f in op.factors]
    factors[-1] = own.ldexp(factors[-1], -exponent)
    product = bitterfly.ButterflyOperator(factors, permutations=op.permutations).todense()
    return float(np.linalg.norm(product - a) / (np.linalg.norm(a) or 1))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("build", [dft, hadamard])
@pytest.mark.parametrize("single", [False, True])
def test_transforms_are_found_exactly(n: int, build: object, single: bool) -> None:
    a = build(n)  # type: ignore[operator]
    if single:
        a = a.astype(np.complex64 if a.dtype.kind == "c" else np.float32)
    op = bitterfly.factorize(a)
    error = error_of(a, op)
    assert error <= tolerances.exact_factors(n, a.dtype)
    assert error <= (tolerances.PROMISED_SINGLE if single else tolerances.PROMISED_DOUBLE)
    assert error <= op.relative_error


@pytest.mark.parametrize("level", [1e-6, 1e-2, 1e-1])
@pytest.mark.parametrize("build", [dft, hadamard])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [4, 32, 256, 1024])
def test_noise_is_not_exceeded_and_the_ledger_is_true(
    isa: str, level: float, build: object, dtype: type, n: int
) -> None:
    exact = build(n)  # type: ignore[operator]
    noise = own.gaussian(np.random.default_rng(1), (n, n), exact.dtype)
    noise *= level * np.linalg.norm(exact) / np.linalg.norm(noise)
    a = (exact + noise).astype(np.result_type(dtype, np.complex64) if exact.dtype.kind == "c" else dtype)
    op = bitterfly.factorize(a)
    error = error_of(a, op)
    assert error <= level + tolerances.exact_factors(n, a.dtype)
    assert error <= op.relative_error
    rounding = bitterfly.factorize(exact.astype(a.dtype)).relative_error
    assert op.relative_error <= (1 + tolerances.LEDGER) * error + 2 * rounding


@pytest.mark.parametrize("n", [8, 512, 2048])
@pytest.mark.parametrize("build", [dft, hadamard])
@pytest.mark.parametrize("level", [2 * tolerances.LEDGER_FLOOR, 1e-8, 1e-4])
def test_the_ledger_is_within_one_percent_in_double(isa: str, level: float, build: object, n: int) -> None:
    a = build(n)  # type: ignore[operator]
    a = a + level * own.gaussian(np.random.default_rng(2), a.shape, a.dtype)
    op = bitterfly.factorize(a)
    error = error_of(a, op)
    assert error > tolerances.LEDGER_FLOOR
    assert error <= op.relative_error <= (1 + tolerances.LEDGER) * error


@given(own.kinds, own.sizes, own.dtypes, own.seeds)
def test_any_matrix_has_a_true_ledger(isa: str, kind: str, n: int, dtype: type, seed: int) -> None:
    a = own.matrix(kind, n, dtype, seed)
    op = bitterfly.factorize(a, permute=None)
    error = true_error(a, op)
    assert error <= op.relative_error
    scaled, exponent = own.wide(a)
    norm = float(np.ldexp(np.linalg.norm(scaled), exponent)) or 1.0
    assert op.relative_error <= (1 + tolerances.LEDGER) * error + tolerances.ledger_excess(n, dtype, norm)


@given(own.kinds, own.sizes, own.dtypes, own.seeds)
def test_any_matrix_is_permuted_for_the_better(kind: str, n: int, dtype: type, seed: int) -> None:
    """The probe looks at a few blocks only, so what it keeps is not always best; what is reported is true."""
    a = own.matrix(kind, n, dtype, seed)
    op = bitterfly.factorize(a)
    assert true_error(a, op) <= op.relative_error


# Where singular values are equal the two may choose different directions of equal energy: not for all kinds.
@given(
    st.sampled_from(["gaussian", "butterfly", "rank_one", "identity", "one_entry", "zero"]),
    own.sizes.filter(lambda n: n <= 32),
    own.seeds,
)
def test_against_the_reference(kind: str, n: int, seed: int) -> None:
    a = own.matrix(kind, n, np.complex128, seed)
    _, discarded = reference.factorize_left_to_right(a)
    op = bitterfly.factorize(a, permute=None)
    norm = np.linalg.norm(a)
    expected = np.sqrt(sum(discarded))
    rounding = tolerances.ledger_excess(n, np.complex128, norm or 1)
    assert abs(op.relative_error * norm - expected) <= tolerances.LEDGERS_AGREE * expected + 2 * rounding * norm


def test_the_guarantee() -> None:
    """The error is at most sqrt(p - 1) times the best: compared with a known butterfly plus noise."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        a = bitterfly.transforms.random(64, rng=rng).todense()
        noise = rng.standard_normal(a.shape)
        noise *= np.linalg.norm(a) / np.linalg.norm(noise)
        op = bitterfly.factorize(a + noise, permute=None)
        assert np.linalg.norm(op.todense() - a - noise) <= np.sqrt(np.log2(64) - 1) * np.linalg.norm(noise)


@pytest.mark.parametrize("rows", [None, "bit_reversal"])
@pytest.mark.parametrize("columns", [None, "bit_reversal"])
def test_auto_finds_the_permutation(rows: str | None, columns: str | None) -> None:
    hidden = bitterfly.transforms.random(128, rng=np.random.default_rng(4))
    a = bitterfly.ButterflyOperator(hidden.factors, permutations=(rows, columns)).todense()
    rounding = tolerances.exact_codes(128, a.dtype)  # of the dense matrix, and of its factors
    assert bitterfly.factorize(a).relative_error <= rounding + tolerances.ledger_excess(128, a.dtype, np.linalg.norm(a))


def test_given_permutations() -> None:
    rng = np.random.default_rng(5)
    n = 64
    rows, columns = rng.permutation(n), rng.permutation(n)
    a = np.empty((n, n))
    a[np.ix_(rows, columns)] = bitterfly.transforms.random(n, rng=rng).todense()
    op = bitterfly.factorize(a, permute=(rows, list(columns)))
    rounding = tolerances.exact_codes(n, a.dtype)
    assert error_of(a, op) <= op.relative_error <= rounding + tolerances.ledger_excess(n, a.dtype, np.linalg.norm(a))
    np.testing.assert_array_equal(op.permutations[0], rows)
    assert op.factors[0].shape == (1, 2, 2, 32)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("dtype", own.DTYPES)
def test_layouts_are_equal(dtype: type, tmp_path: Path) -> None:
    a = own.matrix("gaussian", 64, dtype, 6)
    expected = bitterfly.factorize(a).values
    wide = np.zeros((128, 192), dtype)
    wide[::2, ::3] = a
    read_only = a.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "a.npy", a)
    unaligned = np.frombuffer(b"\0" + a.tobytes(), dtype, offset=1).reshape(a.shape)
    for same in (
        np.asfortranarray(a),
        wide[::2, ::3],
        a[::-1, ::-1].copy()[::-1, ::-1],
        read_only,
        np.load(tmp_path / "a.npy", mmap_mode="r"),
        a.astype(a.dtype.newbyteorder()),
        unaligned,
        a.tolist() if a.dtype.itemsize == (16 if a.dtype.kind == "c" else 8) else a,
        np.asmatrix(a) if dtype is np.float64 else a,
    ):
        np.testing.assert_array_equal(bitterfly.factorize(same).values, expected)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.bool_, np.float16])
def test_other_numbers(dtype: type) -> None:
    a = hadamard(16).astype(dtype)
    op = bitterfly.factorize(a)
    assert op.dtype == (np.float32 if dtype is np.float16 else np.float64)
    assert error_of(a.astype(float), op) <= op.relative_error


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("permute", [None, "auto"])
@pytest.mark.parametrize("share", [-1.0, -0.95, -0.5, -0.1, 0.1, 0.5, 0.9])
def test_scales(dtype: type, share: float, permute: object) -> None:
    """From far below to near the top of the range: 10**(share * range), -1 is the smallest normal number."""
    info = np.finfo(dtype)
    size = float(info.tiny) ** -share if share < 0 else float(info.max) ** share
    a = own._scaled_butterfly(32, dtype, np.random.default_rng(7), size)
    op = bitterfly.factorize(a, permute=permute)  # type: ignore[arg-type]
    assert error_of(a, op) <= op.relative_error
    if share > -1:
        assert op.relative_error <= tolerances.exact_codes(32, dtype) + tolerances.ledger_excess(32, dtype, size)


@pytest.mark.parametrize(("dtype", "permute"), [(dtype, permute) for dtype in own.DTYPES for permute in (None, "auto")])
@pytest.mark.parametrize("units", [1, 30, 1000, 10**6])
def test_subnormal_matrices(dtype: type, permute: object, units: int) -> None:
    """Entries are a few multiples of the smallest number: the reported error covers what the factors cannot hold."""
    size = float(np.finfo(dtype).smallest_subnormal) * units
    a = own._scaled_butterfly(32, dtype, np.random.default_rng(7), size)
    op = bitterfly.factorize(a, permute=permute)  # type: ignore[arg-type]
    assert error_of(a, op) <= op.relative_error
    assert np.isfinite(op.relative_error)


def test_tiers_agree(isa: str) -> None:
    a = own.matrix("gaussian", 512, np.float64, 8)
    op = bitterfly.factorize(a)
    _core.select_isa("scalar")
    expected = bitterfly.factorize(a)
    _core.select_isa(isa)
    assert op.relative_error == pytest.approx(expected.relative_error, rel=tolerances.LEDGERS_AGREE)


TINY = float(np.finfo(float).smallest_subnormal) * (1 + 1j)


@pytest.mark.parametrize("a", [np.array([[1, TINY], [1, 1]]), own.matrix("wide_range", 16, np.complex128, 0)])
def test_products_that_are_subnormal(a: np.ndarray) -> None:
    """The direction of a row pair keeps unit length where the inner product of the pair is a subnormal number."""
    op = bitterfly.factorize(a, permute=None)
    assert true_error(a, op) <= op.relative_error


def test_rounding_is_bounded_by_what_is_reported() -> None:
    a = own.matrix("gaussian", 2, np.complex128, 8291)
    op = bitterfly.factorize(a, permute=None)
    assert true_error(a, op) <= op.relative_error


def test_rtol() -> None:
    a = own.matrix("gaussian", 64, np.float64, 9)
    with pytest.raises(ValueError, match=r"rtol: the relative error reached is 0\.\d+"):
        bitterfly.factorize(a, bitterfly.Chain.square_dyadic(64), rtol=1e-3)
    with pytest.raises(bitterfly.IncompressibleError, match="not a butterfly"):
        bitterfly.factorize(a, rtol=1e-3)
    assert bitterfly.factorize(dft(64), rtol=1e-10).relative_error <= 1e-10


def test_seed_makes_it_reproducible() -> None:
    a = own.matrix("gaussian", 64, np.float64, 10)
    np.testing.assert_array_equal(bitterfly.factorize(a).values, bitterfly.factorize(a).values)
    np.testing.assert_array_equal(
        bitterfly.factorize(a, rng=3).values, bitterfly.factorize(a, rng=np.random.default_rng(3)).values
    )


def test_a_user_permutation_is_not_frozen_or_kept() -> None:
    rows = bit_reversal(16)
    bitterfly.factorize(np.eye(16), permute=(rows, None))
    assert rows.flags.writeable


BAD_VALUES = {
    "one dimension": (np.ones(4), r"a: expected a matrix"),
    "three dimensions": (np.ones((2, 2, 2)), r"a: expected a matrix"),
    "empty": (np.ones((0, 0)), r"a: expected a matrix with at least one row"),
    "nan": (np.where(np.eye(64) > 0, np.nan, 1.0), r"a: expected finite"),
    "inf": (np.where(np.eye(64) > 0, np.inf, 1.0), r"a: expected finite"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_values(case: str) -> None:
    a, message = BAD_VALUES[case]
    with pytest.raises(ValueError, match=message):
        bitterfly.factorize(a)
    with pytest.raises(ValueError, match=message):
        bitterfly.factorize(a, permute=None)


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("permute", [None, "auto"])
def test_one_entry_that_is_not_finite(isa: str, dtype: type, value: float, permute: object) -> None:
    for at in [(0, 0), (13, 50), (63, 63)]:
        a = own.matrix("gaussian", 64, dtype, 12)
        a[at] = 1j * value if a.dtype.kind == "c" else value
        with pytest.raises(ValueError, match="a: expected finite"):
            bitterfly.factorize(a, permute=permute)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "a",
    [
        np.array([[1, "x"], [2, 3]], dtype=object),
        np.ma.masked_array(np.eye(4), mask=np.eye(4)),
        scipy.sparse.eye_array(4),
        [["a", "b"], ["c", "d"]],
        None,
    ],
)
def test_bad_types(a: object) -> None:
    with pytest.raises(TypeError, match="a: expected"):
        bitterfly.factorize(a)


@pytest.mark.parametrize(
    "permute", ["rows", (None,), ([0, 0, 1, 2], None), (np.arange(3), None), (None, [0.0, 1, 2, 3]), (None, "morton")]
)
def test_bad_permutations(permute: object) -> None:
    with pytest.raises(ValueError, match="permute"):
        bitterfly.factorize(np.eye(4), permute=permute)  # type: ignore[arg-type]


def test_bad_chain() -> None:
    with pytest.raises(ValueError, match=r"chain: .* too small"):
        bitterfly.factorize(np.eye(16), bitterfly.Chain.square_dyadic(8))
    with pytest.raises(TypeError, match="chain"):
        bitterfly.factorize(np.eye(16), [(1, 16, 16, 1)])
    with pytest.raises(ValueError, match="rank 4, more than the 2 rows"):
        bitterfly.factorize(np.eye(4), bitterfly.Chain([(1, 2, 4, 2), (1, 8, 4, 1)]))
