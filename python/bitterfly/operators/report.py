"""What a compression was asked for, what it reached, and what that took."""

from __future__ import annotations

from dataclasses import dataclass, field

from bitterfly.bits import in_words


@dataclass(frozen=True)
class CompressReport:
    """What `compress` was asked for, what it reached, and what that took.

    Attributes
    ----------
    shape, dtype
        Of the matrix and of the operator.
    rtol : float or None
        Largest relative error asked for.
    bits : float
        Bits of the codes per real number that the factors store, in the mean: ``op.mean_bits``.
    relative_error : float
        ``||a - op||_F / ||a||_F``.
    error_kind : str
        How the error is known: "measured", on all entries of the matrix, or "estimated", from random rows.
    nbytes, dense_nbytes : int
        Bytes of all buffers of the operator, and of the matrix.
    bits_per_number, bits_per_entry : float
        Bits of all buffers over the real numbers that the factors store, and over the entries of the matrix.
    seconds : dict
        Wall time of the stages: "factorize", "quantize", "measure", "allocate" (bits of each factor), each without
        those that run within it.
    """

    shape: tuple[int, int]
    dtype: str
    rtol: float | None
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
        return "\n".join(
            [
                f"matrix          {self.shape[0]} x {self.shape[1]}, {self.dtype}",
                f"relative error  {self.relative_error:.3g} ({self.error_kind}; {asked})",
                f"bytes           {self.nbytes:,} of {self.dense_nbytes:,} ({self.nbytes / self.dense_nbytes:.3%};"
                f" {self.bits_per_entry:.3g} bits per matrix entry)",
                f"bits            {in_words(self.bits, self.bits_per_number)}",
                f"time            {stages}",
            ]
        )
