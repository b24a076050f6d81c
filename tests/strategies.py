"""Hypothesis strategies: sizes, dtypes, seeds, matrices that break numerics, and operators of all kinds."""

from __future__ import annotations

import copy
import pickle
import tempfile
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from hypothesis import strategies as st

from bitterfly.stores.kinds import KINDS as CODES
from bitterfly.stores.kinds import TILED_KINDS, Code, names_of

DTYPES = (np.float32, np.float64, np.complex64, np.complex128)
WIDTHS = {kind: CODES[kind].widths for kind in names_of("direction")}
KINDS = (
    "gaussian",
    "butterfly",
    "graded",
    "rank_one",
    "zero_blocks",
    "zero_columns",
    "zero",
    "identity",
    "one_entry",
    "wide_range",
    "decaying",
    "subnormal",
    "tiny",
    "huge",
)

dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([2, 4, 8, 16, 32, 64, 128])
vector_sizes = st.sampled_from([2**p for p in range(1, 12)])
kinds = st.sampled_from(KINDS)


def code_kinds(dtype: Any) -> list[str]:
    """The codes of directions that an operator of `dtype` takes."""
    return [kind for kind in WIDTHS if np.dtype(dtype).kind == "c" or not CODES[kind].is_complex]


# Small chains of every sort, for tests of tiles.
CHAINS = [
    [(1, 5, 7, 1)],
    [(1, 6, 4, 4)],
    [(1, 1, 1, 1)],
    [(1, 6, 4, 3), (2, 6, 5, 1)],
    [(1, 4, 12, 16), (3, 8, 6, 8), (6, 6, 10, 4)],
    [(2, 3, 4, 5), (4, 10, 3, 1)],
    [(1, 8, 16, 32), (4, 8, 8, 16), (8, 8, 6, 8)],
    [(1, 40, 33, 2), (3, 22, 5, 1)],
    [(1, 2, 4, 4), (2, 4, 4, 2), (4, 4, 2, 1)],
]
NAMED_DTYPES = ["f4", "f8", "c8", "c16"]


def gaussian(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def ldexp(x: np.ndarray, exponent: int) -> np.ndarray:
    """x * 2**exponent without an overflow on the way, complex numbers too."""
    if x.dtype.kind != "c":
        return np.ldexp(x, exponent)
    return np.ldexp(x.real, exponent) + 1j * np.ldexp(x.imag, exponent)


def wide(a: np.ndarray) -> tuple[np.ndarray, int]:
    """The matrix in double precision with its largest entry near 1, and the exponent that was taken out."""
    a = a.astype(np.result_type(a.dtype, np.float64))
    largest = float(max(np.max(np.abs(a.real), initial=0), np.max(np.abs(a.imag), initial=0)))
    exponent = int(np.frexp(largest)[1]) if largest > 0 else 0
    return ldexp(a, -exponent), exponent


def regauge(factors: Sequence[np.ndarray], rng: np.random.Generator, decades: float) -> list[np.ndarray]:
    """Factors with an equal product: columns of each divided by numbers that multiply the rows of the next."""
    out = [np.array(f) for f in factors]
    for left, right in pairwise(out):
        s = (10.0 ** rng.uniform(-decades, decades, left.size // 2)).astype(left.real.dtype)
        left *= s.reshape(left.shape[0], 1, 2, -1)
        right /= s.reshape(right.shape[0], 2, 1, -1)
    return out


def _scaled_butterfly(n: int, dtype: Any, rng: np.random.Generator, size: float) -> np.ndarray:
    import bitterfly

    a = bitterfly.transforms.random(n, rng=rng, dtype=np.result_type(dtype, np.float64)).todense()
    return (a / np.max(np.abs(a)) * size).astype(dtype)


def matrix(kind: str, n: int, dtype: Any, seed: int) -> np.ndarray:
    rng, info = np.random.default_rng(seed), np.finfo(dtype)
    a = gaussian(rng, (n, n), dtype)
    if kind == "butterfly":
        return _scaled_butterfly(n, dtype, rng, 1)
    if kind in ("subnormal", "tiny", "huge"):
        # "huge": the factors hold norms of rows, up to sqrt(2 n) times the largest entry.
        size = {"subnormal": float(info.tiny) / 64, "tiny": float(info.tiny) * 64, "huge": float(info.max) / (64 * n)}
        return _scaled_butterfly(n, dtype, rng, size[kind])
    if kind == "wide_range":
        exponents = rng.uniform(-0.9, 0.9, (n, n)) * np.log10(float(info.max) / n)
        return (a / np.maximum(np.abs(a), 1) * 10.0**exponents).astype(dtype)
    if kind == "decaying":  # as exp(-x) does, down to subnormal numbers and zero
        exponents = -rng.random((n, n)) * np.log10(1 / float(info.smallest_subnormal))
        return (a / np.maximum(np.abs(a), 1) * 10.0**exponents).astype(dtype)
    if kind == "graded":
        u, _, v = np.linalg.svd(a)
        return ((u * 10.0 ** -np.linspace(0, 12, n)) @ v).astype(dtype)
    if kind == "rank_one":
        return np.outer(a[0], a[1]).astype(dtype)
    if kind == "zero_blocks":
        a[: n // 2, n // 2 :] = 0
        a[:, 0] = 0
        return a
    if kind == "zero_columns":
        return a * (rng.random(n) < 0.5)
    if kind == "zero":
        return np.zeros((n, n), dtype)
    if kind == "identity":
        return np.eye(n, dtype=dtype)
    if kind == "one_entry":
        out = np.zeros((n, n), dtype)
        out[n // 3, n // 2] = 3
        return out
    return a


# ---- operators: every kind, code, shape, dtype and order ----


class Drawn:
    """An operator with the matrix that it was made to be, and how it came about."""

    def __init__(self, op: Any, dense: np.ndarray, how: str) -> None:
        self.op, self.dense, self.how = op, dense, how


def operator(seed: int) -> Drawn:
    """Draw an operator of any kind, and what becomes of it; `dense` never went through what is tested."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(list(_SHARES), p=list(_SHARES.values()))
    drawn = {
        "floats": _floats,
        "directions": _directions,
        "tiles": _tiles,
        "made": _made,
        "sum": _sum,
        "stack": _stack,
        "product": _product,
        "kron": _kron,
        "inverse": _inverse,
        "hadamard": _hadamard,
        "dense": _dense,
        "sparse": _sparse,
        "structure": _structure,
        "cuts": _cuts,
    }[kind](rng)
    for _ in range(rng.integers(0, 3)):
        drawn = _become(drawn, rng)
    return drawn


_SHARES = {"floats": 0.16, "directions": 0.12, "tiles": 0.18, "dense": 0.1, "made": 0.05, "sparse": 0.02}
_SHARES |= {"structure": 0.04, "cuts": 0.03, "sum": 0.07, "stack": 0.06, "product": 0.07, "kron": 0.05}
_SHARES |= {"inverse": 0.03, "hadamard": 0.02}
_COEFFICIENTS = [1, 1, -1, 2.0, np.float32(0.1), 1 / 3, 0, 1e-3, -1j, 0.6 + 0.8j]
_MOST_OF_KRON = 24  # rows or columns of each operator of a Kronecker product
_SIDES = [1, 1, 2, 2, 3, 4, 5, 7, 8, 9, 16, 17]
_LARGEST = 96, 400  # rows or columns of most chains, and of others
_DYADIC = [0.13] * 7 + [0.06, 0.02, 0.01]  # of sizes 2, 4, 8, ...


def chain(rng: np.random.Generator) -> Any:
    """Draw a chain of any family, with blocks as high as their rank, of one row, and any number of lanes."""
    from bitterfly import Chain

    family = rng.choice(["digits", "for_shape", "monarch", "butterfly", "deformable", "square_dyadic"])
    if family == "square_dyadic":
        return Chain.square_dyadic(2 ** int(rng.choice(np.arange(1, 11), p=_DYADIC)))
    if family == "for_shape":
        return Chain.for_shape(tuple(int(s) for s in rng.integers(1, 41, 2)), rank=int(rng.integers(1, 4)))
    if family == "butterfly":
        levels, leaf, groups = (int(rng.integers(low, high)) for low, high in ((1, 4), (1, 9), (1, 5)))
        last = int(rng.integers(1, 9))
        shape = (leaf << levels, (groups << (levels - 1)) * last)
        return Chain.butterfly(shape, rank=int(rng.integers(1, min(leaf, last) + 1)), leaf=leaf, groups=groups)
    count = int(rng.integers(1, 5)) if family != "monarch" else 2
    rows, columns = ([int(s) for s in rng.choice(_SIDES, count)] for _ in range(2))
    largest = _LARGEST[int(rng.random() < 0.1)]
    while np.prod(rows) > largest or np.prod(columns) > largest:
        rows[rng.integers(count)] = columns[rng.integers(count)] = 2
        rows[rng.integers(count)] = columns[rng.integers(count)] = 1
    shape = (int(np.prod(rows)), int(np.prod(columns)))
    if family == "deformable":
        return Chain.deformable(shape, list(zip(rows, columns, strict=True)))
    if family == "monarch":
        most = min(rows[0], columns[1])
        return Chain.monarch(shape, (rows[1], columns[0]), rank=int(rng.integers(1, most + 1)))
    return Chain(_patterns(rng, rows, columns, largest))


def _patterns(
    rng: np.random.Generator, rows: list[int], columns: list[int], largest: int
) -> list[tuple[int, int, int, int]]:
    """Junctions of any rank between digits of rows and columns, inside I_a (x) . (x) I_d."""
    count = len(rows)
    ranks = [1, *(int(r) for r in rng.choice([1, 1, 2, 3, 4, 5, 8, 16, 17], count - 1)), 1]
    outer_a, outer_d = (int(s) if rng.random() < 0.3 else 1 for s in rng.choice([2, 3, 8, 16, 17], 2))
    if max(np.prod(rows), np.prod(columns)) * outer_a * outer_d > 2 * largest:
        outer_a = outer_d = 1
    return [
        (
            outer_a * int(np.prod(columns[:at])),
            ranks[at] * rows[at],
            ranks[at + 1] * columns[at],
            outer_d * int(np.prod(rows[at + 1 :])),
        )
        for at in range(count)
    ]


def _known(rng: np.random.Generator, chain: Any) -> dict[str, Any]:
    """Padding, orders and mode of an operator of a chain."""
    shape = tuple(int(s if rng.random() < 0.7 else rng.integers(1, s + 1)) for s in chain.shape)
    orders = [
        (None, "bit_reversal", rng.permutation(size))[int(rng.choice(3, p=[0.6, 0.2, 0.2]))] for size in chain.shape
    ]
    mode = str(rng.choice(["forward", "transpose", "adjoint", "conjugate"], p=[0.55, 0.15, 0.15, 0.15]))
    return {"shape": shape, "permutations": tuple(orders), "mode": mode}


def _exponents(rng: np.random.Generator, count: int, dtype: Any) -> list[int]:
    """Powers of two for factors whose products stay far from overflow and underflow, from either side."""
    most = int(np.finfo(dtype).maxexp) // 4
    size = int(rng.integers(-most, most + 1)) if rng.random() < 0.2 else 0
    return [size if at % 2 else -size for at in range(count)]


def _numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    x = gaussian(rng, shape, dtype)
    kind = rng.integers(6)
    if kind == 0:
        return x * (rng.random(shape) < 0.3).astype(x.real.dtype)
    if kind == 1:  # rank-deficient, with rows and columns of zeros
        x[..., :1] = 0
        x[:1] = 0
    if kind == 2:
        x = (x * 2.0 ** rng.integers(-8, 9, shape)).astype(dtype)
    return x


def _floats(rng: np.random.Generator) -> Drawn:
    import bitterfly
    from bitterfly import reference
    from bitterfly.stores.tiles import Skeleton

    dtype, shapes = DTYPES[rng.integers(4)], chain(rng)
    in_skeletons = rng.random() < 0.5
    factors: list[Any] = []
    for at, (pattern, e) in enumerate(zip(shapes, _exponents(rng, len(shapes), dtype), strict=True)):
        rank = (*shapes.ranks, 0)[at]
        if in_skeletons and 0 < rank <= pattern[1] and rng.random() < 0.8:
            pivots = _pivots(rng, pattern, rank)
            factors.append(Skeleton(pattern, pivots, _numbers(rng, _t_shape(pattern, rank), dtype)))
        else:
            factors.append(ldexp(_numbers(rng, pattern, dtype), e).astype(dtype))
    known = _known(rng, shapes)
    op = bitterfly.ButterflyOperator(factors, **known)
    wide = [f.dense() if isinstance(f, Skeleton) else f for f in factors]
    matrix = reference.product([f.astype(np.result_type(f.dtype, np.float64)) for f in wide])
    return Drawn(op, reference.viewed(op, matrix), f"{np.dtype(dtype)} floats of {shapes}, {known}")


def _hadamard(rng: np.random.Generator) -> Drawn:
    import bitterfly
    from bitterfly import reference
    from bitterfly.stores.floats import HadamardFloats

    n, dtype = 2 ** int(rng.choice(np.arange(1, 11), p=_DYADIC)), np.dtype(DTYPES[rng.integers(4)])
    known = _known(rng, bitterfly.Chain.square_dyadic(n))
    op = bitterfly.ButterflyOperator.from_store(HadamardFloats(n, dtype), **known)
    matrix = scipy.linalg.hadamard(n).astype(np.result_type(dtype, np.float64))
    return Drawn(op, reference.viewed(op, matrix), f"{dtype} Hadamard of {n}, {known}")


_DENSE_ROWS = [1, 2, 15, 16, 17, 31, 48, 49, 63, 64, 65, 80, 100, 127, 128, 130, 193, 330]
_DENSE_COLUMNS = [1, 2, 3, 4, 5, 11, 12, 31, 32, 33, 40, 63, 64, 65, 96, 100, 128, 140, 210, 270]


def _dense(rng: np.random.Generator) -> Drawn:
    dtype = np.dtype(DTYPES[rng.integers(4)])
    shape = int(rng.choice(_DENSE_ROWS)), int(rng.choice(_DENSE_COLUMNS))
    return _window_codes(rng, shape, dtype, _exponents(rng, 2, dtype)[1], _mode(rng))


def _beside(rng: np.random.Generator) -> Drawn:
    """Window codes one above the other that take the same digits of a vector, or next to each other."""
    import bitterfly

    dtype, is_beside = np.dtype(DTYPES[rng.integers(2)]), bool(rng.random() < 0.5)
    same = None if rng.random() < 0.3 else int(rng.integers(2**63)), str(rng.choice(["float", "half", "int8"]))
    n, exponent = int(rng.choice(_DENSE_COLUMNS)), _exponents(rng, 2, dtype)[1]
    shapes = [(int(rng.choice(_DENSE_ROWS)), n) for _ in range(int(rng.integers(2, 4)))]
    members = [
        _window_codes(rng, shape, dtype, exponent, "transpose" if is_beside else "forward", same) for shape in shapes
    ]
    op = (bitterfly.hstack if is_beside else bitterfly.vstack)([m.op for m in members])
    return Drawn(op, np.concatenate([m.dense for m in members], axis=int(is_beside)), f"stack of {members[0].how} ...")


def _window_codes(
    rng: np.random.Generator,
    shape: tuple[int, int],
    dtype: Any,
    exponent: int,
    mode: str,
    same: tuple[int | None, str] | None = None,
) -> Drawn:
    """Window codes of any rate and mixture of rates; any bytes are codes.

    `same`: of one rate, the given rotation of inputs and none of outputs, the given precision.
    """
    import bitterfly
    from bitterfly import reference
    from bitterfly.stores.dense import tiles as window_tiles
    from bitterfly.stores.dense.codes import BLOCK, HALF_BITS, DenseCodes, columns_of
    from bitterfly.stores.dense.windows import window_code

    name, (rows, n) = str(rng.choice(["window7", "window11"])), shape
    m = 2 * rows if dtype.kind == "c" else rows
    some = rng.choice(HALF_BITS, int(rng.choice([1, 1, 2, 4])) if same is None else 1)
    half_bits = rng.choice(some, -(-n // BLOCK)).astype(np.uint8)
    scale = (rng.uniform(0.5, 2, m) * rng.choice([0, -1, 1, 1, 1, 2.0**-10], m)).astype(np.float16)
    matrix, tiles = np.zeros((m, n)), []
    for rate in np.unique(half_bits).tolist():
        columns, code = columns_of(n, np.flatnonzero(half_bits == rate)), window_code(name, rate / 2)
        padded, panels = window_tiles.padded_columns(len(columns)), window_tiles.panel_rows(m)
        streams = [
            rng.integers(256, size=(padded, window_tiles.stream_bytes(panel, rate)), dtype=np.uint8) for panel in panels
        ]
        tiles.append(window_tiles.tiles_of_streams(streams))
        entries = [reference.window_decode(part, code.table, code.masks, code.rate).T for part in streams]
        matrix[:, columns] = np.concatenate(entries)[:m, : len(columns)] * code.step
    matrix = np.ldexp(matrix * scale[:, None].astype(np.float64), exponent)
    codes = DenseCodes((m, n), name, half_bits, tiles, scale, exponent)
    seeds = [None if rng.random() < 0.4 else int(rng.integers(2**63)) for _ in range(2)]
    precision = str(rng.choice(["float", "float", "half", "int8"]))
    if same is not None:
        seeds, precision = [same[0], None], same[1]
    op = bitterfly.DenseOperator(codes, inputs=seeds[0], outputs=seeds[1], dtype=dtype, mode=mode, precision=precision)
    how = f"{dtype} {name} of {half_bits.tolist()} half bits, {op.shape}, rotations {seeds}, {mode}, {precision}"
    return Drawn(op, reference.in_mode(op, reference.rotated(op, matrix)), how)


def by_diagonals(matrix: np.ndarray) -> Any:
    """The diagonals that are not zero, longest column first, with rubbish outside of the matrix."""
    m, n = matrix.shape
    rows, columns = np.nonzero(matrix)
    offsets = np.unique(columns - rows)[::-1]
    data = np.full((len(offsets), n), 7, matrix.dtype)
    for at, offset in enumerate(offsets):
        j = np.arange(max(offset, 0), min(n, m + offset))
        data[at, j] = matrix[j - offset, j]
    return scipy.sparse.dia_array((data, offsets), shape=matrix.shape)


def _sparse(rng: np.random.Generator) -> Drawn:
    """A few entries, all, or none; permutations; entries stored twice, zeros that are stored."""
    import bitterfly
    from bitterfly import reference

    dtype, shape = np.dtype(DTYPES[rng.integers(4)]), tuple(int(s) for s in rng.integers(1, 130, 2))
    matrix = _numbers(rng, shape, dtype) * (rng.random(shape) < rng.choice([0, 0.01, 0.1, 1.0])).astype(dtype)
    if rng.random() < 0.2:
        matrix = np.eye(shape[0], dtype=dtype)[rng.permutation(shape[0])]
    matrix = ldexp(matrix, _exponents(rng, 2, dtype)[1]).astype(dtype)
    given: Any = matrix
    if rng.random() < 0.7:
        rows, columns = np.nonzero(rng.random(matrix.shape) < 2) if rng.random() < 0.2 else np.nonzero(matrix)
        order = rng.permutation(2 * len(rows))
        halves = np.concatenate([matrix[rows, columns] / 2] * 2)  # entries of two halves
        twice = (np.concatenate([each] * 2)[order] for each in (rows, columns))
        given = scipy.sparse.coo_array((halves[order], tuple(twice)), shape=matrix.shape)
        given = given if rng.random() < 0.4 else given.tocsc() if rng.random() < 0.3 else by_diagonals(matrix)
    mode = _mode(rng)
    op = bitterfly.SparseOperator(given, mode=mode)
    wide = matrix.astype(np.result_type(dtype, np.float64))
    return Drawn(op, reference.in_mode(op, wide), f"{dtype} sparse, {op.nnz} of {op.shape}, {mode}")


def _structure(rng: np.random.Generator) -> Drawn:
    """An operator of the structures beside butterflies, of any of their facts."""
    return _STRUCTURES[rng.integers(len(_STRUCTURES))](rng)


def _permutation(rng: np.random.Generator) -> Drawn:
    from bitterfly import reference
    from bitterfly.structures import PermutationOperator

    n, dtype, mode = int(rng.integers(1, 130)), np.dtype(DTYPES[rng.integers(4)]), _mode(rng)
    order = rng.permutation(n)
    known = {"relative_error": 0.1, "error_kind": "measured"} if rng.random() < 0.5 else {}
    op = PermutationOperator(order, dtype=dtype, mode=mode, **known)
    matrix = np.eye(n, dtype=np.result_type(dtype, np.float64))[order]
    return Drawn(op, reference.in_mode(op, matrix), f"{dtype} permutation of {n}, {mode}")


def _mode(rng: np.random.Generator) -> str:
    return str(rng.choice(["forward", "transpose", "adjoint", "conjugate"], p=[0.55, 0.15, 0.15, 0.15]))


def _toeplitz(rng: np.random.Generator) -> Drawn:
    """Toeplitz and circulant matrices of one to three levels, of blocks, with strides; coefficients nobody meets."""
    from bitterfly import reference
    from bitterfly.structures import ToeplitzOperator

    dtype, d, mode = np.dtype(DTYPES[rng.integers(4)]), int(rng.choice([1, 1, 2, 3])), _mode(rng)
    most = {1: 100, 2: 11, 3: 5}[d]
    rows, columns = ([int(each) for each in rng.integers(1, most, d)] for _ in range(2))
    blocks = [int(each) for each in rng.integers(1, 4, 2)] if rng.random() < 0.4 else [1, 1]
    known: dict[str, Any] = {}
    kind = str(rng.choice(["whole", "periodic", "any"]))
    sizes = [m + n - 1 for m, n in zip(rows, columns, strict=True)]
    if kind == "periodic":
        columns = sizes = rows
        known["periodic"] = True
    elif kind == "any":
        sizes = [int(each) for each in rng.integers(1, most + 3, d)]
        known = {name: [int(each) for each in rng.integers(*ends, d)] for name, ends in _ANY.items()}
    t = ldexp(_numbers(rng, (*blocks, *sizes), dtype), _exponents(rng, 2, dtype)[1]).astype(dtype)
    op = ToeplitzOperator(t if blocks != [1, 1] else t[0, 0], rows, columns, mode=mode, **known)
    matrix = np.zeros((blocks[0], *rows, blocks[1], *columns), np.result_type(dtype, np.float64))
    strides, first = known.get("strides", [1] * d), known.get("first", [1 - n for n in columns])
    places = np.ix_(*[np.arange(n) for n in (*rows, *columns)])
    ks, seen = [], np.ones((*rows, *columns), bool)
    for at in range(d):
        k = strides[at] * places[at] - places[d + at] - first[at]
        k = (places[at] - places[d + at]) % rows[at] if kind == "periodic" else k
        seen &= (k >= 0) & (k < sizes[at])
        ks.append(np.clip(k, 0, sizes[at] - 1))
    for p, q in np.ndindex(*blocks):
        matrix[(p, *[slice(None)] * d, q)] = np.where(seen, t[(p, q, *ks)], 0)
    how = f"{dtype} toeplitz of {blocks} blocks, {rows} x {columns}, {sizes} {known}, {mode}"
    return Drawn(op, reference.in_mode(op, matrix.reshape(op.stored_shape)), how)


def _tensor_train(rng: np.random.Generator) -> Drawn:
    from bitterfly import reference
    from bitterfly.structures import TensorTrainOperator

    dtype, mode, d = np.dtype(DTYPES[rng.integers(4)]), _mode(rng), int(rng.integers(1, 5))
    most = {1: 60, 2: 9, 3: 6, 4: 4}[d]
    ranks = [1, *(int(r) for r in rng.integers(1, 6, d - 1)), 1]
    shapes = [(ranks[k], *(int(size) for size in rng.integers(1, most, 2)), ranks[k + 1]) for k in range(d)]
    cores = [_numbers(rng, shape, dtype) for shape in shapes]
    exponents = _exponents(rng, d, dtype)
    cores = [ldexp(core, e).astype(dtype) for core, e in zip(cores, exponents, strict=True)]
    arrays, stored = cores, list[Any](cores)
    if rng.random() < 0.7:
        coded = [_core(rng, shape, dtype, e) for shape, e in zip(shapes, exponents, strict=True)]
        is_coded = rng.random(d) < 0.6
        arrays = [code[1] if chosen else core for code, core, chosen in zip(coded, cores, is_coded, strict=True)]
        stored = [code[0] if chosen else core for code, core, chosen in zip(coded, cores, is_coded, strict=True)]
    matrix = np.ones((1, 1, 1))
    for core in arrays:
        matrix = np.einsum("mnr,rpqs->mpnqs", matrix, core.astype(np.result_type(core.dtype, np.float64)))
        matrix = matrix.reshape(matrix.shape[0] * matrix.shape[1], matrix.shape[2] * matrix.shape[3], -1)
    rows = rng.permutation(len(matrix))[: rng.integers(1, len(matrix) + 1)] if rng.random() < 0.3 else None
    op = TensorTrainOperator(stored, rows=rows, dtype=None if rng.random() < 0.7 else dtype, mode=mode)
    matrix = matrix[:, :, 0] if rows is None else matrix[rows, :, 0]
    matrix = matrix.astype(np.result_type(op.dtype, np.float64))
    how = f"{op.dtype} tensor train of {stored}, rows {rows}, {mode}"
    return Drawn(op, reference.in_mode(op, matrix), how)


def _core(rng: np.random.Generator, shape: tuple[int, int, int, int], dtype: Any, e: int) -> tuple[Any, np.ndarray]:
    """A core in short floats, in window codes of either way round, sparse, or as a product of codes and a diagonal."""
    import bitterfly
    from bitterfly.structures import CodedCore

    r, m, n, s = shape
    own = np.dtype(dtype) if rng.random() < 0.7 else np.dtype(dtype.type(0).real.dtype)
    kind = str(rng.choice(["half", "codes", "codes", "transposed", "sparse", "product"]))
    if kind == "half":
        array = _numbers(rng, shape, np.float32).astype(np.float16)
        return array, array
    if kind == "sparse":
        matrix = ldexp(_numbers(rng, (r * m, n * s), own) * (rng.random((r * m, n * s)) < 0.3), e).astype(own)
        return CodedCore(bitterfly.SparseOperator(matrix), shape), matrix.reshape(shape)
    mode = "transpose" if kind == "transposed" else "forward"
    size = (n * s, r * m) if kind == "transposed" else (r * m, n * s)
    drawn = _window_codes(rng, size, own, e, mode)
    op, dense = drawn.op, drawn.dense
    if kind == "product":
        diagonal = gaussian(rng, (n * s,), np.float32)
        op = op @ bitterfly.SparseOperator(np.diag(diagonal).astype(own))
        dense = dense * diagonal.astype(np.float64)
    return CodedCore(op, shape), dense.reshape(shape)


def _inverse_fisher(rng: np.random.Generator) -> Drawn:
    """Gradients of any rank beside a damping far smaller or larger than they are; windows that have moved on."""
    from bitterfly import reference
    from bitterfly.structures import InverseFisherOperator

    dtype, mode, d = np.dtype(DTYPES[rng.integers(4)]), _mode(rng), int(rng.integers(1, 30))
    m, size = int(rng.integers(1, 9)), _exponents(rng, 2, dtype)[1]
    above = int(rng.choice([-20, 0, 10, 40, 80]))
    g = ldexp(_numbers(rng, (m, d), dtype), (size + above) // 2).astype(dtype)
    damping = float(np.ldexp(rng.uniform(0.5, 1), size))
    op = InverseFisherOperator(g, damping, mode=mode)
    moves = int(rng.choice([0, 0, 1, 2, 6]))
    for _ in range(moves):
        drop = int(rng.integers(0, len(op.gradients)))
        new = ldexp(_numbers(rng, (int(rng.integers(1, 4)), d), dtype), (size + above) // 2).astype(dtype)
        op = op.updated(np.concatenate([new, op.gradients[:1]]) if rng.random() < 0.2 else new, drop)
    how = f"{dtype} inverse Fisher of {op.gradients.shape}, damping {damping}, {moves} moves, {mode}"
    return Drawn(op, reference.dense(op), how)


def _low_rank(rng: np.random.Generator) -> Drawn:
    """Two matrices, or three, as a tensor train whose digits of rows and of columns stand in cores of their own."""
    from bitterfly import reference
    from bitterfly.structures import TensorTrainOperator

    dtype, mode, d = np.dtype(DTYPES[rng.integers(4)]), _mode(rng), int(rng.integers(2, 4))
    sides = [int(rng.integers(1, 100)), *(int(r) for r in rng.integers(1, 20, d - 1)), int(rng.integers(1, 100))]
    factors = [_numbers(rng, shape, dtype) for shape in pairwise(sides)]
    factors = [ldexp(x, e).astype(dtype) for x, e in zip(factors, _exponents(rng, d, dtype), strict=True)]
    first, *middle, last = factors
    inner = [x[:, None, None, :] for x in middle]
    op = TensorTrainOperator([first[None, :, None, :], *inner, last[:, None, :, None]], mode=mode)
    matrix = reference.product([x[None, ..., None].astype(np.result_type(dtype, np.float64)) for x in factors])
    return Drawn(op, reference.in_mode(op, matrix), f"{dtype} product of matrices of sides {sides}, {mode}")


_ANY = {"first": (-9, 9), "strides": (1, 4)}
_STRUCTURES = [_permutation, _toeplitz, _toeplitz, _tensor_train, _low_rank, _inverse_fisher]
_CUT_SIDES = [1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 100, 127, 128, 129, 200]
_WIDTHS = [1, 1, 2, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129]


def _cuts(rng: np.random.Generator) -> Drawn:
    """Any signs, coefficients of either sign, zeros among them, far apart at times."""
    import bitterfly
    from bitterfly import reference

    dtype, width = np.dtype(DTYPES[rng.integers(2)]), int(rng.choice(_WIDTHS))
    m, n = (int(rng.choice(_CUT_SIDES)) for _ in range(2))
    coefficients = rng.standard_normal(width) * rng.choice([0, 1, 1, 1], width)
    if rng.random() < 0.3:
        coefficients *= 2.0 ** rng.integers(-30, 1, width)
    coefficients = ldexp(coefficients.astype(dtype), _exponents(rng, 2, dtype)[1]).astype(dtype)
    rows, columns = (rng.choice([-1, 1], (width, size)).astype(np.int8) for size in (m, n))
    mode = str(rng.choice(["forward", "transpose"], p=[0.7, 0.3]))
    op = bitterfly.SignedCut(coefficients, rows, columns, mode=mode)
    kept = int(rng.integers(1, width + 1)) if rng.random() < 0.3 else width
    matrix = np.zeros((m, n))
    for c, s, t in zip(coefficients[:kept], rows, columns, strict=False):
        matrix += float(c) * np.outer(s, t)
    op = op.truncated(kept)
    return Drawn(op, reference.in_mode(op, matrix), f"{dtype} cuts, {op.width} of {op.shape}, {mode}")


# ---- kernels of convolutions ----


def convolution(seed: int) -> Drawn:
    """Draw the kernel of a convolution of any structure, whose `dense` never went through what is tested."""
    from bitterfly.convolutions import FactoredConvolution
    from bitterfly.cuts import CutTensor
    from bitterfly.structures import CodedCore, TensorTrainOperator
    from bitterfly.structures.tensor_trains.cores import with_precision

    rng = np.random.default_rng(seed)
    dtype, d = np.dtype(DTYPES[rng.integers(2)]), int(rng.integers(1, 4))
    o, i, *window = (int(size) for size in (*rng.integers(1, 7, 2), *rng.choice([1, 1, 2, 3, 4], d)))
    shape, longer = (o, i, *window), [size for size in window if size > 1]
    structure = str(rng.choice(["canonical", "tensor_train", "cuts", "unfolded"]))

    def core(size: tuple[int, int, int, int]) -> tuple[Any, np.ndarray]:
        stored, dense = _core(rng, size, dtype, 0)
        return with_precision(stored, "float"), dense

    def matrix(m: int, n: int) -> tuple[Any, np.ndarray]:
        stored, dense = core((1, m, n, 1))
        if isinstance(stored, CodedCore):
            return stored.matrix, dense.reshape(m, n)
        return TensorTrainOperator([stored], dtype=dtype), dense.reshape(m, n).astype(np.float64)

    if structure == "canonical":
        r = int(rng.integers(1, 6))
        factors, numbers = zip(*(matrix(size, r) for size in (o, *longer, i)), strict=True)
        dense = np.ones(r)
        for x in numbers:
            dense = dense[..., None, :] * x
        dense = np.moveaxis(dense.sum(axis=-1), -1, 1)
    elif structure == "unfolded":
        op, dense = matrix(o, i * int(np.prod(window)))
        factors = (op,)
    elif structure == "cuts":
        width = int(rng.integers(1, 20))
        signs = [rng.choice([-1, 1], (width, size)) for size in shape]
        numbers = _numbers(rng, (width,), dtype)
        bits = tuple(np.packbits(side < 0, axis=1, bitorder="little") for side in signs)
        factors = (CutTensor(shape, numbers, bits, np.full(width, np.nan)),)
        dense = np.zeros(shape)
        for c, *sides in zip(numbers, *signs, strict=True):
            part = np.float64(c)
            for side in sides:
                part = np.multiply.outer(part, side)
            dense += part
    else:
        inner = [int(np.prod(longer))] if longer and rng.random() < 0.4 else longer
        ranks = [1, *(int(r) for r in rng.integers(1, 6, len(inner) + 1)), 1]
        sizes = [(1, o, 1), *((1, 1, n) for n in inner), (1, 1, i)]
        shapes = [(ranks[at], size[1], size[2], ranks[at + 1]) for at, size in enumerate(sizes)]
        drawn = [core(each) for each in shapes]
        factors = (TensorTrainOperator([stored for stored, _ in drawn], dtype=dtype),)
        dense = np.ones((1, 1))
        for _, x in drawn:
            dense = np.tensordot(dense, x.astype(np.float64).reshape(len(x), -1, x.shape[3]), 1).reshape(-1, x.shape[3])
        dense = np.moveaxis(dense.reshape(o, *window, i), -1, 1)
    op = FactoredConvolution(shape, structure, factors)
    return Drawn(op, dense.reshape(shape), f"{dtype} kernel {shape}, {structure}, {[x.shape for x in factors]}")


def _pivots(rng: np.random.Generator, pattern: Sequence[int], rank: int) -> np.ndarray:
    a, b, c, d = pattern
    order = np.argsort(rng.random((a * d, c // rank, b)), axis=2)
    return order < rank


def _t_shape(pattern: Sequence[int], rank: int) -> tuple[int, ...]:
    a, b, c, d = pattern
    return (a * d, c // rank, b - rank, rank)


def _directions(rng: np.random.Generator) -> Drawn:
    import bitterfly
    from bitterfly import Chain, _core, reference
    from bitterfly.stores.scale_codes import ScaleCodes

    n = 2 ** int(rng.choice(np.arange(1, 11), p=_DYADIC))
    dtype, shapes = DTYPES[rng.integers(4)], Chain.square_dyadic(n)
    kinds = code_kinds(dtype) if rng.random() < 0.5 else [str(rng.choice(code_kinds(dtype)))]
    same = rng.random() < 0.5
    codes, words, factors = [], [], []
    for a, _, _, d in shapes:
        kind = str(rng.choice(kinds))
        if not (codes and same and kind == codes[-1].kind):
            codes.append(Code(kind, int(rng.choice(list(WIDTHS[kind])))))
        else:
            codes.append(codes[-1])
        q = rng.integers(0, 2 ** codes[-1].bits, (a, 2, d)).astype(np.uint32)
        words.append(_core.pack(q, codes[-1].bits))
        factors.append(reference.coded_factor(*codes[-1], q))
    wide = np.result_type(dtype, np.float64)
    scale = ldexp(_numbers(rng, (n,), dtype), _exponents(rng, 2, dtype)[1]).astype(dtype)
    lengths: Any = scale
    if n >= 2 and rng.random() < 0.3:
        t = int(rng.integers(1, 25))
        lengths = ScaleCodes.of(scale, Code(f"float{t}", t + int(rng.integers(1, 7))))
    known = _known(rng, shapes) | {"shape": shapes.shape}  # padding is refused
    packed = bitterfly.PackedButterfly(np.concatenate(words), codes, lengths, relative_error=float("nan"), **known)
    matrix = reference.product([(f if wide == np.complex128 else f.real).astype(wide) for f in factors])
    matrix = matrix * reference.stored_factors(packed)[1]
    return Drawn(packed, reference.viewed(packed, matrix), f"{np.dtype(dtype)} directions {codes}, {known}")


def _tiles(rng: np.random.Generator) -> Drawn:
    import bitterfly
    from bitterfly import reference
    from bitterfly.stores.tile_codes import TiledCodes, plan

    dtype, shapes = DTYPES[rng.integers(4)], chain(rng)
    planes = 2 if np.dtype(dtype).kind == "c" else 1
    family, t = rng.choice(["lattice", "skeleton", "lists", "floats"]), int(rng.integers(1, 25))
    codes, blocks, pivots = [], [], []
    for pattern, rank in zip(shapes, (*shapes.ranks, 0), strict=True):
        kind, (least, most) = "lattice", (2, 16)
        if family == "skeleton" and 0 < rank <= pattern[1] and rng.random() < 0.9:
            kind = "skeleton"
        elif family == "lists":
            kind = str(rng.choice([kind for kind in TILED_KINDS if kind not in names_of("integer", "float")]))
            least, most = CODES[kind].least, CODES[kind].most
        elif family == "floats":
            kind, least, most = f"float{t}", t + 1, t + 6
        codes.append(Code(kind, int(rng.integers(least, most + 1))))
    for layout, code in zip(plan(shapes, codes), codes, strict=True):
        q = rng.integers(0, 2**code.bits, (layout.lanes, layout.weights, planes), np.int64)
        if code.has_negative_zero:
            q[q == 1 << (code.bits - 1)] = 0
        blocks.append(q.astype(np.uint32))
        pivots.append(_pivots(rng, layout.pattern, layout.rank) if layout.rank else None)
    steps = [float(np.ldexp(rng.uniform(0.5, 1), e - code.bits)) for e, code in _with_exponents(rng, codes, dtype)]
    if family == "floats":
        steps = [2.0 ** int(np.frexp(step)[1]) for step in steps]
    scale = _numbers(rng, (0 if family == "floats" else shapes.shape[1],), dtype)
    packed = TiledCodes.pack(shapes, codes, blocks, pivots, scale, steps)
    known = _known(rng, shapes)
    op = bitterfly.PackedButterfly(
        packed.words, codes, scale, chain=shapes, steps=steps, relative_error=float("nan"), **known
    )
    factors, lengths = reference.stored_factors(op)
    for layout, code, q, step, flags, factor in zip(
        plan(shapes, codes), codes, blocks, steps, pivots, factors, strict=True
    ):
        numbers = reference._code_values(code.kind, code.bits, q.astype(np.int64)) * step
        numbers = numbers @ np.array([1, 1j][:planes])
        made = layout.factor_of(numbers, flags)
        np.testing.assert_array_equal(factor, made if flags is None else made.dense())
    matrix = reference.product(factors)
    matrix = matrix if lengths is None else matrix * scale.astype(matrix.dtype)
    return Drawn(op, reference.viewed(op, matrix), f"{np.dtype(dtype)} {codes} of {shapes}, {known}")


def _with_exponents(rng: np.random.Generator, codes: list[Any], dtype: Any) -> list[tuple[int, Any]]:
    return list(zip(_exponents(rng, len(codes), dtype), codes, strict=True))


def source(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> np.ndarray:
    """Draw a matrix of any shape: random, rank-deficient, with zero blocks, diagonal, graded, smooth, zero."""
    m, n = shape
    a = gaussian(rng, shape, dtype)
    kind = rng.integers(7)
    if kind == 0:
        rank = int(rng.integers(1, min(shape) + 1))
        return (gaussian(rng, (m, rank), dtype) @ gaussian(rng, (rank, n), dtype)).astype(dtype)
    if kind == 1:
        a[: m // 2, n // 2 :] = 0
    elif kind == 2:
        a = np.where(np.eye(m, n, dtype=bool), a, 0).astype(dtype)
    elif kind == 3:
        a = (a * 10.0 ** -np.linspace(0, 6, n)).astype(dtype)
    elif kind == 4:
        a = np.exp(1j * np.outer(rng.random(m), np.arange(n))) if a.dtype.kind == "c" else np.outer(a[:, 0], a[0])
        a = a.astype(dtype)
    elif kind == 5 and rng.random() < 0.1:
        a = np.zeros_like(a)
    return a


def _made(rng: np.random.Generator) -> Drawn:
    """What factorize, quantize and compress make of a matrix."""
    import bitterfly
    from bitterfly import Chain, IncompressibleError, reference

    dtype = DTYPES[rng.integers(4)]
    shape = tuple(int(s) for s in rng.integers(1, 41, 2))
    a = source(rng, shape, dtype)
    shapes = Chain.for_shape(shape, rank=int(rng.integers(1, 5)))
    op: Any
    how = str(rng.choice(["factorize", "quantize", "compress"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an error above a half
        if how == "compress":
            try:
                op = bitterfly.compress(a, rtol=float(rng.choice([1e-1, 1e-3])), structure="butterfly", rng=0)
            except (IncompressibleError, ValueError):
                how = "factorize"
        if how != "compress":
            op = bitterfly.factorize(a, shapes)
        if how == "quantize":
            op = bitterfly.quantize(op, bits=int(rng.integers(2, 17)), code=str(rng.choice(["skeleton", "lattice"])))
    return Drawn(op, reference.dense(op), f"{how} of {shape} {np.dtype(dtype)}: {op!r}")


def packed(seed: int) -> Drawn:
    """Draw a packed operator, of codes of directions or in tiles."""
    rng = np.random.default_rng(seed)
    return _directions(rng) if rng.random() < 0.4 else _tiles(rng)


def _member(rng: np.random.Generator) -> Drawn:
    some = _floats, _directions, _tiles, _dense, _sparse, _structure, _cuts
    return some[int(rng.choice(7, p=[0.26, 0.25, 0.24, 0.1, 0.05, 0.07, 0.03]))](rng)


def _sum(rng: np.random.Generator) -> Drawn:
    import bitterfly

    first = _member(rng)
    others = [_become(first, rng, keeps_shape=True) for _ in range(int(rng.integers(0, 3)))]
    members = [first, *others]
    plain = rng.random() < 0.5
    numbers = [1] * len(members) if plain else [_COEFFICIENTS[at] for at in rng.integers(0, 10, len(members))]
    op = bitterfly.algebra.ButterflySum([m.op for m in members], coefficients=None if plain else numbers)
    dense = np.sum([complex(c) * m.dense for c, m in zip(numbers, members, strict=True)], axis=0)
    return Drawn(op, _kept(dense, op), f"sum of {numbers} times {[m.how for m in members]}")


def _kept(dense: np.ndarray, op: Any) -> np.ndarray:
    return dense if np.dtype(op.dtype).kind == "c" else dense.real


def _stack(rng: np.random.Generator) -> Drawn:
    import bitterfly

    if rng.random() < 0.15:
        return _beside(rng)
    first, way = _member(rng), str(rng.choice(["vstack", "hstack", "block_diag"]))
    same = way != "block_diag"
    members = [first, *(_become(first, rng, keeps_shape=same) for _ in range(int(rng.integers(0, 3))))]
    if way == "block_diag":
        op = bitterfly.algebra.ButterflyStack([m.op for m in members], "diagonal")
        dense = scipy.linalg.block_diag(*(m.dense for m in members))
    else:
        op = getattr(bitterfly, way)([m.op for m in members])
        dense = np.concatenate([m.dense for m in members], axis=int(way == "hstack"))
    return Drawn(op, dense, f"{way} of {[m.how for m in members]}")


def _product(rng: np.random.Generator) -> Drawn:
    while _is_extreme(first := _member(rng)):  # what three of them make on the way may overflow
        pass
    second = _become(Drawn(first.op.H, first.dense.conj().T, f"H of {first.how}"), rng, keeps_shape=True)
    op, dense = first.op @ second.op, first.dense @ second.dense
    if rng.random() < 0.3:
        op, dense = op @ first.op, dense @ first.dense
    elif rng.random() < 0.3:
        op, dense = op**2, dense @ dense
    return Drawn(op, dense, f"{op.kind} of {len(op.operators)}: {first.how}, {second.how}")


def _is_extreme(drawn: Drawn) -> bool:
    size = np.max(np.abs(drawn.dense), initial=0)
    return bool(size > 0 and abs(np.log2(size)) > np.finfo(drawn.op.dtype).maxexp // 8)


def _kron(rng: np.random.Generator) -> Drawn:
    import bitterfly

    a, b = _small(rng), _small(rng)
    return Drawn(bitterfly.kron(a.op, b.op), np.kron(a.dense, b.dense), f"kron of {a.how} and {b.how}")


def _small(rng: np.random.Generator) -> Drawn:
    while max((drawn := _member(rng)).op.shape) > _MOST_OF_KRON:
        pass
    return drawn


def _inverse(rng: np.random.Generator) -> Drawn:
    import bitterfly
    from bitterfly import Chain, reference

    digits = [int(d) for d in rng.choice([2, 3, 4, 5, 17], int(rng.integers(1, 4)))]
    n = int(np.prod(digits))
    dtype, shapes = DTYPES[rng.integers(4)], Chain.deformable((n, n), [(d, d) for d in digits])
    factors = []
    for a, b, c, d in shapes:
        blocks = gaussian(rng, (a, b, c, d), dtype) * np.float32(0.1)
        blocks[:, np.arange(b), np.arange(b)] += 1
        factors.append(blocks.astype(dtype))
    op = bitterfly.algebra.inverse(bitterfly.ButterflyOperator(factors))
    return Drawn(op, reference.dense(op), f"inverse of {np.dtype(dtype)} {shapes}")


def _become(drawn: Drawn, rng: np.random.Generator, keeps_shape: bool = False) -> Drawn:
    """A view, a copy, another precision, or the same from a file."""
    import bitterfly
    import tolerances
    from bitterfly import reference

    op, dense = drawn.op, drawn.dense
    ways = ["conj", "copy", "pickle", "wider", "file", "negative", "multiple"] + ([] if keeps_shape else ["T", "H"])
    if op.kind == "packed":
        ways.append("dequantize")
    way = str(rng.choice(ways))
    how = f"{way} of {drawn.how}"
    if way == "T":
        return Drawn(op.T, dense.T, how)
    if way == "H":
        return Drawn(op.H, dense.conj().T, how)
    if way == "conj":
        return Drawn(op.conj(), dense.conj(), how)
    if way == "negative":
        return Drawn(-op, -dense, how)
    if way == "multiple":
        c = _COEFFICIENTS[rng.integers(10)]
        wide = c if isinstance(c, complex) else float(c)
        multiple = op / (1 / wide) if c and rng.random() < 0.3 else c * op if rng.random() < 0.5 else op * c
        return Drawn(multiple, _kept(complex(c) * dense, multiple), f"{c} times {drawn.how}")
    if way == "copy":
        return Drawn(copy.deepcopy(op), dense, how)
    if way == "pickle":
        return Drawn(pickle.loads(pickle.dumps(op)), dense, how)
    if way == "wider":
        return Drawn(op.astype(np.result_type(op.dtype, np.float64)), dense, how)
    if way == "dequantize":  # rounds steps, columns and the scale vector
        floats = op.dequantize()
        rounded = reference.dense(floats)
        error, _, least = tolerances.products(op)
        assert np.all(np.abs(rounded - dense) <= error + least), how
        return Drawn(floats, rounded, how)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "op.safetensors"
        bitterfly.save(path, op)
        return Drawn(bitterfly.load(path), dense, how)
