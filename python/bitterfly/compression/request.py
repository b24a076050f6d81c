"""What a compression is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from bitterfly.chains.chain import Chain
from bitterfly.factorization.orderings import Permute
from bitterfly.inputs import as_bytes, as_number, check_rtol

Structure = Literal[
    "permutation", "toeplitz", "hankel", "sparse", "kronecker", "low_rank", "tensor_train", "butterfly", "dense", "cuts"
]

STRUCTURES: tuple[Structure, ...] = get_args(Structure)


class Request(NamedTuple):
    """An error, bits or bytes, and by which structures; at least one of each."""

    rtol: float | None
    bits: float | None
    nbytes: int | None
    structures: tuple[Structure, ...]
    chain: Chain | None
    permute: Permute
    rng: np.random.Generator | int | None

    @property
    def order(self) -> dict[str, Any]:
        """What factorizations are told about rows and columns."""
        return {"permute": self.permute, "rng": self.rng}

    @property
    def is_for_least_bytes(self) -> bool:
        """Whether the fewest bytes that meet an error are asked for; else the least error."""
        return self.rtol is not None and self.nbytes is None


def checked_request(
    rtol: Any, bits: Any, nbytes: Any, structure: Any, chain: Chain | None, permute: Permute, rng: Any
) -> Request:
    """Return what is asked for.

    Raises
    ------
    ValueError, TypeError
        Where that is nothing, contradicts itself, or is none of what there is.
    """
    rtol, bits = (None if x is None else as_number(x, name) for x, name in ((rtol, "rtol"), (bits, "bits")))
    if rtol is None and bits is None and nbytes is None:
        raise ValueError("rtol, bits, nbytes: expected at least one of them, for example rtol=1e-3")
    if bits is not None and nbytes is not None:
        raise ValueError("bits, nbytes: expected at most one of them")
    check_rtol(rtol)
    structures = _structures(structure)
    if chain is not None:
        if "butterfly" not in structures:
            raise ValueError(f"structure: expected 'butterfly' or 'auto' beside a chain, got {structure!r}")
        structures = ("butterfly",)
    return Request(rtol, bits, None if nbytes is None else as_bytes(nbytes), structures, chain, permute, rng)


def _structures(structure: Any) -> tuple[Structure, ...]:
    """Return the names of structures, in the order in which they are tried."""
    if isinstance(structure, str) and structure == "auto":
        return STRUCTURES
    is_list = isinstance(structure, Sequence) and not isinstance(structure, str)
    names = list(structure) if is_list else [structure]
    if not names or any(name not in STRUCTURES for name in names):
        known = ", ".join(map(repr, STRUCTURES))
        raise ValueError(f"structure: expected 'auto', one of {known}, or a list of these, got {structure!r}")
    return tuple(name for name in STRUCTURES if name in names)
