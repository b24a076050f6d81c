"""The low-rank part of a matrix that is worth its bytes, taken out before the rest becomes window codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import qr, svd

from bitterfly.dense.beside.outliers import Apart
from bitterfly.inputs import Array
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.contract import ButterflyProduct
from bitterfly.powers import exponent_of, near_one
from bitterfly.quantization.quantize import quantize

_WIDTHS = (4, 6, 8)  # bits of the numbers of the factors that are compared
_FIRST, _MOST = 8, 64  # singular triples that are looked for
_SAFE = 40  # exponents of single precision whose squares and sums stay far from its limits


def worthwhile_head(a: Array, rng: np.random.Generator, most: float = np.inf) -> Apart | None:
    """Return the leading singular triples of a matrix in few bits, where they take less than they save; else None.

    They take at most so many bits in all.

    With r of them the rest has the energy ``E_r``: each of its ``m n`` numbers takes ``1/2 log2(E_0 / E_r)`` bits less
    for the same error, and the factors take b bits for each of ``r (m + n)`` numbers, whose errors stay in the rest.
    """
    m, n = a.shape
    if min(m, n) < 2:
        return None
    x, shift = (a, 0) if abs(exponent_of(a)) < _SAFE else near_one(a)
    total = float(np.linalg.norm(x)) ** 2
    if total == 0:
        return None
    count, planes = _FIRST, 2 if a.dtype.kind == "c" else 1
    while True:
        count = min(count, min(m, n))
        u, s, vh = leading(x, count, rng)
        rank, bits, saved = _best(s, total, m, n, most / planes)
        if rank < count or count in (_MOST, min(m, n)):
            break
        count *= 2
    if rank == 0:
        return None
    return Apart(in_factors(u[:, :rank] * s[:rank], vh[:rank].T, shift, bits, a.dtype), planes * saved)


def in_factors(left: Array, right: Array, power: int, bits: int, dtype: np.dtype[Any]) -> ButterflyProduct:
    """Return ``left @ right.T`` times a power of two in integers of so many bits, columns of one length on both sides.

    Parameters
    ----------
    left, right : ndarray
        (m, r) and (n, r), none of their columns zero.
    power, bits : int
    dtype : dtype
        Of the operator.
    """
    lengths = [np.linalg.norm(side, axis=0) for side in (left, right)]
    both = np.sqrt(lengths[0] * lengths[1])
    sides = [side * (both / length) for side, length in zip((left, right), lengths, strict=True)]
    powers = power // 2, power - power // 2
    first, second = (_packed(side, power, bits, dtype) for side, power in zip(sides, powers, strict=True))
    return ButterflyProduct((first, second.T))


def _packed(side: Array, power: int, bits: int, dtype: np.dtype[Any]) -> PackedButterfly:
    """Return a matrix of few columns times a power of two, in integers and one length a column."""
    factor = (side * 2.0**power).reshape(1, *side.shape, 1).astype(dtype)
    return quantize(ButterflyOperator([factor]), bits=bits, code="lattice", rng=0)


def leading(x: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return singular triples by a randomized range finder with one power of the Gram matrix.

    Halko, Martinsson, Tropp, Finding structure with randomness (SIAM Review 53, 2011), algorithm 4.4.
    """
    omega = rng.standard_normal((x.shape[1], count + 2)).astype(x.real.dtype)
    q = qr(x @ omega, mode="economic")[0]
    q = qr(x @ (x.conj().T @ q), mode="economic")[0]
    u, s, vh = svd(q.conj().T @ x, full_matrices=False)
    return (q @ u)[:, :count], s[:count].astype(np.float64), vh[:count]


def _best(s: Array, total: float, m: int, n: int, most: float) -> tuple[int, int, float]:
    """Return the rank and the bits of the numbers of the factors that save the most bits; rank 0 where none does."""
    heads = np.cumsum(s**2)
    rest = np.maximum(total - heads, total * 1e-12)
    ranks = np.arange(1, len(s) + 1)
    best = (0.0, 0, _WIDTHS[0])
    for bits in _WIDTHS:
        left = rest + 2 * heads * 4.0**-bits
        taken = ranks * ((m + n) * bits + 32)
        saved = np.where(taken > most, -np.inf, 0.5 * np.log2(total / left) * m * n - taken)
        at = int(np.argmax(saved))
        best = max(best, (float(saved[at]), at + 1, bits))
    return best[1], best[2], best[0]
