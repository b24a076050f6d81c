"""A matrix or a tensor to signed cuts: greedy ascents, then all cuts together, again and again."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitterfly import _core
from bitterfly.cuts import ascent
from bitterfly.cuts.refine import swept
from bitterfly.cuts.terms import Cuts, joined, none
from bitterfly.inputs import Array, UnmetError, as_bytes, as_count, as_floating, as_number, check_rtol
from bitterfly.workers import building_workers

_MOST_SIDE = 1 << 24  # sums of so many signs are exact in single precision
_AT_ONCE = 16  # cuts between two looks at the error
_LEAST_WINDOW = 32  # cuts that are swept together, of shapes with fewer in a bit
_MOST_BITS = 64  # an entry, of what a tolerance takes
_LEAST_RTOL, _ROUNDED = 1e-4, 2e-6  # the residual is known to about the latter
_NOTHING = 2.0**-24  # of all is what single precision does not tell from zero


class Asked(NamedTuple):
    """What is asked of a search: so many cuts, or None and a tolerance."""

    width: int | None
    rtol: float | None
    starts: int
    sweeps: int
    rng: np.random.Generator
    workers: int


def checked(a: Any, name: str) -> Array:
    """Return finite real numbers as an array, no axis of which is too long for exact sums of signs."""
    given = as_floating(a, name)
    if given.dtype.kind == "c":
        raise TypeError(
            f"{name}: expected real numbers, got complex ones; real and imaginary parts have cuts of their own"
        )
    if max(given.shape) > _MOST_SIDE:
        raise ValueError(f"{name}: expected axes of at most {_MOST_SIDE}, got shape {given.shape}")
    if not np.all(np.isfinite(given)):
        raise ValueError(f"{name}: expected finite numbers, got infinities or NaNs")
    return given


def asked(
    a: Array,
    width: int | None,
    bits: float | None,
    rtol: float | None,
    nbytes: int | None,
    starts: int,
    sweeps: int,
    rng: np.random.Generator | int | None,
    workers: int | None,
) -> Asked:
    """Return what is asked for, checked."""
    most = _as_width(a, width, bits, rtol, nbytes)
    if as_count(starts, "starts") < 1:
        raise ValueError(f"starts: expected at least 1, got {starts}")
    several = as_count(starts, "starts"), as_count(sweeps, "sweeps")
    return Asked(most, rtol, *several, np.random.default_rng(rng), building_workers(workers))


def _as_width(a: Array, width: int | None, bits: float | None, rtol: float | None, nbytes: int | None) -> int | None:
    if sum(x is not None for x in (width, bits, rtol, nbytes)) != 1:
        raise ValueError("width, bits, rtol, nbytes: expected exactly one of them")
    if width is not None:
        if as_count(width, "width") < 1:
            raise ValueError(f"width: expected at least 1, got {width}")
        return as_count(width, "width")
    if rtol is not None:
        check_rtol(as_number(rtol, "rtol"))
        if rtol < _LEAST_RTOL:
            raise UnmetError(f"rtol: cuts are found in single precision, expected at least {_LEAST_RTOL}, got {rtol}")
        return None
    each, room, name = sum(-(-n // 8) for n in a.shape) + a.dtype.itemsize, 0.0, "nbytes"
    if nbytes is not None:
        room = float(as_bytes(nbytes))
    elif bits is not None:
        room, name = as_number(bits, "bits") * a.size / 8, "bits"
        if not 0 < room < np.inf:
            raise ValueError(f"bits: expected a positive number, got {bits}")
    if room < each:
        raise UnmetError(f"{name}: a cut of {' x '.join(map(str, a.shape))} takes {each} bytes, got {room:.6g}")
    return int(room // each)


def found(a: Array, asked: Asked) -> Cuts:
    """Return cuts found in shares; after each the last ones, those of one bit an entry, are swept.

    Later cuts see what better ones have left: at 4 bits three times the gain of as many sweeps of all cuts at the end.

    Parameters
    ----------
    a : ndarray of float32, of one axis or more
        Near one.
    """
    most, a_bit = asked.width or _MOST_BITS * a.size, round(a.size / sum(a.shape))
    share = max(1, round(a_bit / asked.sweeps)) if asked.sweeps else most
    settled, last, rest = [none(a.shape)], none(a.shape), a
    count, is_done = 0, False
    target = (_NOTHING if asked.rtol is None else asked.rtol - _ROUNDED) ** 2 * ascent.energy_of(a)
    while not is_done and count < most:
        wanted = min(share, most - count)
        more = _greedy(rest, wanted, target, asked)
        if not len(more.c):
            break
        last, is_done, count = joined([last, more]), len(more.c) < wanted, count + len(more.c)
        if asked.sweeps:
            early, last = last.split(max(0, len(last.c) - max(share, a_bit, _LEAST_WINDOW)))
            settled.append(early)
            rest, last = swept(rest - more.dense(), last, asked.workers)
            is_done = ascent.energy_of(rest) <= target
        if is_done and asked.rtol is not None:  # many updates have rounded what is left
            rest = a.astype(np.float64)
            for part in (*settled, last):
                rest -= part.dense(np.float64)
            is_done, rest = ascent.energy_of(rest) <= target, rest.astype(np.float32)
    if count:
        return joined([*settled, last])
    return Cuts(np.zeros(1), tuple(np.ones((1, n), np.float32) for n in a.shape))


def rounded(c: Array, exponent: int, dtype: np.dtype[Any], name: str) -> Array:
    """Return coefficients times a power of two in the precision of what they are of."""
    with np.errstate(over="ignore", under="ignore"):
        numbers: Array = np.ldexp(c, exponent).astype(dtype)
    if not np.all(np.isfinite(numbers)):
        raise OverflowError(f"{name}: the coefficients of its cuts do not fit {dtype}")
    return numbers


def check_error(error: float, rtol: float | None, dtype: np.dtype[Any]) -> None:
    """Raise an UnmetError where a tolerance is not met by rounded coefficients."""
    if rtol is not None and error > rtol:
        raise UnmetError(f"rtol: not met by coefficients of {dtype}, which leave {error:.3g}, got {rtol}")


def _greedy(a: Array, count: int, target: float, asked: Asked) -> Cuts:
    """Return so many cuts of a residual, or fewer that leave no more than a target of its energy."""
    if a.ndim != 2:
        return ascent.greedy(a, count, target, asked.starts, asked.rng)
    core, energy, many, parts = _core.Ascent(np.ascontiguousarray(a)), ascent.energy_of(a), 0, [none(a.shape)]
    while many < count and energy > target:
        seeds = asked.rng.integers(2**64, size=min(_AT_ONCE, count - many), dtype=np.uint64)
        c, *sides = core.cuts(seeds, asked.starts, asked.workers)
        left = energy - np.cumsum(c * c) * a.size
        kept = min(int(np.sum(left > target)) + 1, int(np.sum(c > 0)))
        parts.append(Cuts(c, tuple(sides)).split(kept)[0])
        many, energy = many + kept, float(left[-1])
        if kept < len(seeds):
            break
    return joined(parts)
