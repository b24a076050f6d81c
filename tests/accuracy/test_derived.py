"""Errors of sums and products: bounds, near in closed form, found only when asked for, of any scale."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitterfly
import exact
import strategies as own
from bitterfly import ButterflyOperator, algebra, transforms
from bitterfly.accuracy.norms import Norms

N = 16


def stated(op: ButterflyOperator, error: float, kind: str = "ledger") -> ButterflyOperator:
    return ButterflyOperator(
        op.store.factors(), permutations=op.base_permutations, relative_error=error, error_kind=kind
    )


def diagonal(values: Any, error: float = 0.0, dtype: Any = np.float64) -> ButterflyOperator:
    return ButterflyOperator([np.diag(values).astype(dtype)[None, :, :, None]], relative_error=error)


def relative(missed: float, norm: float) -> float:
    return missed / (norm - missed)


def missed(op: Any) -> float:
    return float(op.relative_error / (1 - op.relative_error) * np.linalg.norm(op.todense()))


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-7)


A = stated(transforms.hadamard(N), 1e-3)
B = stated(transforms.random(N, rng=0, dtype=complex), 1e-2, "measured")
C = diagonal(np.arange(1.0, N + 1), 1e-4)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Nothing is measured, until it is allowed again."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("measured")

    monkeypatch.setattr(Norms, "of", refuse)
    monkeypatch.setattr(Norms, "of_product", refuse)
    return monkeypatch.undo


# ---- in closed form ----


def test_of_sums() -> None:
    for op, coefficients, members in (
        (A + B, (1, 1), (A, B)),
        (A - 3j * B, (1, 3), (A, B)),
        (A - (C - 2 * B) / 4, (1, 0.25, 0.5), (A, C, B)),
    ):
        bound = sum(c * missed(x) for c, x in zip(coefficients, members, strict=True))
        assert op.relative_error == near(relative(bound, np.linalg.norm(op.todense())))
        assert op.error_kind == "measured"
    assert (A + A).error_kind == (A + A.astype("c16")).error_kind == "measured"
    assert algebra.ButterflySum([A, B], error_kind="estimated").error_kind == "estimated"


def test_of_products() -> None:
    """Of Hadamard matrices and diagonals, whose spectral norms are known."""
    a, c, m = missed(A), missed(C), A.todense()
    size = np.linalg.norm(m @ C.todense())
    spectral = np.linalg.norm(m, 2)
    two = a * (N + c) + spectral * c
    assert (A @ C).relative_error == near(relative(two, size))
    assert (C.H @ A.H).relative_error == near(relative(c * (spectral + a) + N * a, size))
    assert (A @ C).H.relative_error == near((A @ C).relative_error)
    three = two * (N + c) + N * spectral * c
    cube = A @ C**2
    assert cube.relative_error == near(relative(three, np.linalg.norm(cube.todense())))
    sides = transforms.hadamard(N) @ C
    assert sides.relative_error == near(relative(spectral * c, size)) and sides.error_kind == "measured"
    low = diagonal([1.0] + [0.0] * (N - 1))
    assert (C @ low).relative_error == near(relative(c, 1.0))


def test_what_is_not_known() -> None:
    unknown, wrong = algebra.inverse(C), diagonal(np.ones(N), 1.0)
    nearly = diagonal(np.ones(N), 0.4)
    for op in (A - A, unknown + C, wrong + C, wrong @ C, C @ unknown, nearly @ nearly, A @ A.T - A @ A.T):
        for view in (op, op.T, 2 * op, op / 3, op.astype("f4")):
            assert np.isnan(view.relative_error) and view.error_kind == "estimated"
    zero = diagonal(np.zeros(N))
    for op in (A + 0 * unknown + 0 * wrong, 2 * A - 0 * B):
        assert op.relative_error == near(A.relative_error)
    assert (0 * unknown + 0 * A).relative_error == 0  # nothing stands for nothing
    for op in (zero @ A, C @ stated(zero, 0.1), zero + stated(zero, 0.1)):
        assert op.relative_error == 0


@pytest.mark.parametrize("power", [900, -900])
def test_of_any_scale(power: int) -> None:
    size = 2.0**power
    large, small = size * A, diagonal(np.arange(1.0, N + 1) * size, 1e-4)
    assert (large + large).relative_error == near((A + A).relative_error)
    assert (A @ small).relative_error == near((A @ C).relative_error)
    assert (A + small / size).relative_error == near((A + C).relative_error)
    assert (small @ small).relative_error == near((C @ C).relative_error)  # numbers beyond those of double precision
    assert (A @ small - small).relative_error == near((A @ C - C).relative_error)
    assert (A + 2.0 ** -abs(power) * C).relative_error == near(relative(missed(A), N))


def test_of_subnormal_numbers() -> None:
    least = float(np.finfo(np.float64).smallest_subnormal)
    tiny = diagonal(np.full(N, 2.0**20 * least), 0.1)
    both = tiny + tiny  # what products with them round counts
    assert relative(0.1 / 0.9, 1.0) <= both.relative_error < 0.126
    assert (tiny @ tiny).relative_error == pytest.approx((diagonal(np.ones(N), 0.1) ** 2).relative_error, rel=0.01)


# ---- when it is found ----


def test_nothing_is_measured_before_it_is_asked_for(unmeasured: Callable[[], None], tmp_path: Path) -> None:
    total, product = A + B, A @ B
    made = [total, product, total @ product - B, bitterfly.kron(product, A), bitterfly.vstack([total, product])]
    made += [op.T for op in made] + [2 * op for op in made] + [op / 3 for op in made] + [-op.H.conj() for op in made]
    made += [op.astype("c16") for op in made] + [pickle.loads(pickle.dumps(op)) for op in made]
    for op in made:
        with pytest.raises(AssertionError, match="measured"):
            _ = op.relative_error
    exact_one = transforms.hadamard(N)
    for op in (exact_one + exact_one, exact_one @ exact_one, exact_one**3 - exact_one, 0 * A + 0 * B, 2 * A, A**1):
        assert op.relative_error in (0, A.relative_error)
    unmeasured()
    for op in made:
        assert op.relative_error > 0 and op.error_kind == "measured"


def test_it_is_found_once_for_all_views(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    total, product = A + B, A @ B
    for op in (total, product):
        views = [op.T, op.H, op.conj(), -op, op.astype("c16"), (2 * op).H, pickle.loads(pickle.dumps(op))]
        error = op.relative_error
        bitterfly.save(tmp_path / "op", op)
        assert bitterfly.load(tmp_path / "op").relative_error == error
        assert f"{error:.2e} (measured)" in repr(op) and f"{error:.2e}" in op._repr_html_()
        assert views[-1].relative_error == near(error)
        with monkeypatch.context() as patch:
            patch.setattr(Norms, "of", None)
            patch.setattr(Norms, "of_product", None)
            assert {view.relative_error for view in [*views[:-1], pickle.loads(pickle.dumps(op))]} == {error}


def test_threads_find_the_same() -> None:
    for _ in range(5):
        op = A @ B - B @ C
        views = [op, op.T] * 4
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(lambda view: view.relative_error, views))) == 1


# ---- of what was added and multiplied ----


def test_what_is_stated_of_a_whole_counts() -> None:
    """Of terms that are one sum and factors that are one product with others, too."""
    whole, product = algebra.ButterflySum([A, B], 1e-5, "ledger"), algebra.ButterflyProduct([A, B], 1e-5, "ledger")
    other = stated(transforms.random(N, rng=1), 1e-6)
    for op in (whole + other, other - whole.T.T, -whole.H.H - other):
        assert len(op.terms) == 3
        bound = relative(missed(whole) + missed(other), np.linalg.norm(op.todense()))
        for view in (op, op.T, 5 * op, 5 * op.H):
            assert view.relative_error == near(bound)
        twice = 4 * op + other
        bound = relative(4 * missed(whole) + 5 * missed(other), np.linalg.norm(twice.todense()))
        assert twice.relative_error == near(bound)
    exact_one = transforms.hadamard(N)
    both = product @ exact_one / 4
    assert len((product @ exact_one).operators) == 3
    assert both.relative_error == near(product.relative_error / (1 - 2 * product.relative_error))
    assert (product @ exact_one).T.relative_error == near(both.relative_error)
    pessimist = algebra.ButterflySum([exact_one, exact_one], 0.1, "ledger")
    assert (pessimist + exact_one).relative_error == near(relative(0.2 / 0.9, 3.0))
    third = exact_one / 3
    assert 0 < third.relative_error < (third + exact_one).relative_error + 1e-15


def test_nested_ones_are_no_weaker() -> None:
    flat = algebra.ButterflySum([A, B, C], coefficients=[1, 1, -2])
    for op in (A + B - 2 * C, A + (B - 2 * C), (A.T + (B - 2 * C).T).T, algebra.ButterflySum([A + B, -2 * C])):
        assert op.relative_error == near(flat.relative_error)
    cancelling = (A + C) - A.astype("c16")  # on the way an error of more than what is left, at the end not
    assert cancelling.relative_error == near(relative(2 * missed(A) + missed(C), np.linalg.norm(C.todense())))
    power = stated(transforms.random(N, rng=3, orthogonal=True), 1e-12) ** 40
    assert 1e-11 < power.relative_error < 1e-9
    assert (power - A).relative_error < 2e-3


def test_members_of_single_precision_are_multiplied_in_double() -> None:
    single = stated(transforms.random(N, rng=0, dtype=np.float32), 1e-6)
    wide = single.astype(np.float64)
    for mixed, op in ((single + A, wide + A), (single @ A, wide @ A), (A @ single - single, A @ wide - wide)):
        assert mixed.relative_error == near(op.relative_error)
    both = transforms.dft(N).H @ transforms.random(N, rng=1, dtype=np.float32)
    assert both.astype(np.complex64).relative_error < 1e-6


def test_casts() -> None:
    op = A @ stated(transforms.random(N, rng=4), 1e-9) - 2 * A
    single = op.astype(np.float32)
    assert op.relative_error < single.relative_error < op.relative_error + 1e-6 and single.error_kind == "measured"
    assert (single + A).relative_error > 0


# ---- bounds ----


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 0.9), st.floats(1e-6, 0.9), st.floats(1e-3, 1e3))
def test_they_are_bounds(seed: int, first: float, second: float, size: float) -> None:
    """Of members that miss by just what they say, in the direction that counts most or in any."""
    rng = np.random.default_rng(seed)
    m, n = (int(s) for s in rng.integers(1, 6, 2))
    members, originals = [], []
    for error, scale in ((first, 1.0), (second, size)):
        original = own.gaussian(rng, (m, n), np.float64) * scale
        if rng.random() < 0.3:
            original[:, 1:] = 0
        off = original.copy() if rng.random() < 0.5 else own.gaussian(rng, (m, n), np.float64)
        off *= error * np.linalg.norm(original) / np.linalg.norm(off) * (1 - 1e-12)
        members.append(ButterflyOperator([(original + off)[None, :, :, None]], relative_error=error))
        originals.append(original.astype(np.longdouble))
    (a, b), (x, y) = members, originals
    for op, true in (
        (a + b, x + y),
        (b - 2 * a, y - 2 * x),
        (a @ b.T, x @ y.T),
        (a.H @ b - a.T @ a, x.T @ y - x.T @ x),
        (a @ b.T @ a, x @ y.T @ x),
        ((a @ b.T) ** 2, x @ y.T @ x @ y.T),
    ):
        assert np.isnan(op.relative_error) or exact.error(true, op) <= op.relative_error


# ---- norms ----


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 30), (30, 7), (64, 64)])
def test_spectral_norms_are_bounds(shape: tuple[int, int], dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for scale in (0, 100, -100):
        for a in (own.gaussian(rng, shape, dtype), own.gaussian(rng, (shape[0], 1), dtype) * np.ones(shape, dtype)):
            op = ButterflyOperator([own.ldexp(a, scale).astype(dtype)[None, :, :, None]])
            wide = a.astype(np.result_type(dtype, np.float64))
            low, high = Norms().of(op)
            assert low <= np.log2(exact.norm(wide.astype(np.result_type(dtype, np.longdouble)))) + scale <= high
            true = np.log2(np.linalg.norm(wide, 2)) + scale
            assert high - low < 1e-7 and true - 1e-12 <= Norms().gain(op) < true + 1e-7


def test_estimates_of_large_operators() -> None:
    rng = np.random.default_rng(1)
    n = 2048
    members = [stated(transforms.random(n, rng=seed, orthogonal=True), 1e-3) for seed in (1, 2)]
    off = [f + 1e-4 * rng.standard_normal(f.shape) for f in members[0].factors]
    near_one = ButterflyOperator(off, permutations=members[0].permutations)
    error = np.linalg.norm(near_one.todense() - members[0].todense()) / np.sqrt(n)
    a, b = stated(near_one, 1.01 * float(error)), members[1]
    for op, true, most in (
        (a + b, members[0].todense() + b.todense(), 3),
        (a @ b, members[0].todense() @ b.todense(), 4),
        (b @ a @ b, b.todense() @ members[0].todense() @ b.todense(), 12),
        (b @ a @ b - a, b.todense() @ members[0].todense() @ b.todense() - members[0].todense(), 12),
    ):
        reached = np.linalg.norm(op.todense() - true) / np.linalg.norm(true)
        assert reached <= op.relative_error < most * (error + 1e-3) and op.error_kind == "estimated"
    assert Norms().gain(b) >= np.log2(np.linalg.norm(b.todense(), 2))
    low, high = Norms().of(b)
    assert low <= np.log2(np.sqrt(n)) <= high < low + 0.1
