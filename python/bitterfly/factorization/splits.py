"""The left-to-right factorization on any chain: split by split, with a ledger of what each discards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import numpy as np

from bitterfly import _core
from bitterfly.chains.radices import Radices
from bitterfly.inputs import Array, Permutations
from bitterfly.sources.given import ArraySource, Source
from bitterfly.workers import threaded

_log = logging.getLogger("bitterfly")

_CHUNK_BYTES = 1 << 25
_PARALLEL = 1 << 18  # numbers, from which on threads pay
_PARTS = 16  # of a large chunk, whatever the number of threads: sums of energies depend on where they are cut
# Chooses the rank of a split from the squared singular values of all blocks, (blocks, b) in falling order.
RankRule = Callable[[Array], int]


@dataclass
class Ledger:
    """Energies: of the matrix, and what was discarded outside the support and by each split."""

    total: float = 0.0
    outside: float = 0.0
    splits: list[float] = field(default_factory=list)

    @property
    def discarded(self) -> float:
        return self.outside + sum(self.splits)

    @property
    def relative(self) -> float:
        """Relative error in the Frobenius norm."""
        return float(np.sqrt(self.discarded / self.total)) if self.total > 0 else 0.0


class PaddedRows:
    """The permuted matrix, padded with zeros, as blocks of rows (i, j, t) with the columns of their support."""

    def __init__(
        self, source: Source, permutations: Permutations, radices: Radices, ledger: Ledger, scale: float = 1.0
    ) -> None:
        self._source, self._radices, self._ledger, self._scale = source, radices, ledger, scale
        rows, columns = permutations
        self._rows = np.arange(radices.shape[0]) if rows is None else rows
        self._columns = columns
        self._plain = rows is None and columns is None and radices.shape == source.shape

    def chunks(self) -> Iterator[tuple[int, Array]]:
        """Yield (t, block) with blocks of shape (a, b, some t, columns)."""
        radices = self._radices
        a, b, d = radices.a, radices.rows[0], self._d
        width = max(1, _CHUNK_BYTES // (a * b * radices.shape[1] * self._source.dtype.itemsize))
        self._ledger.outside = 0.0
        for first in range(0, d, width):
            t = np.arange(first, min(first + width, d))
            yield first, self._on_support(self._read(t), t)

    @property
    def _d(self) -> int:
        return self._radices.d * int(np.prod(self._radices.rows[1:]))

    def _read(self, t: Array) -> Array:
        """Return the rows (i, j, t) of the padded, permuted matrix."""
        a, b, d, n = self._radices.a, self._radices.rows[0], self._d, self._radices.shape[1]
        source = self._source
        if self._plain and a == 1 and isinstance(source, ArraySource):
            split = source.array.reshape(1, b, d, n)  # only the row axis is cut: a view for any strides
            return split[:, :, t[0] : t[-1] + 1]
        wanted = self._rows.reshape(a, b, d)[:, :, t].reshape(-1)
        inside = wanted < source.shape[0]
        got = source.rows(wanted[inside]) if inside.any() else np.zeros((0, source.shape[1]), source.dtype)
        if self._columns is None and inside.all():
            return _padded(np.asarray(got, source.dtype), n).reshape(a, b, len(t), n)
        out = np.zeros((len(wanted), n), source.dtype)
        if self._columns is None:
            out[inside, : source.shape[1]] = got
        else:
            present = np.flatnonzero(self._columns < source.shape[1])
            out[np.ix_(inside, present)] = got[:, self._columns[present]]
        return out.reshape(a, b, len(t), n)

    def _on_support(self, block: Array, t: Array) -> Array:
        """Keep the columns that the pattern of the product allows; the rest goes to the ledger."""
        a, last = self._radices.a, self._radices.d
        if a == 1 and last == 1:
            return block
        parts = block.reshape(*block.shape[:3], a, -1, last).copy()
        i, where = np.arange(a), t % last
        kept = np.empty((*block.shape[:3], parts.shape[4]), block.dtype)
        for at, residue in enumerate(where):
            kept[:, :, at] = parts[i, :, at, i, :, residue]
            parts[i, :, at, i, :, residue] = 0
        wide = parts.astype(np.result_type(parts.dtype, np.float64))
        self._ledger.outside += float(np.sum(np.abs(wide * self._scale) ** 2))
        return kept


def _padded(a: Array, n: int) -> Array:
    """Return `n` columns, zeros behind those of `a`, in its memory order."""
    if n == a.shape[1]:
        return a
    out = np.empty((a.shape[0], n), a.dtype, order="F" if a.flags.f_contiguous else "C")
    out[:, : a.shape[1]] = a
    out[:, a.shape[1] :] = 0
    return out


def left_to_right(
    source: Source,
    permutations: Permutations,
    radices: Radices,
    ranks: tuple[int, ...] | None,
    rule: Callable[[int, float, float], float] | None = None,
    scale: float = 1.0,
    floor: float = 0.0,
) -> tuple[list[Array], tuple[int, ...], Ledger]:
    """Factorize, with the ranks given; with a rule, each the smallest that it allows, and at most the one given.

    Parameters
    ----------
    rule : callable
        ``rule(split, total, discarded)`` returns the energy that split number `split` may discard.
    scale : float
        A power of two by which entries are multiplied, and the last factor divided.
    floor : float
        Share of a block's energy below which its singular values are not needed.

    Returns
    -------
    factors, ranks, ledger
        4-D arrays in the dtype of the source.
    """
    ledger = Ledger()
    panels = PaddedRows(source, permutations, radices, ledger, scale)
    chunks: Callable[[], Iterator[tuple[int, Array]]] = panels.chunks
    factors, used = [], []
    a, d = radices.a, radices.d * int(np.prod(radices.rows))
    b, columns = 0, radices.shape[1] // (radices.a * radices.d)
    rank = 1
    for at, (p, groups) in enumerate(zip(radices.rows[:-1], radices.columns[:-1], strict=True)):
        b, d = rank * p, d // p
        step = _Split(chunks, (a, b, d, columns), groups, source.dtype, scale if at == 0 else 1.0)
        if rule is None:
            assert ranks is not None
            rank = ranks[at]
            factor, right, total, lost = step.fixed(rank)
        else:
            values, vectors, total = step.spectra(floor)
            budget = rule(at, (total + ledger.outside) if at == 0 else ledger.total, ledger.discarded)
            rank, lost = smallest_rank(values, budget, b if ranks is None else ranks[at])
            factor, right = step.project(vectors, rank)
            del vectors
        if at == 0:
            ledger.total = total + ledger.outside
        ledger.splits.append(lost)
        factors.append(factor)
        used.append(rank)
        a, columns = a * groups, columns // groups
        chunks = _whole(right.reshape(a, rank * radices.rows[at + 1], d // radices.rows[at + 1], columns))
        _log.debug("split %d: blocks of %d rows, rank %d, discarded %.3e", at, b, rank, lost)
    last = _last_factor(chunks, scale if len(radices.rows) == 1 else 1.0)
    if len(radices.rows) == 1:
        wide = last.astype(np.result_type(last.dtype, np.float64))
        ledger.total = float(np.sum(np.abs(wide) ** 2)) + ledger.outside
    factors.append(_scaled_back(last, scale, ledger) if scale != 1 else last)
    return factors, tuple(used), ledger


def _scaled_back(last: Array, scale: float, ledger: Ledger) -> Array:
    """Divide the last factor; what underflows is lost in the range of the others, orthogonal to what splits discard."""
    out = last / np.asarray(scale, last.real.dtype)
    wide = np.result_type(last.dtype, np.float64)
    lost = out.astype(wide) * scale - last.astype(wide)
    ledger.splits.append(float(np.sum(np.abs(lost) ** 2)))
    return cast(Array, out)


def smallest_rank(values: Array, budget: float, most: int) -> tuple[int, float]:
    """Return the smallest rank (at most `most`) whose discarded energy is within the budget, and that energy."""
    flat = values.reshape(-1, values.shape[-1])
    tails = np.append(np.cumsum(np.sum(flat, axis=0)[::-1])[::-1], 0.0)
    rank = min(max(1, int(np.argmax(tails <= max(budget, 0.0)))), most)
    return rank, float(tails[rank])


def _whole(right: Array) -> Callable[[], Iterator[tuple[int, Array]]]:
    return lambda: iter([(0, right)])


def _last_factor(chunks: Callable[[], Iterator[tuple[int, Array]]], scale: float) -> Array:
    parts = [block for _, block in chunks()]
    right = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    right = right * np.asarray(scale, right.real.dtype) if scale != 1 else right
    return np.ascontiguousarray(right.transpose(0, 1, 3, 2))


class _Split:
    """One split: chunks of blocks in, a factor and the next right part out."""

    def __init__(
        self,
        chunks: Callable[[], Iterator[tuple[int, Array]]],
        shape: tuple[int, int, int, int],
        groups: int,
        dtype: np.dtype[Any],
        scale: float,
    ) -> None:
        self._chunks, self._groups, self._dtype, self._scale = chunks, groups, dtype, scale
        self._a, self._b, self._d, self._columns = shape

    def _results(self, rank: int) -> tuple[Array, Array]:
        factor = _core.aligned_empty([self._a, self._b, self._groups * rank, self._d], self._dtype)
        shape = [self._a, self._groups, rank, self._d, self._columns // self._groups]
        return factor, _core.aligned_empty(shape, self._dtype)

    def fixed(self, rank: int) -> tuple[Array, Array, float, float]:
        factor, right = self._results(rank)

        def work(block: Array, rows: slice, first: int) -> tuple[float, float]:
            return _core.split(block, self._groups, rank, first, factor[rows], right[rows], self._scale)

        sums = self._all(work)
        return factor, right, sum(s[0] for s in sums), sum(s[1] for s in sums)

    def spectra(self, floor: float) -> tuple[Array, Array, float]:
        blocks = (self._a, self._groups, self._d, self._b)
        values = np.empty(blocks)
        vectors = np.empty((*blocks, self._b), np.complex128 if self._dtype.kind == "c" else np.float64)

        def work(block: Array, rows: slice, first: int) -> float:
            return _core.spectra(block, self._groups, floor, first, values[rows], vectors[rows], self._scale)

        return values, vectors, sum(self._all(work))

    def project(self, vectors: Array, rank: int) -> tuple[Array, Array]:
        factor, right = self._results(rank)

        def work(block: Array, rows: slice, first: int) -> None:
            _core.project(block, self._groups, vectors[rows], rank, first, factor[rows], right[rows], self._scale)

        self._all(work)
        return factor, right

    def _all(self, work: Callable[[Array, slice, int], Any]) -> list[Any]:
        """Call ``work(block, rows of the results, first t)`` for all chunks, for parts of large ones in threads."""
        results: list[Any] = []
        for first, block in self._chunks():
            axis = 0 if block.shape[0] >= block.shape[2] else 2
            parts = min(_PARTS, block.shape[axis]) if block.size >= _PARALLEL else 1
            cuts = list(pairwise(np.linspace(0, block.shape[axis], parts + 1).astype(int).tolist()))

            def one(cut: tuple[int, int], block: Array = block, axis: int = axis, first: int = first) -> Any:
                part = slice(*cut)
                if axis == 0:
                    return work(block[part], part, first)
                return work(block[:, :, part], slice(None), first + cut[0])

            results += threaded(one, cuts)
        return results
