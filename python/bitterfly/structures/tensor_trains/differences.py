"""Norms of tensor trains and of their differences, from orthogonal cores: nothing cancels, and no matrix is formed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import qr

from bitterfly.accuracy.known import rounded_up
from bitterfly.accuracy.norms import minus, plus
from bitterfly.accuracy.rounding import NOTHING
from bitterfly.inputs import Array, IndexArray
from bitterfly.powers import near_one
from bitterfly.structures.tensor_trains.cores import Wide

Digits = Sequence[IndexArray]

_UNIT = float(np.finfo(np.float64).eps)
_OPERATIONS = 16
_PANEL = 1 << 20
_FARTHEST = 900  # of exponents of two trains: beyond, the smaller one is nothing beside the other


def log2_norms(cores: Sequence[Wide], without: Digits = ()) -> tuple[float, float]:
    """Return logarithms to base 2 of bounds on the Frobenius norm of a tensor train, from below and from above.

    Parameters
    ----------
    cores : sequence of Wide
    without : sequence of arrays, one for each core, optional
        Digits of rows that are left out.

    Notes
    -----
    Cores are made orthogonal from the right; what is left of the first one has the norm of the train. The QR of a
    matrix X of (p, q) is that of one within ``c p q u ||X||_F`` (Higham, *Accuracy and Stability of Numerical
    Algorithms*, 2002, theorem 19.4), a product with the factor before rounds less; what stands to the left of a core
    multiplies that by its norm at most.
    """
    lefts = _lefts(cores)
    factor, power, off = np.ones((1, 1)), 0, NOTHING
    for core, left in zip(cores[::-1], lefts[::-1], strict=True):
        r, m, n, s = core.values.shape
        size = float(np.linalg.norm(core.values)) + core.off
        length = float(np.linalg.norm(factor))
        unit = _OPERATIONS * (r * m * n * max(r, s) + s + 2) * _UNIT
        lost = unit * size * length + core.off * length
        if lost > 0:
            off = plus(off, float(np.log2(lost)) + power + core.exponent + left)
        x = np.tensordot(core.values, factor, 1).reshape(r, -1)
        upper = np.asarray(qr(x.conj().T, mode="r", overwrite_a=True, check_finite=False)[0])
        factor, shift = near_one(upper[: min(upper.shape)].conj().T)
        power += core.exponent + shift
    length = float(np.linalg.norm(factor))
    whole = float(np.log2(length)) + power if length > 0 else NOTHING
    low, high = minus(whole, off), plus(whole, off)
    if len(without) and low > NOTHING:
        rest = _log2_rows(cores, without) - low
        low = low + minus(0.0, 2 * rest + 1e-9) / 2 if rest < 0 else NOTHING
    return low, high


def _lefts(cores: Sequence[Wide]) -> list[float]:
    """Return the logarithms of bounds on the norms of what stands to the left of each core."""
    out, gram, power, off = [0.0], np.ones((1, 1)), 0, 0.0
    for core in cores[:-1]:
        x, size = core.values, float(np.linalg.norm(core.values)) + core.off
        length = float(np.linalg.norm(gram))
        off = (off + _OPERATIONS * x.size * _UNIT * length) * size**2 + 2 * core.off * size * length
        gram, shift = near_one(np.einsum("ru,rabs,uabt->st", gram, x.conj(), x, optimize=True))
        off, power = float(np.ldexp(off, -shift)), power + 2 * core.exponent + shift
        total = float(np.abs(np.trace(gram))) + len(gram) * off
        out.append(float(np.log2(total) + power) / 2 + 1e-9 if total > 0 else NOTHING)
    return out


def _log2_rows(cores: Sequence[Wide], digits: Digits) -> float:
    """Return the logarithm of a bound on the norm of some rows of a train."""
    sizes = [float(np.linalg.norm(core.values)) + core.off for core in cores]
    if min(sizes) == 0:
        return NOTHING
    widest = max(core.values.shape[0] for core in cores) * int(np.prod([core.values.shape[2] for core in cores]))
    count, total = max(_PANEL // widest, 1), 0.0
    for first in range(0, len(digits[0]), count):
        z = np.ones((len(digits[0][first : first + count]), 1, 1))
        for core, size, each in zip(cores, sizes, digits, strict=True):
            x = np.moveaxis(core.values / size, 1, 0)[each[first : first + count]]
            k, r, n, s = x.shape
            z = (z @ x.reshape(k, r, n * s)).reshape(k, -1, s)
        total += float(np.sum(np.square(np.abs(z))))
    rounding = sum(
        core.off / size + _OPERATIONS * len(core.values) * _UNIT for core, size in zip(cores, sizes, strict=True)
    )
    power = sum(float(np.log2(size)) + core.exponent for core, size in zip(cores, sizes, strict=True))
    return float(np.log2(np.sqrt(total) * (1 + 1e-9) + rounding)) + power


def change_between(a: Sequence[Wide], b: Sequence[Wide], without: Digits = ()) -> float:
    """Return a bound on ``||A - B||_F / ||A||_F`` for tensor trains of the same digits; 0 / 0 is 0.

    Parameters
    ----------
    a, b : sequence of Wide
    without : sequence of arrays, one for each core, optional
        Digits of rows that are left out of both; the difference is taken with them.
    """
    least = log2_norms(a, without)[0]
    most = log2_norms(_difference(a, b))[1]
    if most == NOTHING:
        return 0.0
    with np.errstate(over="ignore"):
        return rounded_up(float(np.exp2(most - least)), 8) if least > NOTHING else float("inf")


def _difference(a: Sequence[Wide], b: Sequence[Wide]) -> list[Wide]:
    """Return the train of the difference, whose ranks are those of both together."""
    sides = [core for core in (a, b) if all(each.values.any() or each.off for each in core)]
    if len(sides) < 2:
        return list(sides[0] if sides else a)
    power = sum(core.exponent for core in a)
    apart = max(sum(core.exponent for core in b) - power, -_FARTHEST)
    if apart > _FARTHEST:
        return list(b)
    whole = direct_sum([core.values for core in a], [core.values for core in b], -np.ldexp(1.0, apart))
    offs = [float(np.hypot(x.off, y.off)) for x, y in zip(a, b, strict=True)]
    offs[0] = float(np.hypot(a[0].off, np.ldexp(b[0].off, apart)))
    return [Wide(x, power if at == 0 else 0, off) for at, (x, off) in enumerate(zip(whole, offs, strict=True))]


def direct_sum(a: Sequence[Array], b: Sequence[Array], factor: complex = 1.0) -> list[Array]:
    """Return the cores of ``A + factor B``, side by side, then along diagonals, then one above the other."""
    if len(a) == 1:
        return [a[0] + factor * b[0]]
    first = np.concatenate([a[0], factor * b[0]], axis=3)
    last = np.concatenate([a[-1], b[-1]], axis=0)
    return [first, *(_diagonal(x, y) for x, y in zip(a[1:-1], b[1:-1], strict=True)), last]


def _diagonal(x: Array, y: Array) -> Array:
    (r, m, n, s), (p, _, _, q) = x.shape, y.shape
    out = np.zeros((r + p, m, n, s + q), np.result_type(x, y))
    out[:r, :, :, :s], out[r:, :, :, s:] = x, y
    return out
