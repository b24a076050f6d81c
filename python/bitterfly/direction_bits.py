"""Bits of direction codes: a width given, the fewest that meet an error, the most that fit in bytes."""

from __future__ import annotations

import logging
from operator import index

import numpy as np

from bitterfly import _core
from bitterfly.inputs import as_number
from bitterfly.kinds import INTEGER_KINDS, MAX_BITS, Code
from bitterfly.operator import ButterflyOperator, PackedButterfly
from bitterfly.precision import rounding_term

_log = logging.getLogger("bitterfly")

# In the order in which exact ones are preferred.
_CANDIDATES = {"direction": ("phase", "angle", "sphere")}
# Largest size for which `rtol` tries all widths from the narrowest on.
_SCANNED = 256


def quantize_directions(
    op: ButterflyOperator, code: str, bits: float | None, rtol: float | None, nbytes: int | None
) -> PackedButterfly:
    """Quantize factors of the square dyadic chain to what is given of `bits`, `rtol` and `nbytes`."""
    candidates = _candidates(code, np.dtype(op.dtype).kind == "c")
    if not op.store.chain.is_square_dyadic:
        raise ValueError(f"code: {code!r} needs the square dyadic chain; use 'skeleton' or 'lattice' for {op.chain}")
    if bits is not None:
        return _quantize_width(op, candidates, _column_bits(op, as_number(bits, "bits"), candidates))
    if nbytes is not None:
        return _widest_in(op, candidates, index(nbytes))
    return _fewest_bits(op, candidates, as_number(rtol, "rtol"))


def _candidates(code: str, is_complex: bool) -> tuple[str, ...]:
    names = _CANDIDATES.get(code, (code,))
    if not set(names) <= set(MAX_BITS):
        known = ", ".join(["auto", *_CANDIDATES, *MAX_BITS, *INTEGER_KINDS, "float"])
        raise ValueError(f"code: expected one of {known}, got {code!r}")
    usable = names if is_complex else tuple(name for name in names if name == "angle")
    if not usable:
        raise ValueError(f"code: {code!r} codes complex columns, the operator is real")
    return usable


def entries_per_column(op: ButterflyOperator | PackedButterfly) -> int:
    """Return how many real numbers one column of a factor holds: 2, or 4 for complex operators."""
    return 4 if np.dtype(op.dtype).kind == "c" else 2


def _column_bits(op: ButterflyOperator, bits: float, candidates: tuple[str, ...]) -> int:
    reals = entries_per_column(op)
    width = bits * reals
    most = _max_width(candidates)
    if not (1 <= width <= most) or width != int(width):
        raise ValueError(
            f"bits: expected a multiple of {1 / reals:g} from {1 / reals:g} to {most / reals:g} "
            f"for this operator and code, got {bits}"
        )
    return int(width)


def _max_width(candidates: tuple[str, ...]) -> int:
    return max(MAX_BITS[name] for name in candidates)


def _quantize_width(op: ButterflyOperator, candidates: tuple[str, ...], width: int) -> PackedButterfly:
    words, codes, scale, ledger = _core.quantize(op.values, list(candidates), width)
    if not np.all(np.isfinite(scale)):
        raise OverflowError(
            f"op: the scale vector does not fit {op.dtype}; quantize op.astype of a wider dtype, or scale op down"
        )
    for array in (words, scale):
        array.flags.writeable = False  # nobody else holds them: the operator need not copy
    error = op.relative_error + (1 + op.relative_error) * (ledger + rounding_term(op.shape[0], np.dtype(op.dtype)))
    _log.info("quantized to %s bits a column: relative error %.2e", width, error)
    return PackedButterfly(
        words,
        tuple(Code(*c) for c in codes),
        scale,
        permutations=op.base_permutations,
        relative_error=error,
        error_kind="ledger",
        mode=op.mode,
    )


def _fewest_bits(op: ButterflyOperator, candidates: tuple[str, ...], rtol: float) -> PackedButterfly:
    """Try all widths of small operators, whose errors need not fall with every bit; bisect for larger ones."""
    reals = entries_per_column(op)
    low, high = 1, _max_width(candidates)
    best = _quantize_width(op, candidates, high)
    if not best.relative_error <= rtol:
        raise ValueError(
            f"rtol: {rtol:.3g} cannot be met: {high / reals:g} bits reach {best.relative_error:.3g}, "
            f"the float factors {op.relative_error:.3g}"
        )
    if op.shape[0] <= _SCANNED:
        trials = (_quantize_width(op, candidates, width) for width in range(1, high))
        return next((trial for trial in trials if trial.relative_error <= rtol), best)
    while low < high:
        middle = (low + high) // 2
        trial = _quantize_width(op, candidates, middle)
        if trial.relative_error <= rtol:
            best, high = trial, middle
        else:
            low = middle + 1
    return best


def _widest_in(op: ButterflyOperator, candidates: tuple[str, ...], nbytes: int) -> PackedButterfly:
    """Return the least error of all widths that fit."""
    best: PackedButterfly | None = None
    for width in range(1, _max_width(candidates) + 1):
        trial = _quantize_width(op, candidates, width)
        if trial.nbytes > nbytes:
            if best is None:
                raise ValueError(f"nbytes: expected at least {trial.nbytes}, those of one bit a column, got {nbytes}")
            break
        if best is None or trial.relative_error < best.relative_error:
            best = trial
    assert best is not None
    return best
