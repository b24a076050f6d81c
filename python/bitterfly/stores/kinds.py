"""Every kind of code: one record each (docs/format.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

Family = Literal["direction", "integer", "float", "list"]
TILED_BITS = (2, 16)  # of integers
FLOAT_EXPONENT_BITS = 6


@dataclass(frozen=True)
class Kind:
    """What codes of one name are.

    Attributes
    ----------
    name : str
    family : {"direction", "integer", "float", "list"}
        Directions are codes of columns, in factors of square dyadic chains. All others are codes of real numbers, in
        tiles of factors of any chain.
    least, most : int
        Bits of a code.
    is_complex : bool
        Whether only complex operators have such codes.
    significand : int
        Of a float: bits of its significand, the leading one included. 0 for all others.
    magnitudes : callable, optional
        Of a list: what codes of so many bits stand for, in order; those of the negative numbers follow.
    """

    name: str
    family: Family
    least: int
    most: int
    is_complex: bool = False
    significand: int = 0
    magnitudes: Callable[[int], tuple[float, ...]] | None = None

    @property
    def is_tiled(self) -> bool:
        """Whether codes stand for real numbers, in tiles."""
        return self.family != "direction"

    @property
    def is_joined(self) -> bool:
        """Whether the codes of a lane go on from tile to tile, so that only the end of a factor is padded."""
        return self.family in ("float", "list")

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
    Kind("angle", "direction", 1, 16),
    Kind("phase", "direction", 1, 24, is_complex=True),
    Kind("sphere", "direction", 1, 32, is_complex=True),
    Kind("lattice", "integer", *TILED_BITS),
    Kind("skeleton", "integer", *TILED_BITS),
    Kind("sign", "list", 1, 1, magnitudes=_powers),
    Kind("ternary", "list", 2, 2, magnitudes=_powers_and_zero),
    Kind("power_of_two", "list", 2, 4, magnitudes=_powers_and_zero),
    Kind("shift", "list", 2, 4, magnitudes=_powers),
    *(Kind(f"float{t}", "float", t + 1, t + FLOAT_EXPONENT_BITS, significand=t) for t in range(1, 25)),
)
KINDS = {kind.name: kind for kind in _ALL}


@cache
def names_of(*families: Family) -> tuple[str, ...]:
    """Return the names of the kinds of some families."""
    return tuple(kind.name for kind in _ALL if kind.family in families)


TILED_KINDS = names_of("integer", "list", "float")


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
    def magnitudes(self) -> tuple[float, ...]:
        """Of a list, the magnitudes of its numbers, in the order of their codes; else nothing."""
        return self.what.magnitudes(self.bits) if self.what.magnitudes else ()

    @property
    def levels(self) -> tuple[float, ...]:
        """Of a list, the number of each code: the magnitudes, and behind them the same ones negative; else nothing."""
        return (*self.magnitudes, *(-m if m else 0.0 for m in self.magnitudes))

    @property
    def has_negative_zero(self) -> bool:
        """Whether the code of a sign alone would be a second zero, and is not in use."""
        return self.what.family == "float" or 0.0 in self.levels

    @property
    def largest(self) -> float:
        """A bound on the numbers that codes stand for, in units of the step."""
        if self.what.family == "float":
            return 2.0
        return max(self.levels, default=2.0 ** (self.bits - 1))


def check_tiled(codes: Sequence[Code]) -> None:
    """Raise a ValueError for codes that cannot stand together in tiles."""
    floats = [code.kind in names_of("float") for code in codes]
    if any(floats) != all(floats):
        raise ValueError(f"codes: expected floats in all factors or in none, got {codes}")
    for code in codes:
        if code.kind not in TILED_KINDS:
            known = ", ".join(names_of("integer", "list"))
            raise ValueError(f"codes: expected kinds {known} or float1 to float24, got {code.kind!r}")
        if code.bits not in code.what.widths:
            raise ValueError(
                f"codes: expected {code.what.least} to {code.what.most} bits for {code.kind!r}, got {code.bits}"
            )
