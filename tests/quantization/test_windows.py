"""Window codes: streams of least cost, the same ones on all tiers, tables and errors that are pinned."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from bitterfly import _core, reference
from bitterfly.stores.dense import tiles as window_tiles
from bitterfly.stores.dense import windows
from bitterfly.stores.dense.windows import RATES, SCALAR_RATES, WINDOW_BITS, WindowCode, encode, window_code

CODES = [window_code(name, rate) for name in WINDOW_BITS for rate in RATES]
SCALARS = [window_code("window7", rate) for rate in SCALAR_RATES]
LIMITS = {
    "window7": (0.5429, 0.3976, 0.2864, 0.2095, 0.1511, 0.1126, 0.0821, 0.0463),
    "window11": (0.546, 0.389, 0.276, 0.199, 0.142, 0.102, 0.0735, 0.0415),
}
FORMAT = Path(__file__).resolve().parents[2] / "docs" / "format.md"


def name_of(code: WindowCode) -> str:
    return f"{code.name}-{code.rate}"


def numbers(count: int, rows: int, code: WindowCode, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count, rows))
    return (x / code.step).astype(np.float32)


def decoded(streams: np.ndarray, code: WindowCode) -> np.ndarray:
    return reference.window_decode(streams, code.table, code.masks, code.rate)


def costs(x: np.ndarray, streams: np.ndarray, code: WindowCode) -> np.ndarray:
    """The costs of streams (k, T) for one sequence (T,)."""
    found = reference.windows(streams, code.rate, code.bits)
    return np.take_along_axis(reference.window_costs(x, code.table, code.masks), found.T, axis=1).sum(axis=0)


# ---- the encoder ----


@pytest.mark.parametrize("code", CODES, ids=name_of)
@pytest.mark.parametrize("rows", [16, 64])
def test_streams_are_those_of_the_reference(code: WindowCode, rows: int, isa: str) -> None:
    """Byte for byte, ties included, with more sequences than lanes."""
    x = numbers(18 if code.bits == 7 else 3, rows, code)
    x[0] = np.rint(x[0])
    x[1] = 0
    streams = encode(x, code, around=rows // 2)
    np.testing.assert_array_equal(streams, reference.window_encode(x, code.table, code.masks, code.rate))
    assert streams.shape == (len(x), window_tiles.stream_bytes(rows, code.half_bits))


@given(
    st.sampled_from(CODES),
    st.sampled_from([16, 32, 48, 64]),
    st.sampled_from([1e-3, 0.3, 1, 4, 1e3]),
    st.data(),
    strategies.seeds,
)
def test_any_rows_and_sizes(code: WindowCode, rows: int, size: float, data: st.DataObject, seed: int) -> None:
    around, valid = data.draw(st.integers(1, rows)), data.draw(st.integers(0, rows))
    x = numbers(2, rows, code, seed) * np.float32(size)
    x[1] = x[1, 0]
    streams = encode(x, code, valid, around=around)
    expected = reference.window_encode(x, code.table, code.masks, code.rate, valid, around)
    np.testing.assert_array_equal(streams, expected)


@pytest.mark.parametrize("code", CODES, ids=name_of)
def test_tiers_agree(code: WindowCode) -> None:
    """On numbers of all sizes, so that costs come near what 32 bits hold."""
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((40, 64)) / code.step * 10.0 ** rng.uniform(-3, 3, (40, 64))).astype(np.float32)
    before = _core.active_isa()
    found = []
    for isa in _core.available_isas():
        _core.select_isa(isa)
        found += [encode(x, code), encode(x, code, workers=3)]
    _core.select_isa(before)
    assert all(np.array_equal(found[0], streams) for streams in found[1:])


@pytest.mark.parametrize("name", WINDOW_BITS)
def test_no_stream_is_better(name: str, isa: str) -> None:
    """Sixteen rows of one bit: no stream of all with the same state at its ends is better, and few others are."""
    code = window_code(name, 1)
    every = np.array(list(product(range(256), repeat=2)), np.uint8)
    ends = reference.windows(every, 1, code.bits)[:, 0] >> 1
    better = 0
    for x in numbers(8, 16, code, 3):
        streams = encode(x[np.newaxis], code)
        of_all = costs(x, every, code)
        own = int(streams[0, 0]) << 8 | int(streams[0, 1])
        assert of_all[own] == of_all[ends == ends[own]].min()
        better += int(np.sum(of_all < of_all[own]))
    assert better < 8 * len(every) // 200


@pytest.mark.parametrize("code", CODES, ids=name_of)
def test_extreme_numbers(code: WindowCode, isa: str) -> None:
    """What is beyond +-118 counts as that, denormal numbers as zeros."""
    x = numbers(6, 32, code)
    x[0], x[1], x[2] = 3e38, -3e38, np.float32(1e-45)
    x[3, ::2], x[3, 1::2] = 3e38, -3e38
    x[4, 5] = 1e30
    streams = encode(x, code)
    np.testing.assert_array_equal(streams, encode(np.clip(x, -118, 118), code))
    np.testing.assert_array_equal(streams[2], encode(np.zeros((1, 32)), code)[0])
    assert np.all(decoded(streams[4:5], code)[0, 5] >= 40)


@pytest.mark.parametrize("code", [*CODES, *SCALARS], ids=name_of)
def test_rows_that_do_not_count(code: WindowCode) -> None:
    """They may hold anything; those before gain."""
    x = numbers(400, 32, code)
    garbage = x.copy()
    garbage[:, 20:] = np.nan
    streams = encode(garbage, code, 20)
    np.testing.assert_array_equal(streams, encode(x, code, 20))
    missed = [np.sum((x - decoded(s, code))[:, :20] ** 2) for s in (streams, encode(x, code))]
    assert missed[0] <= missed[1]
    assert encode(garbage, code, 0).shape == streams.shape


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 300])
def test_sequences_do_not_know_of_one_another(count: int, isa: str) -> None:
    code = window_code("window7", 2.5)
    x = numbers(count, 48, code)
    alone = [encode(row[np.newaxis], code)[0] for row in x]
    np.testing.assert_array_equal(encode(x, code), np.array(alone, np.uint8).reshape(count, 15))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 24)), "x: expected sequences"),
        (np.zeros((2, 80)), "x: expected sequences"),
        (np.zeros(64), "x: expected sequences"),
        (np.full((1, 16), np.nan), "x: expected finite"),
        (np.full((1, 16), -np.inf), "x: expected finite"),
        (np.full((1, 16), 1e300), "x: expected finite"),
    ],
)
def test_what_is_refused(x: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(x, CODES[0])


def test_what_else_is_refused() -> None:
    with pytest.raises(ValueError, match="rows_valid: expected 0 to 16, got 17"):
        encode(np.zeros((1, 16)), CODES[0], 17)
    with pytest.raises(ValueError, match="code: expected window7 or window11"):
        window_code("window8", 2)
    with pytest.raises(ValueError, match=r"rate: expected 1, 1\.5"):
        window_code("window7", 4.5)


@pytest.mark.parametrize(
    "change",
    [
        {"x": np.zeros((1, 16))},
        {"x": np.zeros((1, 24), np.float32)},
        {"table": np.full(128, 64, np.int8)},
        {"table": np.zeros(64, np.int8)},
        {"masks": np.full(16, 128, np.uint8)},
        {"half_bits": 9},
        {"rows_valid": 17},
        {"around": 17},
    ],
)
def test_what_the_core_refuses(change: dict) -> None:
    good = {"x": np.zeros((1, 16), np.float32), "table": np.zeros(128, np.int8), "masks": None, "half_bits": 2}
    _core.window_encode(**good, rows_valid=16)
    with pytest.raises(ValueError, match=f"{next(iter(change))}: expected"):
        _core.window_encode(**{**good, "rows_valid": 16, **change})


# ---- the codes ----


@pytest.mark.parametrize("code", [*CODES, *SCALARS], ids=name_of)
def test_errors_of_normal_numbers(code: WindowCode) -> None:
    """Those that are stated; not above those asked for."""
    x = numbers(2048 if code.bits == 7 else 512, 64, code, 12345)
    y = decoded(encode(x, code), code)
    error = np.linalg.norm(x - y) / np.linalg.norm(x)
    assert error == pytest.approx(code.error, rel=0.03 if code.name == "scalar" else 0.015)
    if code.name != "scalar":
        assert code.error <= LIMITS[code.name][RATES.index(code.rate)]


@pytest.mark.parametrize("code", SCALARS, ids=name_of)
def test_scalars_are_nearest(code: WindowCode) -> None:
    x = numbers(5, 16, code)
    x[0] = 0
    x[1, :2] = 1e30, -1e30
    y = decoded(encode(x, code), code)
    distances = np.abs(x[..., np.newaxis] - code.table.astype(float))
    np.testing.assert_array_equal(np.abs(x - y.astype(float)), distances.min(axis=-1))


def test_new_bits_of_rows() -> None:
    assert windows.shifts(1.5, 4) == [2, 1, 2, 1]
    assert windows.shifts(3, 4) == [3] * 4
    for code in CODES:
        assert sum(windows.shifts(code.rate, 16)) == 16 * code.rate


@pytest.mark.parametrize("code", CODES, ids=name_of)
def test_tables(code: WindowCode) -> None:
    assert code.table.shape == (128,) and code.table.dtype == np.int8 and np.abs(code.table.astype(int)).max() <= 63
    assert not code.table.flags.writeable
    if code.masks is not None:
        assert code.masks.shape == (16,) and len(set(code.masks)) == 16 and code.masks.max() < 128


def test_pinned_tables() -> None:
    """The digests of the format page."""
    page = FORMAT.read_text()
    for code in [*CODES, SCALARS[0]]:
        digest = hashlib.sha256(code.table.tobytes() + (b"" if code.masks is None else code.masks.tobytes()))
        assert f"| `{code.name}` | {code.rate} | `{digest.hexdigest()[:32]}` |" in page, digest.hexdigest()[:32]


def test_golden_stream() -> None:
    """The example of the format page."""
    page = FORMAT.read_text()
    stream = np.frombuffer(bytes.fromhex("1b0000e4"), np.uint8)[np.newaxis]
    for code in (window_code("window7", 2), window_code("window11", 2)):
        found = reference.windows(stream, 2, code.bits), decoded(stream, code)
        assert all(f"    {', '.join(map(str, line[0]))}\n" in page for line in found)
    assert found[0][0, 15] == 0x1B and found[0][0, 0] == 0x1B << 2 & 0x7FF | 3
