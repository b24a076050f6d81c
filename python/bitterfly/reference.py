"""Slow, obvious NumPy twins of every stage, in double precision: what the fast paths are tested against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
LANES = 16
GROUP_BLOCKS = 256


def dense_factor(values: Array) -> Array:
    """Return the dense matrix of a Kronecker-sparse factor given as a 4-D array (a, b, c, d)."""
    a, b, c, d = values.shape
    out: Array = np.zeros((a, b, d, a, c, d), values.dtype)
    for i in range(a):
        for t in range(d):
            out[i, :, t, i, :, t] = values[i, :, :, t]
    return out.reshape(a * b * d, a * c * d)


def product(factors: Sequence[Array]) -> Array:
    """Return the dense product of factors."""
    return reduce(np.matmul, [dense_factor(f) for f in factors])


def factorize_left_to_right(a: Array) -> tuple[list[Array], list[float]]:
    """Factorize by an SVD of each block; return the factors and the energy that each split discards."""
    n = a.shape[0]
    right = {0: a.astype(np.result_type(a.dtype, np.float64))}
    factors, discarded = [], []
    for level in range(n.bit_length() - 1):
        d = n >> (level + 1)
        factor = np.zeros((1 << level, 2, 2, d), right[0].dtype)
        next_right, lost = {}, 0.0
        for i, block in right.items():
            for k, half in enumerate(np.split(block, 2, axis=1)):
                rest = np.empty((d, half.shape[1]), half.dtype)
                for t in range(d):
                    u, s, vh = np.linalg.svd(half[[t, t + d]], full_matrices=False)
                    factor[i, :, k, t] = u[:, 0]
                    rest[t] = s[0] * vh[0]
                    lost += float(np.sum(s[1:] ** 2))
                next_right[2 * i + k] = rest
        right = next_right
        factors.append(factor)
        discarded.append(lost)
    left_over = np.array([right[s][0, 0] for s in range(n)])
    factors[-1] *= left_over.reshape(-1, 1, 2, 1)
    return factors, discarded


def decode(kind: str, bits: int, q: int) -> Array:
    """Return the unit column (two entries) of code `q`."""
    if kind == "angle":
        return np.array([np.cos(np.pi * q / 2**bits), np.sin(np.pi * q / 2**bits)])
    if kind == "phase":
        column: Array = np.array([1, np.exp(2j * np.pi * q / 2**bits)]) / np.sqrt(2)
        return column
    return _decode_sphere(bits, q)


def _decode_sphere(bits: int, q: int) -> Array:
    v_bits = bits // 2
    side = 2 ** ((bits + 1) // 2)
    u, v = q >> v_bits, q & (2**v_bits - 1)
    if bits % 2 == 1:
        v = 2 * v + (u & 1)
    a, b = (2 * u + 1) / side - 1, (2 * v + 1) / side - 1
    s = 1 - abs(a) - abs(b)
    r = 1 - abs(s)
    t = (abs(b) - abs(a)) / r
    tau = t * (np.pi / 4 + (1 - np.pi / 4) * t**2)
    phase = (np.copysign(1 - tau, a) + 1j * np.copysign(1 + tau, b)) / np.sqrt(2 + 2 * tau**2)
    small, big = r / np.sqrt(2), np.sqrt(1 - r**2 / 2)
    return np.array([big, small * phase] if s >= 0 else [small, big * phase])


@lru_cache(maxsize=32)
def codebook(kind: str, bits: int) -> Array:
    """Return all columns of a code, shape (2**bits, 2)."""
    return np.array([decode(kind, bits, q) for q in range(2**bits)])


def encode(kind: str, bits: int, x: Array) -> int:
    """Return the code whose direction is nearest to `x`, by trying all of them."""
    return int(np.argmax(np.abs(codebook(kind, bits).conj() @ x)))


def quantize_left_to_right(factors: Sequence[Array], kind: str, bits: int) -> tuple[list[Array], Array]:
    """Code every column by brute force; return the unit factors and the scale vector."""
    n = 1 << len(factors)
    lengths = np.ones(n, np.result_type(*factors))
    coded = []
    for factor in factors:
        a, _, _, d = factor.shape
        scaled = factor * lengths.reshape(a, 1, 2, d).transpose(0, 2, 1, 3)
        unit = np.zeros(factor.shape, np.result_type(factor, codebook(kind, bits)))
        new = np.zeros((a, 2, d), unit.dtype)
        for i, k, t in np.ndindex(a, 2, d):
            x = scaled[i, :, k, t]
            u = decode(kind, bits, encode(kind, bits, x))
            unit[i, :, k, t] = u
            new[i, k, t] = np.vdot(u, x)
        coded.append(unit)
        lengths = new.reshape(-1)
    return coded, lengths


def pack(codes: Array, bits: int) -> Array:
    """Return the packed words of one factor's codes, shape (a, 2, d), bit by bit."""
    a, _, d = codes.shape
    n = codes.size
    vectors = -(-(n // 2) // LANES)
    words = np.zeros((-(-2 * vectors * bits // 32), LANES), np.uint32)
    for i, k, t in np.ndindex(a, 2, d):
        group, inside = divmod(i * d + t, GROUP_BLOCKS)
        for bit in range(bits):
            at = (2 * (inside // LANES) + k) * bits + bit
            if int(codes[i, k, t]) >> bit & 1:
                words[group * bits + at // 32, inside % LANES] |= np.uint32(1 << (at % 32))
    return words.reshape(-1)


def unpack(words: Array, n: int, d: int, bits: int) -> Array:
    """Return the codes, shape (a, 2, d), of packed words, bit by bit."""
    lines = words.reshape(-1, LANES)
    codes = np.zeros((n // (2 * d), 2, d), np.uint32)
    for i, k, t in np.ndindex(*codes.shape):
        group, inside = divmod(i * d + t, GROUP_BLOCKS)
        for bit in range(bits):
            at = (2 * (inside // LANES) + k) * bits + bit
            value = int(lines[group * bits + at // 32, inside % LANES]) >> (at % 32) & 1
            codes[i, k, t] |= np.uint32(value << bit)
    return codes
