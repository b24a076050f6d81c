"""Any real matrix to signed cuts: greedy ascents, then all cuts together."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure
from bitterfly.cuts.errors import errors_of_first
from bitterfly.cuts.refine import Cuts, joined, none, swept
from bitterfly.inputs import Array, UnmetError, as_bytes, as_count, as_floating, as_number, check_rtol
from bitterfly.operators.cuts import SignedCut
from bitterfly.powers import near_one
from bitterfly.workers import building_workers, set_workers

_MOST_SIDE = 1 << 24  # sums of so many signs are exact in single precision
_AT_ONCE = 16  # cuts between two looks at the error
_MOST_BITS = 64  # an entry, of what a tolerance takes
_LEAST_RTOL, _ROUNDED = 1e-4, 2e-6  # the residual is known to about the latter


def matrix(
    a: Any,
    *,
    width: int | None = None,
    bits: float | None = None,
    rtol: float | None = None,
    nbytes: int | None = None,
    starts: int = 2,
    sweeps: int = 16,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> SignedCut:
    """Approximate a real matrix by a sum of signed cuts, ``sum_j c_j s_j t_j^T`` with s_j and t_j of -1 and 1.

    Parameters
    ----------
    a : array_like, shape (m, n)
        Real numbers; worked on in single precision, at any scale.
    width : int, optional
        How many cuts.
    bits : float, optional
        Bits for each entry of the matrix, those of coefficients counted too: the most cuts that fit them.
    rtol : float, optional
        Relative error that as few cuts as found meet.
    nbytes : int, optional
        The most cuts that fit so many bytes.
    starts : int, optional
        Of how many ascents from random signs each cut is the best.
    sweeps : int, optional
        How often, while cuts take one bit an entry, the signs of the last ones, of a bit an entry, are looked at again
        and their coefficients fitted. None, ``sweeps=0``, with one start is the published algorithm.
    rng : numpy.random.Generator or int, optional
        Draws the random signs.
    workers : int, optional
        Threads, as for `factorize`.

    Returns
    -------
    SignedCut
        Its ``relative_error`` is measured on all entries, what the measurement rounds included; its ``errors`` are
        those of the first 1, 2, .. cuts. Fewer cuts than asked for where these leave nothing.

    Raises
    ------
    ValueError
        Where not exactly one of `width`, `bits`, `rtol`, `nbytes` is given, or a bad value; for infinities and NaNs;
        where `rtol` is not met by coefficients of the precision of `a`, subnormal ones.
    OverflowError
        Where coefficients do not fit the precision of the matrix.
    TypeError
        Where `a` is no matrix of real numbers.

    Notes
    -----
    The ascent (arXiv:2410.01799): from random signs t, s are the signs of ``R t`` and t those of ``R^T s`` as long as
    ``s^T R t`` grows; the coefficient is that over ``m n``, and R loses the cut.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> a = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    >>> op = bitterfly.cuts.matrix(a, bits=4, rng=0)
    >>> op.nbytes * 8 / a.size <= 4, op.relative_error < 0.17
    (True, True)
    """
    given = as_floating(a, "a")
    if given.ndim != 2 or 0 in given.shape:
        raise ValueError(f"a: expected shape (m, n), neither of them zero, got {given.shape}")
    if given.dtype.kind == "c":
        raise TypeError("a: expected real numbers, got complex ones; real and imaginary parts have cuts of their own")
    if max(given.shape) > _MOST_SIDE:
        raise ValueError(f"a: expected at most {_MOST_SIDE} rows and columns, got {given.shape}")
    if not np.all(np.isfinite(given)):
        raise ValueError("a: expected finite numbers, got infinities or NaNs")
    most = _as_width(given, width, bits, rtol, nbytes)
    starts = as_count(starts, "starts")
    if starts < 1:
        raise ValueError(f"starts: expected at least 1, got {starts}")
    sweeps, threads = as_count(sweeps, "sweeps"), building_workers(workers)
    with set_workers(threads):
        return _of_array(given, most, rtol, starts, sweeps, np.random.default_rng(rng), threads)


def _as_width(a: Array, width: int | None, bits: float | None, rtol: float | None, nbytes: int | None) -> int | None:
    """Return how many cuts are asked for; None: what a tolerance takes."""
    if sum(x is not None for x in (width, bits, rtol, nbytes)) != 1:
        raise ValueError("width, bits, rtol, nbytes: expected exactly one of them")
    (m, n), size = a.shape, a.dtype.itemsize
    if width is not None:
        if as_count(width, "width") < 1:
            raise ValueError(f"width: expected at least 1, got {width}")
        return as_count(width, "width")
    if rtol is not None:
        check_rtol(as_number(rtol, "rtol"))
        if rtol < _LEAST_RTOL:
            raise UnmetError(f"rtol: cuts are found in single precision, expected at least {_LEAST_RTOL}, got {rtol}")
        return None
    each, room, name = -(-m // 8) + -(-n // 8) + size, 0.0, "nbytes"
    if nbytes is not None:
        room = float(as_bytes(nbytes))
    elif bits is not None:
        room, name = as_number(bits, "bits") * m * n / 8, "bits"
        if not 0 < room < np.inf:
            raise ValueError(f"bits: expected a positive number, got {bits}")
    if room < each:
        raise UnmetError(f"{name}: a cut of {m} x {n} takes {each} bytes, got {room:.6g}")
    return int(room // each)


def _of_array(
    a: Array, width: int | None, rtol: float | None, starts: int, sweeps: int, rng: np.random.Generator, workers: int
) -> SignedCut:
    near, exponent = near_one(a)
    cuts = _found(near.astype(np.float32), width, rtol, starts, sweeps, rng, workers)
    with np.errstate(over="ignore", under="ignore"):
        numbers = np.ldexp(cuts.c, exponent).astype(a.dtype)
    if not np.all(np.isfinite(numbers)):
        raise OverflowError(f"a: the coefficients of its cuts do not fit {a.dtype}")
    errors = errors_of_first(near, np.ldexp(numbers.astype(np.float64), -exponent), (cuts.rows, cuts.columns))
    op = SignedCut(numbers, cuts.rows, cuts.columns, errors=errors)
    known = Known(measure(a, op), "measured") if a.any() else Known(0.0, "exact")
    errors[-1] = known.error
    if rtol is not None and known.error > rtol:
        raise UnmetError(f"rtol: not met by coefficients of {a.dtype}, which leave {known.error:.3g}, got {rtol}")
    return op.replaced(relative_error=known.error, error_kind=known.kind, errors=errors)


def _found(
    a: Array, width: int | None, rtol: float | None, starts: int, sweeps: int, rng: np.random.Generator, workers: int
) -> Cuts:
    """Return cuts found in shares; after each the last ones, those of one bit an entry, are swept.

    Later cuts see what better ones have left: at 4 bits three times the gain of as many sweeps of all cuts at the end.
    """
    m, n = a.shape
    most, a_bit = width or _MOST_BITS * m * n, round(m * n / (m + n))
    share = max(1, round(a_bit / sweeps)) if sweeps else most
    settled, last, rest = [none(m, n)], none(m, n), a
    count, is_done = 0, False
    target = 0.0 if rtol is None else (rtol - _ROUNDED) ** 2 * _energy(a)
    while not is_done and count < most:
        asked = min(share, most - count)
        more = _greedy(rest, asked, target, starts, rng, workers)
        if not len(more.c):
            break
        last, is_done, count = joined([last, more]), len(more.c) < asked, count + len(more.c)
        if sweeps:
            early, last = last.split(max(0, len(last.c) - max(share, a_bit)))
            settled.append(early)
            rest, last = swept(rest - more.dense(), last, workers)
            is_done = _energy(rest) <= target
        if is_done and rtol is not None:  # many updates have rounded what is left
            rest = a.astype(np.float64)
            for part in (*settled, last):
                rest -= (part.rows * part.c[:, None]).T @ part.columns
            is_done, rest = _energy(rest) <= target, rest.astype(np.float32)
    found = joined([*settled, last])
    return found if count else Cuts(np.zeros(1), *(np.ones((1, size), np.float32) for size in (m, n)))


def _energy(a: Array) -> float:
    return float(np.einsum("ij,ij", a, a, dtype=np.float64))


def _greedy(a: Array, count: int, target: float, starts: int, rng: np.random.Generator, workers: int) -> Cuts:
    """Return so many cuts of a residual, or fewer that leave no more than a target of its energy."""
    ascent, energy, found, parts = _core.Ascent(np.ascontiguousarray(a)), _energy(a), 0, [none(*a.shape)]
    while found < count and energy > target:
        seeds = rng.integers(2**64, size=min(_AT_ONCE, count - found), dtype=np.uint64)
        some = Cuts(*ascent.cuts(seeds, starts, workers))
        left = energy - np.cumsum(some.c * some.c) * a.size
        kept = min(int(np.sum(left > target)) + 1, int(np.sum(some.c > 0)))
        parts.append(some.split(kept)[0])
        found, energy = found + kept, float(left[-1])
        if kept < len(seeds):
            break
    return joined(parts)
