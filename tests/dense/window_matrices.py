"""Random matrices in window codes, a slow decoder, and exact integer sums of their products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.stores.dense import tiles as window_tiles
from bitterfly.stores.dense.rotations import Rotation

RATES = {
    "window7": (2, 3, 4, 5, 6, 7, 8, 10),
    "window11": (2, 3, 4, 5, 6, 7, 8, 10),
    "scalar6": (12,),
    "scalar8": (16,),
}
CODES = [(code, half_bits) for code, rates in RATES.items() for half_bits in rates]
WINDOW = {"window7": 7, "window11": 11, "scalar6": 6, "scalar8": 8}
LARGEST = {1: 127, 2: 32511, 3: 8323071}

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Matrix:
    """A kernel of one piece, and what its weights are before they are scaled by rows (half floats) and a step."""

    kernel: _core.DenseCore
    weights: Array
    scale: Array
    step: float

    def apply(self, x: Array, transposed: bool = False, parts: int = 3, workers: int = 1) -> Array:
        out = np.full((self.weights.shape[int(transposed)], *x.shape[1:]), 7, x.dtype)
        self.kernel.apply(x, out, transposed, parts, workers)
        return out

    def expected(self, x: Array, transposed: bool = False, parts: int = 3) -> Array:
        """What products are, bit by bit, unless numbers leave the range of float64."""
        vectors = [self._column(v, transposed, parts) for v in np.atleast_2d(x.T)]
        return np.stack(vectors, axis=1).reshape(-1, *x.shape[1:])

    def _column(self, x: Array, transposed: bool, parts: int) -> Array:
        scale = self.scale.astype(np.float64)
        z = x.astype(np.float64) * (scale if transposed else 1.0)
        most, exponent = np.frexp(np.abs(z).max())
        if most == 0:
            return np.zeros(self.weights.shape[int(transposed)], x.dtype)
        values = np.rint(np.ldexp(z, -exponent) * (LARGEST[parts] / most)).astype(np.int64)
        sums = (self.weights.T if transposed else self.weights) @ values
        unit = most / LARGEST[parts] * self.step * (1.0 if transposed else scale)
        result: Array = np.ldexp(unit * sums.astype(np.float64), exponent).astype(x.dtype)
        return result

    def dense(self) -> Array:
        result: Array = self.scale[:, None].astype(np.float64) * self.step * self.weights
        return result


def random_matrix(rng: np.random.Generator, shape: tuple[int, int], code: str, half_bits: int) -> Matrix:
    """Any bytes are codes."""
    streams = random_streams(rng, shape, half_bits)
    return matrix_of(streams, shape, code, half_bits, random_scale(rng, shape[0]), *random_tables(rng, code))


def random_streams(rng: np.random.Generator, shape: tuple[int, int], half_bits: int) -> list[Array]:
    columns = window_tiles.padded_columns(shape[1])
    return [
        rng.integers(256, size=(columns, window_tiles.stream_bytes(rows, half_bits)), dtype=np.uint8)
        for rows in window_tiles.panel_rows(shape[0])
    ]


def random_scale(rng: np.random.Generator, rows: int) -> Array:
    return (rng.uniform(0.5, 2, rows) * rng.choice([-1, 1], rows)).astype(np.float16)


def random_tables(rng: np.random.Generator, code: str) -> tuple[Array | None, Array | None]:
    masks = rng.integers(128, size=16, dtype=np.uint8) if code == "window11" else None
    if code == "scalar8":
        return None, masks
    if code == "scalar6":
        return rng.integers(-128, 128, 64, np.int8), masks
    table = rng.integers(-64, 64, 128, np.int8)
    if rng.random() < 0.5:  # as those of window7 are: the highest bit is a sign
        table[:64] = np.maximum(table[:64], -63)
        table[64:] = -table[:64]
    return table, masks


def matrix_of(
    streams: list[Array],
    shape: tuple[int, int],
    code: str,
    half_bits: int,
    scale: Array,
    table: Array | None,
    masks: Array | None,
) -> Matrix:
    step = 0.0401
    piece = _core.DensePiece(code, half_bits, window_tiles.tiles_of_streams(streams), step, table, masks)
    kernel = _core.dense(shape, [piece], scale.view(np.uint16), 0)
    return Matrix(kernel, decode_panels(streams, code, half_bits, table, masks)[: shape[0], : shape[1]], scale, step)


def decode_panels(streams: list[Array], code: str, half_bits: int, table: Array | None, masks: Array | None) -> Array:
    """The weights of a matrix with those that pad it."""
    whole = [s for s in streams if s.shape == streams[0].shape]
    decoded = [decode(np.stack(some), code, half_bits, table, masks) for some in (whole, streams[len(whole) :]) if some]
    return np.concatenate(decoded)


def decode(streams: Array, code: str, half_bits: int, table: Array | None, masks: Array | None) -> Array:
    """The weights of panels of equal size, position by position from their last row on."""
    bits = np.unpackbits(streams, axis=2, bitorder="little")
    panels, columns, size = bits.shape
    rows = size * 2 // half_bits
    weights = np.empty((panels, rows, columns), np.int64)
    for position in range(rows):
        at = (position * half_bits // 2 + np.arange(WINDOW[code])) % size
        windows = bits[:, :, at] @ (1 << np.arange(WINDOW[code]))
        if masks is not None:
            windows = (windows & 127) ^ masks[windows >> 7]
        weights[:, rows - 1 - position] = windows.astype(np.uint8).view(np.int8) if table is None else table[windows]
    return weights.reshape(panels * rows, columns)


@dataclass(frozen=True)
class Operator:
    """A kernel of pieces of several codes, and the coded matrix."""

    kernel: _core.DenseCore
    coded: Array
    inputs: int | None
    outputs: int | None

    def apply(self, x: Array, transposed: bool = False, parts: int = 3, workers: int = 1) -> Array:
        out = np.full((self.coded.shape[int(transposed)], *x.shape[1:]), 7, x.dtype)
        self.kernel.apply(x, out, transposed, parts, workers)
        return out

    def dense(self) -> Array:
        whole, (m, n) = self.coded, self.coded.shape
        if self.inputs is not None:
            whole = whole @ Rotation(n, self.inputs).dense()
        return whole if self.outputs is None else Rotation(m, self.outputs).dense().T @ whole


def random_operator(
    rng: np.random.Generator,
    shape: tuple[int, int],
    codes: Sequence[tuple[str, int]],
    inputs: int | None = None,
    outputs: int | None = None,
    exponent: int = 0,
) -> Operator:
    """Up to as many pieces as there are codes, of random blocks of 32 columns."""
    owners = rng.integers(len(codes), size=-(-shape[1] // 32))
    scale = random_scale(rng, shape[0])
    coded, pieces = np.empty(shape), []
    for at in np.unique(owners):
        blocks = np.flatnonzero(owners == at).astype(np.uint32)
        columns = np.concatenate([np.arange(32 * b, min(32 * b + 32, shape[1])) for b in blocks])
        streams = random_streams(rng, (shape[0], len(columns)), codes[at][1])
        tables, step = random_tables(rng, codes[at][0]), float(np.float32(rng.uniform(0.03, 0.06)))
        tiles = window_tiles.tiles_of_streams(streams)
        pieces.append(_core.DensePiece(*codes[at], tiles, step, *tables, blocks))
        entries = decode_panels(streams, *codes[at], *tables)[: shape[0], : len(columns)]
        with np.errstate(over="ignore"):
            coded[:, columns] = np.ldexp(scale[:, None].astype(np.float64) * step * entries, exponent)
    kernel = _core.dense(shape, pieces, scale.view(np.uint16), exponent, inputs, outputs)
    return Operator(kernel, coded, inputs, outputs)
