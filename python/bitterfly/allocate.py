"""How many bits each factor gets: for an error the fewest bytes, for bytes the least error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from heapq import heapify, heapreplace
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from bitterfly.coded import plan
from bitterfly.kinds import TILED_BITS, Code
from bitterfly.operator import ButterflyOperator, PackedButterfly
from bitterfly.recode import change_of, kinds_of, packed_operator, recode
from bitterfly.tiles import planes_of

_log = logging.getLogger("bitterfly")

_TRIES = 4
_LESS = 0.98  # of a change whose prediction was refused and comes again


class Allocation:
    """The bytes and the error of each factor of an operator at every width of its integer codes.

    The error of a factor is measured: it alone at a narrow width, the others at the widest. Errors of different factors
    are nearly orthogonal, and fall by two with every bit; so the sum of their squares is the error of all, and bits are
    best spent one by one where the square falls most for a byte (reverse water-filling by a greedy knapsack, which is
    optimal up to one step since gains fall).

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
        self._squares = np.array(squares)  # at width 0
        planes = planes_of(np.dtype(op.dtype))
        self._layouts = plan(chain, self._codes)
        self._bytes = np.array([[4 * at.words(w, planes) for w in range(most + 1)] for at in self._layouts])
        self._fixed: int = (
            4 * sum(at.pivot_words for at in self._layouts) + int(np.dtype(op.dtype).itemsize) * chain.shape[1]
        )
        self._fixed += 8 * len(chain) + sum(4 * p.size for p in op.base_permutations if p is not None)

    def _change(self, widths: list[int], seed: int) -> float:
        packed = packed_operator(self._op, recode(self._op, self._kind, widths), np.random.default_rng(seed))
        return change_of(self._op, packed, np.random.default_rng(seed))[0]

    def steps(self) -> list[tuple[int, float, list[int]]]:
        """Return bytes, predicted error and widths, from the least width on, a bit more at each step."""
        least, most = TILED_BITS

        def gain(at: int, w: int) -> tuple[float, int]:
            if w == most:
                return 0.0, at
            more = max(int(self._bytes[at, w + 1] - self._bytes[at, w]), 1)
            return -0.75 * float(self._squares[at]) / 4.0**w / more, at

        widths = [least] * len(self._layouts)
        heap = [gain(at, least) for at in range(len(widths))]
        heapify(heap)
        path = [widths.copy()]
        while min(widths) < most and (heap[0][0] < 0 or max(widths) < most):
            at = heap[0][1]
            if widths[at] == most:
                break
            widths[at] += 1
            heapreplace(heap, gain(at, widths[at]))
            path.append(widths.copy())
        return [(self.nbytes(w), self.error(w), w) for w in path]

    def nbytes(self, widths: list[int]) -> int:
        """Return the bytes of all buffers."""
        return self._fixed + int(sum(self._bytes[at, w] for at, w in enumerate(widths)))

    def error(self, widths: list[int]) -> float:
        """Predict the relative change of the operator."""
        return float(np.sqrt(np.sum(self._squares / 4.0 ** np.array(widths))))

    def within(self, change: float) -> list[int] | None:
        """Return the widths of the fewest bytes whose predicted change is at most `change`."""
        return next((widths for _, error, widths in self.steps() if error <= change), None)

    def of_bytes(self, nbytes: int) -> list[int] | None:
        """Return the widths of the least predicted change in at most `nbytes`."""
        sizes = [size for size, _, _ in self.steps()]
        count = sum(size <= nbytes for size in accumulate(sizes, max))
        return self.steps()[count - 1][2] if count else None

    def of_bits(self, mean: float) -> list[int] | None:
        """Return the widths of the least predicted change whose mean over the numbers stored is at most `mean`."""
        weights = [at.weights * at.lanes for at in self._layouts]
        fitting = [w for _, _, w in self.steps() if np.average(w, weights=weights) <= mean + 5e-3]
        return fitting[-1] if fitting else None

    def packed(self, widths: list[int]) -> PackedButterfly:
        """Return the operator with codes of these widths."""
        return packed_operator(self._op, recode(self._op, self._kind, widths), self._rng)


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
    """Return what is predicted to meet `change`, or the first lower one where that is not what was refused."""
    while (widths := allocation.within(change)) is not None and widths == refused:
        change *= _LESS
    return widths, change
