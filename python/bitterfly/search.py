"""Choosing a chain: numerical ranks of a few sampled blocks predict what each ordering and each chain would store."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import ceil, log2
from typing import Any, Literal

import numpy as np

from bitterfly.hierarchy import Radices
from bitterfly.inputs import Array, IndexArray, Permutations, Side, as_permutation
from bitterfly.ordering import digit_reversal
from bitterfly.sources import OperatorSource, Source

_log = logging.getLogger("bitterfly")

Permute = Literal["auto"] | tuple[Side, Side] | None

# Chains that keep more than this share of the entries are no compression: kernels on them are slower than dense ones.
WORTHWHILE = 0.9
_SAMPLES = 12
_SIDES = (40, 112)  # rows and columns of a sampled block that are looked at: more where the rank needs them
_FINALISTS = 12  # chains predicted to be small that are looked at with more rows and columns
_TRIED = 3
_LEAVES = tuple(1 << k for k in range(1, 8))
_GROUPS = tuple(1 << k for k in range(8))


class IncompressibleError(ValueError):
    """The matrix is not a butterfly: blocks of all orderings tried have too high a rank.

    Attributes
    ----------
    rank, block : int, (int, int)
        Numerical rank of the sampled blocks of this shape in the best ordering.
    storage : float
        Smallest predicted number of factor entries, as a multiple of the entries of the matrix.
    """

    def __init__(self, message: str, rank: int = 0, block: tuple[int, int] = (0, 0), storage: float = 0.0) -> None:
        super().__init__(message)
        self.rank, self.block, self.storage = rank, block, storage


@dataclass(frozen=True)
class Ordering:
    """Order of both sides: a base order each (None: as given), and whether its digits are reversed.

    In a chain, blocks are residue classes of rows and runs of columns; reversing the digits of a side swaps classes
    and runs.
    """

    bases: Permutations
    reversed_rows: bool
    reversed_columns: bool

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
        most: int = _SIDES[-1],
        diagonal: bool = False,
        columns_rng: np.random.Generator | None = None,
    ) -> tuple[IndexArray, IndexArray]:
        """Return rows and columns, `most` of each, of a random block of a chain, or of one on the diagonal."""
        rngs = rng, rng if columns_rng is None else columns_rng
        places = [0.0, float(rngs[1].random())]
        places[0] = places[1] if diagonal else float(rng.random())
        strided = not self.reversed_rows, self.reversed_columns
        rows, columns = (
            _some(rngs[side], self.bases[side], shape[side], block[side], places[side], strided[side], most)
            for side in (0, 1)
        )
        return rows, columns

    @property
    def name(self) -> str:
        """Which sides are reversed."""
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
    index = first + count * np.arange(size) if strided else first * size + np.arange(size)
    if size > most:
        index = np.sort(rng.choice(index, most, replace=False))
    return index if base is None else base[index]


class RankProbe:
    """Numerical ranks of sampled blocks of a matrix, in one ordering."""

    def __init__(self, source: Source, ordering: Ordering, rtol: float, seed: int) -> None:
        self._source, self.ordering, self._seed = source, ordering, seed
        # Every split may discard this share of the energy; there are about log2 n of them.
        self._share = rtol**2 / max(1.0, log2(max(source.shape)) - 3)
        self._shared = isinstance(source, OperatorSource)
        self.rank = cache(self._rank)

    def _rank(self, height: int, width: int, sides: tuple[int, ...] = _SIDES) -> int:
        """Return the rank that most blocks of this size need; at least 1."""
        for most in sides:
            rank, seen = self._sampled(height, width, most)
            if seen == min(height, width) or 2 * rank <= seen:
                return rank
        # A sample with a rank near its size says nothing of the block beyond it.
        return min(height, width)

    def _sampled(self, height: int, width: int, most: int) -> tuple[int, int]:
        """Return the rank that `most` rows and columns of blocks of this size need, and what it can be at most."""
        rng = np.random.default_rng([self._seed, height, width])
        down, across = (max(1, size // side) for size, side in zip(self._source.shape, (height, width), strict=True))
        blocks, weights = [], []
        for at in range(_SAMPLES):
            # A quarter of the samples lies on the diagonal, where Green's functions are; they stand for fewer blocks.
            diagonal = at % 4 == 0
            # Columns of an operator are products: all blocks of a width share them.
            shared = np.random.default_rng([self._seed, width, at % 2]) if self._shared else None
            rows, columns = self.ordering.sample(
                self._source.shape, (height, width), rng, most, diagonal, columns_rng=shared
            )
            blocks.append(self._source.block(rows, columns))
            weights.append(max(down, across) if diagonal else down * across / 3)
        lost = np.asarray(weights, np.longdouble) @ _tails(np.stack(blocks))
        return max(1, int(np.argmax(lost <= self._share * lost[0]))), min(blocks[0].shape)


def _tails(blocks: Array) -> Array:
    """Return the energies that the ranks 0, 1, ... discard from blocks (..., rows, columns), in extended range."""
    wide = np.ascontiguousarray(blocks, np.result_type(blocks.dtype, np.float64))
    parts = wide.view(np.float64)
    largest = np.max(np.abs(parts), initial=0.0)
    if not np.isfinite(largest):
        raise ValueError("a: expected finite entries, got NaN or infinity")
    exponent = int(np.frexp(largest)[1])
    values = np.linalg.svd(np.ldexp(parts, -exponent).view(wide.dtype), compute_uv=False)
    energies = np.ldexp(values.astype(np.longdouble) ** 2, 2 * exponent)
    tails = np.cumsum(energies[..., ::-1], axis=-1)[..., ::-1]
    return np.append(tails, np.zeros_like(tails[..., :1]), axis=-1)


@dataclass(frozen=True)
class Choice:
    """A chain without its final ranks, its ordering, and what is predicted of it."""

    ordering: Ordering
    radices: Radices
    ranks: tuple[int, ...]
    entries: int


def families(shape: tuple[int, int]) -> Iterator[Radices]:
    """Yield the radices of the general dyadic family that fit a shape, padded where they must be."""
    m, n = shape
    seen = set()
    for leaf, groups in product(_LEAVES, _GROUPS):
        levels = int(log2(m / leaf)) if m >= 2 * leaf else 0
        while levels > 1 and groups << (levels - 1) > n:
            levels -= 1
        if levels < 1 or groups > n:
            continue
        columns = groups << (levels - 1)
        rows = (ceil(m / (1 << levels)), *[2] * levels)
        radices = Radices(rows, (groups, *[2] * (levels - 1), ceil(n / columns)))
        if radices not in seen:
            seen.add(radices)
            yield radices


def predicted(probe: RankProbe, radices: Radices, sides: tuple[int, ...] = _SIDES) -> Choice:
    """Predict the ranks of all junctions of a chain, and its entries."""
    height, width = 1, radices.shape[1]
    ranks: list[int] = []
    for p, q in zip(radices.rows[:-1], radices.columns[:-1], strict=True):
        height, width = height * p, width // q
        ranks.append(min(probe.rank(height, width, sides), p * (ranks[-1] if ranks else 1), width))
    chain = radices.chain(tuple(ranks))
    return Choice(probe.ordering, radices, tuple(ranks), chain.nnz)


def choose(source: Source, orderings: list[Ordering], rtol: float, seed: int) -> list[Choice]:
    """Return the chains with the least predicted storage, best first, all less than the matrix itself.

    Raises
    ------
    IncompressibleError
        Where there are none.
    """
    m, n = source.shape
    middle = (max(2, 1 << round(log2(4 * m) / 2)), max(2, 1 << round(log2(4 * n) / 2)))
    probes = [RankProbe(source, ordering, rtol, seed) for ordering in orderings]
    ranks = [probe.rank(*middle) for probe in probes]
    _log.debug("ranks of %d x %d blocks: %s", *middle, {p.ordering.name: r for p, r in zip(probes, ranks, strict=True)})
    hopeful = [probe for probe, rank in zip(probes, ranks, strict=True) if rank <= 2 * min(ranks)]
    drafts = sorted(
        ((predicted(probe, radices), probe) for probe in hopeful for radices in families(source.shape)),
        key=lambda draft: draft[0].entries,
    )
    # A first split that keeps nearly all directions of a leaf finds no structure, it only moves entries.
    drafts = [d for d in drafts if 4 * d[0].ranks[0] <= 3 * d[0].radices.rows[0]] or drafts
    choices = [predicted(probe, draft.radices, _SIDES[-1:]) for draft, probe in drafts[:_FINALISTS]]
    choices.sort(key=lambda c: c.entries)
    if not choices or choices[0].entries > WORTHWHILE * m * n:
        raise refusal(source, rtol, probes, ranks, middle, choices[0] if choices else None)
    choice = choices[0]
    _log.info("chose %s: predicted ranks %s, %.3g of the entries", choice.radices, choice.ranks, choice.entries / m / n)
    return [c for c in choices[:_TRIED] if c.entries <= min(WORTHWHILE * m * n, 1.3 * choice.entries)]


def refusal(
    source: Source,
    rtol: float,
    probes: list[RankProbe],
    ranks: list[int],
    block: tuple[int, int],
    choice: Choice | None,
) -> IncompressibleError:
    """Say what was measured."""
    m, n = source.shape
    found = ", ".join(f"{p.ordering.name}: {r}" for p, r in zip(probes, ranks, strict=True))
    ratio = choice.entries / (m * n) if choice is not None else float("inf")
    return IncompressibleError(
        f"a: not a butterfly at rtol={rtol:.3g}: sampled {block[0]} x {block[1]} blocks have numerical rank "
        f"{min(ranks)} of {min(block)} in the best ordering ({found}), and the smallest chain would take "
        f"{ratio:.2g} times the entries of the {m} x {n} matrix; pass a chain to factorize all the same",
        min(ranks),
        block,
        ratio,
    )


def orderings(bases: Permutations, rows: Any, columns: Any) -> list[Ordering]:
    """Return the candidates: both choices for a side that is not fixed (True or False)."""
    row_choices = (False, True) if rows is None else (rows,)
    column_choices = (False, True) if columns is None else (columns,)
    return [Ordering(bases, r, c) for r, c in product(row_choices, column_choices)]


def best_ordering(
    source: Source, candidates: list[Ordering], radices: Radices, ranks: tuple[int, ...], seed: int
) -> Ordering:
    """Return the ordering in which a chain of given ranks discards the least of a few sampled blocks."""
    if len(candidates) == 1 or not ranks:
        return candidates[0]
    heights = np.cumprod(radices.rows[:-1])
    widths = radices.shape[1] // np.cumprod(radices.columns[:-1])
    scores = []
    for ordering in candidates:
        lost = total = np.longdouble(0)
        for at in sorted({0, len(ranks) // 2, len(ranks) - 1}):
            rng = np.random.default_rng([seed, at])
            for _ in range(_SAMPLES):
                block = int(heights[at]), int(widths[at])
                tails = _tails(source.block(*ordering.sample(source.shape, block, rng)))
                lost, total = lost + tails[min(ranks[at], len(tails) - 1)], total + tails[0]
        # Differences at rounding level are ties: the first choice wins them.
        scores.append(round(float(lost / total), 9) if total > 0 else 0.0)
    _log.debug("energy fraction discarded on sampled blocks: %s", scores)
    return candidates[int(np.argmin(scores))]


def candidate_orderings(source: Source, permute: Permute) -> list[Ordering]:
    """Return the orderings that `permute` leaves open."""
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
        raise ValueError(f"permute: expected 'auto', None or a pair (rows, columns), got {permute!r}")
    return permute[0], permute[1]
