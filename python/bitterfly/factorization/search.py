"""Choosing a chain: numerical ranks of a few sampled blocks predict what each ordering and each chain would store."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from heapq import heapify, heappop, heapreplace
from itertools import product
from math import ceil, log2, prod
from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.chains import families
from bitterfly.chains.chain import Chain
from bitterfly.chains.radices import Radices
from bitterfly.factorization.orderings import MOST, Ordering
from bitterfly.inputs import Array, UnmetError
from bitterfly.sources.given import ArraySource, EntrySource, OperatorSource, Source
from bitterfly.stores.tiles import layouts, lean_ranks
from bitterfly.workers import get_workers

_log = logging.getLogger("bitterfly")

# Chains that keep more than this share of the bytes are no compression: kernels on them are slower than dense ones.
WORTHWHILE = 0.9
_SAMPLES = 12
_FEW_SAMPLES = 7  # of an entry function
_FEW_SIDES = (32, 64, MOST)
_NEARLY = 1.05  # times the least bytes that a chain can have: no more blocks are looked at
_SIDES = (40, MOST)  # rows and columns of a sampled block that are looked at: more where the rank needs them
_FINALISTS = 12  # chains predicted to be small that are looked at with more rows and columns
_TRIED = 3
_WHOLE = 256  # rows of a matrix of which one block can be divided as a whole
_NAMED = 4
_LEAVES = tuple(1 << k for k in range(1, 8))
_GROUPS = tuple(1 << k for k in range(8))
_MOST = 128  # largest leaf and number of groups of mixed radices
_CUTS = (16, 64, 256, 1024, 4096)  # blocks of the longer side of very rectangular matrices
_THIN = 8  # times the shorter side, from which on a matrix is very rectangular
_GAIN = 0.8  # times the bytes of truncated SVDs of a thin matrix, below which other chains are looked for
_GLANCES = (8, 40)  # rows and columns that show that a block has a larger rank than a chain can pay for


class IncompressibleError(UnmetError):
    """The matrix is not a butterfly: blocks of all orderings tried have too high a rank.

    Attributes
    ----------
    rank, block : int, (int, int)
        Numerical rank of the sampled blocks of this shape in the best ordering.
    storage : float
        Smallest predicted bytes of the factors, as a multiple of those of the matrix.
    """

    def __init__(self, message: str, rank: int = 0, block: tuple[int, int] = (0, 0), storage: float = 0.0) -> None:
        super().__init__(message)
        self.rank, self.block, self.storage = rank, block, storage

    @property
    def facts(self) -> str:
        """The message without the tolerance."""
        return re.sub(r"^a: not a butterfly at rtol=\S+: ", "", str(self))

    def at(self, rtol: float) -> IncompressibleError:
        """Return the same for the tolerance that was asked for, of which the search was given a share."""
        message = f"a: not a butterfly at rtol={rtol:.3g}: {self.facts}"
        return IncompressibleError(message, self.rank, self.block, self.storage)

    def transposed(self) -> IncompressibleError:
        """Return the same for a matrix whose transpose was searched."""
        message = f"{self}; blocks and ranks are those of a.T, since a is tall"
        return IncompressibleError(message, self.rank, self.block[::-1], self.storage)


class RankProbe:
    """Numerical ranks of sampled blocks of a matrix, in one ordering."""

    def __init__(self, source: Source, ordering: Ordering, rtol: float, seed: int) -> None:
        self._source, self.ordering, self._seed = source, ordering, seed
        # Every split may discard this share of the energy; there are about log2 n of them.
        self._share = rtol**2 / max(1.0, log2(max(source.shape)) - 3)
        self._shared = isinstance(source, OperatorSource)
        self._few = isinstance(source, EntrySource)
        self._samples = _FEW_SAMPLES if self._few else _SAMPLES
        self._sides: tuple[int, ...] = _FEW_SIDES if self._few else _SIDES
        self.rank, self.look = cache(self._rank), cache(self._look)

    def nbytes(self, radices: Radices, ranks: tuple[int, ...]) -> int:
        """Return the bytes of factors with these ranks."""
        return stored_bytes(radices.chain(ranks), self._source.shape, self._source.dtype)

    def skeleton_nbytes(self, radices: Radices, ranks: tuple[int, ...]) -> int:
        """Return the bytes of skeletons of these ranks; those of identities, not stored but multiplied, count half."""
        return self._source.dtype.itemsize * _entries(radices, ranks)

    def _rank(self, height: int, width: int, sides: tuple[int, ...] | None = None) -> int:
        """Return the rank that most blocks of this size need; at least 1."""
        for most in self._sides if sides is None else sides:
            rank, is_known = self._glance(height, width, most)
            if is_known:
                return rank
        # A sample with a rank near its size says nothing of the block beyond it.
        return min(height, width)

    def _look(self, height: int, width: int, number: int) -> tuple[int, bool]:
        """Return what look `number` = 0, 1, ... says of the rank, and whether that is it, or a bound from below."""
        rank, is_known = self._glance(height, width, self._sides[number])
        is_last = number == len(self._sides) - 1
        return (rank, is_known) if is_known or not is_last else (min(height, width), True)

    def _glance(self, height: int, width: int, most: int) -> tuple[int, bool]:
        """Return the rank that `most` rows and columns of blocks show, and whether it is that of the blocks."""
        (m, n), size = self._source.shape, min(height, width)
        height, width = min(height, m), min(width, n)
        rank, seen = self._sampled(height, width, most)
        # Few samples are taken again sooner: nothing but the skeletons themselves corrects them.
        enough = 5 * rank <= 2 * seen if self._few and most < MOST else 2 * rank <= seen
        return min(rank, size), seen == min(height, width) or enough

    def _sampled(self, height: int, width: int, most: int) -> tuple[int, int]:
        """Return the rank that `most` rows and columns of blocks of this size need, and what it can be at most."""
        rng = np.random.default_rng([self._seed, height, width])
        down, across = (max(1, size // side) for size, side in zip(self._source.shape, (height, width), strict=True))
        blocks, weights = [], []
        on_diagonal = ceil(self._samples / 4)
        row_parts, whole = rng.permutation(self._samples) / self._samples, ((0.0, 1.0), (0.0, 1.0))
        for at in range(self._samples):
            # A quarter of the samples lies on the diagonal, where Green's functions are; they stand for fewer blocks.
            diagonal = at % 4 == 0
            # Columns of an operator are products: all blocks of a width share them.
            shared = np.random.default_rng([self._seed, width, at % 2]) if self._shared else None
            length = 1 / self._samples
            parts = ((float(row_parts[at]), length), (at * length, length)) if self._few else whole
            rows, columns = self.ordering.sample(
                self._source.shape, (height, width), rng, most, diagonal, shared, parts
            )
            blocks.append(self._source.block(rows, columns))
            weights.append(
                max(down, across) if diagonal else down * across * on_diagonal / (self._samples - on_diagonal)
            )
        lost = np.asarray(weights, np.longdouble) @ _tails(np.stack(blocks), self._share / 16)
        return max(1, int(np.argmax(lost <= self._share * lost[0]))), min(blocks[0].shape)


def _tails(blocks: Array, enough: float = 0.0) -> Array:
    """Return the energies that the ranks 0, 1, ... discard from each of blocks (count, rows, columns), in one unit.

    Ranks that leave less than `enough` of a block may leave the same. By pivoted QR, twice, not by an SVD: ranks are
    the same but for one in some cases, it takes a fraction of the time, and one thread, where those of a BLAS wait for
    each other in small SVDs.
    """
    wide = np.ascontiguousarray(blocks, np.result_type(blocks.dtype, np.float64))
    if not np.all(np.isfinite(wide)):
        raise ValueError("a: expected finite entries, got NaN or infinity")
    return _core.pivot_tails(wide, enough, of_any=True, workers=get_workers())


@dataclass(frozen=True)
class Choice:
    """A chain without its final ranks, its ordering, and the bytes that are predicted of it."""

    ordering: Ordering
    radices: Radices
    ranks: tuple[int, ...]
    nbytes: int


def stored_bytes(chain: Chain, shape: tuple[int, int], dtype: np.dtype[Any]) -> int:
    """Return the bytes of factors as a search keeps them, with what fills up tiles."""
    if chain.is_square_dyadic and chain.shape == shape:
        return chain.nbytes(dtype)
    return sum(at.nbytes(dtype) for at in layouts(chain, lean_ranks(chain, dtype)))


def svds(shape: tuple[int, int]) -> list[Radices]:
    """Return the radices of truncated SVDs, of a matrix with few rows and of blocks of the longer side of thin ones."""
    m, n = shape
    found = [Radices((m, 1), (1, n))] if m <= _WHOLE else []
    for cuts in _CUTS:  # enough of them to fill the tiles
        if _THIN * n <= m and 2 * cuts <= m:
            found.append(Radices((ceil(m / cuts), cuts), (1, n)))
        if _THIN * m <= n and 2 * cuts <= n:
            found.append(Radices((m, 1), (cuts, ceil(n / cuts))))
    return found


def dyadic(shape: tuple[int, int]) -> list[Radices]:
    """Return the radices of the general dyadic family that fit a shape, padded where they must be, and of SVDs."""
    m, n = shape
    found = svds(shape)
    for leaf, groups in product(_LEAVES, _GROUPS):
        levels = int(log2(m / leaf)) if m >= 2 * leaf else 0
        while levels > 1 and groups << (levels - 1) > n:
            levels -= 1
        if levels < 1 or groups > n:
            continue
        columns = groups << (levels - 1)
        rows = (ceil(m / (1 << levels)), *[2] * levels)
        found.append(Radices(rows, (groups, *[2] * (levels - 1), ceil(n / columns))))
    return list(dict.fromkeys(found))


def mixed(shape: tuple[int, int]) -> list[Radices]:
    """Return the same with the prime factors of sides that are no powers of two, as many of one as of the other."""
    rows, columns = (families.primes(families.smooth(size)) for size in shape)
    count = len(rows)
    if count != len(columns) or max(rows + columns, default=2) == 2:
        return []
    found = []
    for k, g in product(range(1, count), range(count)):
        levels = min(count - k, count - g)
        leaf, groups = prod(rows[: count - levels]), prod(columns[:g])
        if max(leaf, groups) <= _MOST:
            splits = columns[g : g + levels - 1]
            found.append(Radices((leaf, *rows[count - levels :]), (groups, *splits, prod(columns[g + levels - 1 :]))))
    return list(dict.fromkeys(found))


def _middle_of(radices: Radices) -> tuple[int, int]:
    """Return the rows and columns of the blocks at the junction in the middle."""
    at = len(radices.rows) // 2
    return prod(radices.rows[:at]), prod(radices.columns[at:])


def _hopeful(probes: list[RankProbe], block: tuple[int, int]) -> tuple[list[int], list[RankProbe]]:
    """Return the ranks of blocks in all orderings, and the probes of those in which they are small."""
    ranks = _middle_ranks(probes, block)
    _log.debug("ranks of %d x %d blocks: %s", *block, {p.ordering.name: r for p, r in zip(probes, ranks, strict=True)})
    return ranks, [probe for probe, rank in zip(probes, ranks, strict=True) if rank <= 2 * min(ranks)]


def _drafts(probes: list[RankProbe], radices: list[Radices], limit: float) -> list[tuple[Choice, RankProbe]]:
    """Return what is predicted of all chains in all orderings, where that is below the limit."""
    pairs = [(_within(probe, one, limit), probe) for probe in probes for one in radices]
    return [(draft, probe) for draft, probe in pairs if draft is not None]


def predicted(
    probe: RankProbe, radices: Radices, sides: tuple[int, ...] | None = None, limit: float = np.inf
) -> Choice | None:
    """Predict the ranks of all junctions of a chain, and its bytes; None where these are not below the limit."""
    height, width = 1, radices.shape[1]
    ranks: list[int] = []
    splits = len(radices.rows) - 1
    nbytes = probe.nbytes(radices, (1,) * splits)
    for p, q in zip(radices.rows[:-1], radices.columns[:-1], strict=True):
        if nbytes >= limit:
            return None
        height, width = height * p, width // q
        ranks.append(min(probe.rank(height, width, sides), p * (ranks[-1] if ranks else 1), width))
        if limit < np.inf or len(ranks) == splits:
            nbytes = probe.nbytes(radices, (*ranks, *[1] * (splits - len(ranks))))
    return Choice(probe.ordering, radices, tuple(ranks), nbytes) if nbytes < limit else None


def _within(probe: RankProbe, radices: Radices, limit: float) -> Choice | None:
    """As `predicted`, with fewer rows and columns first where there is a limit."""
    glances = [(side,) for side in _GLANCES] if limit < np.inf else []
    for sides in (*glances, _SIDES):
        choice = predicted(probe, radices, sides, limit)
        if choice is None:
            break
    return choice


def choose(
    source: Source,
    orderings: list[Ordering],
    rtol: float,
    seed: int,
    limit: float = np.inf,
    known: Choice | None = None,
    worthwhile: float = WORTHWHILE,
) -> list[Choice]:
    """Return the chains with the least predicted bytes, best first, all less than those of the matrix.

    With a limit, that of a chain already found, only such as take fewer bytes; there may be none. What is known of
    thin matrices, `thinnest`, is one of the candidates. `worthwhile` is the share of the bytes of the matrix above
    which there are none.

    Raises
    ------
    IncompressibleError
        Where there are none, without a limit.
    """
    m, n = source.shape
    dense = m * n * source.dtype.itemsize
    middle = (min(m, 1 << round(log2(4 * m) / 2)), min(n, 1 << round(log2(4 * n) / 2)))
    probes = [RankProbe(source, ordering, rtol, seed) for ordering in orderings]
    ranks: list[int] | None = None
    choices: list[Choice] = [] if known is None or known.nbytes >= limit else [known]
    candidates, most = dyadic((m, n)), limit
    if known is not None:
        most = min(limit, worth_finding(known), WORTHWHILE * dense)
        candidates = _below([*candidates, *mixed((m, n))], source, most)
    if candidates:
        ranks, hopeful = _hopeful(probes, middle)
        if isinstance(source, EntrySource):
            found = [least(probe, candidates, probe.skeleton_nbytes, most) for probe in hopeful]
        elif known is not None:
            found = [least(probe, candidates, probe.nbytes, most) for probe in hopeful]
        else:
            found = [*_choices(source, probes, hopeful, most)]
        choices = [*sorted([c for c in found if c is not None], key=lambda c: c.nbytes), *choices]
    if limit == np.inf and (not choices or choices[0].nbytes > worthwhile * dense):
        ranks = _middle_ranks(probes, middle) if ranks is None else ranks
        raise refusal(source, rtol, probes, ranks, middle, choices[0] if choices else None)
    if not choices:
        return []
    choice = choices[0]
    _log.info("chose %s: predicted ranks %s, %.3g of the bytes", choice.radices, choice.ranks, choice.nbytes / dense)
    return [c for c in choices[:_TRIED] if c.nbytes <= min(WORTHWHILE * dense, 1.3 * choice.nbytes)]


def thinnest(source: Source, orderings: list[Ordering], rtol: float, seed: int) -> Choice | None:
    """Return the smallest of truncated SVDs of blocks of the longer side, of an array that is thin; else None."""
    m, n = source.shape
    if not isinstance(source, ArraySource) or max(m, n) < _THIN * min(m, n) or min(m, n) > _WHOLE:
        return None
    # All of the shorter side is in each block: its order does not matter.
    side = 1 if m <= n else 0
    sides = {(id(o.bases[side]), (o.reversed_rows, o.reversed_columns)[side]): o for o in reversed(orderings)}
    probes = [RankProbe(source, ordering, rtol, seed) for ordering in reversed(sides.values())]
    best, dense = None, m * n * source.dtype.itemsize
    for probe in probes:
        best = least(probe, svds((m, n)), probe.nbytes, WORTHWHILE * dense if best is None else best.nbytes) or best
    if best is not None:
        return best
    drafts = [draft for radices in svds((m, n)) if (draft := predicted(probes[0], radices)) is not None]
    return min(drafts, key=lambda choice: choice.nbytes)


def worth_finding(known: Choice | None) -> float:
    """Return the bytes below which other chains are looked for where truncated SVDs are known."""
    return np.inf if known is None else _GAIN * known.nbytes


def _below(candidates: list[Radices], source: Source, limit: float) -> list[Radices]:
    """Return the chains, but for truncated SVDs, whose entries, of rank one, are below the limit of bytes."""
    known = svds(source.shape)
    return [r for r in candidates if r not in known and _least_entries(r) * source.dtype.itemsize < limit]


def _least_entries(radices: Radices) -> int:
    """Return the entries of skeletons of rank one, but for identities."""
    total, before, after, last = 0, 1, radices.shape[0], len(radices.rows) - 1
    for at, (p, q) in enumerate(zip(radices.rows, radices.columns, strict=True)):
        after //= p
        total += before * after * q * (p - (at < last))
        before *= q
    return total


def _choices(source: Source, probes: list[RankProbe], hopeful: list[RankProbe], limit: float) -> list[Choice]:
    """Return the chains with the least predicted bytes, best first."""
    m, n = source.shape
    drafts = _drafts(hopeful, dyadic((m, n)), limit)
    others = mixed((m, n))
    if others:
        known = sorted(draft[0].nbytes for draft in drafts)
        _, hopeful = _hopeful(probes, _middle_of(others[0]))
        drafts += _drafts(hopeful, others, min([limit, *known[_FINALISTS - 1 : _FINALISTS]]))
    drafts.sort(key=lambda draft: draft[0].nbytes)
    # A first split that keeps nearly all directions of a leaf finds no structure, it only moves entries.
    drafts = [d for d in drafts if 4 * d[0].ranks[0] <= 3 * min(d[0].radices.rows[0], n)] or drafts
    finals = [predicted(probe, draft.radices, _SIDES[-1:], limit) for draft, probe in drafts[:_FINALISTS]]
    return sorted([final for final in finals if final is not None], key=lambda c: c.nbytes)


def _middle_ranks(probes: list[RankProbe], block: tuple[int, int]) -> list[int]:
    """Return the ranks of blocks of this size in all orderings; of hopeless ones what a few rows and columns show."""
    ranks, looks, known = [1] * len(probes), [0] * len(probes), [False] * len(probes)
    while True:
        hopeful = [at for at, rank in enumerate(ranks) if not known[at] and rank <= 2 * min(ranks)]
        if not hopeful:
            return ranks
        at = min(hopeful, key=ranks.__getitem__)
        ranks[at], known[at] = probes[at].look(*block, looks[at])
        looks[at] += 1


def least(
    probe: RankProbe, candidates: Iterable[Radices], cost: Callable[[Radices, tuple[int, ...]], int], limit: float
) -> Choice | None:
    """Return the chain that is predicted to be smallest, from no more blocks than it takes to know that.

    Ranks grow with the sides of blocks: those seen bound others from below, and with them the bytes of chains, as
    `cost` says them. The chain of the least bound is looked at, until its ranks are known; None where all reach the
    limit.
    """
    junctions = {radices: _junctions(radices) for radices in candidates}
    bounds = dict.fromkeys((size for sizes in junctions.values() for size in sizes), 1)
    looks = dict.fromkeys(bounds, 0)
    known: set[tuple[int, int]] = set()

    def bound(radices: Radices) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
        """Return the least ranks, and the blocks that may need larger ones."""
        ranks, unknown, most = [], [], 1
        for p, (height, width) in zip(radices.rows, junctions[radices], strict=False):
            most = min(p * most, width)
            if bounds[height, width] < most:
                most = bounds[height, width]
                unknown += [(height, width)] if (height, width) not in known else []
            ranks.append(most)
        return tuple(ranks), unknown

    best: Choice | None = None
    heap = [(cost(radices, bound(radices)[0]), at, radices) for at, radices in enumerate(junctions)]
    heapify(heap)
    while heap:
        nbytes, at, radices = heap[0]
        if nbytes >= limit or (best is not None and best.nbytes <= _NEARLY * nbytes):
            break
        ranks, unknown = bound(radices)
        if nbytes == cost(radices, ranks):
            if not unknown:
                heappop(heap)
                # A first split that keeps nearly all directions of a leaf finds no structure, it only moves entries.
                moved = ranks and 4 * ranks[0] > 3 * min(radices.rows[0], radices.shape[1])
                if not moved and (best is None or nbytes < best.nbytes):
                    best = Choice(probe.ordering, radices, ranks, nbytes)
                continue
            size = unknown[len(unknown) // 2]
            rank, is_known = probe.look(*size, looks[size])
            looks[size] += 1
            known |= {size} if is_known else set()
            for other in bounds:
                if other == size or (other not in known and other[0] >= size[0] and other[1] >= size[1]):
                    bounds[other] = max(bounds[other], rank)
        heapreplace(heap, (cost(radices, bound(radices)[0]), at, radices))
    return best


def _junctions(radices: Radices) -> list[tuple[int, int]]:
    """Return the heights and widths of the blocks at the junctions."""
    heights = np.cumprod(radices.rows[:-1]).tolist()
    widths = (radices.shape[1] // np.cumprod(radices.columns[:-1])).tolist()
    return list(zip(heights, widths, strict=True))


def _entries(radices: Radices, ranks: tuple[int, ...]) -> int:
    """Return the entries of skeletons of these ranks, half of those of identities among them."""
    total, before, after = 0, 1, radices.shape[0]
    for p, q, left, right in zip(radices.rows, radices.columns, (1, *ranks), (*ranks, 0), strict=True):
        after //= p
        total += before * after * q * (2 * p * left - right) * max(1, right)
        before *= q
    return total // 2


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
    best = sorted(zip(ranks, (p.ordering.name for p in probes), strict=True), key=lambda pair: pair[0])[:_NAMED]
    found = ", ".join(f"{name}: {rank}" for rank, name in best)
    ratio = choice.nbytes / (m * n * source.dtype.itemsize) if choice is not None else float("inf")
    facts = (
        "factors of a single row or column take no fewer bytes; keep the array"
        if min(m, n) == 1
        else f"sampled {block[0]} x {block[1]} blocks have numerical rank {min(ranks)} of {min(block)} in the best "
        f"ordering ({found}), and the smallest chain would take {ratio:#.2g} times the bytes of the {m} x {n} matrix; "
        "pass a chain to factorize all the same"
    )
    return IncompressibleError(f"a: not a butterfly at rtol={rtol:.3g}: {facts}", min(ranks), block, ratio)


def best_ordering(
    source: Source, candidates: list[Ordering], radices: Radices, ranks: tuple[int, ...], seed: int
) -> Ordering:
    """Return the ordering in which a chain of given ranks discards the least of a few sampled blocks."""
    if len(candidates) == 1 or not ranks:
        return candidates[0]
    best, least = candidates[0], np.inf
    for ordering in candidates:
        score = _discarded(source, ordering, radices, ranks, seed)
        _log.debug("%s: energy fraction discarded on sampled blocks %s", ordering.name, score)
        if score < least:
            best, least = ordering, score
        if least == 0:
            break
    return best


def rank_one_ordering(
    source: Source, candidates: list[Ordering], radices: Radices, rtol: float, seed: int
) -> Ordering | None:
    """Return the ordering in which small samples look most like a chain of rank one; None where none does."""
    ranks = (1,) * (len(radices.rows) - 1)
    most = max(4 * rtol**2, 1e-9)
    best: Ordering | None = None
    for ordering in candidates:
        score = _discarded(source, ordering, radices, ranks, seed, _GLANCES[0], most)
        if score < most or (best is None and score == most):
            best, most = ordering, score
    return best


def _discarded(
    source: Source,
    ordering: Ordering,
    radices: Radices,
    ranks: tuple[int, ...],
    seed: int,
    most: int | None = None,
    limit: float | None = None,
) -> float:
    """Return the share of the energy of sampled blocks that a chain discards, to nine digits behind the point.

    Differences at rounding level are ties. No more junctions are looked at once one discards far more than the limit.
    """
    heights = np.cumprod(radices.rows[:-1])
    widths = radices.shape[1] // np.cumprod(radices.columns[:-1])
    lost = total = np.longdouble(0)
    for at in sorted({0, len(ranks) // 2, len(ranks) - 1}):
        rng = np.random.default_rng([seed, at])
        block = int(heights[at]), int(widths[at])
        side = most or next((side for side in _SIDES if 2 * ranks[at] <= side), MOST)
        samples = [ordering.sample(source.shape, block, rng, side) for _ in range(_SAMPLES)]
        tails = np.sum(_tails(np.stack([source.block(*sample) for sample in samples])), axis=0)
        lost, total = lost + tails[min(ranks[at], len(tails) - 1)], total + tails[0]
        if limit is not None and lost > 100 * limit * total:
            break
    return round(float(lost / total), 9) if total > 0 else 0.0
