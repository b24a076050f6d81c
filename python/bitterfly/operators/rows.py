"""Single rows of a product of factors: only the blocks that a row meets are read, n r numbers instead of n r log n."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bitterfly.inputs import Array, IndexArray, Permutations
from bitterfly.stores.floats import TiledFloats


def tiled_rows(store: TiledFloats, permutations: Permutations, width: int, index: IndexArray) -> Array:
    """Return the rows `index` of the product of stored factors, its rows and columns permuted, `width` columns."""
    rows, columns = permutations
    if rows is not None:
        places = np.empty(len(rows), np.intp)
        places[rows] = np.arange(len(rows))
        index = places[index]
    product = _product_rows(store, index)
    if columns is None:
        return product[:, :width]
    out = np.empty_like(product)
    out[:, columns] = product
    return out[:, :width]


def _product_rows(store: TiledFloats, index: IndexArray) -> Array:
    """Return rows of the product of the stored factors.

    Row ``i*b*d + j*d + t`` of a factor has entries in block (i, t) alone. Of the rows of the next factor, these meet
    ``s*p + t // d'``, s < r, of the blocks (i', t mod d') that their column group leads to. Rows that agree modulo
    ``d`` meet the same rows of all following factors: in the order of reversed digits they lie side by side.
    """
    order = _by_reversed_digits(store, index)
    index = index[order]
    a, b, _, d = store.chain[0]
    block, t = np.divmod(index, b * d)
    current = np.zeros((a, len(index), 1), store.dtype)
    current[block, np.arange(len(index)), 0] = 1
    for at, (a, _, _, d) in enumerate(store.chain):
        starts = np.flatnonzero(np.diff(t, prepend=-1))
        digit, t = np.divmod(t, d)
        residues, places = np.unique(t, return_inverse=True)
        blocks = store.blocks(at, residues)
        groups, rank = blocks.shape[2], blocks.shape[4]
        blocks = blocks.reshape(a, len(residues), groups, current.shape[2], -1, rank)
        following = np.empty((a, groups, len(index), rank), store.dtype)
        for first, last in pairwise([*starts.tolist(), len(index)]):
            rows = blocks[:, places[first], :, :, digit[first]]
            np.matmul(current[:, None, first:last], rows, out=following[:, :, first:last])
        current = following.reshape(a * groups, len(index), rank)
    out = np.zeros((len(index), len(current), d), store.dtype)
    out[order, :, t] = current[:, :, 0].T
    return out.reshape(len(index), -1)


def _by_reversed_digits(store: TiledFloats, index: IndexArray) -> IndexArray:
    """Return the order of rows by their digits in the chain, the last one most significant."""
    digits, t = [], index % (store.chain[0][1] * store.chain[0][3])
    for _, _, _, d in store.chain:
        digit, t = np.divmod(t, d)
        digits.append(digit)
    return np.lexsort([*digits, t])
