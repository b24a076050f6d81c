"""Short significands in whole chains: errors, drivers against each other, files, hostile ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitterfly
from bitterfly import Chain, _core, transforms
from bitterfly.reference import product, round_significand
from strategies import gaussian, regauge, seeds
from tolerances import eps, exact_factors

DRIVERS = ("left_to_right", "right_to_left", "pairwise", "refined")


def chain_factors(rng: np.random.Generator, chain: Chain, dtype: type) -> list[np.ndarray]:
    return [gaussian(rng, pattern, dtype) for pattern in chain]


def true_error(exact: list[np.ndarray], rounded: list[np.ndarray]) -> float:
    a = product(exact)
    return float(np.linalg.norm(a - product(rounded)) / np.linalg.norm(a))


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@given(seeds, st.sampled_from([2, 4, 8, 32]), st.integers(1, 4))
def test_factors_are_short_and_their_error_is_known(driver: str, dtype: type, seed: int, n: int, t: int) -> None:
    factors = chain_factors(np.random.default_rng(seed), Chain.square_dyadic(n), dtype)
    rounded, error, _ = _core.shorten(factors, [t] * len(factors), driver, 3)
    assert all(np.array_equal(round_significand(f, t), f) for f in rounded)
    assert error == pytest.approx(true_error(factors, rounded), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("chain", [Chain.monarch((12, 20)), Chain([(1, 3, 2, 6), (2, 2, 5, 3), (10, 3, 2, 1)])])
@pytest.mark.parametrize("driver", DRIVERS)
def test_chains_of_any_pattern(driver: str, chain: Chain, dtype: type) -> None:
    factors = chain_factors(np.random.default_rng(0), chain, dtype)
    rounded, error, _ = _core.shorten(factors, [3] * len(factors), driver, 3)
    assert error == pytest.approx(true_error(factors, rounded), rel=1e-9)
    assert error < true_error(factors, [round_significand(f, 3) for f in factors])


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_order_of_the_drivers(dtype: type) -> None:
    """Refined is never worse than from left to right; pairs are better than rounding to nearest, also of odd counts."""
    for n, seed in ((16, 0), (32, 1), (64, 2)):
        factors = chain_factors(np.random.default_rng(seed), Chain.square_dyadic(n), dtype)
        error = {d: _core.shorten(factors, [3] * len(factors), d, 4)[1] for d in DRIVERS}
        nearest = true_error(factors, [round_significand(f, 3) for f in factors])
        assert error["refined"] <= error["left_to_right"] < error["pairwise"] < nearest


def test_directions_mirror_each_other() -> None:
    factors = chain_factors(np.random.default_rng(3), Chain.square_dyadic(16), np.float64)
    mirrored = [np.ascontiguousarray(f.transpose(3, 2, 1, 0)) for f in factors[::-1]]
    error = _core.shorten(factors, [3] * 4, "right_to_left", 3)[1]
    assert _core.shorten(mirrored, [3] * 4, "left_to_right", 3)[1] == pytest.approx(error, rel=0.6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("n", [2, 16, 128])
def test_products_from_the_packed_bits(isa: str, n: int, dtype: type) -> None:
    op = transforms.random(n, rng=np.random.default_rng(n), dtype=dtype)
    for t in (1, 3, 5):
        packed = bitterfly.quantize(op, code="float", significand=t)
        dense = product([f.astype(np.result_type(f, np.float64)) for f in packed.dequantize().factors])
        bound = exact_factors(n, dtype) * 8
        for got, want in ((packed, dense), (packed.T, dense.T), (packed.H, dense.conj().T)):
            assert np.linalg.norm(got.todense() - want) <= bound * np.linalg.norm(want)
        a = op.todense()
        true = np.linalg.norm(packed.todense() - a) / np.linalg.norm(a)
        assert true <= packed.relative_error <= 1.01 * true + 100 * eps(dtype)
        assert packed.nbytes == packed.words.nbytes + packed.steps.nbytes


@given(seeds, st.integers(1, 24), st.integers(1, 6))
def test_codes_hold_what_they_round_to(seed: int, t: int, exponent_bits: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << (t + exponent_bits), 200, dtype=np.uint32)
    values = _core.decode_floats(codes, t + exponent_bits, t)
    again = _core.encode_floats(values, t + exponent_bits, t)
    negative_zero = codes == 1 << (t + exponent_bits - 1)
    assert np.array_equal(again[~negative_zero], codes[~negative_zero])
    assert not np.any(again[negative_zero])
    top = (1 << (t + exponent_bits - 1)) - 1
    assert _core.decode_floats(np.array([top], np.uint32), t + exponent_bits, t)[0] == 2 - 2.0 ** (1 - t)


def test_any_gauge_and_size() -> None:
    rng = np.random.default_rng(5)
    factors = chain_factors(rng, Chain.square_dyadic(16), np.float64)
    op = bitterfly.ButterflyOperator([f * 1e60 for f in factors])
    error = bitterfly.quantize(op, code="float", significand=4).relative_error
    wild = bitterfly.ButterflyOperator(regauge([f * 1e60 for f in factors], rng, 60))
    assert bitterfly.quantize(wild, code="float", significand=4).relative_error < 2 * error
    zero = bitterfly.ButterflyOperator([np.zeros_like(f) for f in factors])
    assert bitterfly.quantize(zero, code="float", significand=4).relative_error < 1e-13


def test_a_wider_last_factor() -> None:
    op = transforms.random(64, rng=1)
    equal = bitterfly.quantize(op, code="float", significand=4)
    wider = bitterfly.quantize(op, code="float", significand=[4, 4, 4, 4, 4, 6])
    assert wider.relative_error < equal.relative_error / 1.2
    assert wider.nbytes > equal.nbytes


def test_bad_requests() -> None:
    op = transforms.random(16, rng=0)
    for known, match in (
        ({"significand": 0}, "1 to 24"),
        ({"significand": [3, 3]}, "4 factors"),
        ({"significand": None}, "expected for code 'float'"),
        ({"significand": 3, "bits": 4}, "without bits"),
        ({"significand": 3, "driver": "up"}, "driver"),
    ):
        with pytest.raises(ValueError, match=match):
            bitterfly.quantize(op, code="float", **known)
    with pytest.raises(ValueError, match="'float' only"):
        bitterfly.quantize(op, bits=4, significand=3)
    ranked = bitterfly.ButterflyOperator([np.ones((1, 4, 4, 4)), np.ones((2, 4, 2, 2))])
    with pytest.raises(ValueError, match="rank one"):
        bitterfly.quantize(ranked, code="float", significand=3)


def test_files(tmp_path: Path) -> None:
    packed = bitterfly.quantize(transforms.random(32, rng=0, dtype=np.complex64), code="float", significand=3)
    path = tmp_path / "short.safetensors"
    bitterfly.save(path, packed.H)
    again = bitterfly.load(path)
    assert np.array_equal(again.words, packed.words)
    assert np.array_equal(again.todense(), packed.H.todense())


@pytest.mark.parametrize(
    ("codes", "match"),
    [
        (("float3", 3), "4 to 9 bits"),
        (("float3", 10), "4 to 9 bits"),
        (("float25", 26), "expected"),
        (("lattice", 4), "expected"),
    ],
)
def test_hostile_codes(codes: tuple[str, int], match: str) -> None:
    packed = bitterfly.quantize(transforms.random(16, rng=0), code="float", significand=3)
    wrong = [codes, *packed.codes[1:]]
    with pytest.raises(ValueError, match=match):
        bitterfly.PackedButterfly(
            packed.words, wrong, packed.scale, chain=packed.chain, steps=packed.steps, relative_error=0.0
        )


def test_hostile_words() -> None:
    packed = bitterfly.quantize(transforms.random(16, rng=0), code="float", significand=3)
    bits = packed.codes[0].bits
    words = packed.words.copy()
    words[0] = (int(words[0]) & ~((1 << bits) - 1)) | 1 << (bits - 1)
    known = {"chain": packed.chain, "steps": packed.steps, "relative_error": 0.0}
    assert not bitterfly.PackedButterfly(words, packed.codes, packed.scale, **known).store.is_canonical()
    with pytest.raises(ValueError, match="expected 16"):
        bitterfly.PackedButterfly(words[:-1], packed.codes, packed.scale, **known)


@pytest.mark.parametrize("driver", ["left_to_right", "right_to_left", "pairwise", "refined"])
@pytest.mark.parametrize("dtype", [float, complex])
def test_factors_that_are_short_already_stay(driver: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    chain = bitterfly.Chain.square_dyadic(16)
    factors = [rng.integers(8, 16, pattern).astype(dtype) for pattern in chain]
    op = bitterfly.ButterflyOperator(factors)
    packed = bitterfly.quantize(op, code="float", significand=4, driver=driver)
    assert np.array_equal(packed.todense(), op.todense())
    again = bitterfly.quantize(packed.dequantize(), code="float", significand=4, driver=driver)
    assert np.array_equal(again.todense(), op.todense())
