"""Sums of butterflies to sums of packed ones."""

from __future__ import annotations

from collections.abc import Callable

from bitterfly.accuracy.change import after_change
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.contract import ButterflySum

_WIDTHS = range(2, 17)


def quantize_sum(
    op: ButterflySum,
    bits: float | None,
    rtol: float | None,
    one: Callable[[ButterflyOperator, float], PackedButterfly],
) -> ButterflySum:
    """Quantize all terms to the same bits, with `rtol` the fewest whole ones that meet it.

    The error is that of the sum plus the change that the codes make, which is measured as for a cast.
    """
    if any(not isinstance(term, ButterflyOperator) for term in op.terms):
        kinds = ", ".join(sorted({type(term).__name__ for term in op.terms}))
        raise TypeError(f"op: expected a sum of ButterflyOperators, got one of {kinds}")
    if bits is not None:
        return _at(op, bits, one)
    assert rtol is not None
    best = None
    for width in _WIDTHS:
        try:
            best = _at(op, width, one)
        except ValueError:
            if best is None:
                raise
            break  # codes of directions have fewer bits
        if best.relative_error <= rtol:
            return best
    assert best is not None
    raise ValueError(
        f"rtol: {rtol:.3g} cannot be met by the codes of this sum: the widest reach {best.relative_error:.3g}, "
        f"the float factors {op.relative_error:.3g}"
    )


def _at(op: ButterflySum, bits: float, one: Callable[[ButterflyOperator, float], PackedButterfly]) -> ButterflySum:
    packed = ButterflySum([one(term, bits) for term in op.terms], coefficients=op.coefficients)
    known = after_change(op, packed, "measured").facts
    return ButterflySum(packed.terms, coefficients=op.coefficients, **known)
