"""A matrix goes into window codes, the codes into tiles, and products of the tiles are those of the decoded matrix."""

from __future__ import annotations

import numpy as np
import pytest

import tolerances
from bitterfly import _core, reference
from bitterfly.stores.dense import tiles as window_tiles
from bitterfly.stores.dense import windows

SHAPES = [(1, 1), (5, 3), (63, 5), (64, 8), (65, 3), (130, 7)]
CODES = [(name, rate) for name in windows.WINDOW_BITS for rate in windows.RATES]
CODES += [("window7", rate) for rate in windows.SCALAR_RATES]


@pytest.mark.parametrize(("name", "rate"), CODES)
def test_products_are_those_of_the_decoded_matrix(isa: str, name: str, rate: float) -> None:
    code = windows.window_code(name, rate)
    kernel = f"scalar{code.bits}" if code.name == "scalar" else name
    table = None if kernel == "scalar8" else code.table
    rng = np.random.default_rng(round(10 * rate))
    for m, n in SHAPES:
        a = rng.standard_normal((m, n))
        streams, decoded, first = [], [], 0
        for rows in window_tiles.panel_rows(m):
            x = np.zeros((window_tiles.padded_columns(n), rows))
            valid = min(rows, m - first)
            x[:n, :valid] = a[first : first + valid].T / code.step
            streams.append(windows.encode(x, code, valid))
            decoded.append(reference.window_decode(streams[-1], code.table, code.masks, rate).T)
            first += rows
        weights = np.concatenate(decoded)[:m, :n].astype(np.float64)
        error = np.linalg.norm(code.step * weights - a) / np.linalg.norm(a)
        # Both norms are roots of sums of so many squares: four standard deviations of each.
        assert error < (1 + 4 * np.sqrt(2 / a.size)) * code.error or min(m, n) < 5
        scale = rng.uniform(0.5, 2, m).astype(np.float16)
        tiles = window_tiles.tiles_of_streams(streams)
        piece = _core.DensePiece(kernel, code.half_bits, tiles, 1.0, table, code.masks)
        core = _core.dense((m, n), [piece], scale.view(np.uint16), 0)
        for transposed in (False, True):
            matrix = scale[:, None].astype(np.float64) * weights
            matrix = matrix.T if transposed else matrix
            x = rng.standard_normal((matrix.shape[1], 3))
            out = np.empty((matrix.shape[0], 3))
            core.apply(x, out, transposed, 3)
            size = np.abs(matrix) @ np.abs(x)
            # Half a unit of each number, of the largest one over 8 323 071, times the row of the matrix.
            unit = np.max(np.abs(x) * (scale[:, None] if transposed else 1), axis=0) / 8323071 / 2
            room = np.sum(np.abs(weights.T if transposed else matrix), axis=1)[:, None] * unit
            assert np.all(np.abs(out - matrix @ x) <= room + tolerances.gamma(matrix.shape[1] + 8, np.float64) * size)
