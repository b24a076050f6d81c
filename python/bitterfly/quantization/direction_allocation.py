"""Widths of direction codes, one for each factor, and the code of the scale vector, from ledgers of equal widths."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitterfly import _core
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.quantization.direction_coding import code_directions
from bitterfly.quantization.knapsack import Knapsack, Option
from bitterfly.quantization.scales import scale_options
from bitterfly.stores.kinds import KINDS, Code

# Largest size at which all narrower widths are measured; beyond, those next to the width given.
_SCANNED = 1024
_BEYOND = 2


class Precisions(NamedTuple):
    """Bits of a column of each factor, and the code of the scale vector."""

    widths: list[int]
    scale: Code | None


class DirectionAllocation:
    """The bytes and the loss of each factor at the widths about a given one, and of the scale vector in all codes.

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
        most = max(KINDS[name].most for name in candidates)
        first = 1 if op.shape[0] <= _SCANNED else max(1, width - _BEYOND)
        widths = range(first, min(most, width + _BEYOND) + 1)
        trials = [(w, code_directions(op, candidates, [w] * len(op.store.chain))) for w in widths]
        self._bits = [
            [Option(trial.packed.codes[at].bits, trial.losses[at], w) for w, trial in trials]
            for at in range(len(op.store.chain))
        ]
        last = trials[-1][1]
        self._scale = scale_options(last.scale)
        codes = sum(self._bytes(code.bits) for code in last.packed.codes)
        self._fixed = last.packed.nbytes - codes - last.scale.nbytes

    @property
    def least(self) -> int:
        """The fewest bytes."""
        return self._fixed + self._knapsack().least

    def within(self, change: float) -> Precisions | None:
        """Return what takes the fewest bytes for a predicted change of at most `change`."""
        return self._precisions(self._knapsack().within(change**2))

    def of_bytes(self, nbytes: int) -> Precisions | None:
        """Return what has the least predicted change in at most `nbytes`."""
        return self._precisions(self._knapsack().in_bytes(nbytes - self._fixed))

    def of_mean(self, width: float) -> Precisions | None:
        """Return the widths of the least predicted change whose mean over the columns is at most `width`."""
        total = int(np.floor(width * len(self._bits) + 1e-9))
        chosen = Knapsack(self._bits).in_bytes(total)
        return None if chosen is None else Precisions([option.width for option in chosen], None)

    def packed(self, precisions: Precisions) -> PackedButterfly:
        """Return the operator in codes of these precisions."""
        return code_directions(self._op, self._candidates, *precisions).packed

    def _knapsack(self) -> Knapsack:
        factors = [[o._replace(nbytes=self._bytes(o.nbytes)) for o in part] for part in self._bits]
        return Knapsack([*factors, self._scale.options])

    def _precisions(self, chosen: list[Option] | None) -> Precisions | None:
        if chosen is None:
            return None
        *factors, scale = chosen
        return Precisions([option.width for option in factors], self._scale.codes[scale.width])

    def _bytes(self, bits: int) -> int:
        return 4 * _core.packed_words(self._op.store.chain.shape[1], bits)
