"""Butterflies from an entry function: skeleton rows level by level, no dense matrix."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from bitterfly import _core
from bitterfly.estimate import SAMPLED_ROWS, one_in_each_stratum, sampled_error
from bitterfly.hierarchy import Radices
from bitterfly.inputs import Array, IndexArray, Permutations
from bitterfly.operator import ButterflyOperator
from bitterfly.randomized import recovered
from bitterfly.search import Choice, IncompressibleError
from bitterfly.sources import OperatorSource, Source
from bitterfly.tiles import Skeleton
from bitterfly.workers import get_workers

_log = logging.getLogger("bitterfly")

_BLOCK_ENTRIES = 1 << 22  # of one call of the entry function
_RANK_GROUPS = 12  # column groups of a level that decide its rank
_OVERSAMPLED = 10
_AHEAD = 4
_TRIALS = 6


class PermutedEntries:
    """The entries of the permuted matrix, zero where it is padded."""

    def __init__(self, source: Source, permutations: Permutations) -> None:
        self._source = source
        self._rows, self._columns = permutations
        self.dtype = source.dtype

    def block(self, rows: IndexArray, columns: IndexArray) -> Array:
        """Return the entries at ``rows x columns``; large blocks in several calls."""
        rows = rows if self._rows is None else self._rows[rows]
        columns = columns if self._columns is None else self._columns[columns]
        m, n = self._source.shape
        inside, present = rows < m, columns < n
        if inside.all() and present.all():
            return self._read(rows, columns)
        out = np.zeros((len(rows), len(columns)), self.dtype)
        if inside.any() and present.any():
            out[np.ix_(inside, present)] = self._read(rows[inside], columns[present])
        return out

    def _read(self, rows: IndexArray, columns: IndexArray) -> Array:
        height = max(1, _BLOCK_ENTRIES // len(columns))
        if height >= len(rows):
            return np.asarray(self._source.block(rows, columns), self.dtype)
        parts = [self._source.block(rows[i : i + height], columns) for i in range(0, len(rows), height)]
        return np.concatenate(parts).astype(self.dtype, copy=False)


def _spread(width: int, count: int, rng: np.random.Generator) -> IndexArray:
    """Return about `count` of ``range(width)``: half denser towards the ends, as Chebyshev nodes, half random.

    Columns of smooth kernels are nearly polynomials, which samples without the ends do not determine.
    """
    if count >= width:
        return np.arange(width)
    half = (count + 1) // 2
    nodes = np.round((1 - np.cos(np.pi * np.linspace(0, 1, half))) / 2 * (width - 1))
    return np.unique(np.concatenate([nodes.astype(np.intp), one_in_each_stratum(width, count - half, rng)]))


@dataclass(frozen=True)
class Level:
    """One level: which blocks there are, and the candidate rows of each.

    Column group `x` of all `count` groups covers `width` columns; its candidates for the row groups t = 0 .. d - 1 are
    ``candidates[x // groups, :, t]`` (b rows of the permuted matrix).
    """

    candidates: IndexArray  # (a, b, d)
    groups: int
    width: int

    @property
    def count(self) -> int:
        return int(self.candidates.shape[0]) * self.groups

    def samples(self, entries: PermutedEntries, group: int, effort: int, rng: np.random.Generator) -> Array:
        """Return sampled columns of all blocks of one column group, (d, b, columns)."""
        _, b, d = self.candidates.shape
        size = min(self.width, b + _OVERSAMPLED * effort)
        columns = group * self.width + _spread(self.width, size, rng)
        rows = self.candidates[group // self.groups]
        block = entries.block(rows.reshape(-1), columns)
        return np.ascontiguousarray(block.reshape(b, d, len(columns)).transpose(1, 0, 2))


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
            factors = factorize_entries(blocks, (None, None), choice.radices, inner, rng, 1 << trial)
        else:
            factors = factorize_entries(source, permutations, choice.radices, inner, rng, 1 << trial)
        op = ButterflyOperator(factors, shape=source.shape, permutations=permutations)
        del factors
        estimate, upper = sampled_error(source, op, SAMPLED_ROWS, rng)
        _log.info("from entries: ranks %s, relative error %.2e, at most %.2e", op.chain.ranks, estimate, upper)
        if upper <= rtol:
            return ButterflyOperator.from_store(
                op.store, shape=op.shape, permutations=permutations, relative_error=upper, error_kind="estimated"
            )
        reached, inner = min(reached, upper), inner * min(0.5, 0.5 * rtol / upper)
        if inner < np.finfo(source.dtype).eps:
            break
    message = (
        f"rtol: {rtol:.3g} is not met, skeletons reach {reached:.3g} (estimated on random rows) in {source.dtype}: "
        "blocks may have larger ranks than sampled columns show, at a singular diagonal, say; a dense array may do"
    )
    raise IncompressibleError(message, max(op.chain.ranks, default=0)) if reached > 10 * rtol else ValueError(message)


def factorize_entries(
    source: Source, permutations: Permutations, radices: Radices, rtol: float, rng: np.random.Generator, effort: int = 1
) -> list[Skeleton | Array]:
    """Factorize level by level, each level choosing the rank that its share of `rtol` needs.

    In each block, pivoted QR of a few sampled columns picks the rows that stand for the others; the candidates are the
    rows that the level before picked. `effort` multiplies the columns beyond the candidates, and the column groups that
    decide on ranks. O'Neil, Woolfe and Rokhlin, *An algorithm for the rapid evaluation of special
    function transforms*, Appl. Comput. Harmon. Anal. 28 (2010); Li and Yang, *Interpolative butterfly factorization*,
    SIAM J. Sci. Comput. 39 (2017).
    """
    entries = PermutedEntries(source, permutations)
    m, n = radices.shape
    share = rtol**2 / max(1, len(radices.rows) - 1)
    b, d = radices.rows[0], m // radices.rows[0]
    rows = np.arange(m).reshape(1, b, d)
    width, factors, growth = n, [], 1.0
    for p, groups in zip(radices.rows[1:], radices.columns[:-1], strict=True):
        width //= groups
        level = Level(rows, groups, width)
        rank = _rank(entries, level, share / growth, effort, rng)
        factor, chosen = _skeletons(entries, level, rank, effort, rng)
        # What this and later levels miss of a row passes through the interpolations before it.
        growth *= max(1.0, (1 + float(np.mean(np.sum(np.abs(factor.t) ** 2, axis=3)) if factor.t.size else 1)) / 2)
        factors.append(factor)
        _log.debug(
            "level %d: blocks of %d x %d, rank %d, growth %.2g", len(factors), m // rows.shape[2], width, rank, growth
        )
        a, d = level.count, rows.shape[2] // p
        rows = chosen.reshape(a, rank * p, d)
    return [*factors, _last(entries, rows[:, :, 0], width)]


def _rank(entries: PermutedEntries, level: Level, share: float, effort: int, rng: np.random.Generator) -> int:
    """Return the rank at which sampled blocks, those at both ends among them, keep all but `share` of their energy."""
    some = one_in_each_stratum(level.count, min(level.count, _RANK_GROUPS * effort), rng)
    groups = np.union1d(some, [0, level.count - 1])
    lost = np.zeros(level.candidates.shape[1] + 1)
    for group in groups:
        blocks = level.samples(entries, int(group), effort, rng)
        lost += np.sum(_core.pivot_tails(blocks), axis=0)
    most = min(int(level.candidates.shape[1]), level.width)
    return min(max(1, int(np.argmax(lost <= share * lost[0]))), most)


def _skeletons(
    entries: PermutedEntries, level: Level, rank: int, effort: int, rng: np.random.Generator
) -> tuple[Skeleton, IndexArray]:
    """Return the factor of a level and the rows chosen, (a*groups, rank, d) of the permuted matrix."""
    a, b, d = level.candidates.shape
    pivots = np.empty((a, d, level.groups, b), bool)
    t = np.empty((a, d, level.groups, b - rank, rank), entries.dtype)
    chosen = np.empty((level.count, rank, d), np.intp)

    def divide(group: int, blocks: Array) -> None:
        i, g = divmod(group, level.groups)
        flags, combinations, _ = _core.skeletonize(blocks, rank, get_workers())
        pivots[i, :, g], t[i, :, g] = flags, combinations
        chosen[group] = level.candidates[i].T[flags.astype(bool)].reshape(d, rank).T

    running: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as pool:  # blocks are divided while this thread evaluates entries
        for group in range(level.count):
            blocks = level.samples(entries, group, effort, rng)
            running.append(pool.submit(divide, group, blocks))
            if len(running) > _AHEAD:
                running.popleft().result()
        for last in running:
            last.result()
    pattern = (a, b, level.groups * rank, d)
    shape = (a * d, level.groups)
    return Skeleton(pattern, pivots.reshape(*shape, b), t.reshape(*shape, b - rank, rank)), chosen


def _last(entries: PermutedEntries, rows: IndexArray, width: int) -> Array:
    """Return the last factor: the entries of the skeleton rows of each column group."""
    a, b = rows.shape
    out = np.empty((a, b, width, 1), entries.dtype)
    for group in range(a):
        out[group, :, :, 0] = entries.block(rows[group], group * width + np.arange(width))
    return out
