"""What follows for the error of an operator from those of which it is made: found when first asked for, and kept.

Members ``A_i'`` of true operators ``A_i`` with ``||A_i - A_i'||_F <= e_i ||A_i||_F`` miss at most
``d_i = e_i / (1 - e_i) ||A_i'||_F``, so long as ``e_i < 1``. What a sum or a product of them misses, D, is known from
the norms of the members; relative to the true matrix it is at most ``D / (||A'||_F - D)``. All numbers are logarithms
to base 2, for operators of any scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitterfly.accuracy.known import Known, rounded_up, weakest
from bitterfly.accuracy.norms import Norms, minus, plus
from bitterfly.accuracy.rounding import NOTHING

_LEAST = float(np.finfo(np.float64).smallest_subnormal)
_NOT_KNOWN = Known(float("nan"), "estimated")


class Derived:
    """What follows for the error of an operator; it and its views share one."""

    def known(self, op: Any) -> Known:
        """Return what is known of the operator whose this is, or of a view of it; two threads get the same."""
        found = self.__dict__.get("_found")
        if found is None:
            with np.errstate(all="ignore"):
                found = self.__dict__.setdefault("_found", self._find(op))
        assert isinstance(found, Known)
        return found

    def _find(self, op: Any) -> Known:
        raise NotImplementedError

    def missed(self, op: Any, norms: Norms) -> float:
        """Return a bound on ``||A - op||_F``."""
        return _stated(op, norms)

    def is_direct(self, op: Any) -> bool:
        """Whether it follows from the errors of the members alone."""
        return True


class OfParts(Derived):
    """Of operators side by side, one above the other, or along a diagonal."""

    def _find(self, op: Any) -> Known:
        return Known.of_parts(op.members)


class OfKron(Derived):
    """Of a Kronecker product."""

    def _find(self, op: Any) -> Known:
        return Known.of_kron(*op.members)


class Rounded(Derived):
    """Of a multiple of an operator by a number that has been rounded by so much."""

    def __init__(self, operand: Any, rounding: float) -> None:
        self._operand, self._rounding = operand, rounding

    def _find(self, op: Any) -> Known:
        return Known.of(self._operand).then(self._rounding)

    def is_direct(self, op: Any) -> bool:
        """Not from that of the operator alone."""
        return False


class _Combined(Derived):
    """Of a sum or a product: of its members, or of what was added or multiplied, where more is known of that."""

    def __init__(self, operands: Sequence[Any] | None = None) -> None:
        self.operands = None if operands is None else tuple(operands)

    def is_direct(self, op: Any) -> bool:
        """One operator, or a multiple of it, keeps its error; so do exact ones."""
        return self.operands is None and (
            len(op.members) == 1 or all(member.relative_error == 0 for member in op.members)
        )


class OfSum(_Combined):
    """Of a linear combination ``S' = sum c_i A_i'``: it misses at most ``sum |c_i| d_i``.

    Parameters
    ----------
    operands : sequence of (number, operator), optional
        What was added; default: the terms with their coefficients.
    """

    def _find(self, op: Any) -> Known:
        operands = self._added(op)
        if len(operands) == 1:
            return Known.of(operands[0][1])
        norms = Norms()
        missed = self.missed(op, norms)
        return _relative(missed, norms.of(op)[0] if missed > NOTHING else 0.0, norms)

    def missed(self, op: Any, norms: Norms) -> float:
        """Return what all terms miss."""
        return plus(NOTHING, *(float(np.log2(abs(c))) + _missed(term, norms) for c, term in self._added(op)))

    def _added(self, op: Any) -> list[tuple[complex, Any]]:
        """Return what counts: a single operand, or those that are not multiplied by zero."""
        operands = list(zip(op.coefficients, op.terms, strict=True) if self.operands is None else self.operands)
        return operands if len(operands) == 1 else [(c, term) for c, term in operands if c != 0]


class OfProduct(_Combined):
    """Of a product ``P' = A_1' .. A_L'``, factor after factor.

    ``||A B - A' B'||_F <= ||A - A'||_F ||B||_2 + ||A'||_2 ||B - B'||_F``, with ``||B||_2 <= ||B'||_2 + ||B - B'||_F``.

    Parameters
    ----------
    operands : sequence of operators, optional
        What was multiplied; default: the members.
    """

    def _find(self, op: Any) -> Known:
        operands = self._multiplied(op)
        if len(operands) == 1:
            return Known.of(operands[0])
        norms = Norms()
        missed, least = self._bounds(op, norms)
        return _relative(missed, least, norms)

    def missed(self, op: Any, norms: Norms) -> float:
        """Return what the product misses."""
        return self._bounds(op, norms)[0]

    def _multiplied(self, op: Any) -> Sequence[Any]:
        return op.members if self.operands is None else self.operands

    def _bounds(self, op: Any, norms: Norms) -> tuple[float, float]:
        """Return a bound on what is missed, and one from below on the norm, where anything is missed."""
        ops = self._multiplied(op)
        known = {key: _missed(each, norms) for key, each in {id(each): each for each in ops}.items()}
        missed = [known[id(each)] for each in ops]
        if np.max(missed) == NOTHING or np.isnan(missed).any():
            return float(np.max(missed)), NOTHING
        before, gains, least = norms.of_product(op, ops)
        total = missed[0]
        for gain, part, left in zip(gains[1:], missed[1:], before, strict=False):
            total = plus(total + plus(gain, part), left + part)
        return total, least


def _missed(op: Any, norms: Norms) -> float:
    """Return the logarithm of a bound on ``||A - op||_F`` for an operator of any kind; NaN where it is not known."""
    fact = op._fact
    return float(fact.missed(op, norms)) if isinstance(fact, Derived) else _stated(op, norms)


def _stated(op: Any, norms: Norms) -> float:
    """Return what the operator misses according to its relative error."""
    known = Known.of(op)
    norms.kinds.append(known.kind)
    if known.error == 0:
        return NOTHING
    if not known.error < 1:
        return float("nan")
    return float(np.log2(rounded_up(known.error / (1 - known.error), 3))) + norms.of(op)[1]


def _relative(missed: float, least: float, norms: Norms) -> Known:
    """Return an error relative to the true operator, given a bound from below on the norm of what stands for it."""
    if missed == NOTHING:
        return Known(0.0, weakest(norms.kinds))
    left = minus(least, missed)
    if not np.isfinite(left):
        return _NOT_KNOWN
    error = max(rounded_up(float(np.exp2(plus(missed - left))), 1), _LEAST)
    return Known(error, weakest(norms.kinds)) if np.isfinite(error) else _NOT_KNOWN
