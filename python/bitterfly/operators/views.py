"""What can be done to a stored operator without touching its buffers: transposes, conjugates, padding, reversal."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np

from bitterfly.chains.chain import Chain
from bitterfly.inputs import IndexArray
from bitterfly.ordering import digit_reversal

Mode = Literal["forward", "transpose", "adjoint", "conjugate"]

# (transposed, conjugated) and back: a mode is what has been done to the stored operator.
FLAGS: dict[str, tuple[bool, bool]] = {
    "forward": (False, False),
    "transpose": (True, False),
    "adjoint": (True, True),
    "conjugate": (False, True),
}
MODES: dict[tuple[bool, bool], Mode] = {flags: cast(Mode, name) for name, flags in FLAGS.items()}


def checked_mode(mode: str, dtype: np.dtype[Any]) -> Mode:
    """Return a mode, that of real numbers without conjugation, or raise a ValueError for what is none."""
    if mode not in FLAGS:
        raise ValueError(f"mode: expected one of {', '.join(FLAGS)}, got {mode!r}")
    transposed, conjugated = FLAGS[mode]
    return MODES[transposed, conjugated and dtype.kind == "c"]


def fitting_shape(shape: tuple[int, int] | None, chain: Chain) -> tuple[int, int]:
    """Return the shape of an operator: that of its chain, or a smaller one that the chain pads with zeros."""
    if shape is None:
        return chain.shape
    m, n = (int(size) for size in shape)
    if not (1 <= m <= chain.shape[0] and 1 <= n <= chain.shape[1]):
        raise ValueError(f"shape: expected at most {chain.shape}, that of the chain, got {(m, n)}")
    return m, n


def reversed_order(order: IndexArray | None, digits: tuple[int, ...]) -> IndexArray:
    """Return the permutation of a side after the digit reversal that transposition takes."""
    reversal = digit_reversal(digits[::-1])
    return reversal if order is None else cast(IndexArray, order[reversal])
