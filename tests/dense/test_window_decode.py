"""The entries of streams of window codes: any bytes are codes."""

from __future__ import annotations

import numpy as np
import pytest
from window_matrices import CODES, decode, random_tables

from bitterfly import _core
from bitterfly.stores.dense import tiles as window_tiles


@pytest.mark.parametrize(("code", "half_bits"), CODES)
@pytest.mark.parametrize("rows", [16, 32, 48, 64])
def test_streams_are_decoded(code: str, half_bits: int, rows: int) -> None:
    rng = np.random.default_rng(half_bits)
    table, masks = random_tables(rng, code)
    for count in (0, 1, 130):
        streams = rng.integers(256, size=(count, window_tiles.stream_bytes(rows, half_bits)), dtype=np.uint8)
        out = _core.window_decode(streams, table, masks, half_bits, workers=2)
        assert out.dtype == np.int8
        np.testing.assert_array_equal(out, decode(streams[np.newaxis], code, half_bits, table, masks).T)


def test_refusals() -> None:
    streams, table, masks = np.zeros((2, 8), np.uint8), np.zeros(128, np.int8), np.zeros(16, np.uint8)
    good = (streams, table, masks, 4)
    _core.window_decode(*good)
    wrong: list[tuple[int, object, str]] = [
        (0, streams[0], "streams"),
        (0, streams[:, :0], "streams"),
        (0, np.zeros((2, 7), np.uint8), "streams"),
        (1, None, "table"),
        (1, table[1:], "table"),
        (1, np.full(128, 64, np.int8), "table"),
        (2, masks[1:], "masks"),
        (2, np.full(16, 128, np.uint8), "masks"),
        (3, 9, "half_bits"),
        (3, 12, "table"),
        (3, 16, "table"),
    ]
    for at, value, name in wrong:
        with pytest.raises(ValueError, match=name):
            _core.window_decode(*(*good[:at], value, *good[at + 1 :]))  # type: ignore[arg-type]
