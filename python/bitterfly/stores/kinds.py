"""Kinds of codes, and the bits that each takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bitterfly.stores.alphabets import ALPHABETS, levels_of

# Kinds of codes and the bits that they take: of a column (directions), or of a real number.
MAX_BITS = {"angle": 16, "phase": 24, "sphere": 32}
INTEGER_KINDS = ("lattice", "skeleton")
TILED_BITS = (2, 16)
# "float4" has significands of 4 bits, the leading one included; a code has as many bits and those of the exponent.
FLOAT_KINDS = tuple(f"float{t}" for t in range(1, 25))
FLOAT_EXPONENT_BITS = 6
TILED_KINDS = (*INTEGER_KINDS, *ALPHABETS, *FLOAT_KINDS)


class Code(NamedTuple):
    """How one factor is coded.

    Kinds "angle", "phase", "sphere": `bits` for the direction of a column; "lattice": for each real number of the
    factor; "skeleton": for each real number of T, the rest being pivots; "float1" to "float24": for each real number
    of the factor, a significand of so many bits and an exponent; "sign", "ternary", "power_of_two", "shift": for each
    real number of the factor, one of a list.
    """

    kind: str
    bits: int


def significand_of(kind: str) -> int:
    """Return the bits of a significand, the leading one included, or 0 for integer codes."""
    return FLOAT_KINDS.index(kind) + 1 if kind in FLOAT_KINDS else 0


def tiled_range(kind: str) -> tuple[int, int]:
    """Return the least and the most bits that a kind of code in tiles takes."""
    if kind in ALPHABETS:
        return ALPHABETS[kind].least, ALPHABETS[kind].most
    t = significand_of(kind)
    return (t + 1, t + FLOAT_EXPONENT_BITS) if t else TILED_BITS


def is_joined(kind: str) -> bool:
    """Whether the codes of a lane go on from tile to tile, so that only the end of a factor is padded."""
    return kind in FLOAT_KINDS or kind in ALPHABETS


def has_negative_zero(code: Code) -> bool:
    """Whether the code of a sign alone would be a second zero, and is not in use."""
    return code.kind in FLOAT_KINDS or 0.0 in levels_of(*code)


def largest_of(code: Code) -> float:
    """Return a bound on the numbers that codes stand for, in units of the step."""
    if code.kind in FLOAT_KINDS:
        return 2.0
    return max(levels_of(*code), default=2.0 ** (code.bits - 1))


def is_float_code(code: Code) -> bool:
    """Whether a code stands for short floats, and has bits that they take."""
    least, most = tiled_range(code.kind)
    return code.kind in FLOAT_KINDS and least <= code.bits <= most


def check_tiled(codes: Sequence[Code]) -> None:
    """Raise a ValueError for codes that cannot stand together in tiles."""
    floats = [code.kind in FLOAT_KINDS for code in codes]
    if any(floats) != all(floats):
        raise ValueError(f"codes: expected floats in all factors or in none, got {codes}")
    for code in codes:
        if code.kind not in TILED_KINDS:
            known = ", ".join((*INTEGER_KINDS, *ALPHABETS))
            raise ValueError(f"codes: expected kinds {known} or float1 to float24, got {code.kind!r}")
        least, most = tiled_range(code.kind)
        if not least <= code.bits <= most:
            raise ValueError(f"codes: expected {least} to {most} bits for {code.kind!r}, got {code.bits}")
