"""How many bits each factor gets: for an error the fewest bytes, for bytes the least error."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from bitterfly.inputs import UnmetError
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.quantization.knapsack import Knapsack, Option, widths_of
from bitterfly.quantization.tiles import Recoder, kinds_of, packed_operator, wrapped
from bitterfly.stores.kinds import TILED_BITS, Code
from bitterfly.stores.tile_codes import TiledCodes, plan
from bitterfly.stores.tiles import planes_of

_log = logging.getLogger("bitterfly")

TRIES = 4  # choices of widths that are measured, at most
_CODINGS = 12  # until the widths chosen are those coded, or take hardly more bytes than what is predicted then
_NEAR = 1.003
_AIM, _SPENT = 0.997, 0.97  # of the error allowed: at which a trial aims, of which one has made enough use
_LOWER, _LESS = 64, 0.98  # of a change whose prediction was refused and comes again


class Allocation:
    """The bytes and the error of each factor of an operator at every width of its integer codes.

    What each factor loses comes from the ledger of a coding, and falls by four with every bit: from the nearest width
    at which the factor was coded. The sum is the squared error of all (reverse water-filling by the knapsack).

    Parameters
    ----------
    op : ButterflyOperator
    kind : {"skeleton", "lattice"}
    width : int
        At which all factors are coded first, best near the widths that will be chosen.
    rng : numpy.random.Generator
        Draws the vectors on which large operators are measured.
    """

    def __init__(self, op: ButterflyOperator, kind: str, width: int, rng: np.random.Generator) -> None:
        self._op, self._rng, self._recoder = op, rng, Recoder(op, kind)
        chain = op.store.chain
        self._layouts = plan(chain, [Code(name, 0) for name in kinds_of(chain, kind)])
        self._fixed: int = 4 * sum(at.pivot_words for at in self._layouts) + op.dtype.itemsize * chain.shape[1]
        self._fixed += 8 * len(chain) + sum(4 * p.size for p in op.base_permutations if p is not None)
        self._squares: list[dict[int, float]] = [{} for _ in chain]
        self._last: tuple[list[int], TiledCodes | None] = [], None
        self._coded([width] * len(chain))

    def _coded(self, widths: list[int]) -> TiledCodes:
        """Return the codes of these widths, and keep what each factor loses."""
        found = self._last[1]
        if found is None or self._last[0] != widths:
            found, losses = self._recoder(widths)
            self._last = list(widths), found
            for known, width, loss in zip(self._squares, widths, losses, strict=True):
                known[width] = loss
        return found

    @property
    def _parts(self) -> list[list[Option]]:
        planes = planes_of(np.dtype(self._op.dtype))
        return [
            [Option(4 * at.words(w, planes), _square_at(known, w), w) for w in range(TILED_BITS[0], TILED_BITS[1] + 1)]
            for at, known in zip(self._layouts, self._squares, strict=True)
        ]

    @property
    def least(self) -> int:
        """The bytes of all buffers at the least width."""
        return self._fixed + Knapsack(self._parts).least

    def within(self, change: float) -> list[int] | None:
        """Return widths of few bytes at which the ledger of the codes is at most `change`."""
        for _ in range(_CODINGS):
            options = Knapsack(self._parts).within(change**2)
            if options is None:
                return None
            now = [part[w - TILED_BITS[0]] for part, w in zip(self._parts, self._last[0], strict=True)]
            enough = sum(o.square for o in now) <= change**2
            if enough and sum(o.nbytes for o in now) <= _NEAR * sum(o.nbytes for o in options):
                break
            self._coded([o.width for o in options])
        return self._last[0]

    def of_bytes(self, nbytes: int) -> list[int] | None:
        """Return the widths of the least predicted change in at most `nbytes`."""
        return widths_of(Knapsack(self._parts).in_bytes(nbytes - self._fixed))

    def of_bits(self, mean: float) -> list[int] | None:
        """Return the widths of the least predicted change whose mean over the numbers stored is at most `mean`."""
        weights = [at.entries for at in self._layouts]
        parts = [[o._replace(nbytes=w * o.width) for o in part] for w, part in zip(weights, self._parts, strict=True)]
        return widths_of(Knapsack(parts).in_bytes(int((mean + 1e-9) * sum(weights))))

    def change(self, widths: list[int]) -> float:
        """Return what codes of these widths change, by the ledger."""
        squares = (_square_at(known, width) for known, width in zip(self._squares, widths, strict=True))
        return math.sqrt(sum(squares))

    def coded(self, widths: list[int]) -> PackedButterfly:
        """Return the operator with codes of these widths, its error not known yet."""
        return wrapped(self._op, self._coded(widths))

    def packed(self, widths: list[int]) -> PackedButterfly:
        """Return the operator with codes of these widths; its error is measured against `op`."""
        return packed_operator(self._op, self._coded(widths), self._rng)


def _square_at(known: dict[int, float], width: int) -> float:
    """Return what a factor loses at a width, by a factor of four a bit from the nearest width that is known."""
    nearest = min(known, key=lambda other: abs(other - width))
    return known[nearest] * 4.0 ** (nearest - width)


def fewest_bytes(
    op: ButterflyOperator,
    kind: str,
    rtol: float,
    room: Callable[[float], float],
    accepted: Callable[[Allocation, list[int]], tuple[PackedButterfly, float]],
    rng: np.random.Generator,
) -> tuple[PackedButterfly, float]:
    """Return integer codes of few bytes, each factor in bits of its own, that are accepted.

    Parameters
    ----------
    rtol : float
        The error allowed.
    room : callable
        What an error, of factors and codes, leaves to the codes: their change, relative to `op`.
    accepted : callable
        Returns the operator of these widths, and its error as a ratio to `rtol`: at most 1 is good.

    Returns
    -------
    packed : PackedButterfly
        Of the widest codes where no others were accepted.
    excess : float
        By how much its error exceeds what is allowed.
    """
    chain, (least, most), change = op.store.chain, TILED_BITS, max(room(rtol), 0.0)
    start = int(np.clip(np.ceil(-np.log2(change)), least, most)) if change > 0 else most
    allocation, best, tried = Allocation(op, kind, start, rng), None, []
    for _ in range(TRIES):
        widths = allocation.within(change)
        if widths is None or widths in tried:
            break
        tried.append(widths)
        trial, excess = accepted(allocation, widths)
        _log.debug("widths %s: %d bytes, %.3g of the error allowed", widths, trial.nbytes, excess)
        is_refused = not excess <= 1
        if not is_refused and (best is None or trial.nbytes < best[0].nbytes):
            best = trial, excess
        if not np.isfinite(excess) or (best is not None and (is_refused or excess > _SPENT)):
            break
        # What the codes change, measured, is this ratio of what the ledger says.
        measured, predicted = room(excess * rtol), allocation.change(widths)
        ratio = min(max(measured / predicted, 0.1), 10.0) if predicted > 0 else 1.0
        change = max(room(_AIM * rtol), 0.0) / ratio
    return best or accepted(allocation, [most] * len(chain))


def unmet(rtol: float, widest: PackedButterfly, op: ButterflyOperator) -> str:
    """Say what the widest codes reach."""
    reached = f"{widest.mean_bits:.4g} bits per stored number reach {widest.relative_error:.3g}"
    reached += f", the float factors {op.relative_error:.3g}"
    return f"rtol: {rtol:.3g} cannot be met: {reached}"


def fewest_bits(
    op: ButterflyOperator, widths: range, coded: Callable[[int], PackedButterfly], rtol: float, every: bool
) -> PackedButterfly:
    """Return the codes of the least equal width whose error is at most `rtol`, else raise a ValueError.

    Parameters
    ----------
    widths : range
        What there is to choose from, in steps of one: bits of a code.
    coded : callable
        Returns `op` at a width.
    every : bool
        Try the widths one by one, since errors need not fall with every bit; otherwise bisect.
    """
    low, high = widths[0], widths[-1]
    best = coded(high)
    if not best.relative_error <= rtol:
        raise UnmetError(unmet(rtol, best, op))
    if every:
        return next((trial for trial in map(coded, widths[:-1]) if trial.relative_error <= rtol), best)
    while low < high:
        middle = (low + high) // 2
        trial = coded(middle)
        if trial.relative_error <= rtol:
            best, high = trial, middle
        else:
            low = middle + 1
    return best


class Predicted(Protocol):
    """A choice of precisions by predicted errors."""

    def within(self, change: float) -> Any:
        """Return what takes the fewest bytes for a predicted change of at most `change`, or None."""

    def packed(self, widths: Any, /) -> PackedButterfly:
        """Return the operator with codes of these precisions."""


def refine(
    allocation: Predicted, packed: PackedButterfly, change: float, accepted: Callable[[PackedButterfly], float]
) -> PackedButterfly:
    """Return the first trial that is accepted and takes fewer bytes than `packed`, else `packed`.

    Parameters
    ----------
    packed : PackedButterfly
        Codes of equal width that meet the tolerance.
    change : float
        What the codes may change, relative to the float factors.
    accepted : callable
        Returns by how much a trial's error exceeds what is allowed, as a ratio: at most 1 is good.
    """
    widths = None
    for _ in range(TRIES):
        widths, change = _other(allocation, change, widths)
        trial = None if widths is None else allocation.packed(widths)
        if trial is None or trial.nbytes >= packed.nbytes:
            break
        excess = accepted(trial)
        _log.debug("widths %s: %d bytes, %.3g of the error allowed", widths, trial.nbytes, excess)
        if excess <= 1:
            return trial
        change *= 0.995 / excess
    return packed


def _other(allocation: Predicted, change: float, refused: Any) -> tuple[Any, float]:
    """Return what is predicted to meet `change`, or a lower one where that was refused; None where none is found."""
    for _ in range(_LOWER):
        widths = allocation.within(change)
        if widths is None or widths != refused:
            return widths, change
        change *= _LESS
    return None, change
