"""Alphabets: codes of a few bits, each standing for one number of a short list."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Alphabet(NamedTuple):
    """The least and the most bits of a code, and the magnitudes that codes of so many bits stand for, in order."""

    least: int
    most: int
    magnitudes: Callable[[int], tuple[float, ...]]


def _powers(bits: int) -> tuple[float, ...]:
    """Return ... 1/4, 1/2, 1."""
    return tuple(2.0**-k for k in reversed(range(2 ** (bits - 1))))


def _powers_and_zero(bits: int) -> tuple[float, ...]:
    return (0.0, *_powers(bits)[1:])


# A kernel holds a list of 16 numbers, so codes have 4 bits at most.
ALPHABETS = {
    "sign": Alphabet(1, 1, _powers),
    "ternary": Alphabet(2, 2, _powers_and_zero),
    "power_of_two": Alphabet(2, 4, _powers_and_zero),
    "shift": Alphabet(2, 4, _powers),
}


def magnitudes_of(kind: str, bits: int) -> tuple[float, ...]:
    """Return the magnitudes of an alphabet, in the order of their codes, or nothing for other kinds of codes."""
    return ALPHABETS[kind].magnitudes(bits) if kind in ALPHABETS else ()


def levels_of(kind: str, bits: int) -> tuple[float, ...]:
    """Return the number of each code: the magnitudes, and behind them the same ones negative."""
    magnitudes = magnitudes_of(kind, bits)
    return (*magnitudes, *(-m if m else 0.0 for m in magnitudes))
