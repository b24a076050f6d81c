"""A matrix to a packed butterfly: the fewest bits that meet an error, measured."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.advice import LARGE, quiet, warn_if_large, warn_if_larger
from bitterfly.chains.chain import Chain
from bitterfly.compression.least_error import least_error
from bitterfly.compression.stages import Measured, Progress, Work
from bitterfly.factorization.factorize import require_chain
from bitterfly.factorization.orderings import Permute
from bitterfly.factorization.search import IncompressibleError
from bitterfly.inputs import as_bytes, as_number, check_rtol
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.report import CompressReport
from bitterfly.quantization.directions import entries_per_column, smaller_directions
from bitterfly.quantization.quantize import ALLOCATED
from bitterfly.quantization.widths import TRIES, Allocation, fewest_bytes
from bitterfly.sources.given import ArraySource, as_source, at_hand
from bitterfly.stores.floats import DyadicFloats
from bitterfly.stores.kinds import TILED_BITS
from bitterfly.workers import building_workers, set_workers

__all__ = ["CompressReport", "compress"]

_MOST_BITS = 8
_LOOSER = 8.0  # between the tolerances of factors that are tried for codes of given bits
_FLOAT_SHARE = 0.5  # of rtol: half of it to the factors leaves 0.87 of it to the codes


def compress(
    a: Any,
    chain: Chain | None = None,
    *,
    shape: tuple[int, int] | None = None,
    rtol: float | None = None,
    bits: float | None = None,
    nbytes: int | None = None,
    permute: Permute = "auto",
    rng: np.random.Generator | int | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> PackedButterfly:
    """Compress a matrix to a packed butterfly operator.

    Parameters
    ----------
    a : array_like, shape (m, n), or what else `factorize` takes
        Real or complex matrix.
    chain : Chain, optional
        As for `factorize`. Default: the default chain of the shape where that meets `rtol`, or errs no more than codes
        of so many `bits`; else a search.
    shape : (m, n), optional
        Shape of the matrix that an entry function stands for.
    rtol : float, optional
        Largest relative error in the Frobenius norm. Without `bits`, the fewest bits whose measured error meets it are
        taken. In a search, the float factors are allowed half of it.
    bits : float, optional
        As for `quantize`: most bits per number stored in the factors, or the width of its integer. With `rtol` as well,
        the error at that width is checked. ``op.mean_bits``, and ``op.report.bits``, say how many were needed.
    nbytes : int, optional
        Instead of `bits`: the least error found in at most so many bytes, all buffers counted; without a chain, float
        factors of several tolerances are tried. With `rtol` as well, the error is checked. At least one of `rtol`,
        `bits` and `nbytes` is needed.
    permute, rng
        Order of rows and columns, and the source of the probe's choices, see `factorize`.
    progress : callable, optional
        Called as ``progress(stage, fraction)`` with the stage "factorize", "quantize", "measure" or "allocate" (bits of
        each factor) and the share of it that is done.
    workers : int, optional
        Threads of all stages, as for `factorize`.

    Returns
    -------
    PackedButterfly
        Its ``relative_error`` is measured against all of `a` (where that is an entry function of more than 16 MiB, or
        an operator of more than 4096 x 4096: estimated, an upper bound with a confidence of 97.7 %), and ``op.report``
        is a `CompressReport`.

    Raises
    ------
    ValueError
        Where none or a bad value of `rtol`, `bits`, `nbytes` is given, where `rtol` cannot be met (the message says
        what was reached), and where `nbytes` are too few.
    IncompressibleError
        Where `a` is no butterfly to that accuracy.
    TypeError
        Where `a` is no matrix of numbers.

    Notes
    -----
    Measuring takes ``m n log n`` operations, by the products with panels of the identity; no second dense matrix is
    formed.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> op = bitterfly.compress(np.fft.fft(np.eye(64)), rtol=1e-10)
    >>> op.report.bits, op.report.relative_error < 1e-10
    (0.875, True)
    """
    require_chain(chain, takes_bits=True)
    rtol = None if rtol is None else as_number(rtol, "rtol")
    bits = None if bits is None else as_number(bits, "bits")
    _check_request(rtol, bits, nbytes)
    with set_workers(building_workers(workers)), quiet(), np.errstate(under="ignore"):
        packed = _compress(Work(at_hand(as_source(a, shape)), progress), chain, rtol, bits, nbytes, permute, rng)
    if rtol is None:
        warn_if_large(packed.relative_error, "more bits or bytes, or no chain; rtol= refuses what is no butterfly")
    if bits is not None and packed.report is not None:
        warn_if_larger(packed.nbytes, packed.report.dense_nbytes, "fewer bits, or nbytes=, which is never exceeded")
    return packed


def _compress(
    work: Work,
    chain: Chain | None,
    rtol: float | None,
    bits: float | None,
    nbytes: int | None,
    permute: Permute,
    rng: np.random.Generator | int | None,
) -> PackedButterfly:
    if nbytes is not None:
        found = least_error(work, chain, as_bytes(nbytes), permute, rng)
        if rtol is not None and not found.error <= rtol:
            raise ValueError(f"rtol: {rtol:.3g} is not met: {nbytes} bytes reach {found.error:.3g}")
        return _finish(work, found, rtol)
    op = _factors(work, chain, rtol, bits, permute, rng)
    if bits is None:
        assert rtol is not None
        found = _fewest_bits(work, op, rtol)
    else:
        found = work.trial(op, bits)
        if rtol is not None and not found.error <= rtol:
            raise ValueError(_unmet(rtol, found.packed.mean_bits, found.error, op))
    return _finish(work, found, rtol)


def _factors(
    work: Work,
    chain: Chain | None,
    rtol: float | None,
    bits: float | None,
    permute: Permute,
    rng: np.random.Generator | int | None,
) -> ButterflyOperator:
    """Return float factors: on the chain given, on the default one if that meets `rtol`, else from a search."""
    if chain is not None:
        op = work.factorize(chain=chain, permute=permute, rng=rng)
        if rtol is not None and not op.relative_error <= rtol and not work.measure(op).error <= rtol:
            raise ValueError(
                f"rtol: {rtol:.3g} cannot be met at any number of bits, the float factors on this chain reach "
                f"{op.relative_error:.3g}"
            )
        return op
    if rtol is None:
        assert bits is not None
        if not 0 < bits <= TILED_BITS[1]:
            raise ValueError(f"bits: expected a number above 0, at most {TILED_BITS[1]}, got {bits}")
        return _factors_for(work, bits, permute, rng)
    m, n = work.source.shape
    if isinstance(work.source, ArraySource) and m == n >= 2 and n & (n - 1) == 0:
        op = work.factorize(permute=permute, rng=rng)
        near = max(2 * rtol, 1e3 * float(np.finfo(op.dtype).eps))
        if op.relative_error <= rtol or (op.relative_error < near and work.measure(op).error <= rtol):
            return op  # the ledger is an upper bound
    try:
        return work.searched(_FLOAT_SHARE * rtol, permute=permute, rng=rng)
    except IncompressibleError as error:
        raise error.at(rtol) from None


def _factors_for(work: Work, bits: float, permute: Permute, rng: np.random.Generator | int | None) -> ButterflyOperator:
    """Return float factors about as exact as codes of so many bits: of the default chain, else the best of a search."""
    target = 2.0 ** -max(bits, 1.0)
    default = work.factorize(permute=permute, rng=rng) if isinstance(work.source, ArraySource) else None
    if default is not None and (default.relative_error <= target or bits < TILED_BITS[0]):
        return default
    refused: ValueError | None = None
    while target <= LARGE:
        try:
            op = work.searched(target, permute=permute, rng=rng)
        except ValueError as error:
            refused, target = error, _LOOSER * target
            continue
        return op if default is None or op.relative_error < default.relative_error else default
    if default is None:
        raise refused or ValueError("rtol: expected a tolerance, or a chain, beside what is no array")
    return default


def _check_request(rtol: float | None, bits: float | None, nbytes: int | None) -> None:
    if rtol is None and bits is None and nbytes is None:
        raise ValueError("rtol, bits, nbytes: expected at least one of them, for example rtol=1e-3")
    if bits is not None and nbytes is not None:
        raise ValueError("bits, nbytes: expected at most one of them")
    check_rtol(rtol)


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
            raise ValueError(_unmet(rtol, found.packed.mean_bits, found.error, op))
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
        raise ValueError(_unmet(rtol, packed.mean_bits, best.error, op))
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


def _finish(work: Work, found: Measured, rtol: float | None) -> PackedButterfly:
    (m, n), dtype, packed = work.source.shape, work.source.dtype, found.packed
    report = CompressReport(
        shape=(m, n),
        dtype=np.dtype(packed.dtype).name,
        rtol=rtol,
        bits=packed.mean_bits,
        **found.known.facts,
        nbytes=packed.nbytes,
        dense_nbytes=m * n * dtype.itemsize,
        bits_per_number=packed.bits_per_number,
        bits_per_entry=packed.bits_per_entry,
        seconds=work.seconds,
    )
    return packed.replaced(**found.known.facts, report=report)
