"""The junctions of a chain: what stands on both sides of the blocks of a factor, and what is passed on to its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bitterfly.inputs import Array
from bitterfly.powers import near_one

# Eigenvalues of a Gram matrix, over the largest, below which columns count as dependent.
DEPENDENT = 1e-12


class Part(NamedTuple):
    """The blocks of one factor, (a, d, groups, b, r), in the norm of what stands on both sides of them.

    `left` has the Gram matrices of the coded columns that meet the rows, (a, d, p, l, l): row ``s*p + i`` of a block is
    row `s` of matrix `i`; None for the first factor, whose rows meet the identity. `right` has those of the rows
    that meet the columns, (a, d, groups, r, r).
    """

    x: Array
    left: Array | None
    right: Array

    @classmethod
    def of(cls, factor: Array, rank: int, gram: Array | None, metric: Array) -> Part:
        """Take the blocks of a factor (a, b, c, d), and the Gram matrices as factors on both sides hand them over."""
        a, b, c, d = factor.shape
        x = np.ascontiguousarray(factor.reshape(a, b, c // rank, rank, d).transpose(0, 4, 2, 1, 3))
        left = None if gram is None else np.ascontiguousarray(at_rows(gram, d).transpose(0, 2, 1, 3, 4))
        return cls(x, left, metric.reshape(a, c // rank, d, rank, rank).transpose(0, 2, 1, 3, 4))

    @property
    def rank(self) -> int:
        """Columns of a group."""
        return int(self.x.shape[4])

    def weighed(self, x: Array) -> Array:
        """Return the left Gram matrices times blocks (a, d, groups, b, any)."""
        return x if self.left is None else _rows_times(self.left, x)

    def energy(self, x: Array) -> float:
        """Return the energy of the product with blocks in the place of the factor's."""
        return float(np.sum((x.conj() * (self.weighed(x) @ self.right)).real))

    def largest_energy(self, x: Array) -> float:
        """Return a bound on the energy of products with all blocks whose numbers are at most these, in modulus."""
        left = None if self.left is None else np.abs(self.left)
        return float(np.sum(x * (Part(self.x, left, self.right).weighed(x) @ np.abs(self.right))))

    def gram(self, sides: Array) -> Array:
        """Return the Gram matrices of columns, (a, d, groups, r, r)."""
        return np.asarray(sides.conj().swapaxes(-1, -2) @ self.weighed(sides))

    def fitted(self, sides: Array, is_diagonal: bool, is_regular: bool) -> tuple[Array, Array]:
        """Return the r x r matrices M for which ``sides @ M`` is nearest, and the Gram matrices of `sides`.

        These are regular (at least I) for ``[I; T]`` where all factors to the left have that form.
        """
        after, projected = self.gram(sides), sides.conj().swapaxes(-1, -2) @ self.weighed(self.x)
        if not is_diagonal and is_regular:
            return np.linalg.solve(after, projected), after
        if not is_diagonal:
            return np.linalg.pinv(after, rcond=DEPENDENT, hermitian=True) @ projected, after
        norms, dots = (np.einsum("...ii->...i", m) for m in (after, projected))
        lengths = np.divide(dots, norms, out=np.zeros_like(dots), where=norms.real > 0)
        return lengths[..., np.newaxis] * np.eye(self.rank), after


def _rows_times(left: Array, x: Array) -> Array:
    """Return the blocks (a, d, groups, b, any) with their rows multiplied by matrices (a, d, p, l, l), see `Part`."""
    a, d, parts, rank, _ = left.shape
    shape = (a, d, x.shape[2], rank, parts, x.shape[4])
    rows = x.reshape(shape).transpose(0, 1, 4, 3, 2, 5)
    product = (left @ rows.reshape(a, d, parts, rank, -1)).reshape(rows.shape)
    return np.asarray(product.transpose(0, 1, 4, 3, 2, 5).reshape(x.shape))


def at_rows(blocks: Array, d: int) -> Array:
    """Return r x r matrices of the blocks of a factor, (a, d, groups, r, r), as the next factor's rows meet them.

    The shape is (a, p, d, r, r) with the next factor's `a` and `d`; its row ``s*p + i`` is row `s` of matrix `i`.
    """
    left_a, left_d, groups, rank, _ = blocks.shape
    return blocks.transpose(0, 2, 1, 3, 4).reshape(left_a * groups, left_d // d, d, rank, rank)


def receive(factor: Array, carried: Array) -> Array:
    """Multiply the rows of each block by what the factor before left, (a, d, groups, r, r) of its blocks."""
    a, b, c, d = factor.shape
    left_d, rank = carried.shape[1], carried.shape[3]
    parts = at_rows(carried, d)
    rows = factor.reshape(a, rank, left_d // d, c, d)
    received: Array = np.einsum("aptrs,aspct->arpct", parts, rows, optimize=True)
    return received.reshape(a, b, c, d)


def right_grams(factors: list[Array], ranks: Sequence[int]) -> list[Array]:
    """Return the r x r Gram matrices of the rows to the right of each junction, up to a factor each.

    Their shape is (a*groups, d, r, r), as that of the blocks at the junction.
    """
    a, _, c, d = factors[-1].shape
    grams: list[Array] = [np.ones((a * c, d, 1, 1))]
    for factor, left, right in zip(factors[:0:-1], ranks[::-1], (*ranks, 1)[:0:-1], strict=True):
        a, b, c, d = factor.shape
        rows, _ = near_one(factor)
        rows = rows.reshape(a, left, b // left, c // right, right, d).transpose(0, 2, 5, 3, 1, 4)
        inner = grams[0].reshape(a, c // right, d, right, right).transpose(0, 2, 1, 3, 4)[:, None]
        gram = np.sum(rows @ inner @ rows.conj().swapaxes(-1, -2), axis=3)  # (a, p, d, left, left)
        grams.insert(0, near_one(gram)[0].reshape(a, -1, left, left))
    return grams
