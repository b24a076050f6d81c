"""A dense matrix in window codes: blocks of columns of one rate each, a short float for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from operator import index
from typing import NamedTuple

import numpy as np

from bitterfly import _core
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, IndexArray
from bitterfly.stores.dense.tiles import PADDING, padded_columns, panel_rows, stream_bytes
from bitterfly.stores.dense.windows import RATES, SCALAR_RATES, WINDOW_BITS, WindowCode, window_code
from bitterfly.stores.floats import frozen_view

BLOCK = 32  # columns of one rate
HALF_BITS = tuple(round(2 * rate) for rate in (*RATES, *SCALAR_RATES))
MOST_EXPONENT = 2000
_PANEL = 1 << 20  # entries that are decoded at once
_SLACK = 1e-6  # of a logarithm: sums of up to 2^40 squares


class Piece(NamedTuple):
    """The columns of one rate."""

    code: WindowCode
    blocks: IndexArray  # their numbers
    columns: IndexArray
    tiles: Array

    def core(self, is_whole: bool) -> _core.DensePiece:
        """Return the piece as the core takes it."""
        code = self.code
        name = code.name if code.name in WINDOW_BITS else f"{code.name}{code.bits}"
        table = None if name == "scalar8" else code.table
        blocks = None if is_whole else self.blocks.astype(np.uint32)
        return _core.DensePiece(name, code.half_bits, self.tiles, code.step, table, code.masks, blocks)


class DenseCodes:
    """Codes of a real matrix: entry (r, c) is ``scale[r] * 2**exponent * step * table[index]``.

    Step and table are those of the code of the block of 32 columns that c lies in, the index is window r of its stream
    (docs/format.md).

    Parameters
    ----------
    shape : (m, n)
    name : {"window11", "window7"}
    half_bits : sequence of int
        Twice the rate of each block of columns, the last of which may be narrower.
    tiles : sequence of ndarray
        For each rate that occurs, from the lowest on, the tiles of its columns (`tiles.tiles_of_streams`).
    scale : ndarray
        Half floats (m,), finite.
    exponent : int

    Raises
    ------
    ValueError
        Where they do not fit each other.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        name: str,
        half_bits: Sequence[int] | Array,
        tiles: Sequence[Array],
        scale: Array,
        exponent: int = 0,
    ) -> None:
        m, n = self.shape = shape
        self.name, self.exponent = name, index(exponent)
        rates = np.asarray(half_bits)
        blocks = -(-n // BLOCK)
        if not isinstance(name, str) or name not in WINDOW_BITS:
            raise ValueError(f"code: expected {' or '.join(sorted(WINDOW_BITS))}, got {name!r}")
        if rates.shape != (blocks,) or not np.all(np.isin(rates, HALF_BITS)):
            raise ValueError(f"half_bits: expected one of {HALF_BITS} for each of {blocks} blocks of columns")
        self.half_bits = frozen_view(rates.astype(np.uint8))
        self.scale = frozen_view(np.array(scale))
        if self.scale.shape != (m,) or self.scale.dtype != np.float16 or not np.all(np.isfinite(self.scale)):
            raise ValueError(f"scale: expected {m} finite numbers in half precision")
        if abs(exponent) > MOST_EXPONENT:
            raise ValueError(f"exponent: expected at most {MOST_EXPONENT} in size, got {exponent}")
        used = np.unique(self.half_bits).tolist()
        if len(tiles) != len(used):
            raise ValueError(f"tiles: expected {len(used)} arrays, one for each rate, got {len(tiles)}")
        self.tiles = tuple(frozen_view(np.ascontiguousarray(part)) for part in tiles)
        for at, (rate, part) in enumerate(zip(used, self.tiles, strict=True)):
            size = tiles_bytes(m, len(columns_of(n, np.flatnonzero(self.half_bits == rate))), rate) + PADDING
            if part.dtype != np.uint8 or part.shape != (size,):
                raise ValueError(f"tiles[{at}]: expected {size} bytes, got {part.size} of {part.dtype}")

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The columns of each rate, from the lowest on."""
        return tuple(self._pieces())

    def _pieces(self) -> Iterator[Piece]:
        for rate, tiles in zip(np.unique(self.half_bits).tolist(), self.tiles, strict=True):
            blocks = np.flatnonzero(self.half_bits == rate)
            yield Piece(window_code(self.name, rate / 2), blocks, columns_of(self.shape[1], blocks), tiles)

    @property
    def nbytes(self) -> int:
        """Bytes of all streams, of the scales, and of the rates where there are several."""
        rates = len(self.half_bits) if len(self.tiles) > 1 else 1
        return sum(part.size - PADDING for part in self.tiles) + self.scale.nbytes + rates

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers of each rate, and their bits."""
        m = self.shape[0]
        counts = [(m * len(piece.columns), piece.code.half_bits) for piece in self.pieces]
        return tuple(Numbers(count, count * half_bits // 2) for count, half_bits in counts)

    def kernel(self, inputs: int | None, outputs: int | None, exponent: int | None = None) -> _core.DenseCore:
        """Return what multiplies by ``R_out^T C R_in``, of the rotations of these seeds."""
        exponent = self.exponent if exponent is None else exponent
        pieces = [piece.core(is_whole=len(self.pieces) == 1) for piece in self.pieces]
        return _core.dense(self.shape, pieces, self.scale.view(np.uint16), exponent, inputs, outputs)

    def rows(self, index: IndexArray, workers: int = 1) -> Array:
        """Return some rows of the matrix over ``2**exponent``, in double precision."""
        out = np.empty((len(index), self.shape[1]))
        self._bare.rows(np.ascontiguousarray(index, np.int64), out, workers)
        return out

    @cached_property
    def _bare(self) -> _core.DenseCore:
        return self.kernel(None, None, exponent=0)

    @cached_property
    def log2_norm(self) -> float:
        """The logarithm to base 2 of a bound on the Frobenius norm, from all entries."""
        m, n = self.shape
        height = max(1, _PANEL // n)
        panels = (np.arange(first, min(first + height, m)) for first in range(0, m, height))
        energy = sum(float(np.sum(self.rows(panel) ** 2)) for panel in panels)  # 16 bits times 8: far from overflow
        with np.errstate(divide="ignore"):
            return float(np.log2(energy)) / 2 + self.exponent + _SLACK


def columns_of(n: int, blocks: IndexArray) -> IndexArray:
    """Return the columns of some blocks of a matrix of n columns."""
    columns = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    return columns[columns < n]


def tiles_bytes(rows: int, columns: int, half_bits: int) -> int:
    """Return the bytes of the tiles of so many rows and columns, without what may be read behind them."""
    return padded_columns(columns) * sum(stream_bytes(panel, half_bits) for panel in panel_rows(rows))
