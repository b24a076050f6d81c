"""Panels of rows to window codes and back: streams of each rate, and the numbers that they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitterfly import _core
from bitterfly.inputs import Array
from bitterfly.stores.dense import columns_of
from bitterfly.stores.window_tiles import padded_columns, panel_rows, tiles_of_streams
from bitterfly.stores.windows import ROWS, SCALAR_RATES, WindowCode, encode, window_code

_SHARES = np.linspace(0.7, 1.0, 7)  # of the largest number of a row, that become the last entry
_SEARCHED = 0.25, 4.0
_FACTORS = 0.95, 0.975, 1.0, 1.025


def streams_of(x: Array, code: WindowCode, workers: int) -> tuple[list[Array], Array]:
    """Return the streams of some columns, panel by panel, and the numbers that they stand for.

    Parameters
    ----------
    x : ndarray, shape (m, k)
        In units of the row: numbers of variance one.
    code : WindowCode
    workers : int

    Returns
    -------
    streams : list of ndarray
        For each panel of rows (`window_tiles.panel_rows`), (k, bytes) of uint8.
    values : ndarray, shape (m, k)
        int8, in units of ``code.step``.
    """
    m, k = x.shape
    units = np.divide(x.T, code.step, dtype=np.float32, casting="unsafe", order="C")  # columns are sequences
    whole = m // ROWS * ROWS
    streams: list[Array] = []
    values = np.empty((k, m), np.int8)
    if whole:
        found = encode(units[:, :whole].reshape(-1, ROWS), code, workers=workers)
        values[:, :whole] = decoded(found, code).reshape(k, whole)
        streams += list(found.reshape(k, whole // ROWS, -1).swapaxes(0, 1))
    if whole < m:
        last = np.zeros((k, panel_rows(m)[-1]), np.float32)
        last[:, : m - whole] = units[:, whole:]
        found = encode(last, code, m - whole, workers)
        values[:, whole:] = decoded(found, code)[:, : m - whole]
        streams.append(found)
    return streams, values.T


def decoded(streams: Array, code: WindowCode) -> Array:
    """Return the entries (count, T) of streams."""
    table = None if code.bits == 8 else code.table
    return _core.window_decode(streams, table, code.masks, code.half_bits)


def best_scales(x: Array, codes: dict[int, WindowCode]) -> Array:
    """Return by how much other scales of the rows of x are better; one where windows overlap, whose tables fit.

    Codes of 6 and of 8 bits gain where the largest number of a row is no farther out than their last entry.
    """
    out = np.ones(len(x))
    code = codes[max(codes)]
    if min(codes) // 2 < SCALAR_RATES[0] or not x.size:
        return out
    entries = np.sort(code.table.astype(np.float64)) * code.step
    least = np.full(len(x), np.inf)
    reach = np.max(np.abs(x), axis=1) / entries[-1]
    tried = [np.full(len(x), factor) for factor in _FACTORS]
    tried += [np.where(reach > 0, np.clip(share * reach, *_SEARCHED), 1.0) for share in _SHARES]
    for factor in tried:
        scaled = x / factor[:, None]
        places = np.searchsorted((entries[1:] + entries[:-1]) / 2, scaled)
        missed = factor**2 * np.sum((scaled - entries[places]) ** 2, axis=1)
        out, least = np.where(missed < least, factor, out), np.minimum(missed, least)
    return out


class Coded:
    """Codes of a matrix as they are made, a few panels of rows after the others.

    Attributes
    ----------
    streams : dict
        For each rate, the streams of all panels so far.
    """

    def __init__(self, name: str, half_bits: Array, n: int) -> None:
        self.columns = {
            rate: columns_of(n, np.flatnonzero(half_bits == rate)) for rate in np.unique(half_bits).tolist()
        }
        self.codes = {rate: window_code(name, rate / 2) for rate in self.columns}
        self.streams: dict[int, list[Array]] = {rate: [] for rate in self.columns}

    def add(self, x: Array, workers: int) -> Array:
        """Append rows, a number of whole panels unless they are the last; return the numbers that stand for them."""
        out = np.empty(x.shape)
        for rate, columns in self.columns.items():
            code = self.codes[rate]
            part = x if len(columns) == x.shape[1] else x[:, columns]
            streams, values = streams_of(part, code, workers)
            self.streams[rate] += streams
            out[:, columns] = values * code.step
        return out

    def tiles(self) -> list[Array]:
        """Return the tiles of each rate."""
        return [tiles_of_streams(_padded(streams)) for streams in self.streams.values()]


def _padded(streams: Sequence[Array]) -> list[Array]:
    """Return streams of whole tiles of columns: those that pad are zeros."""
    missing = padded_columns(len(streams[0])) - len(streams[0])
    return [np.pad(panel, ((0, missing), (0, 0))) for panel in streams] if missing else list(streams)
