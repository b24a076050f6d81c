"""Direction codes: bits given, the fewest that meet an error, the most that fit in bytes; a width for each factor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.known import Known
from bitterfly.inputs import Array, as_bytes, as_number
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.precision import rounding_term
from bitterfly.quantization.knapsack import Knapsack, Option
from bitterfly.quantization.scales import scale_loss, scale_options
from bitterfly.quantization.widths import fewest_bits, refine
from bitterfly.stores.floats import DyadicFloats
from bitterfly.stores.kinds import KINDS, Code, names_of
from bitterfly.stores.scale_codes import ScaleCodes
from bitterfly.workers import get_workers

_log = logging.getLogger("bitterfly")

# In the order in which exact ones are preferred.
_CANDIDATES = {"direction": ("phase", "angle", "sphere")}
# Largest size for which `rtol` tries all widths from the narrowest on.
_SCANNED = 256
# Largest size at which allocations measure all narrower widths; beyond, those next to the width given.
_ALL_MEASURED = 1024
_BEYOND = 2


def quantize_directions(
    op: ButterflyOperator, code: str, bits: float | None, rtol: float | None, nbytes: int | None
) -> PackedButterfly:
    """Quantize factors of the square dyadic chain to what is given of `bits`, `rtol` and `nbytes`."""
    candidates = _candidates(code, np.dtype(op.dtype).kind == "c")
    if not isinstance(op.store, DyadicFloats):
        padded = ", without padding" if op.shape != op.chain.shape else ""
        raise ValueError(
            f"code: {code!r} needs the square dyadic chain{padded}; use 'skeleton' or 'lattice' for {op.chain}"
        )
    if bits is not None:
        return _of_mean(op, candidates, _column_bits(op, as_number(bits, "bits"), candidates))
    if nbytes is not None:
        return _widest_in(op, candidates, as_bytes(nbytes))
    assert rtol is not None
    allowed = Known.of(op).room_for(rtol) - rounding_term(op.shape[0], np.dtype(op.dtype))
    best = _fewest_bits(op, candidates, rtol)
    return smaller_directions(op, best, allowed, lambda trial: trial.relative_error / rtol, candidates)


def _candidates(code: str, is_complex: bool) -> tuple[str, ...]:
    names = _CANDIDATES.get(code, (code,))
    if not set(names) <= set(names_of("direction")):
        known = ", ".join(["auto", *_CANDIDATES, *names_of("direction", "integer", "list"), "float"])
        raise ValueError(f"code: expected one of {known}, got {code!r}")
    usable = tuple(name for name in names if is_complex or not KINDS[name].is_complex)
    if not usable:
        raise ValueError(f"code: {code!r} codes complex columns, the operator is real")
    return usable


def entries_per_column(op: ButterflyOperator | PackedButterfly) -> int:
    """Return how many real numbers one column of a factor holds: 2, or 4 for complex operators."""
    return 4 if np.dtype(op.dtype).kind == "c" else 2


def _column_bits(op: ButterflyOperator, bits: float, candidates: tuple[str, ...]) -> float:
    reals = entries_per_column(op)
    most = _max_width(candidates)
    if not 1 <= bits * reals <= most:
        raise ValueError(
            f"bits: expected a number from {1 / reals:g} to {most / reals:g} for this operator and code, got {bits}"
        )
    return bits * reals


def _max_width(candidates: tuple[str, ...]) -> int:
    return max(KINDS[name].most for name in candidates)


def _of_mean(op: ButterflyOperator, candidates: tuple[str, ...], width: float) -> PackedButterfly:
    """Return codes of this width in all factors, or of this mean width where it is no integer."""
    if width == int(width):
        return _equal(op, candidates, int(width))
    allocation = DirectionAllocation(op, candidates, int(width) + 1)
    widths = allocation.of_mean(width)
    assert widths is not None  # one bit a column fits
    return allocation.packed(widths)


def _equal(op: ButterflyOperator, candidates: tuple[str, ...], width: int) -> PackedButterfly:
    return code_directions(op, candidates, [width] * len(op.store.chain)).packed


def _fewest_bits(op: ButterflyOperator, candidates: tuple[str, ...], rtol: float) -> PackedButterfly:
    widths, small = range(1, _max_width(candidates) + 1), op.shape[0] <= _SCANNED
    return fewest_bits(op, widths, partial(_equal, op, candidates), rtol, every=small)


def _widest_in(op: ButterflyOperator, candidates: tuple[str, ...], nbytes: int) -> PackedButterfly:
    """Return the least error that fits: of equal widths, or of precisions chosen for each factor and the scale."""
    best: PackedButterfly | None = None
    middle = 1
    for width in range(1, _max_width(candidates) + 1):
        trial = _equal(op, candidates, width)
        if trial.nbytes - trial.scale.nbytes > nbytes:
            break
        middle = max(code.bits for code in trial.codes)
        if trial.nbytes <= nbytes and (best is None or trial.relative_error < best.relative_error):
            best = trial
    allocation = DirectionAllocation(op, candidates, middle)
    chosen = allocation.of_bytes(nbytes)
    if chosen is not None:
        trial = allocation.packed(chosen)
        if trial.nbytes <= nbytes and (best is None or trial.relative_error < best.relative_error):
            best = trial
    if best is None:
        raise ValueError(f"nbytes: expected at least {allocation.least}, those of one bit a column, got {nbytes}")
    return best


def smaller_directions(
    op: ButterflyOperator,
    packed: PackedButterfly,
    change: float,
    accepted: Callable[[PackedButterfly], float],
    candidates: tuple[str, ...] | None = None,
) -> PackedButterfly:
    """Return an operator of fewer bytes with widths of its own for each factor, or `packed`; see `refine`."""
    candidates = candidates or _candidates("direction", np.dtype(op.dtype).kind == "c")
    allocation = DirectionAllocation(op, candidates, max(code.bits for code in packed.codes))
    return refine(allocation, packed, change, accepted)


# ---- codes of given widths, with what each factor loses ----


class Coding(NamedTuple):
    """An operator in direction codes, the shares of its energy that factors lose, the scale vector before coding."""

    packed: PackedButterfly
    losses: tuple[float, ...]
    scale: Array


def code_directions(
    op: ButterflyOperator, candidates: tuple[str, ...], widths: Sequence[int], scale_code: Code | None = None
) -> Coding:
    """Code factor l in `widths[l]` bits a column, or in fewer that say the same; the scale vector in numbers or floats.

    What the floats lose of the energy that the factors keep is orthogonal to the losses of those: squares add up.
    """
    words, codes, scale, losses, rounding = _core.quantize(op.values, list(candidates), list(widths), get_workers())
    if not np.all(np.isfinite(scale)):
        raise OverflowError(
            f"op: the scale vector does not fit {op.dtype}; quantize op.astype of a wider dtype, or scale op down"
        )
    for array in (words, scale):
        array.flags.writeable = False  # nobody else holds them: the operator need not copy
    lengths = scale if scale_code is None else ScaleCodes.of(scale, scale_code)
    missed = scale_loss(scale, lengths) if isinstance(lengths, ScaleCodes) else 0.0
    lost = float(np.sum(losses))
    ledger = float(np.sqrt(lost + max(1 - lost, 0.0) * missed)) + rounding
    known = Known.of(op).then(ledger, rounding_term(op.shape[0], np.dtype(op.dtype)), kind="ledger")
    packed = PackedButterfly(
        words,
        tuple(Code(*c) for c in codes),
        lengths,
        permutations=op.base_permutations,
        mode=op.mode,
        **known.facts,
    )
    _log.info("quantized to %.4g bits per stored number: relative error %.2e", packed.mean_bits, known.error)
    return Coding(packed, tuple(losses), scale)


# ---- a width for each factor, and the code of the scale vector, from ledgers of equal widths ----


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
        first = 1 if op.shape[0] <= _ALL_MEASURED else max(1, width - _BEYOND)
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
