"""Float factors to direction codes of given widths, with what each factor loses."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.known import Known
from bitterfly.inputs import Array
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.precision import rounding_term
from bitterfly.quantization.scales import scale_loss
from bitterfly.stores.kinds import Code
from bitterfly.stores.scale_codes import ScaleCodes
from bitterfly.workers import get_workers

_log = logging.getLogger("bitterfly")


class Coding(NamedTuple):
    """An operator in direction codes, the shares of its energy that factors lose, the scale vector before coding."""

    packed: PackedButterfly
    losses: tuple[float, ...]
    scale: Array


def code_directions(
    op: ButterflyOperator, candidates: tuple[str, ...], widths: Sequence[int], scale_code: Code | None = None
) -> Coding:
    """Code factor l in `widths[l]` bits a column, or in fewer that say the same; the scale vector in numbers or floats.

    What the floats lose of the energy that the factors keep is orthogonal to the losses of those: squares add up.
    """
    words, codes, scale, losses, rounding = _core.quantize(op.values, list(candidates), list(widths), get_workers())
    if not np.all(np.isfinite(scale)):
        raise OverflowError(
            f"op: the scale vector does not fit {op.dtype}; quantize op.astype of a wider dtype, or scale op down"
        )
    for array in (words, scale):
        array.flags.writeable = False  # nobody else holds them: the operator need not copy
    lengths = scale if scale_code is None else ScaleCodes.of(scale, scale_code)
    missed = scale_loss(scale, lengths) if isinstance(lengths, ScaleCodes) else 0.0
    lost = float(np.sum(losses))
    ledger = float(np.sqrt(lost + max(1 - lost, 0.0) * missed)) + rounding
    known = Known.of(op).then(ledger, rounding_term(op.shape[0], np.dtype(op.dtype)), kind="ledger")
    packed = PackedButterfly(
        words,
        tuple(Code(*c) for c in codes),
        lengths,
        permutations=op.base_permutations,
        mode=op.mode,
        **known.facts,
    )
    _log.info("quantized to %.4g bits per stored number: relative error %.2e", packed.mean_bits, known.error)
    return Coding(packed, tuple(losses), scale)
