"""Chains of any pattern: products in every tier, forward and backward, dense and skeleton factors, codes in tiles."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitterfly
from bitterfly import ButterflyOperator, Chain, reference
from bitterfly.chains import families
from bitterfly.stores.tile_codes import TiledCodes
from bitterfly.stores.tiles import Layout, Skeleton
from strategies import CHAINS, gaussian
from strategies import NAMED_DTYPES as DTYPES
from tolerances import of_sums as bound


def skeletons(chain: Chain, dtype: str, rng: np.random.Generator) -> list:
    """Random skeletons where a junction has fewer ranks than rows, else dense factors."""
    out: list = []
    for (a, b, c, d), r in zip(chain, (*chain.ranks, None), strict=True):
        if r is None or r > b:
            out.append(gaussian(rng, (a, b, c, d), dtype))
            continue
        keys = rng.random((a * d, c // r, b))
        pivots = np.argsort(np.argsort(keys, axis=2), axis=2) < r
        out.append(Skeleton((a, b, c, d), pivots, gaussian(rng, (a * d, c // r, b - r, r), dtype)))
    return out


def check(op: ButterflyOperator, dtype: str, rng: np.random.Generator) -> None:
    factors = [f.astype(np.result_type(dtype, "f8")) for f in op.factors]
    dense, weight = reference.product(factors), reference.product([np.abs(f) for f in factors])
    m, n = dense.shape
    for width in (None, 1, 3, 5, 9, 13, 18):
        tail = () if width is None else (width,)
        x, y = gaussian(rng, (n, *tail), dtype), gaussian(rng, (m, *tail), dtype)
        for view, a, b, z in (
            (op, dense, weight, x),
            (op.T, dense.T, weight.T, y),
            (op.H, dense.conj().T, weight.T, y),
        ):
            assert np.all(np.abs(view @ z - a @ z) <= bound(factors, dtype) * (b @ np.abs(z)))
        np.testing.assert_array_equal(op.conj() @ x, (op @ x.conj()).conj())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("patterns", CHAINS, ids=str)
def test_products(isa: str, patterns: list, dtype: str) -> None:
    rng = np.random.default_rng(1)
    check(ButterflyOperator([gaussian(rng, p, dtype) for p in patterns]), dtype, rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("patterns", CHAINS, ids=str)
def test_skeleton_products(isa: str, patterns: list, dtype: str) -> None:
    rng = np.random.default_rng(2)
    check(ButterflyOperator(skeletons(Chain(patterns), dtype, rng)), dtype, rng)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(0, 2**32),
)
def test_any_chain(blocks: list[tuple[int, int, int]], a: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = [p for p, _, _ in blocks], [q for _, q, _ in blocks]
    chain = Chain(families.patterns(rows, columns, [r for _, _, r in blocks[1:]], a, d))
    check(ButterflyOperator(skeletons(chain, "c16", rng)), "c16", rng)


@pytest.mark.parametrize("patterns", CHAINS, ids=str)
def test_transposed_factors_are_a_chain(patterns: list) -> None:
    rng = np.random.default_rng(3)
    op = ButterflyOperator([gaussian(rng, p, "c16") for p in patterns], permutations=("bit_reversal", None))
    dense = op.todense()
    for view, matrix in ((op.T, dense.T), (op.H, dense.conj().T), (op.conj(), dense.conj()), (op, dense)):
        assert view.chain == Chain(f.shape for f in view.factors)
        rows, columns = (np.arange(n) if p is None else p for p, n in zip(view.permutations, view.shape, strict=True))
        np.testing.assert_allclose(reference.product(view.factors), matrix[rows][:, columns], rtol=1e-12, atol=1e-12)
        again = ButterflyOperator(view.factors, permutations=view.permutations)
        np.testing.assert_allclose(again.todense(), matrix, rtol=1e-12, atol=1e-12)


def test_factors_come_back() -> None:
    rng = np.random.default_rng(4)
    for patterns in CHAINS:
        factors = [gaussian(rng, p, "c8") for p in patterns]
        for f, g in zip(ButterflyOperator(factors).factors, factors, strict=True):
            np.testing.assert_array_equal(f, g)


def test_padding() -> None:
    """A smaller shape drops the last rows and columns of the permuted matrix."""
    rng = np.random.default_rng(5)
    factors = [gaussian(rng, p, "f8") for p in CHAINS[4]]
    whole = ButterflyOperator(factors, permutations=("bit_reversal", None))
    op = ButterflyOperator(factors, shape=(50, 201), permutations=("bit_reversal", None))
    dense = whole.todense()[:50, :201]
    np.testing.assert_array_equal(op.todense(), dense)
    np.testing.assert_allclose(op.T @ np.ones(50), dense.T @ np.ones(50), rtol=1e-12)
    assert op.T.shape == (201, 50) and op.bits_per_entry > whole.bits_per_entry
    with pytest.raises(ValueError, match="shape: expected at most"):
        ButterflyOperator(factors, shape=(65, 240))


def test_pickle_and_astype() -> None:
    rng = np.random.default_rng(6)
    op = ButterflyOperator(skeletons(Chain(CHAINS[6]), "c16", rng), shape=(250, 300)).H
    x = rng.standard_normal(250)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(op)) @ x, op @ x)
    single = op.astype(np.complex64)
    error = np.linalg.norm(single @ x.astype("f4") - op @ x) / np.linalg.norm(op @ x)
    assert 0 < error < 1e-5 and single.relative_error > 0


@pytest.mark.parametrize("change", ["few", "many", "outside"])
def test_pivots_are_checked(change: str) -> None:
    """Kernels rely on the number of pivots; files and users may bring others."""
    rng = np.random.default_rng(7)
    factors = skeletons(Chain(CHAINS[4]), "f8", rng)
    store = ButterflyOperator(factors).store
    pivots = store.pivots.copy()
    pivots[0] = {"few": 0, "many": 0xFF, "outside": 1 << 31}[change]
    store = type(store)(store.chain, store.ranks, store.values, pivots, False)
    with pytest.raises(ValueError, match="pivots"):
        ButterflyOperator.from_store(store)


# ---- codes ----


@pytest.mark.parametrize("bits", [2, 3, 5, 8, 11, 16])
@pytest.mark.parametrize("kind", ["lattice", "skeleton"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_products_equal_decoded_ones(isa: str, kind: str, bits: int, dtype: str) -> None:
    rng = np.random.default_rng(8)
    for patterns in (CHAINS[4], CHAINS[7], CHAINS[8]):
        op = ButterflyOperator([gaussian(rng, p, dtype) for p in patterns])
        packed = bitterfly.quantize(op, bits=bits, code=kind)
        assert {c.kind for c in packed.codes[:-1]} <= {kind, "lattice"} and packed.codes[-1].kind == "lattice"
        floats = packed.dequantize()
        check(floats, dtype, rng)
        factors = floats.factors
        weight = reference.product([np.abs(f).astype("f8") for f in factors])
        for x, a, b, w in ((op.shape[1], packed, floats, weight), (op.shape[0], packed.H, floats.H, weight.T)):
            z = gaussian(rng, (x, 21), dtype)
            assert np.all(np.abs(a @ z - b @ z) <= 2 * bound(factors, dtype) * (w @ np.abs(z)))


@pytest.mark.parametrize("kind", ["lattice", "skeleton"])
def test_error_is_measured_and_falls_with_bits(kind: str) -> None:
    rng = np.random.default_rng(9)
    op = ButterflyOperator([gaussian(rng, p, "c16") for p in CHAINS[6]])
    dense = op.todense()
    errors = []
    for bits in (3, 6, 9, 12):
        packed = bitterfly.quantize(op, bits=bits, code=kind)
        true = np.linalg.norm(packed.todense() - dense) / np.linalg.norm(dense)
        assert packed.error_kind == "measured" and true <= packed.relative_error * (1 + 1e-9) <= true * 1.0001
        errors.append(true)
    ratios = np.array(errors[:-1]) / errors[1:]
    assert np.all((ratios > 5) & (ratios < 13))  # three bits: a factor of eight


def test_skeleton_codes_take_fewer_bytes_at_equal_error() -> None:
    kernel = bitterfly.gallery.nonuniform_dft(512)
    op = bitterfly.factorize(kernel.todense(), rtol=1e-3)
    lattice, skeleton = (bitterfly.quantize(op, bits=10, code=kind) for kind in ("lattice", "skeleton"))
    assert skeleton.relative_error <= 1.1 * lattice.relative_error and skeleton.nbytes < 0.65 * lattice.nbytes


def test_quantize_to_a_tolerance() -> None:
    op = bitterfly.factorize(bitterfly.gallery.fourier_integral(256).todense(), rtol=1e-3)
    packed = bitterfly.quantize(op, rtol=1e-2)
    assert packed.relative_error <= 1e-2
    fewer = bitterfly.quantize(op, bits=packed.codes[0].bits - 1)
    assert fewer.relative_error > 1e-2
    with pytest.raises(ValueError, match="cannot be met"):
        bitterfly.quantize(op, rtol=1e-6)
    with pytest.raises(ValueError, match="needs the square dyadic chain"):
        bitterfly.quantize(op, bits=4, code="direction")


@settings(max_examples=80)
@given(st.integers(1, 9), st.integers(2, 16), st.booleans(), st.integers(-300, 300), st.integers(0, 2**32))
def test_lattice_codes(b: int, bits: int, is_complex: bool, exponent: int, seed: int) -> None:
    """Never worse than rounding by the largest entry; the length is the least-squares one; any scale."""
    rng = np.random.default_rng(seed)
    x = gaussian(rng, (3, b), "c16" if is_complex else "f8")
    x[0, : b // 2] = 0
    codes, lengths = bitterfly._core.lattice_codes(np.ldexp(x.view("f8"), exponent).view(x.dtype), bits)
    most = 2 ** (bits - 1) - 1
    q = (codes.astype(float) - most - 1) * 2.0 ** (1 - bits)
    assert np.max(np.abs(codes.astype(int) - most - 1)) <= most
    q = q.view(complex)[..., 0] if is_complex else q[..., 0]
    mu = np.ldexp(lengths, -exponent)
    mu = mu.view(complex)[..., 0] if is_complex else mu[..., 0]
    error = np.sum(np.abs(x - mu[:, None] * q) ** 2, axis=1)
    norm = np.sum(np.abs(q) ** 2, axis=1)
    best = np.sum(q.conj() * x, axis=1) / np.where(norm > 0, norm, 1)
    np.testing.assert_allclose(mu, best, rtol=1e-12, atol=1e-300)
    parts = x.view("f8").reshape(3, -1)
    unit = np.max(np.abs(parts), axis=1, keepdims=True) / most
    plain = np.rint(parts / np.where(unit > 0, unit, 1)) * unit
    assert np.all(error <= np.sum((parts - plain) ** 2, axis=1) * (1 + 1e-9) + 1e-28)


@pytest.mark.parametrize("bits", [2, 7, 16])
def test_lanes_are_packed_in_order(bits: int) -> None:
    """The layout of the format page: word w of lane q holds the bits 32 w .. 32 w + 31 of that lane's stream."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(1 << bits, size=(2, 21, 16), dtype=np.uint32)
    words = bitterfly._core.pack_lanes(codes, bits)
    for tile in range(2):
        for lane in range(16):
            stream = sum(int(q) << (bits * at) for at, q in enumerate(codes[tile, :, lane]))
            assert [int(w) for w in words[tile, :, lane]] == [
                stream >> (32 * at) & 0xFFFFFFFF for at in range(words.shape[1])
            ]
    np.testing.assert_array_equal(bitterfly._core.unpack_lanes(words.reshape(-1), 2, 21, bits), codes)


def test_layout_round_trip() -> None:
    rng = np.random.default_rng(10)
    for patterns in CHAINS:
        for factor in skeletons(Chain(patterns), "c16", rng):
            pattern = factor.pattern if isinstance(factor, Skeleton) else factor.shape
            layout = Layout.of(pattern, factor.rank if isinstance(factor, Skeleton) else 0)
            flat = np.full(layout.numbers(2), np.nan)
            layout.interleave(layout.blocks_of(factor), flat)
            assert not np.any(np.isnan(flat))
            pivots = layout.pivots_of(layout.masks_of(factor.pivots)) if isinstance(factor, Skeleton) else None
            back = layout.factor_of(layout.deinterleave(flat, 2), pivots)
            dense = [f.dense() if isinstance(f, Skeleton) else f for f in (factor, back)]
            np.testing.assert_array_equal(*dense)


def test_packed_store_is_canonical() -> None:
    op = ButterflyOperator([gaussian(np.random.default_rng(11), p, "f4") for p in CHAINS[4]])
    packed = bitterfly.quantize(op, bits=5)
    assert isinstance(packed.store, TiledCodes) and packed.store.is_canonical()
    again = pickle.loads(pickle.dumps(packed))
    assert again.codes == packed.codes and np.array_equal(again.words, packed.words)
    with pytest.raises(TypeError, match="cannot become"):
        packed.astype(np.complex64)
    assert packed.astype(np.float64).dtype == np.float64
