"""Every kind of code: one record each (docs/format.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from bitterfly.stores.forms import Floats, Form, Integers, Lists, signed

TILED_BITS = (2, 16)  # of integers
FLOAT_EXPONENT_BITS = 6


@dataclass(frozen=True)
class Kind:
    """What codes of one name are.

    Attributes
    ----------
    name : str
    form : Form, optional
        How real numbers are coded, in tiles of factors of any chain. None: directions, codes of the columns of factors
        of square dyadic chains.
    least, most : int
        Bits of a code.
    is_complex : bool
        Whether only complex operators have such codes.
    has_pivots : bool
        Whether factors are in skeleton form: codes of T, beside the pivots.
    """

    name: str
    form: Form | None
    least: int
    most: int
    is_complex: bool = False
    has_pivots: bool = False

    @property
    def family(self) -> str:
        """The name of the form, or "direction"."""
        return self.form.name if self.form else "direction"

    @property
    def is_tiled(self) -> bool:
        """Whether codes stand for real numbers, in tiles."""
        return self.form is not None

    @property
    def widths(self) -> range:
        """The bits that a code can have."""
        return range(self.least, self.most + 1)


def _powers(bits: int) -> tuple[float, ...]:
    """Return ... 1/4, 1/2, 1."""
    return tuple(2.0**-k for k in reversed(range(2 ** (bits - 1))))


def _powers_and_zero(bits: int) -> tuple[float, ...]:
    return (0.0, *_powers(bits)[1:])


# A kernel holds a list of 16 numbers, so codes of lists have 4 bits at most. "float4" has significands of 4 bits; a
# code has as many bits and those of the exponent.
_ALL = (
    Kind("angle", None, 1, 16),
    Kind("phase", None, 1, 24, is_complex=True),
    Kind("sphere", None, 1, 32, is_complex=True),
    Kind("lattice", Integers(), *TILED_BITS),
    Kind("skeleton", Integers(), *TILED_BITS, has_pivots=True),
    Kind("sign", Lists(_powers), 1, 1),
    Kind("ternary", Lists(_powers_and_zero), 2, 2),
    Kind("power_of_two", Lists(_powers_and_zero), 2, 4),
    Kind("shift", Lists(_powers), 2, 4),
    *(Kind(f"float{t}", Floats(t), t + 1, t + FLOAT_EXPONENT_BITS) for t in range(1, 25)),
)
KINDS = {kind.name: kind for kind in _ALL}


@cache
def names_of(*families: str) -> tuple[str, ...]:
    """Return the names of the kinds of some families."""
    return tuple(kind.name for kind in _ALL if kind.family in families)


TILED_KINDS = tuple(kind.name for kind in _ALL if kind.is_tiled)


class Code(NamedTuple):
    """How one factor is coded.

    Kinds "angle", "phase", "sphere": `bits` for the direction of a column; "lattice": for each real number of the
    factor; "skeleton": for each real number of T, the rest being pivots; "float1" to "float24": for each real number
    of the factor, a significand of so many bits and an exponent; "sign", "ternary", "power_of_two", "shift": for each
    real number of the factor, one of a list.
    """

    kind: str
    bits: int

    @property
    def what(self) -> Kind:
        """The record of the kind."""
        return KINDS[self.kind]

    @property
    def form(self) -> Form:
        """The form of a code of real numbers."""
        form = self.what.form
        if form is None:
            raise ValueError(f"codes: expected codes of numbers, got {self.kind!r}")
        return form

    @property
    def magnitudes(self) -> tuple[float, ...]:
        """Of a list, the magnitudes of its numbers, in the order of their codes; else nothing."""
        return self.form.magnitudes(self.bits)

    @property
    def levels(self) -> tuple[float, ...]:
        """Of a list, the number of each code: the magnitudes, and behind them the same ones negative; else nothing."""
        return signed(self.magnitudes)

    @property
    def has_negative_zero(self) -> bool:
        """Whether the code of a sign alone would be a second zero, and is not in use."""
        return self.form.has_negative_zero(self.bits)

    @property
    def largest(self) -> float:
        """A bound on the numbers that codes stand for, in units of the step."""
        return self.form.largest(self.bits)


def check_tiled(codes: Sequence[Code]) -> None:
    """Raise a ValueError for codes that cannot stand together in tiles."""
    floats = [code.kind in names_of("float") for code in codes]
    if any(floats) != all(floats):
        raise ValueError(f"codes: expected floats in all factors or in none, got {codes}")
    for code in codes:
        if code.kind not in TILED_KINDS:
            known = ", ".join(kind for kind in TILED_KINDS if kind not in names_of("float"))
            raise ValueError(f"codes: expected kinds {known} or float1 to float24, got {code.kind!r}")
        if code.bits not in code.what.widths:
            raise ValueError(
                f"codes: expected {code.what.least} to {code.what.most} bits for {code.kind!r}, got {code.bits}"
            )
