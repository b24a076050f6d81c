"""Factors of numbers from a short list: the codes of a column, products from packed bits, what is exact, files."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitterfly
import strategies
from bitterfly import ButterflyOperator, Chain, _core, reference, transforms
from bitterfly.stores.kinds import KINDS, Code, names_of
from bitterfly.stores.tile_codes import TiledCodes
from strategies import CHAINS, gaussian
from strategies import NAMED_DTYPES as DTYPES
from tolerances import of_sums as bound

CODES = [(kind, bits) for kind in names_of("list") for bits in KINDS[kind].widths]


def random_levels(pattern: tuple[int, ...], dtype: str, code: tuple[str, int], rng: np.random.Generator) -> np.ndarray:
    levels = np.array(Code(*code).levels)
    x = rng.choice(levels, pattern)
    return (x + 1j * rng.choice(levels, pattern) if dtype[0] == "c" else x).astype(dtype)


def true_error(op: ButterflyOperator, packed: bitterfly.PackedButterfly) -> float:
    dense = op.todense().astype("c16" if np.dtype(op.dtype).kind == "c" else "f8")
    return float(np.linalg.norm(packed.todense() - dense) / np.linalg.norm(dense))


# ---- the codes of a column ----


@pytest.mark.parametrize(("kind", "bits"), CODES)
def test_lists(kind: str, bits: int) -> None:
    levels = np.array(Code(kind, bits).levels)
    half = len(levels) // 2
    assert len(levels) == 2**bits and levels.max() == 1
    np.testing.assert_array_equal(levels[half:], -levels[:half])
    sizes = levels[:half]
    assert np.all(np.diff(sizes) > 0) and np.all(np.frexp(sizes[sizes > 0])[0] == 0.5)
    assert (0 in sizes) == (kind in ("ternary", "power_of_two"))


@settings(max_examples=150)
@given(st.sampled_from([c for c in CODES if c[1] < 4]), st.integers(1, 3), st.integers(-300, 300), strategies.seeds)
def test_real_columns_get_the_best_codes(code: tuple[str, int], b: int, exponent: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weights = rng.standard_normal((4, b)), rng.random((4, b))
    x[0, 0] = 0
    x[1] = rng.choice(Code(*code).levels, b) * rng.standard_normal()
    q = _core.alphabet_codes(np.ldexp(x, exponent), weights, Code(*code).magnitudes)[..., 0]
    all_q = np.array(list(product(Code(*code).levels, repeat=b)))

    def gain(v: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
        norm = (w * v * v).sum(-1)
        return np.divide((w * v * y).sum(-1) ** 2, norm, out=np.zeros_like(norm), where=norm > 0)

    for row, y, w in zip(np.array(Code(*code).levels)[q], x, weights, strict=True):
        assert gain(row, y, w) >= np.max(gain(all_q, y, w)) * (1 - 1e-12)


@settings(max_examples=100)
@given(st.sampled_from(CODES), st.integers(1, 5), strategies.seeds)
def test_complex_columns_are_exact_up_to_a_complex_multiple(code: tuple[str, int], b: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = random_levels((6, b), "c16", code, rng)
    x = q * (rng.standard_normal((6, 1)) + 1j * rng.standard_normal((6, 1)))
    x[0], x[1] = 2.0**20 * q[0], -3j * q[1]
    codes = _core.alphabet_codes(x, np.ones((6, b)), Code(*code).magnitudes)
    found = np.array(Code(*code).levels)[codes] @ [1, 1j]
    norm = (np.abs(found) ** 2).sum(1)
    mu = np.divide((found.conj() * x).sum(1), norm, out=np.zeros(6, complex), where=norm > 0)
    errors = np.linalg.norm(x - mu[:, None] * found, axis=1)
    assert np.all(errors[:2] <= 1e-14 * np.linalg.norm(x[:2], axis=1))
    sizes = np.linalg.norm(x, axis=1)
    assert np.all(errors <= sizes)


# ---- operators ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 8, 64, 512])
def test_hadamard_is_exact_with_signs(isa: str, n: int, dtype: str) -> None:
    op = transforms.hadamard(n, dtype=dtype)
    packed = bitterfly.quantize(op, code="sign")
    assert packed.codes == (("sign", 1),) * (n.bit_length() - 1)
    assert packed.relative_error == 0
    np.testing.assert_array_equal(packed.todense(), op.todense())
    np.testing.assert_array_equal(packed.H @ np.eye(n, dtype=dtype), op.todense())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "bits"), CODES)
@pytest.mark.parametrize("patterns", CHAINS, ids=str)
def test_factors_in_the_list_are_exact(patterns: list, kind: str, bits: int, dtype: str) -> None:
    """The lengths of columns go to the scale vector, whatever they are."""
    rng = np.random.default_rng(1)
    factors = [random_levels(p, dtype, (kind, bits), rng) for p in patterns]
    factors[-1] = (factors[-1] * rng.uniform(0.1, 10, (1, 1, *patterns[-1][2:]))).astype(dtype)
    op = ButterflyOperator(factors)
    packed = bitterfly.quantize(op, code=kind, bits=bits)
    assert true_error(op, packed) <= 1e3 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "bits"), CODES)
def test_packed_products_equal_decoded_ones(isa: str, kind: str, bits: int, dtype: str) -> None:
    """Tiles whose codes start on a line of their own, and such that begin anywhere; one vector and several."""
    rng = np.random.default_rng(2)
    for patterns in (*CHAINS, [(1, 16, 16, 32), (16, 32, 16, 1)]):
        op = ButterflyOperator([gaussian(rng, p, dtype) for p in patterns])
        packed = bitterfly.quantize(op, code=kind, bits=bits)
        floats = packed.dequantize()
        wide = [f.astype(np.result_type(dtype, "f8")) for f in floats.factors]
        dense, weight = reference.product(wide), reference.product([np.abs(f) for f in wide])
        tolerance = bound(wide, dtype)
        for view, a, w in (
            (packed, dense, weight),
            (packed.T, dense.T, weight.T),
            (packed.H, dense.conj().T, weight.T),
        ):
            for tail in ((), (1,), (5,)):
                z = gaussian(rng, (view.shape[1], *tail), dtype)
                assert np.all(np.abs(view @ z - a @ z) <= tolerance * (w @ np.abs(z)))


@settings(max_examples=40)
@given(st.sampled_from(CODES), strategies.dtypes, st.sampled_from(CHAINS), strategies.seeds)
def test_codes_come_back_and_the_error_is_true(code: tuple[str, int], dtype: type, patterns: list, seed: int) -> None:
    rng = np.random.default_rng(seed)
    op = ButterflyOperator([strategies.gaussian(rng, p, dtype) for p in patterns])
    packed = bitterfly.quantize(op, code=code[0], bits=code[1])
    store = packed.store
    assert isinstance(store, TiledCodes) and store.is_canonical()
    again = TiledCodes.pack(store.chain, store.codes, store.unpack(), [None] * len(patterns), store.scale, store.steps)
    np.testing.assert_array_equal(again.words, store.words)
    true = true_error(op, packed)
    slack = 100 * np.finfo(dtype).eps
    assert true - slack <= packed.relative_error <= true * 1.001 + slack
    assert packed.error_kind == "measured"
    assert true < 1  # each step projects: never more than the matrix


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [-100, 100])
def test_any_scale(dtype: str, exponent: int) -> None:
    """Scales that leave one factor for the next change nothing."""
    rng = np.random.default_rng(3)
    factors = [gaussian(rng, p, dtype) for p in CHAINS[4]]
    up, down = (np.asarray(np.ldexp(1.0, e), dtype) for e in (exponent, -exponent))
    moved = [factors[0] * up, factors[1] * down, factors[2]]
    plain, far = (bitterfly.quantize(ButterflyOperator(f), code="power_of_two", bits=4) for f in (factors, moved))
    np.testing.assert_array_equal(plain.words, far.words)
    np.testing.assert_array_equal(plain.scale, far.scale)


@pytest.mark.parametrize("kind", names_of("list"))
def test_zero_blocks(kind: str) -> None:
    rng = np.random.default_rng(4)
    factors = [gaussian(rng, p, "f8") for p in CHAINS[8]]
    factors[1][0] = 0
    factors[2][:, :, 0] = 0
    op = ButterflyOperator(factors)
    packed = bitterfly.quantize(op, code=kind, bits=KINDS[kind].most)
    dense = op.todense()
    assert np.all(np.isfinite(packed.todense()))
    np.testing.assert_array_equal(packed.todense()[:, ~dense.any(axis=0)], 0)
    zero = ButterflyOperator([np.zeros_like(f) for f in factors])
    np.testing.assert_array_equal(bitterfly.quantize(zero, code=kind, bits=KINDS[kind].most).todense(), 0)


def test_more_numbers_err_less() -> None:
    op = transforms.random(256, rng=5)
    errors = [bitterfly.quantize(op, code=kind, bits=bits).relative_error for kind, bits in CODES]
    by_code = dict(zip(CODES, errors, strict=True))
    assert by_code["sign", 1] > by_code["ternary", 2] > by_code["power_of_two", 3] > by_code["power_of_two", 4]
    assert by_code["ternary", 2] == by_code["power_of_two", 2]
    packed = bitterfly.quantize(op, code="power_of_two", rtol=1.01 * by_code["power_of_two", 3])
    assert packed.codes[0] == ("power_of_two", 3)
    with pytest.raises(ValueError, match="cannot be met: 4 bits per stored number reach"):
        bitterfly.quantize(op, code="shift", rtol=1e-6)


def test_what_is_refused() -> None:
    op = transforms.random(16, rng=6)
    for kind, bits in (("sign", 2), ("ternary", 1), ("power_of_two", 5), ("power_of_two", 1), ("shift", 2.5)):
        with pytest.raises(ValueError, match=f"bits: expected .* for code '{kind}', got {bits}"):
            bitterfly.quantize(op, code=kind, bits=bits)
    with pytest.raises(ValueError, match="nbytes: expected bits or rtol"):
        bitterfly.quantize(op, code="sign", nbytes=10_000)
    with pytest.raises(ValueError, match="expected exactly one"):
        bitterfly.quantize(op, code="power_of_two")
    bad = [f.copy() for f in op.factors]
    bad[2][0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in factor 3"):
        bitterfly.quantize(ButterflyOperator(bad), code="sign")


def test_sums_take_them() -> None:
    a, b = transforms.hadamard(16), transforms.random(16, rng=7)
    packed = bitterfly.quantize(bitterfly.algebra.ButterflySum([a, b]), code="ternary")
    assert {code.kind for term in packed.terms for code in term.codes} == {"ternary"}


# ---- files ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "bits"), CODES)
def test_files(tmp_path: Path, kind: str, bits: int, dtype: str) -> None:
    rng = np.random.default_rng(8)
    op = ButterflyOperator([gaussian(rng, p, dtype) for p in CHAINS[4]], permutations=("bit_reversal", None))
    for view in (packed := bitterfly.quantize(op, code=kind, bits=bits), packed.H):
        bitterfly.save(tmp_path / "a", view)
        again = bitterfly.load(tmp_path / "a")
        assert again.codes == packed.codes and again.nbytes == packed.nbytes and again.mode == view.mode
        np.testing.assert_array_equal(again.todense(), view.todense())


def test_a_negative_zero_is_not_canonical() -> None:
    chain = Chain([(1, 1, 1, 16)])
    for kind, good in (("ternary", False), ("power_of_two", False), ("shift", True)):
        q = np.full((16, 1, 1), 2, np.uint32)
        store = TiledCodes.pack(chain, [Code(kind, 2)], [q], [None], np.ones(16), [1.0])
        assert store.is_canonical() is good


def test_golden_words() -> None:
    """Signs of a 2 x 2 factor: 1 bit a number, the rows of each lane in order, the next tile behind."""
    op = ButterflyOperator([np.array([1.0, 1, 1, -1]).reshape(1, 2, 2, 1) * np.ones((1, 1, 1, 32))])
    packed = bitterfly.quantize(op, code="sign")
    np.testing.assert_array_equal(packed.words, np.full(16, 0b1000_1000))
