"""Products of dense matrices in window codes: exact sums, bit by bit, on every tier."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from window_matrices import CODES, Matrix, matrix_of, random_matrix

import tolerances
from bitterfly import _core
from bitterfly.stores.dense import tiles as window_tiles

EDGES = (1, 2, 4, 5, 15, 16, 17, 32, 33, 48, 49, 63, 64, 65, 128, 130)
VECTORS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 32, 33, 70)
OF_CODE = pytest.mark.parametrize(("code", "half_bits"), CODES)


def gaussian(rng: np.random.Generator, op: Matrix, transposed: bool, vectors: int, dtype: str) -> np.ndarray:
    return rng.standard_normal((op.weights.shape[not transposed], vectors)).astype(dtype)


@OF_CODE
@given(
    shape=st.tuples(st.sampled_from(EDGES) | st.integers(1, 300), st.sampled_from(EDGES) | st.integers(1, 700)),
    vectors=st.sampled_from(VECTORS),
    parts=st.integers(1, 3),
    transposed=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_are_exact(
    isa: str,
    code: str,
    half_bits: int,
    shape: tuple[int, int],
    vectors: int,
    parts: int,
    transposed: bool,
    dtype: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    op = random_matrix(rng, shape, code, half_bits)
    x = gaussian(rng, op, transposed, vectors, dtype)
    np.testing.assert_array_equal(op.apply(x, transposed, parts), op.expected(x, transposed, parts))


@OF_CODE
@pytest.mark.parametrize("shape", [(30522, 5), (3, 30522)])
def test_long_sides(isa: str, code: str, half_bits: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(half_bits)
    op = random_matrix(rng, shape, code, half_bits)
    for transposed in (False, True):
        x = gaussian(rng, op, transposed, 1, "float32")[:, 0]
        np.testing.assert_array_equal(op.apply(x, transposed), op.expected(x, transposed))


@pytest.mark.parametrize("transposed", [False, True])
def test_many_long_vectors(isa: str, transposed: bool) -> None:
    """So long that not all of them are in memory at once."""
    rng = np.random.default_rng(0)
    op = random_matrix(rng, (70000, 3), "window7", 4)
    x = gaussian(rng, op, transposed, 17, "float32")
    np.testing.assert_array_equal(op.apply(x, transposed), op.expected(x, transposed))


@pytest.mark.parametrize("vectors", [1, 3, 8])
@pytest.mark.parametrize("code", ["window7", "odd window7", "window11", "scalar8"])
@pytest.mark.parametrize("transposed", [False, True])
def test_sums_beyond_32_bits(isa: str, code: str, transposed: bool, vectors: int) -> None:
    """All products as large as they can be, more of them than 32 bits hold (of columns, in each of four sums)."""
    n, half_bits = (2**19 if transposed else 2**16) + 2**17 + 6, {"scalar8": 16, "window7": 2}.get(code, 4)
    shape = (n, 3) if transposed else (3, n)
    columns = window_tiles.padded_columns(shape[1])
    streams = [
        np.full((columns, window_tiles.stream_bytes(rows, half_bits)), 127 if code == "scalar8" else 0, np.uint8)
        for rows in window_tiles.panel_rows(shape[0])
    ]
    table = None if code == "scalar8" else np.full(128, 63, np.int8)
    if code == "odd window7":
        table = np.repeat(np.array([63, -63], np.int8), 64)  # all windows are zero
    masks = np.zeros(16, np.uint8) if code == "window11" else None
    op = matrix_of(streams, shape, code.split()[-1], half_bits, np.ones(shape[0], np.float16), table, masks)
    x = np.full((n, vectors), -126 * 2**16 - 128 * 2**8 - 128.0)  # the last two digits are -128
    x[0] = 8323071
    np.testing.assert_array_equal(op.apply(x, transposed), op.expected(x, transposed))


@OF_CODE
def test_neither_other_vectors_nor_workers_nor_layouts_change_a_bit(isa: str, code: str, half_bits: int) -> None:
    rng = np.random.default_rng(half_bits)
    op = random_matrix(rng, (300, 210), code, half_bits)
    before = _core.set_least_parallel_work(0)
    try:
        for transposed in (False, True):
            x = gaussian(rng, op, transposed, 70, "float32")
            alone = np.stack([op.apply(v.copy(), transposed) for v in x.T], axis=1)
            for workers in (1, 2, 3):
                for vectors in VECTORS:
                    some = op.apply(x[:, :vectors], transposed, workers=workers)
                    np.testing.assert_array_equal(some, alone[:, :vectors])
            np.testing.assert_array_equal(op.apply(np.asfortranarray(x)[:, ::-2], transposed), alone[:, ::-2])
            out = np.full((2 * len(alone), 140), 7, np.float32)
            op.kernel.apply(x, out[::-2, ::2], transposed, 3)
            np.testing.assert_array_equal(out[::-2, ::2], alone)
            assert np.all(out[::2] == 7)
            assert np.all(out[:, 1::2] == 7)
    finally:
        _core.set_least_parallel_work(before)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_vectors_are_two_real_ones(isa: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    op = random_matrix(rng, (70, 50), "window11", 5)
    x = (rng.standard_normal((50, 3)) + 1j * rng.standard_normal((50, 3))).astype(dtype)
    out = op.apply(x)
    np.testing.assert_array_equal(out.real, op.expected(x.real))
    np.testing.assert_array_equal(out.imag, op.expected(x.imag))


@pytest.mark.parametrize(("parts", "bound"), [(3, 2e-7), (2, 6e-5), (1, 1.5e-2)])
@pytest.mark.parametrize("transposed", [False, True])
def test_accuracy(isa: str, parts: int, bound: float, transposed: bool) -> None:
    rng = np.random.default_rng(0)
    op = random_matrix(rng, (1024, 1024), "window7", 4)
    x = gaussian(rng, op, transposed, 1, "float32")[:, 0]
    exact = (op.dense().T if transposed else op.dense()) @ x.astype(np.float64)
    assert np.linalg.norm(op.apply(x, transposed, parts) - exact) <= bound * np.linalg.norm(exact)


@pytest.mark.parametrize("transposed", [False, True])
def test_zeros_and_numbers_that_are_not_finite(isa: str, transposed: bool) -> None:
    rng = np.random.default_rng(0)
    op = random_matrix(rng, (70, 70), "window7", 4)
    x = gaussian(rng, op, transposed, 6, "float32")
    x[:, 1] = 0
    x[3, 2], x[69, 3], x[0, 4] = np.nan, np.inf, -np.inf
    out = op.apply(x, transposed)
    assert np.isnan(out[:, 2:5]).all()
    assert np.all(out[:, 1] == 0)
    for v in (0, 5):
        np.testing.assert_array_equal(out[:, v], op.apply(x[:, v].copy(), transposed))


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_powers_of_two_change_nothing_but_the_exponent(isa: str, transposed: bool, parts: int) -> None:
    rng = np.random.default_rng(0)
    op = random_matrix(rng, (70, 130), "window11", 6)
    x = gaussian(rng, op, transposed, 1, "float64")[:, 0]
    y = op.apply(x, transposed, parts)
    for power in (-990, -500, -126, -1, 1, 127, 500, 1000):
        np.testing.assert_array_equal(op.apply(np.ldexp(x, power), transposed, parts), np.ldexp(y, power))
    single = x.astype(np.float32)
    y = op.apply(single.astype(np.float64), transposed, parts)
    for power in (-149, -140, 110):  # the smallest: only rounded once more
        scaled = np.ldexp(single, power)
        expected = op.apply(scaled.astype(np.float64), transposed, parts).astype(np.float32)
        np.testing.assert_array_equal(op.apply(scaled, transposed, parts), expected)


def test_denormal_and_huge_vectors(isa: str) -> None:
    rng = np.random.default_rng(0)
    op = random_matrix(rng, (40, 40), "window7", 4)
    least, most = np.full(40, 5e-324), np.full(40, 1.7e308)
    expected = op.dense().sum(axis=1)
    np.testing.assert_array_equal(op.apply(least), np.rint(expected) * 5e-324)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(op.apply(most), expected * 1.7e308, rtol=tolerances.gamma(48, np.float64))


@given(
    rows=st.integers(1, 200), columns=st.integers(1, 40), rate=st.sampled_from(CODES), seed=st.integers(0, 2**32 - 1)
)
def test_tiles_hold_all_streams(rows: int, columns: int, rate: tuple[str, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    padded = window_tiles.padded_columns(columns)
    sizes = [window_tiles.stream_bytes(r, rate[1]) for r in window_tiles.panel_rows(rows)]
    streams = [rng.integers(256, size=(padded, size), dtype=np.uint8) for size in sizes]
    tiles = window_tiles.tiles_of_streams(streams)
    assert len(tiles) == sum(s.size for s in streams) + window_tiles.PADDING
    for a, b in zip(streams, window_tiles.streams_of_tiles(tiles, (rows, columns), rate[1]), strict=True):
        np.testing.assert_array_equal(a, b)
    g, b = padded // 4 - 1, sizes[0] - 1
    assert tiles[g * 4 * sizes[0] + 4 * b + 2] == streams[0][4 * g + 2, b]


def test_pieces_are_refused() -> None:
    tiles, table, masks = np.zeros(16 * 4 // 4 + 64, np.uint8), np.zeros(128, np.int8), np.zeros(16, np.uint8)
    blocks = np.zeros(1, np.uint32)
    good = ("window11", 4, tiles, 1.0, table, masks, blocks)
    _core.DensePiece(*good)
    wrong: list[tuple[int, object, str]] = [
        (0, "window8", "code"),
        (0, "window7", "masks"),
        (1, 9, "half_bits"),
        (3, 0.0, "step"),
        (3, np.nan, "step"),
        (3, np.inf, "step"),
        (4, np.full(128, 64, np.int8), "table"),
        (4, table[1:], "table"),
        (5, np.full(16, 128, np.uint8), "masks"),
        (5, None, "masks"),
        (6, blocks[:0], "blocks"),
        (6, blocks[None], "blocks"),
    ]
    for at, value, name in wrong:
        with pytest.raises(ValueError, match=name):
            _core.DensePiece(*(*good[:at], value, *good[at + 1 :]))  # type: ignore[arg-type]


def test_matrices_are_refused() -> None:
    def piece(columns: int, *blocks: int) -> _core.DensePiece:
        tiles, table = np.zeros(4 * columns + 64, np.uint8), np.zeros(128, np.int8)
        return _core.DensePiece("window7", 4, tiles, 1.0, table, None, np.array(blocks, np.uint32) if blocks else None)

    scale = np.ones(16, np.float16).view(np.uint16)
    good = ((16, 68), [piece(36, 0, 2), piece(32, 1)], scale, 0)
    op = _core.dense(*good)
    infinite, nan = scale.copy(), scale.copy()
    infinite[3], nan[15] = 0xFC00, 0x7C01
    wrong: list[tuple[int, object, str]] = [
        (0, (17, 68), "scale"),
        (0, (16, 64), "blocks"),
        (0, (16, 72), "tiles"),
        (0, (0, 68), "shape"),
        (0, (16, 0), "shape"),
        (0, (16, 2**40), "shape"),
        (1, [], "pieces"),
        (1, [piece(36, 0, 2)], "blocks.*all"),
        (1, [piece(36, 0, 2), piece(32, 1), piece(32, 1)], "blocks.*1 twice"),
        (1, [piece(36, 2, 0), piece(32, 1)], "blocks.*increasing"),
        (1, [piece(64, 0, 0, 2), piece(32, 1)], "blocks.*increasing"),
        (1, [piece(36, 0, 2), piece(32, 1), piece(32, 3)], "blocks"),
        (1, [piece(68), piece(32, 1)], "1 twice"),
        (1, [piece(32, 1), piece(68)], "blocks"),
        (1, [piece(64)], "tiles"),
        (2, scale[1:], "scale"),
        (2, infinite, "scale"),
        (2, nan, "scale"),
        (3, 2001, "exponent"),
        (3, -(2**31), "exponent"),
    ]
    for at, value, name in wrong:
        with pytest.raises(ValueError, match=name):
            _core.dense(*(*good[:at], value, *good[at + 1 :]))  # type: ignore[arg-type]
    x, out = np.zeros(68, np.float32), np.zeros(16, np.float32)
    for args in ((x, x, False, 1), (out, out, True, 1), (x, out, True, 1), (x, out, False, 4)):
        with pytest.raises(ValueError, match=r"x, out|parts"):
            op.apply(*args)
    for y in (out.astype(np.complex64), out.astype(np.int32), np.zeros((16, 2, 1), np.float32)):
        with pytest.raises(ValueError, match=r"out|dimensions"):
            op.apply(x, y, False, 3)
    with pytest.raises(ValueError, match="out: expected the precision"):
        op.apply(x.astype(np.float64), out, False, 3)
    for z in (x[1:], x.astype(np.complex64), x.astype(np.int32), x[None, None], np.zeros((), np.float32)):
        with pytest.raises(ValueError, match="x"):
            op.product(z, False, 3)
    index, rows = np.zeros(2, np.int64), np.zeros((2, 68))
    refused = ((index[1:], rows), (index[None], rows), (index, rows[:, 1:]), (index, rows[0]), (index - 1, rows))
    for i, y in (*refused, (index + 16, rows), (index, rows.astype(complex))):
        with pytest.raises(ValueError, match=r"index|out"):
            op.rows(i, y)
