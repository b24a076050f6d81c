"""Chains of rank one with digits in any order: which digits of a row and of a column an entry couples, from minors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitterfly.chains import families
from bitterfly.chains.radices import Radices
from bitterfly.factorization.orderings import Ordering
from bitterfly.inputs import Array, IndexArray, Permutations
from bitterfly.powers import near_one
from bitterfly.sources.given import Source

_BASES = 5  # rows and columns at which the minors of two digits are taken, each with each
_DOUBT = 8.0  # times the tolerance: the largest of 25 minors of noise beside its root mean square, and its four terms
_COARSE = 0.05  # a tolerance from which on minors tell nothing
_PADDED = 8  # largest padded side over the shorter one: as many times the work of a split


@dataclass(frozen=True)
class Digit:
    """The digit ``index // weight % radix``."""

    radix: int
    weight: int

    def fits(self, free: list[Digit]) -> int | None:
        """Return the number of the free part of the index of which this is a digit."""
        for at, part in enumerate(free):
            local, rest = divmod(self.weight, part.weight)
            if rest == 0 and local > 0 and part.radix % (local * self.radix) == 0:
                return at
        return None

    def without(self, free: list[Digit]) -> list[Digit]:
        """Return the free parts above and below this digit, and the others."""
        at = self.fits(free)
        assert at is not None
        part, above = free[at], self.weight * self.radix
        rest = [Digit(part.radix * part.weight // above, above), Digit(self.weight // part.weight, part.weight)]
        return [*free[:at], *(x for x in rest if x.radix > 1), *free[at + 1 :]]


def digits_of(size: int) -> list[Digit]:
    """Return all digits of prime radix that some mixed-radix system of a size has, most significant first."""
    weights = np.flatnonzero(size % np.arange(1, size) == 0) + 1
    primes = sorted(set(families.primes(size)))
    return [Digit(p, w) for w in weights[::-1].tolist() for p in primes if size % (w * p) == 0]


def rank_one_chains(source: Source, rtol: float) -> Iterator[tuple[Ordering, Radices]]:
    """Yield orders of digits, and radices, in which the matrix may be a chain of rank one.

    Two rows that differ in one digit are multiples of each other on columns that agree in the digits coupled to it. A
    chain splits off digits of rows one by one; those of columns split before must hold all that the digit is coupled
    to. The Fourier matrix couples a digit of rows to all lower digits of columns, a Kronecker product couples digits of
    one axis only, the Hadamard matrix one digit to one. Padded: `n` rows or columns of a larger transform as well.
    """
    if rtol >= _COARSE:
        return
    m, n = (families.smooth(size) for size in source.shape)
    side = max(m, n)
    for shape in dict.fromkeys([(m, n), (side, side)] if side <= _PADDED * min(m, n) else [(m, n)]):
        found = _order(source, shape, rtol)
        if found is not None:
            yield found


def _order(source: Source, shape: tuple[int, int], rtol: float) -> tuple[Ordering, Radices] | None:
    rows, columns = (digits_of(size) for size in shape)
    if not rows or not columns:
        return None
    coupled = _couplings(source, shape, rows, columns, _DOUBT * rtol)
    if not coupled.any() or coupled.all():
        return None  # rank one as a whole, or no structure of this kind
    chosen = _paired(rows, columns, shape, coupled)
    if chosen is None:
        return None
    orders = _numbers([row for row, _ in chosen]), _numbers([column for _, column in chosen])
    bases: Permutations = tuple(None if np.array_equal(x, np.arange(len(x))) else x for x in orders)  # type: ignore[assignment]
    radices = Radices(tuple(row.radix for row, _ in chosen), tuple(column.radix for _, column in chosen))
    return Ordering(bases, False, False, "digits reordered"), radices


def _couplings(source: Source, shape: tuple[int, int], rows: list[Digit], columns: list[Digit], least: float) -> Array:
    """Return which digits of rows are coupled to which of columns, from 2 x 2 minors beside the mean energy."""
    rng = np.random.default_rng(0)
    places = [_places(size, digits, rng) for size, digits in zip(source.shape, (rows, columns), strict=True)]
    sides = list(zip(places, source.shape, strict=True))
    rows_read, columns_read = (np.where(p < size, p, 0).ravel() for p, size in sides)
    block = np.asarray(source.block(rows_read, columns_read))
    block = block.astype(np.result_type(block.dtype, np.float64)).reshape(*places[0].shape, *places[1].shape)
    inside = [p < size for p, size in sides]
    block = block * (inside[0][:, :, None, None] & inside[1][None, None])
    if not block.any() or not np.all(np.isfinite(block)):
        return np.zeros((len(rows), len(columns)), bool)
    block = near_one(block)[0]
    base, left, right = block[:, :1, :, :1], block[:, 1:, :, :1], block[:, :1, :, 1:]
    minors = np.abs(base * block[:, 1:, :, 1:] - left * right)
    mean = float(np.mean(np.abs(block) ** 2))
    coupled: Array = np.max(minors, axis=(0, 2)) > max(least, 1e3 * float(np.finfo(source.dtype).eps)) * mean
    return coupled


def _places(size: int, digits: list[Digit], rng: np.random.Generator) -> IndexArray:
    """Return for some indices below `size` the same with each one of the digits changed: (bases, 1 + digits)."""
    bases = rng.integers(0, size, _BASES)
    weights, radices = (np.array([getattr(x, name) for x in digits]) for name in ("weight", "radix"))
    have = bases[:, None] // weights % radices
    steps = rng.integers(1, radices, have.shape)
    changed = bases[:, None] + ((have + steps) % radices - have) * weights
    return np.concatenate([bases[:, None], changed], axis=1)


def _paired(
    rows: list[Digit], columns: list[Digit], shape: tuple[int, int], coupled: Array
) -> list[tuple[Digit, Digit]] | None:
    """Split off digits one by one, each of rows coupled only to those of columns split before or with it."""
    free_rows, free_columns = ([Digit(size, 1)] for size in shape)
    chosen: list[tuple[Digit, Digit]] = []
    while free_rows or free_columns:
        pair = _next(rows, columns, free_rows, free_columns, coupled)
        if pair is None:
            return None
        chosen.append(pair)
        free_rows = pair[0].without(free_rows) if pair[0].radix > 1 else free_rows
        free_columns = pair[1].without(free_columns) if pair[1].radix > 1 else free_columns
    return chosen


def _next(
    rows: list[Digit], columns: list[Digit], free_rows: list[Digit], free_columns: list[Digit], coupled: Array
) -> tuple[Digit, Digit] | None:
    """Return a pair of equal radices if there is one, else any, else what is left of one side."""
    one = Digit(1, 1)
    left, right = (
        np.flatnonzero(_parts_of(*side).any(axis=1)).tolist() for side in ((rows, free_rows), (columns, free_columns))
    )
    if not right:
        return rows[left[0]], one
    if not left:
        return one, columns[right[0]]
    still = still_free(columns, free_columns)[right]
    allowed = ~(coupled[left].astype(int) @ still.T.astype(int)).astype(bool)
    equal = _numbers_of(rows)[left, :1] == _numbers_of(columns)[right, 0]
    for fits in (allowed & equal, allowed):
        at = np.argwhere(fits)
        if len(at):
            return rows[left[at[0][0]]], columns[right[at[0][1]]]
    return None


def _numbers_of(digits: list[Digit]) -> Array:
    """Return (radix, weight) of each digit."""
    return np.array([(x.radix, x.weight) for x in digits]).reshape(-1, 2)


def _parts_of(digits: list[Digit], free: list[Digit]) -> Array:
    """Return of which free parts each digit is one, as `Digit.fits`."""
    radix, weight = _numbers_of(digits).T[:, :, None]
    part_radix, part_weight = _numbers_of(free).T
    local = weight // part_weight
    fits: Array = (weight % part_weight == 0) & (local > 0) & (part_radix % np.maximum(local * radix, 1) == 0)
    return fits


def still_free(digits: list[Digit], free: list[Digit]) -> Array:
    """Return for each digit of a free part which ones are still free once it is split off, (digits, digits)."""
    parts = _parts_of(digits, free)
    radix, weight = _numbers_of(digits).T
    # Two digits of one part are free of each other where one lies above the other.
    above = weight[None] % (weight * radix)[:, None] == 0
    below = weight[:, None] % (weight * radix)[None] == 0
    same = parts.astype(int) @ parts.T.astype(int) > 0
    free_after: Array = parts.any(axis=1) & (~same | above | below)
    return free_after


def _numbers(digits: list[Digit]) -> IndexArray:
    """Return the index with these digits for each of their values, the first one most significant."""
    out = np.zeros(1, np.intp)
    for digit in digits:
        out = (out[:, None] + digit.weight * np.arange(digit.radix)).reshape(-1)
    return out
