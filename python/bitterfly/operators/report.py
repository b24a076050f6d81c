"""What a compression was asked for, what it reached, and what that took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bitterfly.bits import in_words


class Tried(NamedTuple):
    """A structure that `compress` looked at.

    Attributes
    ----------
    name : str
        One of the structures of `compress`, or "butterfly + dense".
    nbytes : int or None
        Bytes of all buffers; None where none are known.
    error : float or None
        The relative error that they come with.
    note : str
        How both are known, "measured", "estimated" or "predicted", or why there is nothing.
    """

    name: str
    nbytes: int | None
    error: float | None
    note: str

    def __str__(self) -> str:
        if self.nbytes is None or self.error is None:
            return self.note
        return f"{self.nbytes:,} bytes, relative error {self.error:.3g} ({self.note})"


@dataclass(frozen=True)
class CompressReport:
    """What `compress` was asked for, what it reached, and what that took.

    Attributes
    ----------
    shape, dtype
        Of the matrix and of the operator.
    rtol : float or None
        Largest relative error asked for.
    structure : str
        What the operator is: one of the structures of `compress`, or "butterfly + dense".
    tried : tuple of Tried
        Each structure that was looked at: its bytes and its error, measured or predicted, or why it was refused.
    bits : float
        Bits of the codes per real number that the operator stores, in the mean: ``op.mean_bits``.
    relative_error : float
        ``||a - op||_F / ||a||_F``.
    error_kind : str
        How the error is known: "measured", on all entries of the matrix, or "estimated", from random rows.
    nbytes, dense_nbytes : int
        Bytes of all buffers of the operator, and of the matrix.
    bits_per_number, bits_per_entry : float
        Bits of all buffers over the real numbers that the operator stores, and over the entries of the matrix.
    seconds : dict
        Wall time of the stages: "look" (at the entries), "factorize", "quantize", "measure", "allocate" (bits of each
        factor), "dense", each without those that run within it.
    """

    shape: tuple[int, int]
    dtype: str
    rtol: float | None
    structure: str
    tried: tuple[Tried, ...]
    bits: float
    relative_error: float
    error_kind: str
    nbytes: int
    dense_nbytes: int
    bits_per_number: float
    bits_per_entry: float
    seconds: dict[str, float] = field(compare=False)

    def __str__(self) -> str:
        asked = "no error asked for" if self.rtol is None else f"at most {self.rtol:.3g} asked for"
        stages = ", ".join(f"{stage} {s:.3g} s" for stage, s in self.seconds.items())
        stages += f"; {sum(self.seconds.values()):.3g} s in all"
        width = max(14, *(len(each.name) + 2 for each in self.tried), 0)
        return "\n".join(
            [
                f"matrix          {self.shape[0]} x {self.shape[1]}, {self.dtype}",
                f"structure       {self.structure}",
                *(f"  {each.name:<{width}}{each}" for each in self.tried),
                f"relative error  {self.relative_error:.3g} ({self.error_kind}; {asked})",
                f"bytes           {self.nbytes:,} of {self.dense_nbytes:,} ({self.nbytes / self.dense_nbytes:.3%};"
                f" {self.bits_per_entry:.3g} bits per matrix entry)",
                f"bits            {in_words(self.bits, self.bits_per_number)}",
                f"time            {stages}",
            ]
        )
