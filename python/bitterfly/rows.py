"""Single rows of an operator: only the blocks that a row meets are read, n r numbers instead of n r log n."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.inputs import Array, IndexArray
from bitterfly.operator import ButterflyOperator
from bitterfly.stores import TiledFloats


def rows_of(op: Any, index: IndexArray) -> Array:
    """Return the rows `index` of an operator, shape (len(index), n)."""
    if isinstance(op, ButterflyOperator) and isinstance(op.store, TiledFloats) and op.mode == "forward":
        return _tiled_rows(op, op.store, index)
    unit = np.zeros((op.shape[0], len(index)), op.dtype)
    unit[index, np.arange(len(index))] = 1
    return np.ascontiguousarray((op.T @ unit).T)


def _tiled_rows(op: ButterflyOperator, store: TiledFloats, index: IndexArray) -> Array:
    rows, columns = op.base_permutations
    if rows is not None:
        places = np.empty(len(rows), np.intp)
        places[rows] = np.arange(len(rows))
        index = places[index]
    product = _product_rows(store, index)
    if columns is None:
        return product[:, : op.shape[1]]
    out = np.empty_like(product)
    out[:, columns] = product
    return out[:, : op.shape[1]]


def _product_rows(store: TiledFloats, index: IndexArray) -> Array:
    """Return rows of the product of the stored factors.

    Row ``i*b*d + j*d + t`` of a factor has entries in block (i, t) alone. Of the rows of the next factor, these meet
    ``s*p + t // d'``, s < r, of the blocks (i', t mod d') that their column group leads to.
    """
    a, b, _, d = store.chain[0]
    block, t = np.divmod(index, b * d)
    current = np.zeros((len(index), a, 1), store.dtype)
    current[np.arange(len(index)), block, 0] = 1
    for at, ((a, _, c, d), rank) in enumerate(zip(store.chain, (*store.chain.ranks, 1), strict=True)):
        digit, t = np.divmod(t, d)
        following = np.empty((len(index), a, c), store.dtype)
        for residue in np.unique(t):
            blocks = store.blocks(at, int(residue)).reshape(a, current.shape[2], -1, c)
            for sample in np.flatnonzero(t == residue):
                following[sample] = (current[sample][:, None] @ blocks[:, :, digit[sample]])[:, 0]
        current = following.reshape(len(index), -1, rank)
    a, _, c, d = store.chain[-1]
    out = np.zeros((len(index), a, c, d), store.dtype)
    out[np.arange(len(index)), :, :, t] = current.reshape(len(index), a, c)
    return out.reshape(len(index), -1)
