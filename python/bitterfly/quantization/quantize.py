"""Turns float butterfly factors into direction codes of a few bits and one scale vector, packed for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.advice import LARGE, quiet, warn_if_large
from bitterfly.inputs import UnmetError, as_bytes, as_number, check_rtol, require_names
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.contract import ButterflySum
from bitterfly.quantization.directions import quantize_directions
from bitterfly.quantization.lists import default_bits, quantize_alphabet
from bitterfly.quantization.short_floats import quantize_floats
from bitterfly.quantization.sums import quantize_sum
from bitterfly.quantization.tiles import packed_operator, recode
from bitterfly.quantization.widths import Allocation, fewest_bytes, unmet
from bitterfly.stores.floats import DyadicFloats
from bitterfly.stores.kinds import TILED_BITS, names_of
from bitterfly.workers import building_workers, set_workers

_MEASURED = 6  # bits at which the errors of factors are measured for `nbytes`
ALLOCATED = 1 << 23  # numbers in factors up to which `rtol` gives each factor bits of its own


@overload
def quantize(
    op: ButterflyOperator,
    *,
    bits: float | None = None,
    rtol: float | None = None,
    nbytes: int | None = None,
    code: str = "auto",
    driver: str = "left_to_right",
    significand: int | Sequence[int] | None = None,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> PackedButterfly: ...
@overload
def quantize(
    op: ButterflySum,
    *,
    bits: float | None = None,
    rtol: float | None = None,
    code: str = "auto",
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> ButterflySum: ...
def quantize(
    op: Any,
    *unnamed: Any,
    bits: float | None = None,
    rtol: float | None = None,
    nbytes: int | None = None,
    code: str = "auto",
    driver: str = "left_to_right",
    significand: int | Sequence[int] | None = None,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> Any:
    """Code the factors in a few bits: directions of columns, skeletons of blocks, or integers.

    Parameters
    ----------
    op : ButterflyOperator, or ButterflySum of such
        Float factors, of any precision.
    bits : float, optional
        Most bits per real number that the factors store: ``op.mean_bits`` of the result is `bits`, or less. Directions
        are coded by columns: a real one of two numbers takes ``2 * bits`` bits (1 to 16), a complex one of four ``4 *
        bits`` (1 to 32), so `bits` goes up to 8. In steps of 1/2 (real) or 1/4 (complex) all factors have equal widths;
        between, `bits` is the mean, each factor having a width of its own. A factor whose codes all end in zero bits is
        stored in fewer bits, without loss. For "skeleton" and "lattice", the width of an integer, 2 to 16; between
        integers, the mean width, each factor having bits of its own. For lists, the width of an index.
    rtol : float, optional
        Instead of `bits`: few bytes whose relative error is at most `rtol`. Beyond n = 256 the equal width to start
        from is found by bisection, which takes the error to fall with every bit.
    nbytes : int, optional
        Instead of `bits`: the least error in at most so many bytes, all buffers and index arrays counted. As
        with `rtol`, each factor has bits of its own: see Notes.
    code : str
        "auto", "direction", "angle", "phase", "sphere", "skeleton", "lattice", "power_of_two", "shift", "ternary",
        "sign" or "float". "auto" takes "direction" for the square dyadic chain and "skeleton" for all others.
        "direction" takes for each factor the code with the least error: "angle" for real directions, "phase" for
        complex columns of two equal moduli (exact for the DFT), "sphere" for any complex direction; "phase" and
        "sphere" need a complex operator. "skeleton" stores, for each block, which rows are pivots and the other rows as
        combinations of them; "lattice" stores integers and one length a column, which moves on to the next factor. The
        last factor is always a lattice. On any chain, with numbers from a list and one length a column: "power_of_two"
        (a sign and an exponent, or zero; 2 to 4 bits), "shift" (the same without zero), "ternary" (-1, 0, 1; 2 bits),
        "sign" (-1, 1; 1 bit); real and imaginary parts each. The last two need no `bits`, none takes `nbytes`. "float",
        for junctions of rank one, rounds to significands of `significand` bits, as published.
    driver : {"left_to_right", "right_to_left", "pairwise", "refined"}
        For "float": the order in which factors are rounded. "refined" goes from both ends to the middle pair, then
        chooses the scales beside it anew until a sweep gains less than 0.5 %: the least error, and the longest time.
    significand : int or sequence of int, optional
        For "float", instead of `bits` and `rtol`: bits of a significand, the leading one included, 1 to 24, one number
        or one for each factor. The exponent takes as few more as keep the error, 1 to 6.
    rng : numpy.random.Generator or int, optional
        Draws the vectors on which the error of large operators with skeleton or lattice codes is estimated. Default: a
        fixed seed.
    workers : int, optional
        Threads, on which results do not depend. Default: those of `set_workers` or BITTERFLY_NUM_THREADS, else all
        cores, as for `factorize`.

    Returns
    -------
    PackedButterfly, or ButterflySum of such
        Its ``relative_error`` is against the matrix from which `op` was made: the error of `op` plus the error of the
        codes, the latter from an exact ledger.

    Raises
    ------
    TypeError
        Where `op` has no float factors.
    ValueError
        For bits outside the range of the code, and where `rtol` cannot be met (says what can be reached).
    OverflowError
        Where the scale vector does not fit the operator's precision.

    Notes
    -----
    Directions: for `rtol` and `nbytes`, the losses of factors at equal widths, which add up, say how wide each is to
    be; the scale vector is one more part, in numbers or in short floats (``op.scale_code``). `bits` keeps the numbers.

    Integer codes: for `rtol` and `nbytes`, the error of each factor is measured alone, and bits are given one by one to
    the factor whose squared error falls most for a byte. Skeleton codes are the integers next to T in the metric of
    what they multiply (closest vectors of a lattice), so that rounding errors go where the rows to the right are weak.

    Only the direction of a column matters: its length is absorbed by the next factor and at last by the scale vector.
    For Gaussian factors the error is about ``0.907 sqrt(log2 n) / 4**bits`` (real). Directions have unit length, hence
    the errors of all columns are orthogonal and add up exactly.
    """
    require_names(unnamed)
    rtol = None if rtol is None else as_number(rtol, "rtol")
    check_rtol(rtol)
    with set_workers(building_workers(workers)), quiet(), np.errstate(under="ignore"):
        out = _quantize(op, bits, rtol, nbytes, code, driver, significand, rng)
    if rtol is None:
        cause = "that of the float factors already" if op.relative_error > LARGE else "more bits, or another code"
        warn_if_large(out.relative_error, cause)
    return out


def _quantize(
    op: Any,
    bits: float | None,
    rtol: float | None,
    nbytes: int | None,
    code: str,
    driver: str,
    significand: int | Sequence[int] | None,
    rng: np.random.Generator | int | None,
) -> Any:
    if not isinstance(op, (ButterflyOperator, ButterflySum)):
        raise TypeError(f"op: expected a ButterflyOperator or a ButterflySum, got {type(op).__name__}{_hint(op)}")
    if code == "float":
        if isinstance(op, ButterflySum):
            raise TypeError("op: expected a ButterflyOperator for code 'float', got ButterflySum; quantize its terms")
        if significand is None or any(x is not None for x in (bits, rtol, nbytes)):
            raise ValueError("significand: expected for code 'float', without bits, rtol and nbytes")
        return quantize_floats(op, significand, driver)
    if significand is not None or driver != "left_to_right":
        raise ValueError(f"significand, driver: expected for code 'float' only, got code {code!r}")
    if bits is None and rtol is None and nbytes is None:
        bits = default_bits(code)
    if sum(x is not None for x in (bits, rtol, nbytes)) != 1:
        raise ValueError("bits, rtol, nbytes: expected exactly one of them")
    if isinstance(op, ButterflySum):
        if nbytes is not None:
            raise ValueError("nbytes: expected for one operator, got a sum; quantize its terms")
        return quantize_sum(
            op,
            None if bits is None else as_number(bits, "bits"),
            rtol,
            lambda term, width: quantize(term, bits=width, code=code, rng=rng),
        )
    if code == "auto":
        code = "direction" if isinstance(op.store, DyadicFloats) else "skeleton"
    generator = np.random.default_rng(0 if rng is None else rng)
    if code in names_of("list"):
        return quantize_alphabet(op, code, bits, rtol, nbytes, generator)
    if code in names_of("integer"):
        if nbytes is not None:
            return _tiled_in(op, code, as_bytes(nbytes), generator)
        return _quantize_tiled(op, code, bits, rtol, generator)
    return quantize_directions(op, code, bits, rtol, nbytes)


def _tiled_in(op: ButterflyOperator, kind: str, nbytes: int, rng: np.random.Generator) -> PackedButterfly:
    allocation = Allocation(op, kind, _MEASURED, rng)
    widths = allocation.of_bytes(nbytes)
    if widths is None:
        raise ValueError(
            f"nbytes: expected at least {allocation.least}, those of codes of {TILED_BITS[0]} bits, pivots, scale "
            f"vector and index arrays, got {nbytes}"
        )
    return allocation.packed(widths)


def _hint(op: Any) -> str:
    """Say what to do about operators that have no float factors of their own."""
    if isinstance(op, PackedButterfly):
        return "; op.dequantize() has float factors"
    return "; quantize its parts" if getattr(op, "members", ()) else ""


def _quantize_tiled(
    op: ButterflyOperator, kind: str, bits: float | None, rtol: float | None, rng: np.random.Generator
) -> PackedButterfly:
    least, most = TILED_BITS
    if bits is not None:
        width = as_number(bits, "bits")
        if not least <= width <= most:
            raise ValueError(f"bits: expected a number from {least} to {most} for code {kind!r}, got {bits}")
        if width == int(width):
            return packed_operator(op, recode(op, kind, int(width)), rng)
        allocation = Allocation(op, kind, max(least, int(width)), rng)
        return allocation.packed(allocation.of_bits(width) or [least] * len(op.store.chain))
    assert rtol is not None

    def accepted(allocation: Allocation, widths: list[int]) -> tuple[PackedButterfly, float]:
        trial = allocation.packed(widths)
        return trial, trial.relative_error / (rtol or np.finfo(float).tiny)

    packed, excess = fewest_bytes(op, kind, rtol, Known.of(op).room_for, accepted, rng)
    if not excess <= 1:
        raise UnmetError(unmet(rtol, packed, op))
    return packed
