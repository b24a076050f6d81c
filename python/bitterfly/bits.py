"""How many bits an operator takes: per number that its factors store, and per entry of its matrix."""

from __future__ import annotations

from typing import NamedTuple


class Numbers(NamedTuple):
    """The numbers that a factor stores, and the bits that they take.

    Real numbers: real and imaginary parts count one by one, a direction code stands for the 2 or 4 of its column. The
    identity rows of skeletons are not stored, nor are the zeros that pad a layout.
    """

    reals: int
    bits: int


class Stored:
    """The bits of an operator: the same definition for single operators, sums and stacks."""

    shape: tuple[int, int]

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that each factor stores, and their bits."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        raise NotImplementedError

    @property
    def mean_bits(self) -> float:
        """Bits of the codes (or floats) per real number that the factors store; of all factors, in the mean.

        Pivots, scale vector, index arrays and padding are not counted; `bits_per_number` counts them too.
        """
        return sum(part.bits for part in self.numbers) / self._count

    @property
    def bits_per_number(self) -> float:
        """Bits of all buffers per real number that the factors store: at least `mean_bits`."""
        return 8 * self.nbytes / self._count

    @property
    def bits_per_entry(self) -> float:
        """Bits of all buffers per entry of the dense matrix."""
        return float(8 * self.nbytes / (self.shape[0] * self.shape[1]))

    @property
    def _count(self) -> int:
        return sum(part.reals for part in self.numbers) or 1  # skeletons of identity rows alone store no number


def in_words(mean_bits: float, bits_per_number: float) -> str:
    """Say how many bits an operator takes."""
    return f"{mean_bits:.3g} per stored number, {bits_per_number:.3g} with scales, pivots and index arrays"
