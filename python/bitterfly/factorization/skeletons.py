"""Butterflies from an entry function: skeleton rows level by level, no dense matrix."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.sampled import SAMPLED_ROWS, one_in_each_stratum, sampled_error
from bitterfly.chains.radices import Radices
from bitterfly.factorization.search import Choice, IncompressibleError
from bitterfly.inputs import Array, IndexArray, Permutations
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.sources.given import OperatorSource, Source
from bitterfly.sources.recovered import recovered
from bitterfly.stores.tiles import Skeleton
from bitterfly.workers import get_workers

_log = logging.getLogger("bitterfly")

_BLOCK_ENTRIES = 1 << 22  # of one call of the entry function, and of one that divides blocks
_RANK_BLOCKS = 256  # blocks of a level that decide its rank
_SPARE = 6  # columns sampled beyond the rank and a quarter of it
_SEEDS = 12  # one sampled column of so many is random
_MOST = 0.75  # of the columns of a block: where more are needed, all are taken
_AIM = 0.9  # of the tolerance: samples are left to chance
_ROUNDED = 2000  # eps below which combinations are worked out in double precision
_TRIALS = 6


class PermutedEntries:
    """The entries of the permuted matrix, zero where it is padded."""

    def __init__(self, source: Source, permutations: Permutations, dtype: np.dtype[Any]) -> None:
        self._source, self.dtype = source, dtype
        self._rows, self._columns = permutations

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        """Return the entries at ``rows x columns``."""
        rows = rows if self._rows is None else self._rows[rows]
        columns = columns if self._columns is None else self._columns[columns]
        m, n = self._source.shape
        inside, present = rows < m, columns < n
        if inside.all() and present.all():
            return np.asarray(self._source.block(rows, columns), self.dtype)
        out = np.zeros((len(rows), len(columns)), self.dtype)
        if inside.any() and present.any():
            out[np.ix_(inside, present)] = self._source.block(rows[inside], columns[present])
        return out


def _filled(known: Array, counts: Array, rng: np.random.Generator) -> Array:
    """Return flags of the known places and of others at random, ``counts[i]`` in row i."""
    keys = np.where(known, -1.0, rng.random(known.shape))
    ranks = np.argsort(np.argsort(keys, axis=1), axis=1)
    return np.asarray(ranks < counts[:, None])


class Level:
    """The blocks of one level, and their entries in sampled columns.

    Column group `i` of `a` covers `width` columns. Of these, ``columns[i]`` are sampled, at all candidate rows of its
    blocks: ``values[i, :, t]`` at the b rows ``rows[i, :, t]`` of the permuted matrix, t = 0 .. d - 1.
    """

    def __init__(self, rows: IndexArray, columns: IndexArray, values: Array, width: int) -> None:
        self.rows, self.columns, self.values, self.width = rows, columns, values, width
        self.groups, self.fresh = 1, np.zeros(columns.shape, bool)

    @classmethod
    def first(cls, shape: tuple[int, int], b: int, dtype: np.dtype[Any]) -> Level:
        """Return the level whose candidates are all rows, with nothing sampled."""
        m, n = shape
        return cls(np.arange(m).reshape(1, b, m // b), np.zeros((1, 0), np.intp), np.zeros((1, b, m // b, 0), dtype), n)

    @property
    def size(self) -> int:
        """Columns sampled of each of the groups into which the column groups are divided."""
        return int(self.columns.shape[1]) // self.groups

    def sample(self, entries: PermutedEntries, groups: int, size: int, rng: np.random.Generator) -> None:
        """Divide each column group into `groups`, and sample `size` columns of each, the known ones among them."""
        a, b, d = self.rows.shape
        width = self.width // groups
        known = np.zeros(a * self.width, bool)
        known[self.columns.reshape(-1)] = True
        size = max(size, int(known.reshape(-1, width).sum(axis=1).max()))
        if size >= _MOST * width:
            picked = np.ones_like(known)
        else:
            picked = self._picked(entries, known.reshape(-1, width), size, rng)
        columns = np.flatnonzero(picked).reshape(a, -1)
        fresh = ~known[columns]
        values = np.empty((a, b * d, columns.shape[1]), self.values.dtype)
        for i in range(a):
            values[i][:, ~fresh[i]] = self.values[i].reshape(b * d, -1)
            new, rows = columns[i][fresh[i]], self.rows[i].reshape(-1)
            height = max(1, _BLOCK_ENTRIES // max(1, len(new)))
            for first in range(0, len(rows) if len(new) else 0, height):
                part = slice(first, first + height)
                values[i, part, fresh[i]] = entries.block(rows[part], new).T
        self.columns, self.groups, self.fresh, self.values = columns, groups, fresh, values.reshape(a, b, d, -1)

    def _picked(self, entries: PermutedEntries, known: Array, size: int, rng: np.random.Generator) -> Array:
        """Return the columns to sample: of one block in each column group all are looked at, and pivoted QR picks.

        Columns of smooth kernels are nearly polynomials, in one variable or several: samples without the ends do not
        determine them. A few are taken at random, for what other blocks have and this one has not.
        """
        groups, width = known.shape
        a, b, d = self.rows.shape
        seeded = _filled(known, np.minimum(size, known.sum(axis=1) + 1 + size // _SEEDS), rng)
        probes = np.empty((a, b, self.width), self.values.dtype)
        for i, t in enumerate(rng.integers(d, size=a)):
            probes[i] = entries.block(self.rows[i, :, t], i * self.width + np.arange(self.width))
        probes = probes.reshape(a, b, groups // a, width).transpose(0, 2, 3, 1).reshape(groups, width, b)
        flags = _core.pivot_rows(np.ascontiguousarray(probes), seeded.astype(np.uint8), size, get_workers())
        return _filled(flags.astype(bool), np.full(groups, size), rng)

    def blocks(self) -> Iterator[tuple[slice, slice, Array]]:
        """Yield column groups, parts of them, and their blocks, (column groups, parts, d, b, columns)."""
        a, b, d = self.rows.shape
        values = self.values.reshape(a, b, d, self.groups, -1)
        many = max(1, _BLOCK_ENTRIES // values[0].size)
        step = max(1, self.groups * _BLOCK_ENTRIES // values[0].size)
        for i in range(0, a, many):
            for g in range(0, self.groups, step):
                part = values[i : i + many, :, :, g : g + step].transpose(0, 3, 2, 1, 4)
                yield slice(i, i + many), slice(g, g + step), np.ascontiguousarray(part)

    def some(self, count: int, rng: np.random.Generator) -> Array:
        """Return about `count` blocks, those at both ends of the columns among them."""
        a, b, d = self.rows.shape
        total = a * self.groups * d
        at = one_in_each_stratum(total, min(total, count), rng)
        if len(at) < total:
            at = np.union1d(at, [0, total - 1])
        group, t = np.divmod(at, d)
        i, g = np.divmod(group, self.groups)
        values = self.values.reshape(a, b, d, self.groups, -1)
        return np.ascontiguousarray(values[i, :, t, g])

    def divided(self, rank: int, p: int) -> tuple[Skeleton, Level]:
        """Return the factor of this level, and the next level: candidates are the rows chosen in `p` blocks each."""
        a, b, d = self.rows.shape
        pivots = np.empty((a, d, self.groups, b), bool)
        t = np.empty((a, d, self.groups, b - rank, rank), self.values.dtype)
        chosen = np.empty((a, self.groups, rank, d), np.intp)
        values = np.empty((a, self.groups, rank, d, self.size), self.values.dtype)
        for i, g, blocks in self.blocks():
            shape = blocks.shape[:3]
            flags, combinations, _ = _core.skeletonize(blocks.reshape(-1, b, self.size), rank, get_workers())
            flags = flags.astype(bool).reshape(*shape, b)
            pivots[i, :, g] = flags.swapaxes(1, 2)
            t[i, :, g] = combinations.reshape(*shape, b - rank, rank).swapaxes(1, 2)
            rows = np.broadcast_to(self.rows[i].swapaxes(1, 2)[:, None], flags.shape)
            chosen[i, g] = rows[flags].reshape(*shape, rank).swapaxes(2, 3)
            values[i, g] = blocks[flags].reshape(*shape, rank, self.size).swapaxes(2, 3)
        count = a * self.groups
        shape = (a * d, self.groups)
        factor = Skeleton((a, b, self.groups * rank, d), pivots.reshape(*shape, b), t.reshape(*shape, b - rank, rank))
        following = Level(
            chosen.reshape(count, rank * p, d // p),
            self.columns.reshape(count, -1),
            values.reshape(count, rank * p, d // p, -1),
            self.width // self.groups,
        )
        return factor, following


def from_skeletons(source: Source, choice: Choice, rtol: float, seed: int) -> ButterflyOperator:
    """Factorize from skeletons, stricter until random rows meet `rtol`.

    Raises
    ------
    ValueError
        Where they do not.
    """
    permutations = choice.ordering.permutations(choice.radices)
    rng, inner, reached = np.random.default_rng(seed), rtol, np.inf
    for trial in range(_TRIALS):
        if isinstance(source, OperatorSource):
            blocks = recovered(source, permutations, choice.radices, (max(choice.ranks) + 4) << trial, rng)
            factors = factorize_entries(blocks, (None, None), choice.radices, inner, rng, choice.ranks, 1 << trial)
        else:
            factors = factorize_entries(source, permutations, choice.radices, inner, rng, choice.ranks, 1 << trial)
        op = ButterflyOperator(factors, shape=source.shape, permutations=permutations)
        del factors
        estimate, upper = sampled_error(source, op, SAMPLED_ROWS, rng)
        _log.info("from entries: ranks %s, relative error %.2e, at most %.2e", op.chain.ranks, estimate, upper)
        if upper <= rtol:
            return ButterflyOperator.from_store(
                op.store, shape=op.shape, permutations=permutations, relative_error=upper, error_kind="estimated"
            )
        reached, least = min(reached, upper), float(np.finfo(source.dtype).eps)
        if inner <= least:
            break
        inner = max(least, inner * min(0.7, 0.7 * rtol / upper))
    message = (
        f"rtol: {rtol:.3g} is not met, skeletons reach {reached:.3g} (estimated on random rows) in {source.dtype}: "
        "blocks may have larger ranks than sampled columns show, at a singular diagonal, say; a dense array may do"
    )
    raise IncompressibleError(message, max(op.chain.ranks, default=0)) if reached > 10 * rtol else ValueError(message)


def factorize_entries(
    source: Source,
    permutations: Permutations,
    radices: Radices,
    rtol: float,
    rng: np.random.Generator,
    expected: tuple[int, ...],
    effort: int = 1,
) -> list[Skeleton | Array]:
    """Factorize level by level, each level choosing the rank that its share of `rtol` needs.

    In each block, pivoted QR of a few sampled columns picks the rows that stand for the others; the candidates are the
    rows that the level before picked. The columns sampled on a level are sampled on all that follow, and their
    entries kept. `effort` multiplies the columns beyond the ranks. O'Neil, Woolfe and Rokhlin, *An algorithm for
    the rapid evaluation of special function transforms*, Appl. Comput. Harmon. Anal. 28 (2010); Li and Yang,
    *Interpolative butterfly factorization*, SIAM J. Sci. Comput. 39 (2017).
    """
    fine = rtol > _ROUNDED * np.finfo(source.dtype).eps
    entries = PermutedEntries(source, permutations, source.dtype if fine else np.result_type(source.dtype, np.float64))
    level = Level.first(radices.shape, radices.rows[0], entries.dtype)
    widths = radices.shape[1] // np.cumprod(radices.columns[:-1])
    factors: list[Skeleton | Array] = []
    allowed = (_AIM * rtol) ** 2
    growth, ratio, left = 1.0, 1.0, allowed
    for at, (p, groups, width) in enumerate(zip(radices.rows[1:], radices.columns[:-1], widths, strict=True)):
        lossy = max(1, int(np.count_nonzero(widths[at:] > expected[at:])))  # levels that share what is left
        guess = ceil(expected[at] * ratio)
        while True:
            level.sample(entries, groups, guess + (guess // 4 + _SPARE) * effort, rng)
            rank, lost = _rank(level, left / lossy / growth, rng)
            if level.size == width or level.size >= rank + (rank // 5 + _SPARE - 2) * effort:
                break
            guess = rank + rank // 8 + 1
        ratio, left = rank / expected[at], max(left - lost * growth, allowed / 16)
        factor, level = level.divided(rank, p)
        # What later levels miss of a row passes through the interpolations before it.
        growth *= max(1.0, _growth(factor))
        factors.append(Skeleton(factor.pattern, factor.pivots, factor.t.astype(source.dtype, copy=False)))
        _log.debug(
            "level %d: width %d, %d columns, rank %d, misses %.2g, growth %.2g",
            at + 1,
            width,
            level.size,
            rank,
            np.sqrt(lost),
            growth,
        )
    level.sample(entries, 1, level.width, rng)
    return [*factors, np.ascontiguousarray(level.values.swapaxes(2, 3), source.dtype)]


def _growth(factor: Skeleton) -> float:
    """Return by how much the interpolations of a level enlarge the energy of errors, on average."""
    b, rank = factor.pivots.shape[2], factor.rank
    energy = float(np.sum(np.abs(factor.t) ** 2)) / (factor.pivots.size / b)  # of the other rows of a block
    return float((rank + energy) / b)


def _rank(level: Level, share: float, rng: np.random.Generator) -> tuple[int, float]:
    """Return the rank at which sampled blocks keep all but `share` of their energy, and the share that they lose.

    Columns that are not sampled lose more: `k` combinations are fitted to `s` columns, which leaves s - k degrees of
    freedom.
    """
    blocks = level.some(_RANK_BLOCKS, rng)
    lost = np.sum(_core.pivot_tails(blocks, share / 16, workers=get_workers()), axis=0)
    width, size = level.width // level.groups, level.size
    most = min(level.rows.shape[1], width)
    if size < width:
        lost[:size] *= size / (size - np.arange(size)[: len(lost)])
        lost[size:] = np.inf
    lost[most:] = 0
    rank = max(1, int(np.argmax(lost <= share * lost[0])))
    return rank, float(lost[rank] / lost[0]) if lost[0] > 0 else 0.0
