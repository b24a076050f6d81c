"""Ways to store a scale vector: numbers, or short floats of every width; their bytes and what they lose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitterfly import _core
from bitterfly.inputs import Array
from bitterfly.quantization.knapsack import Option
from bitterfly.stores.kinds import KINDS, Code, names_of
from bitterfly.stores.scale_codes import ScaleCodes, scale_words, significands

# Real numbers up to which all are rounded; of more, so many of all sizes.
_SAMPLED = 1 << 14


class ScaleOptions(NamedTuple):
    """Options of a knapsack; the width of each is the place of its code, None for plain numbers."""

    options: list[Option]
    codes: list[Code | None]


def scale_options(scale: Array) -> ScaleOptions:
    """Return the bytes and the predicted losses of all codes of a scale vector.

    The coded factors before it have orthonormal columns inside each block, so that what its rounding loses of its own
    energy is lost by the product.
    """
    sample, is_complex = _sample(significands(scale)[0]), scale.dtype.kind == "c"
    energy = float(np.sum(sample**2))
    found = ScaleOptions([Option(scale.nbytes, 0.0, 0)], [None])
    for code in (Code(kind, bits) for kind in names_of("float") for bits in KINDS[kind].widths):
        missed = float(np.sum((_rounded(sample, code) - sample) ** 2))
        nbytes = 4 * scale_words(len(scale), code, is_complex) + 8
        found.options.append(Option(nbytes, missed / energy if energy else 0.0, len(found.codes)))
        found.codes.append(code)
    return found


def scale_loss(scale: Array, codes: ScaleCodes) -> float:
    """Return the share of the energy of a scale vector that its codes lose."""
    exact, top = significands(scale)
    missed = np.ldexp(np.ascontiguousarray(codes.numbers()).view(scale.real.dtype).astype(np.float64), -top) - exact
    energy = float(np.sum(exact**2))
    return float(np.sum(missed**2)) / energy if energy else 0.0


def _sample(reals: Array) -> Array:
    """Return numbers evenly spaced by size, the largest among them."""
    every = -(-len(reals) // _SAMPLED)
    return reals if every == 1 else np.sort(np.abs(reals))[::-1][::every].copy()


def _rounded(reals: Array, code: Code) -> Array:
    t = code.form.significand
    return _core.decode_floats(_core.encode_floats(reals, code.bits, t), code.bits, t)
