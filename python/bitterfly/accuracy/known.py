"""What is known of the error of an operator: an upper bound, and how it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

ErrorKind = Literal["exact", "ledger", "measured", "estimated"]

# From the strongest to the weakest.
ERROR_KINDS = ("exact", "ledger", "measured", "estimated")
_UNIT = float(np.finfo(np.float64).eps) / 2
_LEAST = float(np.finfo(np.float64).smallest_subnormal)


@dataclass(frozen=True)
class Known:
    """A bound on ``||A - op||_F / ||A||_F``, and how it is known; NaN where it is not known at all.

    Attributes
    ----------
    error : float
    kind : {"exact", "ledger", "measured", "estimated"}
    """

    error: float
    kind: ErrorKind

    @classmethod
    def of(cls, op: Any) -> Known:
        """Return what an operator says of itself."""
        return cls(op.relative_error, op.error_kind)

    @classmethod
    def of_parts(cls, ops: Sequence[Any]) -> Known:
        """Return what is known of operators side by side, one above the other, or along a diagonal.

        Squared errors and energies both add up: the error is at most the largest one.
        """
        error = float(np.max([op.relative_error for op in ops]))
        return cls(error, weakest([op.error_kind for op in ops]) if error == error else "estimated")

    @classmethod
    def of_kron(cls, a: Any, b: Any) -> Known:
        """Return what is known of a Kronecker product.

        ``||A x B - A' x B'|| <= ||A - A'|| ||B|| + ||A'|| ||B - B'||``, with ``||A'|| <= (1 + e) ||A||``.
        """
        return cls.of(a).then(b.relative_error, kind=b.error_kind)

    def then(self, *changes: float, kind: str = "exact") -> Known:
        """Return what is known of an operator made of this one by `changes`, bounds relative to this operator.

        By the triangle inequality, with ``||op|| <= (1 + e) ||A||``: ``e + (1 + e) (c_1 + c_2 + ..)``, rounded up. The
        kind is the weaker one of this and of `kind`, that of the changes.
        """
        change = rounded_up(sum(changes), len(changes))
        error = rounded_up(self.error + (1 + self.error) * change, 3)
        return Known(error, weakest([self.kind, kind]) if error == error else "estimated")

    def room_for(self, target: float) -> float:
        """Return the largest change that leaves an error of at most `target`; not positive where there is none."""
        return rounded_up(target, -12) / (1 + self.error) - self.error / (1 + self.error)

    @property
    def facts(self) -> dict[str, Any]:
        """The keywords that operators take."""
        return {"relative_error": self.error, "error_kind": self.kind}


def rounded_up(x: float, operations: float) -> float:
    """Return a bound on a sum of products that are not negative, computed in so many operations in double precision."""
    if x == 0:
        return 0.0
    return x * (1 + (operations + 1) * 2 * _UNIT) + (operations + 1) * _LEAST


def weakest(kinds: Sequence[str]) -> ErrorKind:
    """Return how the error of a whole is known from how those of its parts are."""
    return cast(ErrorKind, max(kinds, key=ERROR_KINDS.index))
