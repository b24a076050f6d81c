"""Arithmetic of operators: what comes back, its dtype and error, and what is refused."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import bitterfly
import exact
import strategies as own
from bitterfly import ButterflyOperator, algebra, transforms

RNG = np.random.default_rng(0)
REAL = transforms.random(16, rng=1, dtype="f4")
DFT = transforms.dft(16)
PACKED = bitterfly.quantize(REAL, bits=4)
TALL = ButterflyOperator([RNG.standard_normal(p) for p in [(1, 3, 2, 4), (2, 4, 8, 1)]])
R, F, Q, T = (op.todense() for op in (REAL, DFT, PACKED, TALL))

RESULTS: dict[str, tuple[Any, np.ndarray]] = {
    "2 a": (2 * REAL, 2 * R),
    "a 2": (REAL * 2, R * 2),
    "-a": (-PACKED, -Q),
    "a / 3": (REAL / 3, R / 3),
    "1j a": (1j * PACKED, 1j * Q),
    "a + b": (REAL + DFT, R + F),
    "a - b": (PACKED - REAL, Q - R),
    "a - (b - 2 c)": (REAL - (DFT - 2 * PACKED), R - (F - 2 * Q)),
    "3 (a + b)": (3 * (REAL + PACKED), 3 * (R + Q)),
    "a @ b": (REAL @ PACKED, R @ Q),
    "a.H @ a": (DFT.H @ DFT, F.conj().T @ F),
    "a ** 3": (REAL**3, R @ R @ R),
    "kron": (bitterfly.kron(TALL, DFT), np.kron(T, F)),
    "blocks": (bitterfly.block_diag([TALL, PACKED]), scipy.linalg.block_diag(T, Q)),
    "vstack": (bitterfly.vstack([TALL, -TALL]), np.concatenate([T, -T])),
    "hstack": (bitterfly.hstack([REAL, 2 * DFT]), np.concatenate([R, 2 * F], axis=1)),
    "all": (bitterfly.kron(REAL - DFT / 2, -PACKED) @ (1j * bitterfly.block_diag([DFT] * 16)).T, None),
}
RESULTS["all"] = RESULTS["all"][0], np.kron(R - F / 2, -Q) @ np.kron(np.eye(16), 1j * F.T)


@pytest.fixture(params=RESULTS, ids=str)
def result(request: pytest.FixtureRequest) -> tuple[Any, np.ndarray]:
    return RESULTS[request.param]


def test_results_are_operators(result: tuple[Any, np.ndarray], tmp_path: Path) -> None:
    op, a = result
    atol = 1e-5 * max(np.linalg.norm(a), 1.0)  # single precision; terms of norm one may cancel
    assert op.dtype == a.dtype and op.shape == a.shape
    assert op.nbytes > 0 and op.mean_bits > 0 and op.numbers
    assert type(op).__name__ in repr(op) and type(op).__name__ in op._repr_html_()
    bitterfly.save(tmp_path / "op", op)
    same = [op, pickle.loads(pickle.dumps(op)), copy.deepcopy(op), bitterfly.load(tmp_path / "op")]
    for each in same:
        np.testing.assert_array_equal(each.todense(), op.todense())
        assert (each.dtype, each.error_kind, each.nbytes) == (op.dtype, op.error_kind, op.nbytes)
        np.testing.assert_equal(each.relative_error, op.relative_error)
    for view, dense in ((op, a), (op.T, a.T), (op.H, a.conj().T), (op.conj(), a.conj())):
        np.testing.assert_allclose(view.todense(), dense, atol=atol)
        np.testing.assert_equal(view.relative_error, op.relative_error)
    wide = op.astype(np.complex128 if op.dtype.kind == "c" else np.float64)
    assert wide.dtype == np.result_type(op.dtype, np.float64)
    np.testing.assert_allclose(wide.todense(), a, atol=atol)
    narrow = op.astype(np.complex64 if op.dtype.kind == "c" else np.float32)
    np.testing.assert_allclose(narrow.todense(), a, atol=atol)
    x = own.gaussian(RNG, (2, 3, op.shape[1], 4), op.dtype)
    for got in (op.apply(x, workers=2), op.apply(x, np.empty((2, 3, op.shape[0], 4), op.dtype)), op.matmat(x), op @ x):
        np.testing.assert_allclose(got, a @ x, atol=4 * atol)
    np.testing.assert_allclose(op.rmatvec(a[:, 0]), a.conj().T @ a[:, 0], atol=atol * np.linalg.norm(a[:, 0]))
    np.testing.assert_allclose(op[1:3, -1], a[1:3, -1], atol=atol)
    for name in ("relative_error", "error_kind", "shape", "coefficients", "anything"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(op, name, 5.0)


# ---- numbers ----


@pytest.mark.parametrize("op", [REAL, REAL.astype("f8"), 1j * REAL, DFT, PACKED], ids=repr)
@pytest.mark.parametrize(
    "c", [2, -1.5, True, 3 - 1j, np.float32(0.1), np.float64(0.1), np.int64(3), np.array(2.0), Fraction(1, 3), 0]
)
def test_numbers_keep_the_precision(op: Any, c: Any) -> None:
    number = complex(c) if isinstance(c, complex) else float(c)
    for got in (c * op, op * c, op.dot(c)):
        assert got.dtype == np.result_type(op.dtype, number)
        np.testing.assert_allclose(got.todense(), number * op.todense(), rtol=4 * np.finfo(op.dtype).eps)
    exact_number = not isinstance(c, Fraction)
    assert ((c * op).relative_error == op.relative_error) is exact_number


def test_coefficients_do_not_over_or_underflow() -> None:
    for c in (1e39, 1e-39, 1e300, 1e-300j):
        with pytest.raises(OverflowError, match=r"coefficients: .* does not fit .*; use op.astype"):
            c * REAL
        assert np.all(np.isfinite((c * REAL.astype("f8")).todense()))
    with pytest.raises(OverflowError, match="does not fit float32"):
        (1e300 * REAL.astype("f8")).astype("f4")
    for bad in (np.inf, np.nan, complex(0, np.inf)):
        with pytest.raises(ValueError, match="expected"):
            bad * REAL
        with pytest.raises(ValueError, match="expected"):
            REAL / bad
    tower = 1e200 * (1e200 * (1e-300 * DFT))
    np.testing.assert_allclose(tower.todense(), 1e200 * (1e200 * (1e-300 * F)), rtol=1e-14)
    with pytest.raises(ZeroDivisionError):
        REAL / 0


# ---- errors ----


def _off(op: ButterflyOperator, error: float) -> tuple[Any, np.ndarray]:
    """An operator that says of itself how far it is from a matrix, exactly so far."""
    a = op.todense()
    missed = own.gaussian(RNG, a.shape, a.dtype)
    missed *= error / np.linalg.norm(missed)
    original = a + missed * np.linalg.norm(a)
    known = np.linalg.norm(a - original) / np.linalg.norm(original) * (1 + 1e-12)
    return ButterflyOperator(op.store.factors(), relative_error=known, error_kind="measured"), original


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 0.9), st.floats(1e-3, 0.9), st.floats(1e-3, 1e3))
def test_derived_errors_are_bounds(seed: int, first: float, second: float, size: float) -> None:
    rng = np.random.default_rng(seed)
    factors = [own.gaussian(rng, (1, 3, 4, 1), np.float64) for _ in range(2)]
    (a, original), (b, other) = (
        _off(ButterflyOperator([f * s]), e) for f, s, e in zip(factors, (1, size), (first, second), strict=True)
    )
    cases = [
        (bitterfly.kron(a, b), np.kron(original, other)),
        (bitterfly.vstack([a, b]), np.concatenate([original, other])),
        (bitterfly.hstack([a, b]), np.concatenate([original, other], axis=1)),
        (bitterfly.block_diag([a, b.T]), scipy.linalg.block_diag(original, other.T)),
        (1 / 3 * a, original * (1 / 3)),
        (a / 3, original / 3),
    ]
    for op, matrix in cases:
        assert exact.error(matrix, op) <= op.relative_error * (1 + 1e-14)
        assert op.error_kind == "measured"


def test_what_is_known_of_sums_and_products() -> None:
    known = bitterfly.factorize(R)
    for op in (known + DFT, known @ DFT, DFT.H @ DFT, known - 2 * known):
        assert 0 < op.relative_error < 1e-5 and op.error_kind == "measured"
    for op in (known - known, known @ algebra.inverse(DFT)):
        assert np.isnan(op.relative_error) and op.error_kind == "estimated"
    exact_op = transforms.hadamard(16)
    for op in (exact_op + REAL, exact_op @ REAL, exact_op**2, REAL - exact_op, 2 * exact_op):
        assert op.relative_error == 0 and op.error_kind == "exact"
    stated = algebra.ButterflySum([known, known], 0.1, "measured", coefficients=[2, -1])
    assert (stated.relative_error, (2 * stated).error_kind) == (0.1, "measured")
    assert stated.relative_error < stated.astype("f8").astype("f4").relative_error < 0.1001
    rounded = (DFT.H @ REAL).astype("c8")
    assert 0 < rounded.relative_error < 1e-6 and rounded.error_kind == "measured"
    rounded = (transforms.hadamard(16) @ REAL.astype("f8") / 3).astype("f4")
    assert 0 <= rounded.relative_error < 1e-6
    worse = bitterfly.kron(known, algebra.inverse(DFT))
    assert np.isnan(worse.relative_error) and worse.error_kind == "estimated"


# ---- other operands ----


@pytest.mark.filterwarnings("ignore:Calling `matvec` on 'column vectors':FutureWarning")  # SciPy 1.18
def test_scipy_and_numpy_operands() -> None:
    other = aslinearoperator(F)
    for op in (REAL, REAL + DFT, REAL @ DFT, bitterfly.kron(transforms.dft(4), transforms.dft(4))):
        a = op.todense()
        pairs = [
            (op + other, a + F),
            (other + op, a + F),
            (op - other, a - F),
            (op @ other, a @ F),
            (other @ op, F @ a),
        ]
        for got, expected in pairs:
            assert isinstance(got, LinearOperator) and not isinstance(got, type(op))
            np.testing.assert_allclose(got @ np.eye(16), expected, atol=1e-4)
        np.testing.assert_allclose(op @ F, a @ F, atol=1e-4)
        np.testing.assert_allclose(F @ op, F @ a, atol=1e-4)
        for bad in (F, [1, 2], "a", None, 1):
            with pytest.raises(TypeError):
                op + bad
            with pytest.raises(TypeError):
                op - bad
        with pytest.raises(ValueError, match="Scalar"):
            op @ 2
        assert +op is op


def test_sum_of_python() -> None:
    np.testing.assert_allclose(sum([REAL, PACKED, REAL]).todense(), 2 * R + Q, atol=1e-5)


@pytest.mark.parametrize("other", [1, 2.5, R, [[1.0]]], ids=type)
def test_numbers_and_arrays_are_not_added(other: Any) -> None:
    for add in (lambda: REAL + other, lambda: other + REAL, lambda: REAL - other, lambda: other - REAL):
        with pytest.raises(TypeError, match="expected another operator to add or subtract"):
            add()


def test_dir_shows_what_is_public() -> None:
    assert dir(bitterfly) == sorted(bitterfly.__all__)
    assert all(hasattr(bitterfly, name) for name in dir(bitterfly))


def test_refusals_name_the_shapes() -> None:
    narrow = TALL.T
    shapes = r"got \(12, 16\) and \(16, 12\)"
    for operation in (lambda: TALL + narrow, lambda: TALL - narrow):
        with pytest.raises(ValueError, match=shapes):
            operation()
    with pytest.raises(ValueError, match=r"got \(12, 16\) and \(12, 16\)"):
        TALL @ TALL
    with pytest.raises(ValueError, match=shapes):
        algebra.ButterflySum([TALL, narrow])
    with pytest.raises(ValueError, match="only square operators"):
        TALL**2
    for p in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="p: expected a positive integer"):
            REAL**p
    with pytest.raises(ValueError, match="coefficients: expected 2"):
        algebra.ButterflySum([REAL, REAL], coefficients=[1])
    for make in (algebra.ButterflyProduct, algebra.ButterflyKron):
        with pytest.raises(ValueError, match="operators: expected"):
            make([])
        with pytest.raises(TypeError, match=r"operators\[1\]: expected an operator of this package, got ndarray"):
            make([REAL, R])
    with pytest.raises(TypeError, match="divided by numbers"):
        REAL / REAL


def test_many_terms_are_one_sum_and_many_factors_one_product() -> None:
    total, power = REAL, REAL
    for _ in range(20):
        total, power = total + REAL, power @ REAL
    assert len(total.terms) == 21 and len(power.operators) == 21
    np.testing.assert_allclose(total.todense(), 21 * R, rtol=1e-5)
    negative = -total
    assert negative.coefficients == (-1,) * 21 and (-negative).coefficients == total.coefficients


# ---- entries ----

KEYS = [3, -1, (2, 5), np.s_[:, 4], np.s_[::7, [3, 1]], ([1, 2], [3, 4]), (3, [1, 2]), np.ix_([1, 5], [2, 2, 9])]
KEYS += [[3, 3], np.s_[..., 2], ..., np.arange(16) % 5 == 0, np.s_[0:0, :], (np.array([[1, 2], [3, 4]]), slice(2))]
KEYS += [np.s_[2:300, ::-1], (np.array([], int), 3), (np.array([[1], [2]]), [0, 3, -1]), np.s_[5], ()]


@pytest.mark.parametrize("op", [DFT, REAL + PACKED, DFT @ REAL], ids=repr)
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_entries_are_those_of_the_dense_matrix(op: Any, key: Any) -> None:
    got, expected = op[key], op.todense()[key]
    assert np.shape(got) == np.shape(expected) and got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("key", [16, (0, -17), None, (1, 2, 3), 1.5, True, "a", (None, 3), ([1, 2], [1, 2, 3])])
def test_entries_that_are_not_there(key: Any) -> None:
    with pytest.raises(IndexError):
        REAL[key]


# ---- files ----


def test_what_a_file_cannot_hold(tmp_path: Path) -> None:
    deep: Any = REAL
    for _ in range(12):
        deep = 3 * deep
    bitterfly.save(tmp_path / "deep", deep)
    np.testing.assert_array_equal(bitterfly.load(tmp_path / "deep").todense(), deep.todense())
    with pytest.raises(ValueError, match="nested deeper"):
        bitterfly.save(tmp_path / "deeper", 3 * (3 * (3 * deep)))
    with pytest.raises(ValueError, match="at most 1024 members"):
        bitterfly.save(tmp_path / "long", REAL**1025)
    assert not (tmp_path / "deeper").exists() and not (tmp_path / "long").exists()
