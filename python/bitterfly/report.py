"""What a compression was asked for, what it reached, and what that took."""

from __future__ import annotations

from dataclasses import dataclass, field


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
        Stored bits per real number in the factors, at most (factors may need fewer).
    relative_error : float
        ``||a - op||_F / ||a||_F``.
    error_kind : str
        How the error is known: "measured", on all entries of the matrix, or "estimated", from random rows.
    nbytes, dense_nbytes : int
        Bytes of all buffers of the operator, and of the matrix.
    bits_per_entry, bits_per_factor_entry : float
        Stored bits over the entries of the matrix, and over the real numbers in the factors.
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
    bits_per_entry: float
    bits_per_factor_entry: float
    seconds: dict[str, float] = field(compare=False)

    def __str__(self) -> str:
        asked = "no error asked for" if self.rtol is None else f"at most {self.rtol:.3g} asked for"
        stages = ", ".join(f"{stage} {s:.3g} s" for stage, s in self.seconds.items())
        stages += f"; {sum(self.seconds.values()):.3g} s in all"
        return "\n".join(
            [
                f"matrix          {self.shape[0]} x {self.shape[1]}, {self.dtype}",
                f"relative error  {self.relative_error:.3g} ({self.error_kind}; {asked})",
                f"bytes           {self.nbytes:,} of {self.dense_nbytes:,} ({self.nbytes / self.dense_nbytes:.3%})",
                f"bits            {self.bits:g} per real number in the factors"
                f" ({self.bits_per_factor_entry:.3g} with scale and permutations),"
                f" {self.bits_per_entry:.3g} per matrix entry",
                f"time            {stages}",
            ]
        )
