"""Bits of direction codes: a width given, the fewest that meet an error, the most that fit in bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.inputs import as_bytes, as_number
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.precision import rounding_term
from bitterfly.quantization.direction_allocation import DirectionAllocation
from bitterfly.quantization.direction_coding import code_directions
from bitterfly.quantization.widths import fewest_bits, refine
from bitterfly.stores.floats import DyadicFloats
from bitterfly.stores.kinds import KINDS, names_of

# In the order in which exact ones are preferred.
_CANDIDATES = {"direction": ("phase", "angle", "sphere")}
# Largest size for which `rtol` tries all widths from the narrowest on.
_SCANNED = 256


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
