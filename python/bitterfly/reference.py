"""Slow, obvious NumPy twins of every stage, in double precision or better: what the fast paths are tested against.

`dense` is the one oracle of products: the matrix that an operator of any kind stands for, from what it stores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import pairwise
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


def dense(op: Any) -> Array:
    """Return the matrix that an operator stands for, in double precision, from what it stores.

    Parameters
    ----------
    op : operator of any kind
        Floats and packed codes in any mode, and what is made of them.
    """
    members = [dense(member) for member in op.members]
    if members:
        return together(op, members)
    if op.kind == "dense":
        matrix = dense_codes(op)
        return in_mode(op, np.asarray(rotated(op, matrix)))
    if op.kind == "cuts":
        return in_mode(op, cuts(op))
    if op.kind in _STRUCTURES:
        return in_mode(op, _STRUCTURES[op.kind](op))
    factors, scale = stored_factors(op)
    matrix = product(factors)
    return viewed(op, matrix if scale is None else matrix * scale)


def sparse(op: Any) -> Array:
    """Return the stored, forward matrix of a sparse operator in double precision, entry by entry."""
    rows = op.matrix
    out: Array = np.zeros(op.stored_shape, np.result_type(op.dtype, np.float64))
    if rows.format == "dia":
        for offset, diagonal in zip(rows.offsets, rows.data, strict=True):
            for j, number in enumerate(diagonal):
                if 0 <= j - offset < len(out):
                    out[j - offset, j] = number
        return out
    for i, (first, last) in enumerate(pairwise(rows.indptr)):
        for at in range(first, last):
            out[i, rows.indices[at]] += rows.data[at]
    return out


def permutation(op: Any) -> Array:
    """Return the stored matrix of a permutation."""
    out: Array = np.zeros(op.shape, np.result_type(op.dtype, np.float64))
    for i, j in enumerate(op.stored_order):
        out[i, j] = 1
    return out


def toeplitz(op: Any) -> Array:
    """Return the stored, forward matrix of a Toeplitz operator in double precision, coefficient by coefficient."""
    t, (rows, columns) = op.coefficients, op.sizes
    out: Array = np.zeros((t.shape[0], *rows, t.shape[1], *columns), np.result_type(t.dtype, np.float64))
    for i in np.ndindex(*rows):
        for j in np.ndindex(*columns):
            differences = zip(i, j, rows, op.strides, op.first, strict=True)
            k = tuple((a - b) % n if op.is_periodic else s * a - b - first for a, b, n, s, first in differences)
            if all(0 <= each < size for each, size in zip(k, t.shape[2:], strict=True)):
                out[(slice(None), *i, slice(None), *j)] = t[(slice(None), slice(None), *k)]
    return out.reshape(op.stored_shape)


def cuts(op: Any, real: Any = np.float64) -> Array:
    """Return the stored, forward matrix of signed cuts in a precision, one cut after the other."""
    return _sum_of_cuts(op.stored_shape, op.coefficients.astype(real), op.bits)


def cut_tensor(cut: Any, real: Any = np.float64) -> Array:
    """Return a `CutTensor` as an array in a precision, one cut after the other."""
    return _sum_of_cuts(cut.shape, cut.coefficients.astype(np.result_type(cut.dtype, real)), cut.bits)


def kernel(conv: Any, real: Any = np.float64, matrix: Callable[[Any], Array] = dense) -> Array:
    """Return the kernel of a `FactoredConvolution` in a precision, (out, in, k_1, ..), place by place.

    Parameters
    ----------
    conv : FactoredConvolution
    real : dtype, optional
    matrix : callable, optional
        The matrix of an operator.
    """
    if conv.structure == "cuts":
        return cut_tensor(conv.factors[0], real)
    matrices = [matrix(factor).astype(real) for factor in conv.factors]
    out: Array = np.zeros(conv.shape, real)
    for at in np.ndindex(*conv.shape):
        o, i, *places = at
        if conv.structure == "unfolded":
            out[at] = matrices[0][o, np.ravel_multi_index(at[1:], conv.shape[1:])]
        elif conv.structure == "tensor_train":
            out[at] = matrices[0][o, np.ravel_multi_index((*places, i), (*conv.shape[2:], conv.shape[1]))]
        else:
            inner = [place for place, size in zip(places, conv.shape[2:], strict=True) if size > 1]
            rows = [x[place] for x, place in zip(matrices, (o, *inner, i), strict=True)]
            out[at] = np.sum(np.prod(rows, axis=0))
    return out


def convolution(
    w: Array, x: Array, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> Array:
    """Return the convolution of one image (in groups, n_1, ..) with a kernel, number by number, zeros around it."""
    o, i, *window = w.shape
    sizes = zip(x.shape[1:], window, stride, padding, dilation, strict=True)
    out: Array = np.zeros((o, *((n + 2 * p - t * (k - 1) - 1) // s + 1 for n, k, s, p, t in sizes)))
    for at in np.ndindex(*out.shape):
        for channel in range(i):
            for place in np.ndindex(*window):
                steps = zip(at[1:], place, stride, padding, dilation, strict=True)
                source = [a * s + b * t - p for a, b, s, p, t in steps]
                if all(0 <= n < size for n, size in zip(source, x.shape[1:], strict=True)):
                    out[at] += w[at[0], channel, *place] * x[at[0] // (o // groups) * i + channel, *source]
    return out


def _sum_of_cuts(shape: tuple[int, ...], coefficients: Array, bits: tuple[Array, ...]) -> Array:
    out: Array = np.zeros(shape, coefficients.dtype)
    for c, *sides in zip(coefficients, *bits, strict=True):
        part: Array = c
        for side, size in zip(sides, shape, strict=True):
            part = np.multiply.outer(part, [-1 if side[i // 8] >> i % 8 & 1 else 1 for i in range(size)])
        out += part
    return out


def rotation(n: int, seed: int, real: Any = np.float64) -> Array:
    """Return the rotation of a seed as a dense matrix, as the format page defines it."""
    largest = max((order << (n // order).bit_length() - 1, -order) for order in (1, 12, 20, 28) if order <= n)
    size, order = largest[0], -largest[1]
    hadamard = _paley(order)
    while len(hadamard) < size:
        hadamard = np.kron(hadamard, _SYLVESTER)
    out: Array = np.eye(n, dtype=real)
    for at, first in enumerate([0] if size == n else [0, n - size]):
        signs = np.array([1 - 2 * (_split_mix(seed + at, i // 64) >> i % 64 & 1) for i in range(first, first + size)])
        stage = np.eye(n, dtype=real)
        stage[first : first + size, first : first + size] = hadamard * signs / np.sqrt(real(size))
        out = stage @ out
    return out


_SYLVESTER: Array = np.array([[1, 1], [1, -1]])


def _split_mix(seed: int, at: int) -> int:
    """Return output `at` of SplitMix64."""
    z = (seed + (at + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def _paley(order: int) -> Array:
    """Return Paley's Hadamard matrix of order 1, 12 or 20 (first construction), or 28 (second)."""
    if order == 1:
        return np.eye(1)
    q = 13 if order == 28 else order - 1
    chi = [0, *(1 if pow(x, (q - 1) // 2, q) == 1 else -1 for x in range(1, q))]
    inner = np.array([[chi[(i - j) % q] for j in range(q)] for i in range(q)])
    bordered = np.ones((q + 1, q + 1))
    bordered[0, 0], bordered[1:, 1:] = 0, inner
    if order == 28:
        return np.asarray(np.kron(bordered, _SYLVESTER) + np.kron(np.eye(q + 1), [[1, -1], [-1, -1]]))
    bordered[1:, 0] = -1
    return bordered + np.eye(q + 1)


def together(op: Any, matrices: Sequence[Array]) -> Array:
    """Return the matrix that a sum, a stack, a product or a Kronecker product makes of those of its members."""
    if op.kind == "sum":
        total: Array = np.sum([c * m for c, m in zip(op.coefficients, matrices, strict=True)], axis=0)
        return total
    if op.kind == "stack" and op.axis != "diagonal":
        return np.concatenate(matrices, axis=op.axis)
    pairs: dict[str, Callable[[Array, Array], Array]] = {
        "stack": _along_diagonal,
        "kron": np.kron,
        "product": np.matmul,
    }
    return reduce(pairs[op.kind], matrices)


def _along_diagonal(a: Array, b: Array) -> Array:
    (m, n), (p, q) = a.shape, b.shape
    return np.block([[a, np.zeros((m, q))], [np.zeros((p, n)), b]])


def viewed(op: Any, stored: Array) -> Array:
    """Return the matrix of an operator, given the product of its stored factors: orders, padding, mode."""
    out: Array = np.zeros_like(stored)
    rows, columns = (
        np.arange(size) if order is None else np.asarray(order)
        for order, size in zip(op.base_permutations, stored.shape, strict=True)
    )
    out[np.ix_(rows, columns)] = stored
    return in_mode(op, out[: op.stored_shape[0], : op.stored_shape[1]])


def in_mode(op: Any, stored: Array) -> Array:
    """Return the matrix of an operator, given that of the stored, forward one."""
    out = stored.conj() if op.mode in ("adjoint", "conjugate") else stored
    return out.T if op.mode in ("transpose", "adjoint") else out


def dense_codes(op: Any, real: Any = np.float64) -> Array:
    """Return the real matrix that window codes stand for, rotations apart, in a precision."""
    codes = op.codes
    m, n = codes.shape
    out = np.zeros((m, n), real)
    for piece in codes.pieces:
        half_bits, first = piece.code.half_bits, 0
        padded = -(-len(piece.columns) // 4) * 4
        for top in range(0, m, 64):
            rows = min(64, -(-(m - top) // 16) * 16)
            size = rows * half_bits // 16
            tiles = piece.tiles[first : first + padded * size].reshape(padded // 4, size, 4)
            streams = tiles.transpose(0, 2, 1).reshape(padded, size)
            entries = window_decode(streams, piece.code.table, piece.code.masks, half_bits / 2)
            kept = entries[: len(piece.columns), : m - top].T
            out[top : top + len(kept), piece.columns] = kept * real(piece.code.step)
            first += padded * size
    return np.asarray(np.ldexp(out * codes.scale[:, None].astype(real), codes.exponent))


def rotated(op: Any, matrix: Array) -> Array:
    """Return the stored, forward matrix of window codes from that in the rotated basis, its two parts if complex."""
    (inputs, outputs), real = op.rotations, matrix.dtype.type
    out = matrix if outputs is None else rotation(len(matrix), outputs, real).T @ matrix
    out = out if inputs is None else out @ rotation(matrix.shape[1], inputs, real)
    half = len(out) // 2
    return out[:half] + 1j * out[half:] if np.dtype(op.dtype).kind == "c" else out


def stored_factors(op: Any) -> tuple[list[Array], Array | None]:
    """Return the stored 4-D factors of a butterfly in double precision, and the scale vector of packed ones."""
    wide = np.result_type(op.dtype, np.float64)
    if op.kind == "float":
        return [np.asarray(f).astype(wide) for f in op.store.factors()], None
    if op.steps is None:
        return [f.astype(wide) for f in _direction_factors(op)], _scale_numbers(op).astype(wide)
    factors = _tile_factors(op.words, op.stored_chain, op.codes, op.steps, np.dtype(op.dtype).kind == "c")
    return [f.astype(wide) for f in factors], op.scale.astype(wide) if len(op.scale) else None


def _direction_factors(op: Any) -> list[Array]:
    words, n, factors = op.words.reshape(-1, LANES), op.stored_chain.shape[1], []
    vectors = -(-(n // 2) // LANES)
    for (a, _, _, d), (kind, bits) in zip(op.stored_chain, op.codes, strict=True):
        lines = -(-2 * vectors * bits // 32)
        q = _lane_codes(words[:lines], 2 * vectors, bits).reshape(LANES, vectors, 2)
        columns = q.transpose(1, 0, 2).reshape(-1, 2)[: n // 2]  # block beta = 16 * vector + lane
        factor = coded_factor(kind, bits, columns.reshape(a, d, 2).transpose(0, 2, 1))
        factors.append(factor if np.dtype(op.dtype).kind == "c" else factor.real)
        words = words[lines:]
    return factors


def _scale_numbers(op: Any) -> Array:
    if op.scale_code is None:
        return np.asarray(op.scale)
    n, store = len(op.scale), op.store.lengths.store
    factor = _tile_factors(store.words, [(1, 1, 1, n)], store.codes, store.steps, np.dtype(op.dtype).kind == "c")[0]
    return factor.reshape(n)


def _lane_codes(words: Array, count: int, bits: int) -> Array:
    """Return the codes (16, count) of lanes whose streams, least significant bit first, are the columns of `words`."""
    octets = np.ascontiguousarray(words.T, "<u4").view(np.uint8).reshape(LANES, -1)
    stream = np.unpackbits(octets, axis=1, bitorder="little")[:, : count * bits]
    codes: Array = stream.reshape(LANES, count, bits).astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
    return codes


def _tile_factors(words: Array, chain: Any, codes: Any, steps: Array, is_complex: bool) -> list[Array]:
    """Return the factors of codes in tiles, as the format page lays them out."""
    words, planes, factors = words.reshape(-1, LANES), 2 if is_complex else 1, []
    ranks = (*chain.ranks, 0) if len(chain) > 1 else (0,)
    for (a, b, c, d), (kind, bits), step, junction in zip(chain, codes, steps, ranks, strict=True):
        rank = junction if kind == "skeleton" else 0
        split = min(b, -(-LANES // (a * d))) if rank == 0 and a * d < LANES else 1
        lanes, rows = a * split * d, -(-b // split)
        tiles, count = -(-lanes // LANES), (rows if rank == 0 else b - rank) * c * planes
        streams = tiles if kind in ("lattice", "skeleton") else 1
        lines = -(-(tiles // streams * count * bits) // 32)
        parts = words[: streams * lines].reshape(streams, lines, LANES)
        q = np.stack([_lane_codes(part, tiles // streams * count, bits) for part in parts], axis=0)
        q = q.reshape(streams, LANES, tiles // streams, count).transpose(0, 2, 1, 3).reshape(tiles * LANES, count)
        values = _code_values(kind, bits, q[:lanes]) * step
        numbers = values.reshape(lanes, -1, planes) @ np.array([1, 1j] if is_complex else [1.0])
        words = words[streams * lines :]
        if rank == 0:
            blocks = numbers.reshape(a, split, d, rows, c).transpose(0, 1, 3, 4, 2).reshape(a, split * rows, c, d)
            factors.append(np.ascontiguousarray(blocks[:, :b]))
            continue
        groups, mask_lines = c // rank, -(-b // 32)
        masks = words[: tiles * groups * mask_lines].reshape(tiles, groups, mask_lines, LANES)
        words = words[tiles * groups * mask_lines :]
        factor = np.zeros((a, b, c, d), numbers.dtype)
        for lane, g in np.ndindex(lanes, groups):
            mask = masks[lane // LANES, g, :, lane % LANES]
            pivot = np.array([mask[j // 32] >> np.uint32(j % 32) & 1 for j in range(b)], bool)
            block = np.zeros((b, rank), numbers.dtype)
            block[pivot] = np.eye(rank)
            block[~pivot] = numbers[lane].reshape(groups, b - rank, rank)[g]
            factor[lane // d, :, g * rank : (g + 1) * rank, lane % d] = block
        factors.append(factor)
    return factors


def _code_values(kind: str, bits: int, q: Array) -> Array:
    """Return the numbers that codes in tiles stand for, in units of the step."""
    half = 1 << (bits - 1)
    if kind in ("lattice", "skeleton"):
        return (q - half).astype(np.float64)
    sign, index = np.where(q >= half, -1.0, 1.0), q % half
    if kind.startswith("float"):
        t = int(kind.removeprefix("float"))
        exponent, fraction = index >> (t - 1), (index & ((1 << (t - 1)) - 1)) / 2.0 ** (t - 1)
        most = (1 << (bits - t)) - 1
        normal = exponent > 0
        floats: Array = sign * np.ldexp(np.where(normal, 1 + fraction, fraction), np.where(normal, exponent, 1) - most)
        return floats
    powers = 2.0 ** (index + 1.0 - half)
    magnitudes = {"sign": powers, "shift": powers, "ternary": index * 1.0, "power_of_two": np.where(index, powers, 0)}
    numbers: Array = sign * magnitudes[kind]
    return numbers


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


def decode(kind: str, bits: int, q: Any, real: type[np.floating[Any]] = np.float64) -> Array:
    """Return the unit columns of codes `q`, two entries along the last axis, in the precision `real`."""
    q = np.asarray(q, np.int64)
    if kind == "angle":
        z = _unit_root(q.astype(real) / 2**bits)
        return np.stack([z.real, z.imag], axis=-1)
    if kind == "phase":
        turns = 2 * q.astype(real) / 2**bits
        columns: Array = np.sqrt(real(0.5)) * np.stack([np.ones(q.shape, real), _unit_root(turns)], axis=-1)
        return columns
    if kind == "sphere":
        a, b = _cell_centre(bits, q)
        return _from_square(a.astype(real), b.astype(real))
    raise ValueError(f"kind: expected angle, phase or sphere, got {kind!r}")


def _unit_root(x: Array) -> Array:
    """Return exp(i pi x) from an angle within an eighth of a turn: exact on axes, one number twice on diagonals."""
    quarters = np.rint(2 * x)
    r, pi = x - quarters / 2, np.arccos(x.dtype.type(-1))
    diagonal, half = np.abs(r) == 0.25, np.sqrt(x.dtype.type(0.5))
    c = np.where(diagonal, half, np.cos(pi * r))
    s = np.where(diagonal, np.copysign(half, r), np.sin(pi * r))
    turn = quarters.astype(np.int64) % 4
    z: Array = np.choose(turn, [c, -s, -c, s]) + 1j * np.choose(turn, [s, c, -s, -c])
    return z


def _cell_centre(bits: int, q: Array) -> tuple[Array, Array]:
    """Return the point (a, b) of the square (-1, 1) x (-1, 1) in the middle of cell `q`."""
    v_bits = bits // 2
    side = 2 ** (bits - v_bits)
    u, v = q >> v_bits, q & (2**v_bits - 1)
    if bits % 2 == 1:  # every other cell of the finer grid
        v = 2 * v + (u & 1)
    return (2 * u + 1) / side - 1, (2 * v + 1) / side - 1


def _from_square(a: Array, b: Array) -> Array:
    """Return the complex direction at a point of the square, by an equal-area octahedral map."""
    s = 1 - np.abs(a) - np.abs(b)
    r = 1 - np.abs(s)
    t = np.divide(np.abs(b) - np.abs(a), r, out=np.zeros_like(a), where=r != 0)
    eighth = np.arccos(a.dtype.type(-1)) / 4
    tau = t * (eighth + (1 - eighth) * t**2)
    phase = (np.copysign(1 - tau, a) + 1j * np.copysign(1 + tau, b)) / np.sqrt(2 + 2 * tau**2)
    small, big = r * np.sqrt(a.dtype.type(0.5)), np.sqrt(1 - r**2 / 2)
    return np.stack([np.where(s >= 0, big, small), np.where(s >= 0, small, big) * phase], axis=-1)


@lru_cache(maxsize=32)
def codebook(kind: str, bits: int) -> Array:
    """Return all columns of a code, shape (2**bits, 2)."""
    return decode(kind, bits, np.arange(2**bits))


def encode_angle(bits: int, x: Array) -> int:
    """Return the angle code nearest to the direction of the real column `x`."""
    return int(np.rint(np.arctan2(x[1], x[0]) / np.pi * 2**bits)) % (1 << bits)


def encode_phase(bits: int, x: Array) -> int:
    """Return the phase code nearest to the direction of the complex column `x`."""
    return int(np.rint(np.angle(x[1] * np.conj(x[0])) / (2 * np.pi) * 2**bits)) % (1 << bits)


def encode(kind: str, bits: int, x: Array) -> int:
    """Return the code whose direction is nearest to `x`, by trying all of them."""
    return int(np.argmax(np.abs(codebook(kind, bits).conj() @ x)))


def coded_factor(kind: str, bits: int, codes: Array) -> Array:
    """Return the factor (a, 2, 2, d) of codes (a, 2, d)."""
    return np.ascontiguousarray(decode(kind, bits, codes).transpose(0, 3, 1, 2))


def quantize_left_to_right(
    factors: Sequence[Array], kinds: Sequence[str], bits: Sequence[int]
) -> tuple[list[Array], Array, float]:
    """Code every column by brute force; return the codes, the scale vector and the relative error by the ledger.

    The squared error of a column counts with the squared norm of the row behind it, that of the product of the factors
    to its right.
    """
    n = 2 ** len(factors)
    lengths = np.ones(n)
    all_codes, ledger = [], 0.0
    for level, (factor, kind, width) in enumerate(zip(factors, kinds, bits, strict=True)):
        a, _, _, d = factor.shape
        right = product(factors[level + 1 :]) if level + 1 < len(factors) else np.eye(n)
        weights = np.sum(np.abs(right) ** 2, axis=1).reshape(a, 2, d)
        columns = (factor * lengths.reshape(a, 2, 1, d)).transpose(0, 2, 3, 1)
        codes = np.array([encode(kind, width, x) for x in columns.reshape(-1, 2)]).reshape(a, 2, d)
        units = decode(kind, width, codes)
        lengths = np.sum(units.conj() * columns, axis=-1)
        missed = columns - lengths[..., np.newaxis] * units
        ledger += float(np.sum(weights[..., np.newaxis] * np.abs(missed) ** 2))
        all_codes.append(codes)
    total = float(np.linalg.norm(product(factors)))
    return all_codes, lengths.reshape(-1), np.sqrt(ledger) / total if total > 0 else 0.0


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


def windows(streams: Array, rate: float, bits: int) -> Array:
    """Return the windows (count, T) of cyclic streams in the order of rows: the last row owns the first bit."""
    stream = np.unpackbits(streams, axis=1, bitorder="little")
    size = stream.shape[1]
    first = np.floor(np.arange(round(size / rate)) * rate).astype(np.int64)
    at = (first[:, np.newaxis] + np.arange(bits)) % size
    upwards: Array = stream[:, at].astype(np.int64) @ (1 << np.arange(bits))
    return upwards[:, ::-1]


def window_entries(table: Array, masks: Array | None) -> Array:
    """Return what each window stands for: the entry of its low bits, changed by the mask of its upper ones."""
    if masks is None:
        return table
    w = np.arange(len(table) * len(masks))
    entries: Array = table[(w % len(table)) ^ masks[w // len(table)].astype(np.int64)]
    return entries


def window_decode(streams: Array, table: Array, masks: Array | None, rate: float) -> Array:
    """Return the entries (count, T) that streams stand for."""
    entries = window_entries(table, masks)
    out: Array = entries[windows(streams, rate, len(entries).bit_length() - 1)]
    return out


def window_costs(x: Array, table: Array, masks: Array | None) -> Array:
    """Return what each window costs for each number of `x` (..., T), as integers in units of 1/256."""
    fixed = np.rint(np.clip(x.astype(np.float64), -118, 118) * 16).astype(np.int64)
    out: Array = (fixed[..., np.newaxis] - 16 * window_entries(table, masks).astype(np.int64)) ** 2
    return out


def window_encode(
    x: Array, table: Array, masks: Array | None, rate: float, valid: int | None = None, around: int | None = None
) -> Array:
    """Return the streams of sequences (count, T): two runs of Viterbi's algorithm, the second one with known ends."""
    count, rows = x.shape
    around = rows // 2 if around is None else around
    shifts = [int((p + 1) * rate) - int(p * rate) for p in reversed(range(rows))]
    out = np.zeros((count, round(rows * rate)), np.uint8)
    for costs, bits in zip(window_costs(x, table, masks), out, strict=True):
        costs[rows if valid is None else valid :] = 0
        near = [t % rows for t in range(rows - around, rows + around)]
        path = _best_path(costs[near], [shifts[t] for t in near], None)
        ends = int(path[around]) >> shifts[0]
        path = _best_path(costs, shifts, ends)
        digits = [(int(w) >> bit) & 1 for w, s in zip(path[::-1], shifts[::-1], strict=True) for bit in range(s)]
        bits[:] = digits
    return np.packbits(out, axis=1, bitorder="little")


def _best_path(costs: Array, shifts: Sequence[int], ends: int | None) -> Array:
    """Return the windows of least cost, from and to the state `ends` or any; of equal ones the least, from the end."""
    bits = costs.shape[1].bit_length() - 1
    total = np.zeros(1 << (bits - shifts[0]))
    if ends is not None:
        total[:] = np.inf
        total[ends] = 0
    chosen = []
    for cost, shift, following in zip(costs, shifts, [*shifts[1:], shifts[0]], strict=True):
        # A window without its new bits is the state before; what the next one keeps of it the state behind.
        sums = (np.repeat(total, 1 << shift) + cost).reshape(1 << following, -1)
        chosen.append(np.argmin(sums, axis=0))
        total = sums.min(axis=0)
    state = int(np.argmin(total)) if ends is None else ends
    path = []
    for choice, shift in zip(reversed(chosen), reversed(shifts), strict=True):
        path.append(int(choice[state]) * len(choice) + state)
        state = path[-1] >> shift
    return np.array(path[::-1])


def round_significand(x: Array, t: int) -> Array:
    """Return numbers rounded to significands of `t` bits, the leading one included; complex ones part by part."""
    if np.iscomplexobj(x):
        z: Array = round_significand(x.real, t) + 1j * round_significand(x.imag, t)
        return z
    mantissa, exponent = np.frexp(x)  # 1/2 <= mantissa < 1
    rounded: Array = np.ldexp(np.rint(np.ldexp(mantissa, t)), exponent - t)
    return rounded


def rank_one_by_exhaustion(x: Array, y: Array, t: int) -> float:
    """Return the least relative error of a real rank-one matrix over all short vectors, up to powers of two.

    For each entry all its numbers near lambda x, lambda in [1, 2), are tried: those from the rounded x to that of 2 x.
    """
    total = float(np.linalg.norm(x) * np.linalg.norm(y))
    best = np.inf
    lists = []
    for value in x:
        low, exponent = np.frexp(value)[0], np.frexp(value)[1]
        grid = np.ldexp(np.arange(2 ** (t - 1), 2**t), exponent - t)
        both = np.concatenate([grid, 2 * grid, 4 * grid[:1]]) * np.sign(low)
        lists.append(both if value else np.zeros(1))
    for q in np.array(np.meshgrid(*lists)).reshape(len(x), -1).T:
        mu = q @ x / (q @ q) if np.any(q) else 0.0
        best = min(best, float(np.linalg.norm(np.outer(x, y) - np.outer(q, round_significand(mu * y, t)))))
    return best / total if total > 0 else 0.0


def tensor_train(op: Any) -> Array:
    """Return the stored, forward matrix of a tensor train in double precision, core by core from the left."""
    out: Array = np.ones((1, 1, 1))
    for core in op.stored_cores:
        array = core if isinstance(core, np.ndarray) else dense(core.matrix).reshape(core.shape)
        wide = array.astype(np.result_type(array.dtype, np.float64))
        (m, n, _), (_, p, q, s) = out.shape, wide.shape
        made = np.zeros((m, p, n, q, s), np.result_type(out, wide))
        for a in range(p):
            for b in range(q):
                made[:, a, :, b] = out @ wide[:, a, b]
        out = made.reshape(m * p, n * q, s)
    return out[:, :, 0] if op.stored_rows is None else out[op.stored_rows, :, 0]


def inverse_fisher(op: Any) -> Array:
    """Return the stored, forward inverse of a damped sum of rank-one matrices, by integers, rounded once at the end.

    ``A^-1 = (I - G^T X) / damping`` with ``(m damping I + G G^T) X = G``, G real: complex gradients ``a + i b`` are the
    rows ``[a, b]`` and ``[-b, a]``, of which the sum is that of real and imaginary parts of the matrix.
    """
    g, d = op.gradients, op.gradients.shape[1]
    if g.dtype.kind == "c":
        g = np.block([[g.real, g.imag], [-g.imag, g.real]])
    whole, power = _as_integers(g)
    added = Fraction(op.damping) * len(op.gradients) / Fraction(2) ** (2 * power)
    gram = added.denominator * (whole @ whole.T) + added.numerator * np.identity(len(g), int).astype(object)
    solved, determinant = _solved(np.concatenate([gram, added.denominator * whole], axis=1))
    left = determinant * np.identity(g.shape[1], int).astype(object) - whole.T @ solved
    out: Array = np.array([[x / determinant for x in row] for row in left]) / op.damping
    return out[:d, :d] + 1j * out[d:, :d] if len(out) > d else out


def _as_integers(x: Array) -> tuple[Array, int]:
    """Return the integers of which numbers are multiples, by a power of two, and its exponent."""
    mantissas, exponents = np.frexp(x.astype(np.float64))
    low = int(np.min(exponents, where=x != 0, initial=2000)) - 53
    whole = [
        [int(a * 2**53) << max(e - 53 - low, 0) for a, e in zip(*rows, strict=True)]
        for rows in zip(mantissas.tolist(), exponents.tolist(), strict=True)
    ]
    return np.array(whole, object), low


def _solved(rows: Array) -> tuple[Array, int]:
    """Return ``determinant A^-1 B`` and the determinant of integers ``[A, B]``, A positive definite (Bareiss, 1968)."""
    previous = 1
    for k in range(len(rows)):
        pivot = rows[k, k]
        for i in range(len(rows)):
            if i != k:
                rows[i] = (pivot * rows[i] - rows[i, k] * rows[k]) // previous
        previous = pivot
    return rows[:, len(rows) :], previous


_STRUCTURES: dict[str, Callable[[Any], Array]] = {
    "sparse": sparse,
    "permutation": permutation,
    "toeplitz": toeplitz,
    "tensor_train": tensor_train,
    "inverse_fisher": inverse_fisher,
}
