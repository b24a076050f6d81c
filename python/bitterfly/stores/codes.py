"""What a packed operator stores: direction codes of the square dyadic chain, or codes of any chain in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, Protocol

import numpy as np

from bitterfly import _core
from bitterfly.bits import Numbers
from bitterfly.chains.chain import Chain
from bitterfly.inputs import Array, Permutations, as_floating, as_size
from bitterfly.stores.direction_codes import DirectionCodes
from bitterfly.stores.floats import FloatStore, frozen
from bitterfly.stores.kinds import TILED_KINDS, Code, check_tiled, names_of
from bitterfly.stores.scale_codes import ScaleCodes
from bitterfly.stores.tile_codes import TiledCodes, factor_words, plan


class CodeStore(Protocol):
    """The codes of an operator, in memory that is never written again."""

    @property
    def chain(self) -> Chain:
        """Patterns of the factors."""

    @property
    def codes(self) -> tuple[Code, ...]:
        """Kind of code and bits of each factor."""

    @property
    def words(self) -> Array:
        """Packed codes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers that the codes stand for."""

    @property
    def lengths(self) -> Array | ScaleCodes:
        """Lengths of the columns, as they are stored."""

    @property
    def scale(self) -> Array:
        """Lengths of the columns."""

    @property
    def steps(self) -> Array | None:
        """Value of a unit of each factor's codes, for codes in tiles."""

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that the codes of each factor stand for, and their bits."""

    @property
    def code_bytes(self) -> int:
        """Bytes of all codes, pivots among them."""

    def kernel(self, shape: tuple[int, int], base: Permutations) -> _core.Core:
        """Return the product that borrows the buffers."""

    def unpack(self) -> tuple[Array, ...]:
        """Return the codes of the stored factors."""

    def dequantize(self) -> FloatStore:
        """Return float factors, the last one times the scale vector."""

    def cast(self, target: np.dtype[Any]) -> CodeStore:
        """Return the same codes, in the same memory, for products in another precision.

        Raises
        ------
        TypeError, OverflowError
            Where codes or lengths cannot be those of this precision.
        """


def word_count(chain: Chain, codes: Sequence[Code], is_complex: bool) -> int:
    """Return the 32-bit words of all factors of a coded chain."""
    if not codes[0].what.is_tiled:
        return int(sum(_core.packed_words(chain.shape[1], code.bits) for code in codes))
    planes = 2 if is_complex else 1
    return sum(
        factor_words(at, code, planes) + at.pivot_words for at, code in zip(plan(chain, codes), codes, strict=True)
    )


def code_store(words: Any, codes: Any, scale: Any, chain: Chain | None, steps: Any) -> CodeStore:
    """Check the buffers of a packed operator.

    Raises
    ------
    TypeError, ValueError
        Where they do not fit each other.
    """
    scale = scale if isinstance(scale, ScaleCodes) else _as_lengths(scale)
    kinds = _as_codes(codes)
    tiled = any(code.kind in TILED_KINDS for code in kinds)
    if not tiled:
        dyadic = Chain.square_dyadic(as_size(len(scale), "scale"))
        if chain is not None and chain != dyadic:
            raise ValueError(f"chain: expected {dyadic} for direction codes, got {chain}")
        return DirectionCodes.of_words(dyadic, kinds, _as_words(words), scale)
    if isinstance(scale, ScaleCodes):
        raise TypeError("scale: expected numbers beside codes of any chain, got codes")
    if chain is None or steps is None:
        raise ValueError("chain, steps: expected both for lattice and skeleton codes")
    lengths = scale_length(chain, kinds)
    if len(kinds) != len(chain) or len(scale) != lengths:
        raise ValueError(f"codes, scale: expected {len(chain)} codes and {lengths} lengths for {chain}")
    check_tiled(kinds)
    if kinds[-1].what.has_pivots:
        raise ValueError("codes: the last factor has no junction to its right, expected 'lattice'")
    units = np.array(steps, np.float64)
    if units.shape != (len(kinds),) or not np.all(np.isfinite(units)):
        raise ValueError(f"steps: expected {len(kinds)} finite numbers, got shape {units.shape} or NaN, infinity")
    units.flags.writeable = False
    return TiledCodes(chain, kinds, frozen(_as_words(words)), scale, units)


def require_unpadded(store: CodeStore, shape: tuple[int, int]) -> None:
    """Raise a ValueError where direction codes would be those of a padded matrix, which their kernels do not know."""
    if isinstance(store, DirectionCodes) and shape != store.chain.shape:
        raise ValueError(
            f"shape: expected {store.chain.shape}, that of the chain, beside direction codes, got {shape}; "
            "codes of any chain ('skeleton', 'lattice') may be padded"
        )


def scale_length(chain: Chain, codes: Sequence[Code]) -> int:
    """Return the entries of the scale vector: none where short floats hold the lengths."""
    return 0 if codes[0].kind in names_of("float") else chain.shape[1]


def _as_lengths(scale: Any) -> Array:
    scale = as_floating(scale, "scale")
    if scale.ndim != 1 or not np.all(np.isfinite(scale)):
        raise ValueError(f"scale: expected a vector of finite numbers, got shape {scale.shape} or NaN, infinity")
    return frozen(scale)


def _as_words(words: Any) -> Array:
    array = np.asarray(words)
    if array.dtype != np.uint32 or array.ndim != 1:
        raise TypeError(f"words: expected a vector of uint32, got shape {array.shape} of {array.dtype}")
    return array.astype(np.uint32, copy=False)


def _as_codes(codes: Any) -> tuple[Code, ...]:
    try:
        return tuple(Code(str(kind), index(bits)) for kind, bits in codes)
    except (TypeError, ValueError):
        raise TypeError(f"codes: expected pairs (kind, bits), got {codes!r}") from None
