"""Dense operators of pieces in several codes, between rotations: products, exact products and single rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from window_matrices import CODES, LARGEST, Operator, random_operator

import tolerances
from bitterfly import _core

MIXED = [("window11", 4), ("scalar8", 16), ("window7", 5), ("scalar6", 12)]
SEEDS = st.none() | st.integers(0, 2**64 - 1)
SIZES = st.sampled_from([1, 2, 12, 20, 31, 32, 33, 56, 64, 65, 96, 130, 224, 300]) | st.integers(1, 400)
ROTATIONS = pytest.mark.parametrize(("inputs", "outputs"), [(None, None), (3, None), (None, 4), (5, 2**64 - 1)])


@contextmanager
def shared() -> Iterator[None]:
    """Small products are shared among workers too."""
    before = _core.set_least_parallel_work(0)
    try:
        yield
    finally:
        _core.set_least_parallel_work(before)


def room(op: Operator, x: np.ndarray, transposed: bool, parts: int, dtype: str) -> np.ndarray:
    """Norms of what rounding may change, for each vector.

    A vector z with at most half a unit of change in each number changes the product by at most that in norm, times the
    norm of the matrix; the unit is at most the largest number, of z or of what scales make of it, over LARGEST. A
    rotation in floating point has as many additions one after the other as it has numbers at most.
    """
    norm = np.linalg.norm(op.coded)
    size = np.linalg.norm(x, axis=0) * norm
    rounding = tolerances.gamma(sum(x.shape) + len(op.coded) + 8, np.float64)
    if parts and (op.inputs is not None or op.outputs is not None):
        rounding += 2 * tolerances.gamma(max(op.coded.shape), np.dtype(dtype).type)
    if parts == 0:
        return rounding * size
    # Scales differ by up to four, and the norm of a row of the matrix without them by as much.
    return rounding * size + (4 if transposed else 1) * np.sqrt(len(x)) * size / LARGEST[parts]


@given(
    shape=st.tuples(SIZES, SIZES),
    codes=st.lists(st.sampled_from(CODES), min_size=1, max_size=4),
    seeds=st.tuples(SEEDS, SEEDS),
    exponent=st.integers(-40, 40),
    vectors=st.integers(1, 9),
    parts=st.integers(0, 3),
    transposed=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_products(
    isa: str,
    shape: tuple[int, int],
    codes: list[tuple[str, int]],
    seeds: tuple[int | None, int | None],
    exponent: int,
    vectors: int,
    parts: int,
    transposed: bool,
    dtype: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    op = random_operator(rng, shape, codes, *seeds, exponent)
    matrix = op.dense().T if transposed else op.dense()
    x = rng.standard_normal((matrix.shape[1], vectors)).astype(dtype)
    out = np.empty((matrix.shape[0], vectors))
    op.kernel.apply(x, out, transposed, parts)
    error = np.linalg.norm(out - matrix @ x.astype(np.float64), axis=0)
    assert np.all(error <= room(op, x.astype(np.float64), transposed, parts, dtype))
    single = op.apply(x, transposed, parts)
    np.testing.assert_array_equal(single, out.astype(dtype))
    np.testing.assert_array_equal(op.kernel.product(x, transposed, parts), single)
    with shared():
        np.testing.assert_array_equal(op.apply(x, transposed, parts, workers=3), single)
    for v in range(vectors):
        np.testing.assert_array_equal(op.kernel.product(x[:, v], transposed, parts), single[:, v])


@pytest.mark.parametrize(("parts", "bound"), [(3, 4e-7), (2, 8e-5), (1, 2e-2), (0, 1e-7)])
@pytest.mark.parametrize("transposed", [False, True])
@ROTATIONS
def test_accuracy(
    isa: str, parts: int, bound: float, transposed: bool, inputs: int | None, outputs: int | None
) -> None:
    rng = np.random.default_rng(0)
    op = random_operator(rng, (1024, 960), MIXED, inputs, outputs)
    matrix = op.dense().T if transposed else op.dense()
    x = rng.standard_normal(matrix.shape[1]).astype(np.float32)
    exact = matrix @ x.astype(np.float64)
    assert np.linalg.norm(op.apply(x, transposed, parts) - exact) <= bound * np.linalg.norm(exact)


@pytest.mark.parametrize("power", [0, 1000, -1000, -1060])
@pytest.mark.parametrize("transposed", [False, True])
@ROTATIONS
def test_exact_products(isa: str, inputs: int | None, outputs: int | None, transposed: bool, power: int) -> None:
    """Numbers of all sizes, denormal ones too, as accurate as the largest of them is."""
    rng = np.random.default_rng(0)
    op = random_operator(rng, (200, 300), MIXED, inputs, outputs)
    matrix = (op.dense().T if transposed else op.dense()).astype(np.longdouble)
    x = rng.standard_normal((matrix.shape[1], 2)) * np.exp2(-rng.integers(0, 60, (matrix.shape[1], 2)))
    x = np.ldexp(x, power)
    expected = matrix @ x
    room = 4e-15 * np.sqrt(len(x)) * np.linalg.norm(op.coded, 2) * np.max(np.abs(x)) + 2.0**-1074
    assert np.max(np.abs(op.apply(x, transposed, parts=0) - expected)) <= room


def test_exact_products_round_once(isa: str) -> None:
    """Without rotations all sums of 53 bits are exact."""
    rng = np.random.default_rng(0)
    op = random_operator(rng, (70, 90), [("window11", 4)])
    x = rng.standard_normal(90)
    expected = op.coded.astype(np.longdouble) @ x
    assert np.all(np.abs(op.apply(x, parts=0) - expected) <= 8 * 2.0**-53 * np.abs(expected) + 1e-19)


@ROTATIONS
def test_all_tiers_give_the_same_bits(inputs: int | None, outputs: int | None) -> None:
    rng = np.random.default_rng(1)
    op = random_operator(rng, (333, 224), MIXED, inputs, outputs)
    before = _core.active_isa()
    for transposed in (False, True):
        x = rng.standard_normal((333 if transposed else 224, 3))
        for z in (x, x.astype(np.float32)):
            for parts in range(4):
                results = []
                for tier in _core.available_isas():
                    _core.select_isa(tier)
                    results.append(op.apply(z, transposed, parts))
                _core.select_isa(before)
                assert len({y.tobytes() for y in results}) == 1


@pytest.mark.parametrize("parts", range(4))
@pytest.mark.parametrize("transposed", [False, True])
@ROTATIONS
def test_powers_of_two_change_nothing_but_the_exponent(
    isa: str, inputs: int | None, outputs: int | None, transposed: bool, parts: int
) -> None:
    rng = np.random.default_rng(0)
    op = random_operator(rng, (96, 130), MIXED, inputs, outputs)
    x = rng.standard_normal(96 if transposed else 130)
    y = op.apply(x, transposed, parts)
    for power in (-990, -500, -126, -1, 1, 127, 500, 1000):
        np.testing.assert_array_equal(op.apply(np.ldexp(x, power), transposed, parts), np.ldexp(y, power))
    single = np.rint(x.astype(np.float32) * 64) / 64
    y = op.apply(single, transposed, parts)
    for power in (-120, -100, 110):
        np.testing.assert_array_equal(op.apply(np.ldexp(single, power), transposed, parts), np.ldexp(y, power))


@pytest.mark.parametrize("parts", [0, 3])
@pytest.mark.parametrize("transposed", [False, True])
@ROTATIONS
def test_zeros_and_numbers_that_are_not_finite(
    isa: str, inputs: int | None, outputs: int | None, transposed: bool, parts: int
) -> None:
    rng = np.random.default_rng(0)
    op = random_operator(rng, (70, 70), MIXED, inputs, outputs)
    x = rng.standard_normal((70, 6)).astype(np.float32)
    x[:, 1] = 0
    x[3, 2], x[69, 3], x[40, 4] = np.nan, np.inf, -np.inf
    out = op.apply(x, transposed, parts)
    assert np.isnan(out[:, 2:5]).all()
    assert np.all(out[:, 1] == 0)
    for v in (0, 5):
        np.testing.assert_array_equal(out[:, v], op.apply(x[:, v].copy(), transposed, parts))


@ROTATIONS
def test_complex_vectors_are_two_real_ones(isa: str, inputs: int | None, outputs: int | None) -> None:
    rng = np.random.default_rng(0)
    op = random_operator(rng, (70, 50), MIXED, inputs, outputs)
    x = (rng.standard_normal((50, 3)) + 1j * rng.standard_normal((50, 3))).astype(np.complex64)
    for parts in (0, 2):
        out = op.apply(x[::-1, ::2], parts=parts)
        np.testing.assert_array_equal(out.real, op.apply(x.real[::-1, ::2].copy(), parts=parts))
        np.testing.assert_array_equal(out.imag, op.apply(x.imag[::-1, ::2].copy(), parts=parts))


@pytest.mark.parametrize("inputs", [None, 3])
@pytest.mark.parametrize("vectors", [1, 3, 4, 5, 32, 33, 70])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_products_beside_each_other_are_those_of_each(isa: str, inputs: int | None, vectors: int, dtype: str) -> None:
    """To the last bit, for any numbers of rows, rates and workers."""
    rng = np.random.default_rng(vectors)
    n = int(rng.choice([7, 32, 65, 96, 130, 384]))
    ops = [random_operator(rng, (m, n), [code], inputs, None) for m, code in zip((130, 1, 64, 17), MIXED, strict=True)]
    x = rng.standard_normal((2, n, vectors))
    x = (x[0] + 1j * x[1] if dtype == "complex64" else x[0]).astype(dtype)
    x[:, 0] *= 1e-30
    for parts in (1, 2, 3):
        for workers in (1, 3):
            outs = [np.full((vectors, len(op.coded)), 7, dtype).T for op in ops]
            with shared():
                _core.dense_beside([op.kernel for op in ops], x, outs, parts, workers)
            for op, out in zip(ops, outs, strict=True):
                np.testing.assert_array_equal(out, op.apply(x, parts=parts))


def test_products_that_cannot_be_beside_each_other_are_refused() -> None:
    rng = np.random.default_rng(0)
    first = random_operator(rng, (20, 320), MIXED[:1], 3, None)
    others = [((20, 320), MIXED[:1], 4, None), ((20, 320), MIXED[:1], 3, 1), ((20, 320), MIXED[:2], 3, None)]
    x, out = np.ones(320, np.float32), np.zeros(20, np.float32)
    for how in others:
        assert not first.kernel.is_beside(random_operator(rng, *how).kernel)
        with pytest.raises(ValueError, match="cores: expected one piece each, and the same rotation of inputs alone"):
            _core.dense_beside([first.kernel, random_operator(rng, *how).kernel], x, [out, out.copy()], 3)
    for cores, outs, parts, message in (
        ([], [], 3, "an array for each of some matrices"),
        ([first.kernel], [out, out], 3, "an array for each of some matrices"),
        ([first.kernel], [out], 0, "parts: expected 1, 2 or 3"),
        ([first.kernel], [np.zeros(21, np.float32)], 3, "rows that fit the matrix"),
        ([first.kernel], [np.zeros(20, np.complex64)], 3, "complex array exactly where x is complex"),
        ([first.kernel], [np.zeros(20, np.int32)], 3, "outs: expected float32"),
    ):
        with pytest.raises(ValueError, match=message):
            _core.dense_beside(cores, x, outs, parts)


@pytest.mark.parametrize("exponent", [-2000, -1090, -1000, 900, 2000])
def test_exponents(isa: str, exponent: int) -> None:
    """The range of products is that of their numbers, whatever those of the matrix are."""
    rng = np.random.default_rng(0)
    op = random_operator(rng, (40, 64), MIXED, 1, 2, exponent)
    same = random_operator(np.random.default_rng(0), (40, 64), MIXED, 1, 2)
    x = rng.standard_normal(64)
    for parts in (0, 3):
        for power in (0, -exponent if abs(exponent) < 1022 else 1000):
            with np.errstate(over="ignore"):
                expected = np.ldexp(same.apply(x, parts=parts), exponent + power)
            np.testing.assert_array_equal(op.apply(np.ldexp(x, power), parts=parts), expected)


@pytest.mark.parametrize("halves", [(0x0001, 0x8001, 0x03FF), (0x0400, 0x7BFF, 0xFBFF), (0x0000, 0x8000, 0x3C00)])
def test_all_half_floats_are_scales(isa: str, halves: tuple[int, ...]) -> None:
    scale = np.resize(np.array(halves, np.uint16), 16)
    piece = _core.DensePiece("scalar8", 16, np.full(16 * 4 + 64, 5, np.uint8), 0.5)
    op = _core.dense((16, 4), [piece], scale, 3)
    expected = 5 * 4 * scale.view(np.float16).astype(np.float64)
    np.testing.assert_array_equal(op.product(np.eye(4)[0], False, 0), expected)
    out = np.empty((16, 4))
    op.rows(np.arange(16), out)
    np.testing.assert_array_equal(out, np.tile(expected[:, None], 4))


@given(
    shape=st.tuples(SIZES, SIZES), codes=st.lists(st.sampled_from(CODES), min_size=1, max_size=3), seed=st.integers(0)
)
def test_rows_are_those_of_the_coded_matrix(shape: tuple[int, int], codes: list[tuple[str, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    op = random_operator(rng, shape, codes, 1, None, -5)
    index = rng.integers(shape[0], size=7)
    for dtype in (np.float64, np.float32):
        out = np.full((14, 2 * shape[1]), 7, dtype)
        op.kernel.rows(index, out[::-2, ::2], workers=2)
        np.testing.assert_array_equal(out[::-2, ::2], op.coded[index].astype(dtype))
        assert np.all(out[::2] == 7)
        assert np.all(out[:, 1::2] == 7)
    op.kernel.rows(index[:0], out[:0, : shape[1]])
