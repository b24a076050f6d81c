"""Signed cuts of matrices: errors that are true, scales and shapes, what is refused, what sweeps gain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bitterfly
import exact
import strategies as own
from bitterfly import _core, cuts
from bitterfly.cuts.refine import swept
from bitterfly.cuts.terms import Cuts

SHAPES = [(1, 1), (1, 9), (40, 1), (17, 33), (64, 48)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sweeps", [0, 2])
def test_errors_are_those_of_the_first_cuts(shape: tuple[int, int], dtype: str, sweeps: int) -> None:
    a = own.gaussian(np.random.default_rng(shape), shape, dtype)
    op = cuts.matrix(a, width=24, sweeps=sweeps, rng=0)
    assert op.error_kind == "measured" and op.dtype == dtype
    for width in range(1, op.width + 1):
        part = op.truncated(width)
        true = float(exact.error(a, part))
        assert true <= part.relative_error <= true * (1 + 1e-5) + 1e-6, width


@pytest.mark.parametrize("exponent", [-900, -1040, 0, 900])
def test_scales(exponent: int) -> None:
    a = own.gaussian(np.random.default_rng(0), (20, 30), "f8")
    plain, op = (cuts.matrix(each, width=12, rng=3) for each in (a, np.ldexp(a, exponent)))
    np.testing.assert_allclose(
        np.ldexp(op.coefficients, -exponent), plain.coefficients, rtol=2.0 ** max(-60, -1074 - exponent + 8)
    )
    assert float(exact.error(np.ldexp(a, exponent), op)) <= op.relative_error


def test_single_precision_near_its_limits() -> None:
    a = own.gaussian(np.random.default_rng(0), (20, 30), "f4")
    for scale in (2.0**-140, 2.0**-126, 2.0**120):
        scaled = (a * scale).astype(np.float32)
        op = cuts.matrix(scaled, width=12, rng=3)
        assert float(exact.error(scaled, op)) <= op.relative_error < 0.75


def test_zeros_and_matrices_of_signs() -> None:
    nothing = cuts.matrix(np.zeros((3, 4)), width=5)
    assert (nothing.width, nothing.relative_error) == (1, 0)
    assert not nothing.todense().any()
    signs = np.outer([1, -1, 1, -1], [1, 1, -1, -1]) * 0.75  # half of all random signs are orthogonal to a side
    for seed in range(40):
        op = cuts.matrix(signs, width=5, rng=seed)
        assert op.relative_error < 1e-14
        np.testing.assert_allclose(op.todense(), signs)


@pytest.mark.parametrize("place", [(0, 0), (63, 99)])
def test_an_entry_that_stands_out(place: tuple[int, int]) -> None:
    a = np.zeros((64, 100), np.float32)
    a[place] = 1e6
    op = cuts.matrix(a, width=200, rng=0)
    assert float(exact.error(a, op)) <= op.relative_error < 0.95


def test_what_is_asked_for() -> None:
    a = own.gaussian(np.random.default_rng(1), (60, 90), "f4")
    assert cuts.matrix(a, width=7).width == 7
    by_bits = cuts.matrix(a, bits=2, sweeps=0, rng=0)
    assert 8 * by_bits.nbytes <= 2 * a.size < 8 * by_bits.nbytes * (1 + 1 / by_bits.width)
    assert cuts.matrix(a, nbytes=by_bits.nbytes, sweeps=0, rng=0).width == by_bits.width
    op = cuts.matrix(a, rtol=0.3, sweeps=0, rng=0)
    assert op.relative_error <= 0.3 < op.errors[-2]
    better = cuts.matrix(a, rtol=0.3, rng=0)
    assert better.relative_error <= 0.3 and better.width < 0.95 * op.width


@pytest.mark.parametrize("shape", [(1, 1000), (1000, 1), (1000, 2)])
def test_long_and_thin_matrices(shape: tuple[int, int]) -> None:
    """Of a bit an entry they have a cut or two: more are swept together."""
    a = own.gaussian(np.random.default_rng(5), shape, "f8")
    op = cuts.matrix(a, width=16, rng=0)
    assert float(exact.error(a, op)) <= op.relative_error < 0.05
    assert cuts.matrix(a, width=16, sweeps=0, rng=0).relative_error > 1.4 * op.relative_error
    close = cuts.matrix(a, rtol=0.01, rng=0)
    assert close.relative_error <= 0.01 and close.width < 40


def test_matrices_of_few_numbers() -> None:
    constant = cuts.matrix(np.full((50, 70), 3.7, "f4"), width=5, rng=0)
    assert constant.width <= 2 and constant.relative_error < 1e-12
    blocks = np.kron(np.random.default_rng(0).choice([-1, 1], (6, 8)), np.ones((7, 5)))
    op = cuts.matrix(blocks, width=1000, rng=0)  # as many as single precision tells from nothing
    assert float(exact.error(blocks, op)) <= op.relative_error < 2e-6 and op.width < 1000
    assert np.abs(op.coefficients).max() < 2


def test_below_one_bit() -> None:
    a = own.gaussian(np.random.default_rng(6), (96, 128), "f4")
    for rtol in (0.97, 0.9, 0.8):
        op = cuts.matrix(a, rtol=rtol, rng=0)
        assert op.relative_error <= rtol < op.errors[-2] + 1e-5 and 8 * op.nbytes < a.size


def test_results_depend_on_the_seed_alone() -> None:
    a = own.gaussian(np.random.default_rng(2), (200, 130), "f4")
    before = _core.active_isa()
    try:
        found = []
        for isa in _core.available_isas():
            _core.select_isa(isa)
            found += [cuts.matrix(a, width=40, rng=5, workers=workers) for workers in (1, 3)]
    finally:
        _core.select_isa(before)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].bits[0], other.bits[0])
        np.testing.assert_array_equal(found[0].coefficients, other.coefficients)
    assert not np.array_equal(cuts.matrix(a, width=40, rng=6).bits[0], found[0].bits[0])


def test_sweeps_and_starts_gain() -> None:
    """At two bits an entry: 3.5 % by sweeps and more by starts; each sweep makes the error smaller."""
    a = own.gaussian(np.random.default_rng(3), (160, 160), "f4")
    errors = [cuts.matrix(a, bits=2, sweeps=sweeps, rng=0).relative_error for sweeps in (0, 1, 2, 4)]
    assert sorted(errors, reverse=True) == errors
    assert errors[-1] < 0.975 * errors[0]
    assert cuts.matrix(a, bits=2, sweeps=0, starts=6, rng=0).relative_error < 0.99 * errors[0]


def test_no_flip_of_a_single_sign_is_left_that_gains() -> None:
    rng = np.random.default_rng(4)
    a = own.gaussian(rng, (30, 40), "f4")
    signs = tuple(rng.choice([-1, 1], (10, size)).astype("f4") for size in a.shape)
    found = Cuts(rng.uniform(0.1, 0.5, 10), signs)
    rest = a - found.dense()
    for _ in range(60):
        rest, found = swept(rest, found, 1)
    np.testing.assert_allclose(rest, a - found.dense(), atol=1e-5)
    least = np.linalg.norm(a - found.dense())
    for side in found.sides:
        for at in np.ndindex(side.shape):
            side[at] *= -1
            assert np.linalg.norm(a - found.dense()) >= least * (1 - 1e-5)
            side[at] *= -1


@pytest.mark.parametrize(
    ("a", "options", "error", "message"),
    [
        (np.ones(3), {"width": 1}, ValueError, r"a: expected shape \(m, n\)"),
        (np.ones((2, 2), "c8"), {"width": 1}, TypeError, "a: expected real numbers"),
        ([[np.nan, 1]], {"width": 1}, ValueError, "a: expected finite numbers"),
        ([[np.inf, 1]], {"bits": 9}, ValueError, "a: expected finite numbers"),
        ([[1.0]], {}, ValueError, "expected exactly one"),
        ([[1.0]], {"width": 1, "bits": 4}, ValueError, "expected exactly one"),
        ([[1.0]], {"width": 0}, ValueError, "width: expected at least 1"),
        ([[1.0]], {"bits": 0}, ValueError, "bits: expected a positive number"),
        ([[1.0]], {"bits": 4}, ValueError, "bits: a cut of 1 x 1 takes 10 bytes"),
        ([[1.0]], {"nbytes": 9}, ValueError, "nbytes: a cut of 1 x 1 takes 10 bytes"),
        ([[1.0]], {"rtol": 1.5}, ValueError, "rtol: expected a number below 1"),
        ([[5e-324, 1e-323]], {"rtol": 0.05}, ValueError, "rtol: not met by coefficients of float64"),
        ([[1.0]], {"width": 1, "starts": 0}, ValueError, "starts: expected at least 1"),
        ([[1.0]], {"width": 1, "sweeps": -1}, ValueError, "sweeps: expected a number"),
    ],
)
def test_refusals(a: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bitterfly.cuts.matrix(a, **options)
