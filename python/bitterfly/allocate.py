"""How many bits each factor gets: for an error the fewest bytes, for bytes the least error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from bitterfly.change import change_of
from bitterfly.kinds import TILED_BITS, Code
from bitterfly.knapsack import Knapsack, Option, widths_of
from bitterfly.operator import ButterflyOperator, PackedButterfly
from bitterfly.recode import kinds_of, packed_operator, recode, wrapped
from bitterfly.tiled_codes import plan
from bitterfly.tiles import planes_of

_log = logging.getLogger("bitterfly")

_TRIES = 4
_LOWER, _LESS = 64, 0.98  # of a change whose prediction was refused and comes again


class Allocation:
    """The bytes and the error of each factor of an operator at every width of its integer codes.

    The error of a factor is measured: it alone at a narrow width, the others at the widest. Errors of different factors
    are nearly orthogonal, and fall by two with every bit; so the sum of their squares is the error of all (reverse
    water-filling by the knapsack).

    Parameters
    ----------
    op : ButterflyOperator
    kind : {"skeleton", "lattice"}
    width : int
        At which factors are measured, best near those that will be chosen.
    rng : numpy.random.Generator
        Draws the vectors on which large operators are measured.
    """

    def __init__(self, op: ButterflyOperator, kind: str, width: int, rng: np.random.Generator) -> None:
        self._op, self._kind, self._rng = op, kind, rng
        chain = op.store.chain
        self._codes = [Code(name, 0) for name in kinds_of(chain, kind)]
        seed = int(rng.integers(1 << 62))
        most = TILED_BITS[1]
        floor = self._change([most] * len(chain), seed) ** 2
        squares = []
        for at in range(len(chain)):
            widths = [most] * len(chain)
            widths[at] = width
            squares.append(max(self._change(widths, seed) ** 2 - floor, 0.0) * 4.0**width)
        planes = planes_of(np.dtype(op.dtype))
        self._layouts = plan(chain, self._codes)
        self._parts = [
            [Option(4 * at.words(w, planes), square / 4.0**w, w) for w in range(TILED_BITS[0], most + 1)]
            for at, square in zip(self._layouts, squares, strict=True)
        ]
        self._fixed: int = 4 * sum(at.pivot_words for at in self._layouts) + op.dtype.itemsize * chain.shape[1]
        self._fixed += 8 * len(chain) + sum(4 * p.size for p in op.base_permutations if p is not None)

    def _change(self, widths: list[int], seed: int) -> float:
        packed = wrapped(self._op, recode(self._op, self._kind, widths))
        return change_of(self._op, packed, np.random.default_rng(seed))[0]

    @property
    def least(self) -> int:
        """The bytes of all buffers at the least width."""
        return self._fixed + Knapsack(self._parts).least

    def within(self, change: float) -> list[int] | None:
        """Return the widths of the fewest bytes whose predicted change is at most `change`."""
        return widths_of(Knapsack(self._parts).within(change**2))

    def of_bytes(self, nbytes: int) -> list[int] | None:
        """Return the widths of the least predicted change in at most `nbytes`."""
        return widths_of(Knapsack(self._parts).in_bytes(nbytes - self._fixed))

    def of_bits(self, mean: float) -> list[int] | None:
        """Return the widths of the least predicted change whose mean over the numbers stored is at most `mean`."""
        weights = [at.weights * at.lanes for at in self._layouts]
        parts = [[o._replace(nbytes=w * o.width) for o in part] for w, part in zip(weights, self._parts, strict=True)]
        return widths_of(Knapsack(parts).in_bytes(int((mean + 5e-3) * sum(weights))))

    def packed(self, widths: list[int]) -> PackedButterfly:
        """Return the operator with codes of these widths."""
        return packed_operator(self._op, recode(self._op, self._kind, widths), self._rng)


def fewest_bits(
    op: ButterflyOperator, widths: range, unit: float, coded: Callable[[int], PackedButterfly], rtol: float, every: bool
) -> PackedButterfly:
    """Return the codes of the least equal width whose error is at most `rtol`, else raise a ValueError.

    Parameters
    ----------
    widths : range
        What there is to choose from, in steps of one; `unit` bits per real number each.
    coded : callable
        Returns `op` at a width.
    every : bool
        Try the widths one by one, since errors need not fall with every bit; otherwise bisect.
    """
    low, high = widths[0], widths[-1]
    best = coded(high)
    if not best.relative_error <= rtol:
        raise ValueError(
            f"rtol: {rtol:.3g} cannot be met: {high * unit:g} bits reach {best.relative_error:.3g}, "
            f"the float factors {op.relative_error:.3g}"
        )
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


def smaller(
    op: ButterflyOperator,
    packed: PackedButterfly,
    change: float,
    accepted: Callable[[PackedButterfly], float],
    rng: np.random.Generator,
) -> PackedButterfly:
    """Return an operator of fewer bytes with bits of its own for each factor, or `packed`.

    Parameters
    ----------
    packed : PackedButterfly
        Codes of equal width that meet the tolerance.
    change : float
        What the codes may change, relative to `op`.
    accepted : callable
        Returns by how much a trial's error exceeds what is allowed, as a ratio: at most 1 is good.
    """
    kind = "skeleton" if any(code.kind == "skeleton" for code in packed.codes) else "lattice"
    return refine(Allocation(op, kind, max(code.bits for code in packed.codes), rng), packed, change, accepted)


class Predicted(Protocol):
    """A choice of precisions by predicted errors."""

    def within(self, change: float) -> Any:
        """Return what takes the fewest bytes for a predicted change of at most `change`, or None."""

    def packed(self, widths: Any, /) -> PackedButterfly:
        """Return the operator with codes of these precisions."""


def refine(
    allocation: Predicted, packed: PackedButterfly, change: float, accepted: Callable[[PackedButterfly], float]
) -> PackedButterfly:
    """Return the first trial that is accepted and takes fewer bytes than `packed`, else `packed`; see `smaller`."""
    widths = None
    for _ in range(_TRIES):
        widths, change = _other(allocation, change, widths)
        trial = None if widths is None else allocation.packed(widths)
        if trial is None or trial.nbytes >= packed.nbytes:
            break
        excess = accepted(trial)
        _log.debug("bits %s: %d bytes, %.3g of the error allowed", widths, trial.nbytes, excess)
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
