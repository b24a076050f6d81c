"""Orders of rows and columns: which ones a search tries, and where the blocks of a chain lie in them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np

from bitterfly.chains.radices import Radices
from bitterfly.inputs import IndexArray, Permutations, Side, as_permutation
from bitterfly.ordering import digit_reversal, recursive
from bitterfly.sources.given import Source

Permute = Literal["auto", "recursive"] | tuple[Side, Side] | None

MOST = 112  # rows and columns of a block that are looked at


@dataclass(frozen=True)
class Ordering:
    """Order of both sides: a base order each (None: as given), and whether its digits are reversed.

    In a chain, blocks are residue classes of rows and runs of columns; reversing the digits of a side swaps classes
    and runs.
    """

    bases: Permutations
    reversed_rows: bool
    reversed_columns: bool
    label: str = ""

    def permutations(self, radices: Radices) -> Permutations:
        """Return the index arrays for a chain of these radices, as long as its padded sides."""
        m, n = radices.shape
        row_digits = (radices.a, *radices.rows, radices.d)
        column_digits = (radices.a, *radices.columns, radices.d)
        rows = _side(self.bases[0], m, digit_reversal(row_digits) if self.reversed_rows else None)
        columns = _side(self.bases[1], n, digit_reversal(column_digits) if self.reversed_columns else None)
        return rows, columns

    def sample(
        self,
        shape: tuple[int, int],
        block: tuple[int, int],
        rng: np.random.Generator,
        most: int = MOST,
        diagonal: bool = False,
        columns_rng: np.random.Generator | None = None,
        parts: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 1.0), (0.0, 1.0)),
    ) -> tuple[IndexArray, IndexArray]:
        """Return rows and columns, `most` of each, of a random block of a chain, or of one on the diagonal.

        The block lies in these parts, first place and length, of the rows and of the columns.
        """
        rngs = rng, rng if columns_rng is None else columns_rng
        places = [0.0, float(rngs[1].random())]
        places[0] = places[1] if diagonal else float(rng.random())
        if not diagonal:
            places = [first + length * place for (first, length), place in zip(parts, places, strict=True)]
        strided = not self.reversed_rows, self.reversed_columns
        rows, columns = (
            _some(rngs[side], self.bases[side], shape[side], block[side], places[side], strided[side], most)
            for side in (0, 1)
        )
        return rows, columns

    @property
    def name(self) -> str:
        """Which sides are reversed, or what the base orders are called."""
        if self.label:
            return self.label
        sides = [side for side, on in (("rows", self.reversed_rows), ("columns", self.reversed_columns)) if on]
        return f"{' and '.join(sides)} reversed" if sides else "natural"


def _side(base: IndexArray | None, size: int, reversal: IndexArray | None) -> IndexArray | None:
    if base is None:
        return reversal
    padded = np.concatenate([base, np.arange(len(base), size)])
    return padded if reversal is None else padded[reversal]


def _some(
    rng: np.random.Generator, base: IndexArray | None, total: int, size: int, place: float, strided: bool, most: int
) -> IndexArray:
    """Return at most `most` indices of a residue class, or of an aligned run, of `size` indices; 0 <= place < 1."""
    size = min(size, total)
    count = total // size
    first = int(place * count)
    places = np.arange(size) if size <= most else np.sort(rng.choice(size, most, replace=False))
    index = first + count * places if strided else first * size + places
    return index if base is None else base[index]


def orderings(bases: Permutations, rows: Any, columns: Any) -> list[Ordering]:
    """Return the candidates: both choices for a side that is not fixed (True or False)."""
    row_choices = (False, True) if rows is None else (rows,)
    column_choices = (False, True) if columns is None else (columns,)
    return [Ordering(bases, r, c) for r, c in product(row_choices, column_choices)]


def recursive_orderings(shape: tuple[int, int]) -> list[Ordering]:
    """Return all pairs of the eight classical recursive permutations of both sides.

    Raises
    ------
    ValueError
        Where a side is no power of two.
    """
    if any(size & (size - 1) for size in shape):
        raise ValueError(
            f"permute: 'recursive' needs sides that are powers of two, the matrix is {shape[0]} x {shape[1]}"
        )
    sides = [{name: None if name == "identity" else order for name, order in recursive(size).items()} for size in shape]
    return [
        Ordering((rows, columns), False, False, f"rows {row_name}, columns {column_name}")
        for (row_name, rows), (column_name, columns) in product(sides[0].items(), sides[1].items())
    ]


def candidate_orderings(source: Source, permute: Permute) -> list[Ordering]:
    """Return the orderings that `permute` leaves open."""
    if isinstance(permute, str) and permute == "recursive":
        return recursive_orderings(source.shape)
    if permute is None or permute == "auto":
        fixed = None if permute == "auto" else False
        return orderings((None, None), fixed, fixed)
    sides: list[tuple[IndexArray | None, bool | None]] = []
    for at, (side, size) in enumerate(zip(sides_of(permute), source.shape, strict=True)):
        if side is None or isinstance(side, str):
            as_permutation(side, (1,), f"permute[{at}]")
            sides.append((None, side is not None))
        else:
            sides.append((as_permutation(side, (size,), f"permute[{at}]"), None))
    return orderings((sides[0][0], sides[1][0]), sides[0][1], sides[1][1])


def sides_of(permute: Permute) -> tuple[Side, Side]:
    """Return the pair (rows, columns), checked."""
    if isinstance(permute, str) or not isinstance(permute, (tuple, list)) or len(permute) != 2:
        raise ValueError(f"permute: expected 'auto', 'recursive', None or a pair (rows, columns), got {permute!r}")
    return permute[0], permute[1]
