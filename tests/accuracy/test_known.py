"""The rule for errors that add up, and the rounding of what is measured."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitterfly
import exact
import strategies as own
from bitterfly import ButterflyOperator, Chain, algebra
from bitterfly.accuracy import rounding
from bitterfly.accuracy.change import change_of
from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure

errors = st.floats(0, 10)


@given(errors, st.lists(errors, min_size=1, max_size=3), st.sampled_from(["exact", "measured", "estimated"]))
def test_changes_are_rounded_up(error: float, changes: list[float], kind: str) -> None:
    known = Known(error, "ledger").then(*changes, kind=kind)
    e, c, least = Fraction(error), sum(map(Fraction, changes)), Fraction(np.finfo(float).smallest_subnormal)
    assert e + (1 + e) * c <= Fraction(known.error) <= (e + (1 + e) * c) * (1 + Fraction(1, 10**14)) + 8 * least
    assert known.kind == {"exact": "ledger"}.get(kind, kind)


@given(errors, errors)
def test_what_fits_the_room_meets_the_target(error: float, target: float) -> None:
    room = Known(error, "exact").room_for(target)
    assert room <= 0 or Known(error, "exact").then(room).error <= target


def test_nothing_changes_nothing_and_the_unknown_stays_unknown() -> None:
    assert Known(0.0, "exact").then(0.0) == Known(0.0, "exact")
    unknown = Known(float("nan"), "exact").then(0.1)
    assert np.isnan(unknown.error) and unknown.kind == "estimated"


CHAINS = {
    "dyadic": Chain.square_dyadic(32),
    "monarch": Chain.monarch((24, 30), rank=3),
    "ranks": Chain.butterfly((32, 24), rank=(3, 2), leaf=8, groups=2),
    "a and d": Chain([(2, 4, 6, 6), (6, 4, 5, 3)]),
    "long": Chain.monarch((3, 120), blocks=(1, 12)),
}


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("scale", [0, -60, 60])
@pytest.mark.parametrize("name", CHAINS)
def test_products_round_less_than_the_bound(name: str, scale: int, dtype: Any) -> None:
    """Of both sides, within three orders for factors of independent numbers; columns gauged over six decades."""
    rng = np.random.default_rng(5)
    factors = [own.gaussian(rng, p, dtype) for p in CHAINS[name]]
    if name == "dyadic":
        factors = own.regauge(factors, rng, 6)
    factors[-1] = own.ldexp(factors[-1], scale).astype(dtype)
    op = ButterflyOperator(factors)
    single = [op, algebra.ButterflySum([op, op.conj()]), algebra.vstack([op, op])]
    small = ButterflyOperator([own.gaussian(rng, (1, 2, 3, 1), dtype)])
    made = [op / 3, bitterfly.kron(small, op), op.T @ bitterfly.block_diag([op])]
    made += [op.H @ op, op @ op.H - op.conj() @ op.T / 3]
    made = made if scale <= 0 else made[:2]  # squares overflow single precision
    if name != "dyadic" and scale == 0:
        single.append(bitterfly.quantize(op, code="lattice", bits=6))
    for each in single + made:
        true, bound = exact.dense(each), rounding.log2_rounding(each)
        m, n = each.shape
        for got in (each @ np.eye(n, dtype=dtype), (each.H @ np.eye(m, dtype=dtype)).conj().T):
            rounded = exact.norm(got - true)
            assert rounded == 0 or np.log2(rounded) <= bound
        if each in single:
            assert bound <= np.log2(exact.norm(true)) + np.log2(np.finfo(dtype).eps) + 10


def test_exact_products_are_known_to_be_exact() -> None:
    hadamard = bitterfly.transforms.hadamard(16)
    whole = ButterflyOperator([own.gaussian(np.random.default_rng(0), p, np.float64).round() for p in CHAINS["ranks"]])
    assert all(map(rounding.is_exact, (hadamard, whole, hadamard.astype(np.float32), algebra.vstack([whole, whole]))))
    assert not rounding.is_exact(bitterfly.transforms.random(16, rng=0))
    assert rounding.is_exact(-whole)
    assert not any(map(rounding.is_exact, (algebra.ButterflySum([whole, whole]), whole / 3, whole @ whole.T)))
    seventh = ButterflyOperator([np.full((1, 1, 1, 1), 49.0), np.full((1, 1, 1, 1), 1 / 49)])
    assert 0 < exact.error(np.ones((1, 1)), seventh) <= measure(np.ones((1, 1)), seventh)
    assert measure(hadamard.todense(), hadamard) == 0


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("shape", [(7, 400), (400, 7), (31, 45), (1, 300), (300, 1)])
def test_unit_vectors_run_along_the_smaller_side(
    shape: tuple[int, int], layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitterfly import panels
    from bitterfly.accuracy import change
    from bitterfly.operators import contract

    rng = np.random.default_rng(1)
    a = layout(rng.standard_normal(shape))
    op = bitterfly.factorize(a, Chain.for_shape(shape))
    other = bitterfly.quantize(op, code="lattice", bits=8)
    vectors = []

    def counted(n: int, first: int, width: int, dtype: Any) -> Any:
        vectors.append(width)
        return panels.identity_panel(n, first, width, dtype)

    for each in (change, contract):
        monkeypatch.setattr(each, "identity_panel", counted)
    done: list[float] = []
    error = measure(a, other, done.append)
    assert exact.error(a, other) <= error <= float(exact.error(a, other)) * (1 + 1e-9) + 1e-13
    assert sum(vectors) <= 4 * min(shape) and done[-1] == 1 and done == sorted(done)
    vectors.clear()
    assert change_of(op, other)[1] and sum(vectors) == min(shape)


@pytest.mark.parametrize(
    "number", [2**62 + 1, -(2**62) - 1, np.uint64(2**63 + 1), np.longdouble(1) + np.longdouble(2) ** -60]
)
def test_the_conversion_of_the_matrix_counts(number: Any) -> None:
    a = np.array([[number]])
    op = bitterfly.compress(a, bits=4)
    assert 0 < exact.error(a, op) <= op.relative_error < 1e-14
    assert bitterfly.compress(np.array([[2**53]]), bits=4).relative_error == 0


@pytest.mark.parametrize("dtype", own.DTYPES)
def test_sums_for_an_array_are_measured(dtype: Any) -> None:
    """Subnormal numbers among them, which the precision of the residual does not hold."""
    for kind in ("gaussian", "subnormal", "wide_range"):
        a = own.matrix(kind, 16, dtype, 3)
        op = bitterfly.factorize(a, Chain.monarch((16, 16), rank=1), terms=3)
        assert op.error_kind == ("measured" if len(op.terms) > 1 else "ledger")
        assert exact.error(a, op) <= op.relative_error
