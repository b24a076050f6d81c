"""Turns float butterfly factors into direction codes of a few bits and one scale vector, packed for the kernels."""

from __future__ import annotations

import logging
from typing import Any, overload

import numpy as np

from bitterfly import _core
from bitterfly.coded import MAX_BITS, TILED_BITS, TILED_KINDS, Code
from bitterfly.composite import ButterflySum
from bitterfly.inputs import as_number
from bitterfly.operator import ButterflyOperator, PackedButterfly
from bitterfly.precision import rounding_term
from bitterfly.recode import packed_operator, recode
from bitterfly.sums import quantize_sum

_log = logging.getLogger("bitterfly")

# In the order in which exact ones are preferred.
_CANDIDATES = {"direction": ("phase", "angle", "sphere")}
# Largest size for which `rtol` tries all widths from the narrowest on.
_SCANNED = 256


@overload
def quantize(
    op: ButterflyOperator,
    *,
    bits: float | None = None,
    rtol: float | None = None,
    code: str = "auto",
    rng: np.random.Generator | int | None = None,
) -> PackedButterfly: ...
@overload
def quantize(
    op: ButterflySum,
    *,
    bits: float | None = None,
    rtol: float | None = None,
    code: str = "auto",
    rng: np.random.Generator | int | None = None,
) -> ButterflySum: ...
def quantize(
    op: Any,
    *,
    bits: float | None = None,
    rtol: float | None = None,
    code: str = "auto",
    rng: np.random.Generator | int | None = None,
) -> Any:
    """Code the factors in a few bits: directions of columns, skeletons of blocks, or integers.

    Parameters
    ----------
    op : ButterflyOperator, or ButterflySum of such
        Float factors, of any precision.
    bits : float, optional
        Stored bits per real number in the factors. A real column of two entries takes ``2 * bits`` bits (1 to 16), a
        complex one ``4 * bits`` (1 to 32), so `bits` goes up to 8, in steps of 1/2 (real) or 1/4 (complex). A factor
        whose codes all end in zero bits is stored in fewer bits, without loss. For "skeleton" and "lattice", the width
        of an integer, 2 to 16.
    rtol : float, optional
        Instead of `bits`: the fewest bits whose relative error is at most `rtol`. Beyond n = 256 they are found by
        bisection, which takes the error to fall with every bit; the next narrower width tried misses `rtol`.
    code : {"auto", "direction", "angle", "phase", "sphere", "skeleton", "lattice"}
        "auto" takes "direction" for the square dyadic chain and "skeleton" for all others. "direction" takes for each
        factor the code with the least error: "angle" for real directions, "phase" for complex columns of two equal
        moduli (exact for the DFT), "sphere" for any complex direction; "phase" and "sphere" need a complex operator.
        "skeleton" stores, for each block, which rows are pivots and the other rows as combinations of them; "lattice"
        stores integers and one length a column, which moves on to the next factor. The last factor is always a lattice.
    rng : numpy.random.Generator or int, optional
        Draws the vectors on which the error of large operators with skeleton or lattice codes is estimated. Default: a
        fixed seed.

    Returns
    -------
    PackedButterfly, or ButterflySum of such
        Its ``relative_error`` is against the matrix from which `op` was made: the error of `op` plus the error of the
        codes, the latter from an exact ledger.

    Raises
    ------
    TypeError
        Where `op` has no float factors.
    ValueError
        For bits outside the range of the code, and where `rtol` cannot be met (says what can be reached).
    OverflowError
        Where the scale vector does not fit the operator's precision.

    Notes
    -----
    Only the direction of a column matters: its length is absorbed by the next factor and at last by the scale vector.
    For Gaussian factors the error is about ``0.907 sqrt(log2 n) / 4**bits`` (real). Directions have unit length, hence
    the errors of all columns are orthogonal and add up exactly.
    """
    if not isinstance(op, (ButterflyOperator, ButterflySum)):
        raise TypeError(f"op: expected a ButterflyOperator or a ButterflySum, got {type(op).__name__}{_hint(op)}")
    if (bits is None) == (rtol is None):
        raise ValueError("bits, rtol: expected exactly one of them")
    if isinstance(op, ButterflySum):
        return quantize_sum(
            op,
            None if bits is None else as_number(bits, "bits"),
            None if rtol is None else as_number(rtol, "rtol"),
            lambda term, width: quantize(term, bits=width, code=code, rng=rng),
        )
    names = ["auto", *_CANDIDATES, *MAX_BITS, *TILED_KINDS]
    if code not in names:
        raise ValueError(f"code: expected one of {', '.join(names)}, got {code!r}")
    if code == "auto":
        code = "direction" if op.store.chain.is_square_dyadic else "skeleton"
    if code in TILED_KINDS:
        return _quantize_tiled(op, code, bits, rtol, np.random.default_rng(0 if rng is None else rng))
    if not op.store.chain.is_square_dyadic:
        raise ValueError(f"code: {code!r} needs the square dyadic chain; use 'skeleton' or 'lattice' for {op.chain}")
    candidates = _candidates(code, np.dtype(op.dtype).kind == "c")
    if bits is not None:
        return _quantize_width(op, candidates, _column_bits(op, as_number(bits, "bits"), candidates))
    return _fewest_bits(op, candidates, as_number(rtol, "rtol"))


def _hint(op: Any) -> str:
    """Say what to do about operators that have no float factors of their own."""
    if isinstance(op, PackedButterfly):
        return "; op.dequantize() has float factors"
    return "; quantize its parts" if hasattr(op, "parts") else ""


def _candidates(code: str, is_complex: bool) -> tuple[str, ...]:
    names = _CANDIDATES.get(code, (code,))
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


def _quantize_tiled(
    op: ButterflyOperator, kind: str, bits: float | None, rtol: float | None, rng: np.random.Generator
) -> PackedButterfly:
    least, most = TILED_BITS
    if bits is not None:
        width = as_number(bits, "bits")
        if not least <= width <= most or width != int(width):
            raise ValueError(f"bits: expected an integer from {least} to {most} for code {kind!r}, got {bits}")
        return packed_operator(op, recode(op, kind, int(width)), rng)
    target = as_number(rtol, "rtol")
    best = packed_operator(op, recode(op, kind, most), rng)
    if not best.relative_error <= target:
        raise ValueError(
            f"rtol: {target:.3g} cannot be met: {most} bits reach {best.relative_error:.3g}, "
            f"the float factors {op.relative_error:.3g}"
        )
    low, high = least, most
    while low < high:
        middle = (low + high) // 2
        trial = packed_operator(op, recode(op, kind, middle), rng)
        if trial.relative_error <= target:
            best, high = trial, middle
        else:
            low = middle + 1
    return best
