"""Widths of direction codes, one for each factor, from the ledgers of a few equal widths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitterfly import _core
from bitterfly.direction_coding import code_directions
from bitterfly.kinds import MAX_BITS
from bitterfly.knapsack import Knapsack, Option, widths_of
from bitterfly.operator import ButterflyOperator, PackedButterfly

# Largest size at which all narrower widths are measured; beyond, those next to the width given.
_SCANNED = 1024
_BEYOND = 2


class DirectionAllocation:
    """The bytes and the loss of each factor at the widths about a given one.

    Losses of factors add up (the ledger), and hardly depend on the widths of the others: those of equal widths are
    those of any. They need not fall with every bit, hence they are measured.

    Parameters
    ----------
    op : ButterflyOperator
    candidates : tuple of str
        Kinds of codes to choose from.
    width : int
        Bits of a column about which widths are chosen.
    """

    def __init__(self, op: ButterflyOperator, candidates: tuple[str, ...], width: int) -> None:
        self._op, self._candidates = op, candidates
        most = max(MAX_BITS[name] for name in candidates)
        first = 1 if op.shape[0] <= _SCANNED else max(1, width - _BEYOND)
        widths = range(first, min(most, width + _BEYOND) + 1)
        trials = [(w, code_directions(op, candidates, [w] * len(op.store.chain))) for w in widths]
        self._bits = [
            [Option(trial.packed.codes[at].bits, trial.losses[at], w) for w, trial in trials]
            for at in range(len(op.store.chain))
        ]
        packed = trials[0][1].packed
        self._fixed = packed.nbytes - sum(self._bytes(code.bits) for code in packed.codes)

    def within(self, change: float) -> list[int] | None:
        """Return the widths of the fewest bytes whose predicted change is at most `change`."""
        return widths_of(self._knapsack().within(change**2))

    def of_bytes(self, nbytes: int) -> list[int] | None:
        """Return the widths of the least predicted change in at most `nbytes`."""
        return widths_of(self._knapsack().in_bytes(nbytes - self._fixed))

    def of_mean(self, width: float) -> list[int] | None:
        """Return the widths of the least predicted change whose mean over the columns is at most `width`."""
        total = int(np.floor(width * len(self._bits) + 1e-9))
        return widths_of(Knapsack(self._bits).in_bytes(total))

    def packed(self, widths: Sequence[int]) -> PackedButterfly:
        """Return the operator with codes of these widths."""
        return code_directions(self._op, self._candidates, widths).packed

    def _knapsack(self) -> Knapsack:
        return Knapsack([[o._replace(nbytes=self._bytes(o.nbytes)) for o in part] for part in self._bits])

    def _bytes(self, bits: int) -> int:
        return 4 * _core.packed_words(self._op.store.chain.shape[1], bits)
