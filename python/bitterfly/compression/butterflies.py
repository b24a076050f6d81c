"""A matrix to a packed butterfly: the fewest bits that meet an error, or the best of given bits; measured."""

from __future__ import annotations

from functools import partial

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.compression.least_error import least_error
from bitterfly.compression.request import Request
from bitterfly.compression.rivals import Rival
from bitterfly.compression.stages import Measured, Work
from bitterfly.factorization.search import IncompressibleError
from bitterfly.inputs import UnmetError
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.quantization.directions import entries_per_column, smaller_directions
from bitterfly.quantization.quantize import ALLOCATED
from bitterfly.quantization.widths import TRIES, Allocation, fewest_bytes
from bitterfly.sources.given import ArraySource
from bitterfly.stores.floats import DyadicFloats
from bitterfly.stores.kinds import TILED_BITS

_MOST_BITS = 8
_LOOSER = 8.0  # between the tolerances of factors that are tried for codes of given bits
_FLOAT_SHARE = 0.5  # of rtol: half of it to the factors leaves 0.87 of it to the codes


def packed_butterfly(work: Work, request: Request, rival: Rival) -> Measured:
    """Return the packed butterfly that is asked for, with its measured error.

    Raises
    ------
    UnmetError
        Where there is none, or only such as dense codes are clearly better than.
    ValueError
        Where the matrix or the request is at fault.
    """
    rtol, bits = request.rtol, request.bits
    if request.nbytes is not None:
        return least_error(work, request, rival)
    op = _factors(work, request, rival)
    if bits is None:
        assert rtol is not None
        return _fewest_bits(work, op, rtol)
    if rival.codes is not None and rtol is None:
        _check_worthwhile(op, bits, rival)
    found = work.trial(op, bits)
    if rtol is not None and not found.error <= rtol:
        raise UnmetError(_unmet(rtol, found.packed.mean_bits, found.error, op))
    return found


def _check_worthwhile(op: ButterflyOperator, bits: float, rival: Rival) -> None:
    """Give up float factors whose codes of these bits would stand behind dense ones, or do not exist."""
    if op.relative_error > rival.loosest:
        raise UnmetError(f"bits: float factors err {op.relative_error:.2g}")
    if bits < TILED_BITS[0] and not isinstance(op.store, DyadicFloats):
        raise UnmetError(f"bits: codes of this chain take at least {TILED_BITS[0]} bits")


def _factors(work: Work, request: Request, rival: Rival) -> ButterflyOperator:
    """Return float factors: on the chain given, on the default one if that meets `rtol`, else from a search."""
    chain, rtol, bits, order = request.chain, request.rtol, request.bits, request.order
    if chain is not None:
        op = work.factorize(chain=chain, **order)
        if rtol is not None and not op.relative_error <= rtol and not work.measure(op).error <= rtol:
            raise UnmetError(
                f"rtol: {rtol:.3g} cannot be met at any number of bits, the float factors on this chain reach "
                f"{op.relative_error:.3g}"
            )
        return op
    if rtol is None:
        assert bits is not None
        if not 0 < bits <= TILED_BITS[1]:
            raise ValueError(f"bits: expected a number above 0, at most {TILED_BITS[1]}, got {bits}")
        return _factors_for(work, bits, request, rival)
    m, n = work.source.shape
    if isinstance(work.source, ArraySource) and m == n >= 2 and n & (n - 1) == 0:
        op = work.factorize(**order)
        near = max(2 * rtol, 1e3 * float(np.finfo(op.dtype).eps))
        if op.relative_error <= rtol or (op.relative_error < near and work.measure(op).error <= rtol):
            return op  # the ledger is an upper bound
    try:
        return work.searched(_FLOAT_SHARE * rtol, worthwhile=rival.share, **order)
    except IncompressibleError as error:
        raise error.at(rtol) from None


def _factors_for(work: Work, bits: float, request: Request, rival: Rival) -> ButterflyOperator:
    """Return float factors about as exact as codes of so many bits: of the default chain, else the best of a search."""
    target = 2.0 ** -max(bits, 1.0)
    default = work.factorize(**request.order) if isinstance(work.source, ArraySource) else None
    if default is not None and (default.relative_error <= target or bits < TILED_BITS[0]):
        return default
    refused: ValueError | None = None
    while target <= rival.loosest:
        try:
            op = work.searched(target, worthwhile=rival.share, **request.order)
        except ValueError as error:
            refused, target = error, _LOOSER * target
            continue
        return op if default is None or op.relative_error < default.relative_error else default
    if default is None:
        raise refused or ValueError("rtol: expected a tolerance, or a chain, beside what is no array")
    return default


def _unmet(rtol: float, bits: float, error: float, op: ButterflyOperator) -> str:
    return (
        f"rtol: {rtol:.3g} is not met: {bits:.4g} bits per stored number reach {error:.3g}, "
        f"the float factors {op.relative_error:.3g}{' (factorize keeps them)' if op.relative_error <= rtol else ''}"
    )


def _fewest_bits(work: Work, op: ButterflyOperator, rtol: float) -> Measured:
    """Start at the width of a column that the ledger predicts; measure there, and then its neighbours."""
    if not isinstance(op.store, DyadicFloats):
        return _tiled(work, op, rtol)
    reals = entries_per_column(op)
    width = _predicted_width(work, op, rtol)
    found = work.trial(op, width / reals)
    while not found.error <= rtol:
        if width == _MOST_BITS * reals:
            raise UnmetError(_unmet(rtol, found.packed.mean_bits, found.error, op))
        width += 1
        found = work.trial(op, width / reals)
    while (width := max(code.bits for code in found.packed.codes) - 1) >= 1:
        narrower = work.trial(op, width / reals)
        if not narrower.error <= rtol:
            break
        found = narrower
    return found if op.store.chain.nnz > ALLOCATED else _allocated(work, op, found, rtol)


def _allocated(work: Work, op: ButterflyOperator, found: Measured, rtol: float) -> Measured:
    """Give each factor bits of its own, where that takes fewer bytes."""
    last, trials = found, 0

    def excess(trial: PackedButterfly) -> float:
        nonlocal last, trials
        last, trials = Measured(trial, work.measure(trial)), trials + 1
        work.report("allocate", trials / TRIES)
        return last.error / (rtol or float(np.finfo(float).tiny))

    with work.stage("allocate"):
        best = smaller_directions(op, found.packed, _left(rtol, min(op.relative_error, found.error)), excess)
    return last if best is last.packed else found


def _tiled(work: Work, op: ButterflyOperator, rtol: float) -> Measured:
    """Return integer codes, each factor in bits of its own."""
    factors = op.relative_error if op.relative_error < rtol else work.measure(op).error
    found: list[Measured] = []

    def accepted(allocation: Allocation, widths: list[int]) -> tuple[PackedButterfly, float]:
        trial = allocation.coded(widths)
        found.append(Measured(trial, work.measure(trial)))
        work.report("allocate", len(found) / (TRIES + 1))
        return trial, found[-1].error / (rtol or float(np.finfo(float).tiny))

    with work.stage("allocate"):
        room = partial(_left, factors=factors)
        packed, excess = fewest_bytes(op, "skeleton", rtol, room, accepted, np.random.default_rng(0))
    best = next(one for one in found if one.packed is packed)
    if not excess <= 1:
        raise UnmetError(_unmet(rtol, packed.mean_bits, best.error, op))
    return best


def _left(rtol: float, factors: float) -> float:
    """Return what the factors leave of a tolerance to the codes, as if both were orthogonal."""
    return float(np.sqrt(max(rtol**2 - factors**2, 0.0)))


def _predicted_width(work: Work, op: ButterflyOperator, rtol: float) -> int:
    """Bisect for the fewest bits of a column whose predicted error is at most `rtol`, else all."""
    reals = entries_per_column(op)
    low, high = 1, _MOST_BITS * reals
    while low < high:
        middle = (low + high) // 2
        packed = work.quantize(op, middle / reals)
        if _predicted_error(op, packed) <= rtol:
            high = middle
        else:
            low = middle + 1
    return low


def _predicted_error(op: ButterflyOperator, packed: PackedButterfly) -> float:
    """Add the errors of factors and codes as if orthogonal: what is reported adds the two."""
    return float(np.hypot(op.relative_error, Known.of(op).room_for(packed.relative_error)))
