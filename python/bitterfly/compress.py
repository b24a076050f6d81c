"""A dense matrix to a packed butterfly: the fewest bits that meet an error, measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from bitterfly.factorize import factorize
from bitterfly.inputs import Array, as_matrix
from bitterfly.measure import measure
from bitterfly.operator import ButterflyOperator, PackedButterfly
from bitterfly.quantize import entries_per_column, quantize
from bitterfly.report import CompressReport

if TYPE_CHECKING:
    from bitterfly.factorize import Permute

__all__ = ["CompressReport", "compress"]

Progress = Callable[[str, float], None]

_log = logging.getLogger("bitterfly")
_MOST_BITS = 8


def compress(
    a: Any,
    *,
    rtol: float | None = None,
    bits: float | None = None,
    permute: Permute = "auto",
    rng: np.random.Generator | int | None = None,
    progress: Progress | None = None,
) -> PackedButterfly:
    """Compress a dense matrix to a packed butterfly operator.

    Parameters
    ----------
    a : array_like, shape (n, n)
        Real or complex matrix, `n` a power of two.
    rtol : float, optional
        Largest relative error in the Frobenius norm. Without `bits`, the fewest bits whose
        measured error meets it are taken.
    bits : float, optional
        Stored bits per real number in the factors, see `quantize`. With `rtol` as well, the error
        at that width is checked. At least one of the two is needed.
    permute, rng
        Order of rows and columns, and the source of the probe's choices, see `factorize`.
    progress : callable, optional
        Called as ``progress(stage, fraction)`` with the stage "factorize", "quantize" or "measure"
        and the share of it that is done.

    Returns
    -------
    PackedButterfly
        Its ``relative_error`` is measured against all of `a`, and ``op.report`` is a
        `CompressReport`.

    Raises
    ------
    ValueError
        Where neither or a bad value of `rtol`, `bits` is given, and where `rtol` cannot be met: the
        message says what was reached, and whether `a` is a rank-one butterfly at all.
    TypeError
        Where `a` is no dense array of numbers.

    Notes
    -----
    Measuring takes ``n**2 log2(n)`` operations, by the products with panels of the identity; no
    second dense matrix is formed.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> op = bitterfly.compress(np.fft.fft(np.eye(64)), rtol=1e-10)
    >>> op.report.bits, op.report.relative_error < 1e-10
    (1.5, True)
    """
    _check_request(rtol, bits)
    work = _Work(as_matrix(a), progress)
    op = work.factorize(permute, rng)
    if rtol is not None and not op.relative_error <= rtol:
        _require_butterfly(work, op, rtol)
    if bits is None:
        assert rtol is not None
        packed, error = _fewest_bits(work, op, rtol)
        bits = _widest(packed) / entries_per_column(packed)
    else:
        packed, error = work.trial(op, bits)
        if rtol is not None and not error <= rtol:
            raise ValueError(_unmet(rtol, bits, error, op))
    return _finish(work, packed, error, rtol, bits)


class _Work:
    """The matrix, and the stages that are run on it, timed and reported."""

    def __init__(self, a: Array, progress: Progress | None) -> None:
        self.a = a
        self.seconds: dict[str, float] = {}
        self._progress = progress

    def factorize(self, permute: Permute, rng: np.random.Generator | int | None) -> ButterflyOperator:
        with self._stage("factorize"):
            return factorize(self.a, permute=permute, rng=rng)

    def quantize(self, op: ButterflyOperator, bits: float) -> PackedButterfly:
        with self._stage("quantize"):
            return quantize(op, bits=bits)

    def measure(self, op: ButterflyOperator | PackedButterfly) -> float:
        with self._stage("measure"):
            return measure(self.a, op, lambda fraction: self._report("measure", fraction))

    def trial(self, op: ButterflyOperator, bits: float) -> tuple[PackedButterfly, float]:
        packed = self.quantize(op, bits)
        error = self.measure(packed)
        _log.info("%g bits per factor entry: measured relative error %.3e", bits, error)
        return packed, error

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = perf_counter()
        self._report(name, 0.0)
        yield
        self._report(name, 1.0)
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start

    def _report(self, stage: str, fraction: float) -> None:
        if self._progress is not None:
            self._progress(stage, fraction)


def _check_request(rtol: float | None, bits: float | None) -> None:
    if rtol is None and bits is None:
        raise ValueError("rtol, bits: expected at least one of them")
    if rtol is not None and not rtol >= 0:
        raise ValueError(f"rtol: expected a number that is not negative, got {rtol}")


def _require_butterfly(work: _Work, op: ButterflyOperator, rtol: float) -> None:
    """Raise unless the float factors meet `rtol` by measurement: the ledger is an upper bound."""
    error = work.measure(op)
    if not error <= rtol:
        raise ValueError(
            f"rtol: {rtol:.3g} cannot be met at any number of bits, the float factors reach "
            f"{error:.3g}: to that accuracy the matrix is not a rank-one butterfly in the "
            "orderings tried"
        )


def _unmet(rtol: float, bits: float, error: float, op: ButterflyOperator) -> str:
    return (
        f"rtol: {rtol:.3g} is not met: {bits:g} bits per factor entry reach {error:.3g}, "
        f"the float factors {op.relative_error:.3g}"
    )


def _fewest_bits(work: _Work, op: ButterflyOperator, rtol: float) -> tuple[PackedButterfly, float]:
    """Start at the width that the ledger predicts; measure there, and then its neighbours."""
    reals = entries_per_column(op)
    most = _MOST_BITS * reals
    width = _predicted_width(work, op, rtol, most)
    packed, error = work.trial(op, width / reals)
    while not error <= rtol:
        if width == most:
            raise ValueError(_unmet(rtol, width / reals, error, op))
        width += 1
        packed, error = work.trial(op, width / reals)
    while (width := _widest(packed) - 1) >= 1:
        smaller, smaller_error = work.trial(op, width / reals)
        if not smaller_error <= rtol:
            break
        packed, error = smaller, smaller_error
    return packed, error


def _predicted_width(work: _Work, op: ButterflyOperator, rtol: float, most: int) -> int:
    """Bisect for the fewest bits per column whose predicted error is at most `rtol`, else all."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        packed = work.quantize(op, middle / entries_per_column(op))
        if _predicted_error(op, packed) <= rtol:
            high = middle
        else:
            low = middle + 1
    return low


def _predicted_error(op: ButterflyOperator, packed: PackedButterfly) -> float:
    """Add the errors of factors and codes as if orthogonal: what is reported adds the two."""
    factors = op.relative_error
    codes = (packed.relative_error - factors) / (1 + factors)
    return float(np.hypot(factors, codes))


def _widest(packed: PackedButterfly) -> int:
    return max(code.bits for code in packed.codes)


def _finish(work: _Work, packed: PackedButterfly, error: float, rtol: float | None, bits: float) -> PackedButterfly:
    report = CompressReport(
        shape=(packed.shape[0], packed.shape[1]),
        dtype=np.dtype(packed.dtype).name,
        rtol=rtol,
        bits=bits,
        relative_error=error,
        error_kind="measured",
        nbytes=packed.nbytes,
        dense_nbytes=work.a.nbytes,
        bits_per_entry=packed.bits_per_entry,
        bits_per_factor_entry=packed.bits_per_factor_entry,
        seconds=work.seconds,
    )
    return PackedButterfly(
        packed.words,
        packed.codes,
        packed.scale,
        permutations=packed.base_permutations,
        relative_error=error,
        error_kind="measured",
        mode=packed.mode,
        report=report,
    )
