"""Streams of window codes, one for each column of a panel of rows, and the tiles of four columns that kernels read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitterfly import _core
from bitterfly.inputs import Array
from bitterfly.stores.dense.windows import ROWS

TILE_COLUMNS = 4
UNIT_ROWS = 16  # panels are whole units
PADDING = 64  # bytes that kernels may read behind the last tile


def panel_rows(rows: int) -> list[int]:
    """Return the rows of each panel, with those that pad the last one: 64, at last 16, 32, 48 or 64."""
    whole, rest = divmod(rows, ROWS)
    return [ROWS] * whole + [-(-rest // UNIT_ROWS) * UNIT_ROWS] * (rest > 0)


def padded_columns(columns: int) -> int:
    """Return the number of columns in whole tiles."""
    return -(-columns // TILE_COLUMNS) * TILE_COLUMNS


def stream_bytes(rows: int, half_bits: int) -> int:
    """Return the bytes of the stream of a column of a panel of so many rows."""
    return rows * half_bits // 16


def tiles_of_streams(streams: Sequence[Array]) -> Array:
    """Return the tiles of a matrix.

    Parameters
    ----------
    streams : sequence of ndarray
        For each panel the streams of its columns, (padded columns, bytes) of uint8.

    Returns
    -------
    ndarray
        Byte b of column j of each four columns at byte 4 b + j of their tile; behind the last one 64 zeros.
    """
    tiles: Array = _core.aligned_empty([sum(s.size for s in streams) + PADDING], np.dtype(np.uint8))
    tiles[-PADDING:] = 0
    first = 0
    for panel in streams:
        grouped = panel.reshape(-1, TILE_COLUMNS, panel.shape[1])
        out = tiles[first : first + panel.size].reshape(len(grouped), panel.shape[1], TILE_COLUMNS)
        out[...] = grouped.transpose(0, 2, 1)
        first += panel.size
    return tiles


def padded(tiles: Array) -> Array:
    """Return a copy of tiles with what kernels may read behind them."""
    out: Array = _core.aligned_empty([tiles.size + PADDING], np.dtype(np.uint8))
    out[: tiles.size] = tiles
    out[tiles.size :] = 0
    return out


def streams_of_tiles(tiles: Array, shape: tuple[int, int], half_bits: int) -> list[Array]:
    """Return the streams of which `tiles_of_streams` makes these tiles."""
    columns, first, out = padded_columns(shape[1]), 0, []
    for rows in panel_rows(shape[0]):
        size = stream_bytes(rows, half_bits)
        grouped = tiles[first : first + columns * size].reshape(-1, size, TILE_COLUMNS)
        out.append(grouped.transpose(0, 2, 1).reshape(columns, size))
        first += columns * size
    return out
