"""Corrupted and forged operator files of every kind; ``python tests/hostile.py 1000000`` runs as many as asked.

A damaged file (its checksum not made anew) must be refused, or load as the operator that it was. A forged one, with the
checksums of what it says, must be refused, or load as an operator that is valid in itself. Trials are numbered: each is
made of the seed and its number alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import resource
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

import bitterfly
import strategies as own
from bitterfly import algebra, transforms
from bitterfly.convolutions import FactoredConvolution
from bitterfly.cuts import CutTensor
from bitterfly.files import storage
from bitterfly.files.container import canonical, checksum
from bitterfly.files.convolutions import sealed
from bitterfly.files.cuts import describe_tensor
from bitterfly.inputs import Array
from bitterfly.stores.floats import HadamardFloats
from bitterfly.structures import (
    CodedCore,
    InverseFisherOperator,
    PermutationOperator,
    TensorTrainOperator,
    ToeplitzOperator,
)

Header = dict[str, Any]
Tensors = dict[str, Array]

_TYPES = {"U32": "<u4", "I32": "<i4", "F32": "<f4", "F64": "<f8", "U8": "u1", "F16": "<f2"}
_ODD_TYPES = ["U32", "F32", "F64", "I32", "U8", "BF16", "F16", "U64", "BOOL", "F4", "X9"]
_ODD = [0, -1, 1, 2, 3, 7, 2**16, 2**31, 2**31 - 1, 2**32, 2**62, 2**63, 2**64, 10**40, 1.5, 1e308, -0.0, True, False]
_ODD += [
    None,
    "",
    "float",
    "packed",
    "sum",
    "product",
    "stack",
    "kron",
    "dense",
    "sparse",
    "permutation",
    "toeplitz",
    "tensor_train",
    "coded",
    "half",
    "inverse_fisher",
    "cuts",
    "cut_tensor",
    "convolution",
    "canonical",
    "unfolded",
    "window7",
    "diagonal",
    "skeleton",
    "sphere",
    "float24",
    "adjoint",
    [],
    {},
    [[]],
    [0],
    [2**40] * 4,
]
_TEXTS = [
    "1e400",
    "-1",
    "NaN",
    "Infinity",
    "9" * 400,
    "1.0",
    "true",
    "null",
    '"\\ud800"',
    "[" * 40 + "]" * 40,
    "{}",
    "",
]
_MULTIPLIED = 1 << 16  # rows or columns of a matrix whose products are looked at
_MODERATE = 2.0**16  # stored numbers up to this: products of the six factors or fewer of these files are finite


def _odd(r: random.Random) -> Any:
    return copy.deepcopy(r.choice(_ODD))


# ---- files of every kind ----


def _general(rng: np.random.Generator, dtype: str, patterns: list[tuple[int, int, int, int]], **known: Any) -> Any:
    factors = [rng.standard_normal(p) + (1j * rng.standard_normal(p) if dtype[0] == "c" else 0) for p in patterns]
    return bitterfly.ButterflyOperator([f.astype(dtype) for f in factors], **known)


@cache
def operators() -> dict[str, Any]:
    """One small operator for each way of storing one, in several precisions, modes, and orders of rows and columns."""
    rng = np.random.default_rng(0)
    out: dict[str, Any] = {}
    for dtype in ("f4", "f8", "c8", "c16"):
        plain = transforms.random(8, rng=rng, dtype=dtype)
        order = rng.permutation(8)
        op = bitterfly.ButterflyOperator(plain.factors, permutations=(order, None), relative_error=np.nan)
        out[f"dyadic {dtype}"] = op.T
        signs = HadamardFloats(8, np.dtype(dtype))
        out[f"hadamard {dtype}"] = bitterfly.ButterflyOperator.from_store(signs, permutations=(None, order)).H
        for code in ("angle", "phase", "sphere") if dtype[0] == "c" else ("angle",):
            out[f"{code} {dtype}"] = bitterfly.quantize(op, bits=2, code=code)
        out[f"short scale {dtype}"] = bitterfly.quantize(plain, rtol=0.1)
        patterns = [(1, 3, 2, 4), (2, 4, 5, 1)]
        tiles = _general(rng, dtype, patterns, shape=(11, 9), permutations=(None, rng.permutation(10)))
        out[f"tiles {dtype}"] = tiles
        for code in ("lattice", "skeleton", "power_of_two", "shift", "ternary", "sign"):
            bits = None if code in ("ternary", "sign") else 3
            out[f"{code} {dtype}"] = bitterfly.quantize(tiles, bits=bits, code=code).H
        monarch = _general(rng, dtype, [(1, 4, 4, 4), (4, 4, 4, 1)])
        out[f"floats {dtype}"] = bitterfly.quantize(monarch, code="float", significand=4)
        wide = _general(rng, dtype, [(1, 8, 4, 6), (2, 12, 8, 1)])
        out[f"skeleton floats {dtype}"] = bitterfly.quantize(wide, bits=8, code="skeleton").dequantize().conj()
        out[f"sum {dtype}"] = algebra.ButterflySum([tiles, out[f"lattice {dtype}"].H], 0.25, "measured")
        out[f"combination {dtype}"] = 3 * tiles - out[f"sign {dtype}"].H / 7
        out[f"product {dtype}"] = tiles.H @ out[f"shift {dtype}"].H
        out[f"kron {dtype}"] = bitterfly.kron(plain, out[f"ternary {dtype}"])
        out[f"blocks {dtype}"] = bitterfly.block_diag([1j * plain, out[f"product {dtype}"]])
        out[f"stack {dtype}"] = bitterfly.hstack([tiles, out[f"combination {dtype}"]])
        noise = own.gaussian(rng, (18, 40), dtype)
        out[f"dense {dtype}"] = bitterfly.quantize_dense(noise, bits=2.25, rotate="both", rng=0).H
        sparse = bitterfly.SparseOperator(noise * (np.abs(noise) > 1.5))
        out[f"sparse {dtype}"] = sparse.H
        banded = np.where(np.abs(np.subtract.outer(range(5), range(7))) == 2, noise[:5, :7], 0).astype(dtype)
        out[f"diagonals {dtype}"] = bitterfly.SparseOperator(own.by_diagonals(banded))
        order = PermutationOperator(rng.permutation(9), dtype=dtype, relative_error=0.5, error_kind="measured")
        out[f"permutation {dtype}"] = order.T
        kernel = own.gaussian(rng, (2, 1, 3, 2), dtype)
        out[f"convolution {dtype}"] = ToeplitzOperator(kernel, [3, 4], [5, 4], first=[-1, 0], strides=[2, 1]).H
        cores = [own.gaussian(rng, shape, dtype) for shape in ((1, 2, 3, 2), (2, 3, 1, 3), (3, 2, 2, 1))]
        out[f"tensor train {dtype}"] = TensorTrainOperator(cores).H
        out[f"inverse Fisher {dtype}"] = InverseFisherOperator(noise[:3, :7], 0.125).conj()
        out[f"circulant {dtype}"] = ToeplitzOperator(kernel[0, 0], [3, 2], [3, 2], periodic=True)
        if dtype[0] == "f":
            signs = [rng.choice([-1, 1], (5, size)) for size in (18, 40)]
            numbers = np.arange(1, 6).astype(dtype)
            known_errors = None if dtype == "f4" else np.linspace(0.9, 0.5, 5)
            out[f"cuts {dtype}"] = bitterfly.SignedCut(numbers, *signs, errors=known_errors).T
        known = out[f"dense {dtype}"].H.replaced(metric_error=0.25)
        out[f"metric {dtype}"] = algebra.ButterflySum([sparse, known])._viewed(_metric_errors=(0.125, np.nan)).T
        out[f"window7 {dtype}"] = -bitterfly.quantize_dense(noise[:3], bits=6, code="window7", rotate=False)
        matrix = bitterfly.quantize_dense(own.gaussian(rng, (18, 5), dtype), bits=2, rotate="inputs", rng=0)
        short = own.gaussian(rng, (3, 2, 2, 1), "f4").astype(np.float16)
        coded = [CodedCore(matrix.T, (1, 5, 2, 9)), own.gaussian(rng, (9, 2, 1, 3), dtype), short]
        out[f"coded train {dtype}"] = TensorTrainOperator(coded, rows=rng.permutation(20)[:17]).conj()
        entries = CodedCore(bitterfly.SparseOperator(np.eye(6, 4, dtype=dtype)), (1, 6, 4, 1))
        out[f"sparse train {dtype}"] = TensorTrainOperator([entries], relative_error=0.5, error_kind="measured").T
    return out


@cache
def tensors() -> dict[str, CutTensor | FactoredConvolution]:
    """What has files of its own: cuts of tensors, with known errors or complex ones of a contraction, and kernels."""
    rng = np.random.default_rng(1)
    out: dict[str, Any] = {}
    for dtype in ("f4", "f8", "c8", "c16"):
        shape = (5, 1, 12) if dtype[0] == "f" else (9, 8)
        bits = tuple(np.packbits(rng.integers(2, size=(6, n)), axis=1, bitorder="little") for n in shape)
        errors = np.linspace(0.9, 0.5, 6) if dtype[0] == "f" else np.full(6, np.nan)
        out[f"cut tensor {dtype}"] = CutTensor(shape, own.gaussian(rng, (6,), dtype), bits, errors)
    for dtype in ("f4", "f8"):
        out |= _kernels(np.random.default_rng(2), dtype)
    return out


def _kernels(rng: np.random.Generator, dtype: str) -> dict[str, FactoredConvolution]:
    """A kernel of a convolution of each structure."""
    parts = [own.gaussian(rng, (size, 4), "f2" if size == 3 else dtype) for size in (5, 3, 3, 2)]
    codes = bitterfly.quantize_dense(own.gaussian(rng, (6, 4), dtype), bits=4, rng=0)
    factors = [codes, *(TensorTrainOperator([x[None, ..., None]], dtype=dtype) for x in parts[1:])]
    cores = [own.gaussian(rng, shape, dtype) for shape in ((1, 5, 1, 2), (2, 1, 9, 3), (3, 1, 2, 1))]
    train = TensorTrainOperator(cores)
    bits = tuple(np.packbits(rng.integers(2, size=(6, n)), axis=1, bitorder="little") for n in (5, 2, 3))
    cut = CutTensor((5, 2, 3), own.gaussian(rng, (6,), dtype), bits, np.linspace(0.9, 0.5, 6), "measured")
    matrix = bitterfly.quantize_dense(own.gaussian(rng, (5, 24), dtype), bits=2, rng=0)
    return {
        f"canonical kernel {dtype}": FactoredConvolution((6, 2, 3, 1, 3), "canonical", tuple(factors), 0.5, "measured"),
        f"kernel train {dtype}": FactoredConvolution((5, 2, 3, 3), "tensor_train", (train,)),
        f"kernel of cuts {dtype}": FactoredConvolution((5, 2, 3), "cuts", (cut,), 0.5, "measured"),
        f"unfolded kernel {dtype}": FactoredConvolution((5, 2, 3, 4), "unfolded", (matrix,), 0.25, "ledger"),
    }


def to_bytes(x: Any) -> bytes:
    """The contents of the file of an operator, of signed cuts of a tensor, or of a kernel."""
    if isinstance(x, FactoredConvolution):
        return storage.contents(sealed(x))
    return storage.contents(describe_tensor(x)) if isinstance(x, CutTensor) else storage.to_bytes(x)


def loader(name: str) -> Callable[[Any], Any]:
    """What reads the file of this name."""
    return type(tensors()[name]).load if name in tensors() else bitterfly.load


def parts(data: bytes) -> tuple[Header, Header, Tensors]:
    """The container's header, our own, and the tensors of a good file."""
    size = struct.unpack("<Q", data[:8])[0]
    outer = json.loads(data[8 : 8 + size])
    ours = json.loads(outer.pop("__metadata__")["bitterfly"])
    tensors = {}
    for name, entry in outer.items():
        start, stop = entry["data_offsets"]
        raw = data[8 + size + start : 8 + size + stop]
        tensors[name] = np.frombuffer(raw, _TYPES[entry["dtype"]]).reshape(entry["shape"])
    return outer, ours, tensors


def container(outer: Header, text: str, body: bytes) -> bytes:
    """A file with these headers, right or wrong."""
    header = json.dumps({"__metadata__": {"bitterfly": text}, **outer}).encode()
    return struct.pack("<Q", len(header)) + header + body


@cache
def files() -> list[tuple[str, bytes]]:
    return [(name, to_bytes(x)) for name, x in (operators() | tensors()).items()]


# ---- damage: the checksum stays ----


def _bits(data: bytes, r: random.Random) -> bytes:
    bad = bytearray(data)
    end = 8 + struct.unpack("<Q", data[:8])[0] if r.random() < 0.5 else len(bad)
    for _ in range(r.randint(1, 4)):
        bad[r.randrange(end)] ^= 1 << r.randrange(8)
    return bytes(bad)


def _cut(data: bytes, r: random.Random) -> bytes:
    return data[: r.randrange(len(data))]


def _span(data: bytes, r: random.Random) -> tuple[int, int]:
    start = r.randrange(len(data))
    return start, min(len(data), start + r.choice([1, 2, 4, 8, 64, 1000]))


def _removed(data: bytes, r: random.Random) -> bytes:
    start, stop = _span(data, r)
    return data[:start] + data[stop:]


def _repeated(data: bytes, r: random.Random) -> bytes:
    start, stop = _span(data, r)
    return data[:stop] + data[start:]


def _overwritten(data: bytes, r: random.Random) -> bytes:
    start, stop = _span(data, r)
    return data[:start] + r.choice([bytes, lambda n: b"\xff" * n, r.randbytes])(stop - start) + data[stop:]


def _swapped(data: bytes, r: random.Random) -> bytes:
    bad, i, j = bytearray(data), r.randrange(len(data)), r.randrange(len(data))
    bad[i], bad[j] = bad[j], bad[i]
    return bytes(bad)


def _grafted(data: bytes, r: random.Random) -> bytes:
    other = r.choice(files())[1]
    at = r.randrange(len(data))
    return data[:at] + other[r.choice([at, r.randrange(len(other))]) :]


def _appended(data: bytes, r: random.Random) -> bytes:
    return data + r.choice([b"\0", b" ", r.randbytes(r.randint(1, 64)), data])


def _length(data: bytes, r: random.Random) -> bytes:
    size = struct.unpack("<Q", data[:8])[0]
    wrong = r.choice([size + r.randint(-9, 9), r.getrandbits(64), 2**64 - 1, 2**63, 100_000_001, len(data), 0])
    return struct.pack("<Q", wrong % 2**64) + data[8:]


def _tokens(data: bytes, r: random.Random) -> bytes:
    """A number, a word or a bracket of the text of either header becomes something else; the length is right."""
    size = struct.unpack("<Q", data[:8])[0]
    text = data[8 : 8 + size].decode()
    at = r.randrange(len(text))
    stop = at + 1
    while stop < len(text) and text[at].isalnum() and text[stop].isalnum():
        stop += 1
    wrong = (text[:at] + r.choice([*_TEXTS, text[at:stop] * 2, str(r.getrandbits(70))]) + text[stop:]).encode()
    return struct.pack("<Q", len(wrong)) + wrong + data[8 + size :]


def _twice(data: bytes, r: random.Random) -> bytes:
    """A key of either header stands there twice."""
    outer, ours, _ = parts(data)
    size = struct.unpack("<Q", data[:8])[0]
    if r.random() < 0.5:
        key = r.choice(list(ours))
        text = canonical(ours)
        return container(outer, f'{{"{key}":{json.dumps(r.choice([ours[key], _odd(r)]))},{text[1:]}', data[8 + size :])
    key = r.choice(list(outer))
    entry = json.dumps({key: r.choice([outer[key], r.choice(list(outer.values()))])})
    right = data[8 : 8 + size].decode().strip()
    text = (entry[:-1] + "," + right[1:] if r.random() < 0.5 else right[:-1] + "," + entry[1:]).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _entries(data: bytes, r: random.Random) -> bytes:
    """Types, shapes, offsets and names of tensors in the container's header."""
    outer, ours, _ = parts(data)
    size = struct.unpack("<Q", data[:8])[0]
    name = r.choice(list(outer))
    entry = outer[name]
    what = r.randrange(6)
    if what == 0:
        entry["dtype"] = r.choice(_ODD_TYPES)
    elif what == 1:
        entry["shape"] = r.choice([[], [0], [2**62, 4], entry["shape"] + [1], entry["shape"][::-1], [_odd(r)]])
    elif what == 2:
        entry["data_offsets"][r.randrange(2)] += r.choice([-4, -1, 1, 4, 8, 2**63, -(2**63)])
    elif what == 3:
        other = r.choice(list(outer))
        outer[name]["data_offsets"], outer[other]["data_offsets"] = outer[other]["data_offsets"], entry["data_offsets"]
    elif what == 4:
        outer[r.choice(["words", "scale", "values", "0.words", "secret", ""])] = outer.pop(name)
    else:
        del outer[name]
    return container(outer, canonical(ours), data[8 + size :])


def _field(data: bytes, r: random.Random) -> bytes:
    """A field of our metadata, the checksum as it was."""
    outer, ours, _ = parts(data)
    _edit(ours, r)
    size = struct.unpack("<Q", data[:8])[0]
    return container(outer, json.dumps(ours), data[8 + size :])


# ---- forgeries: the checksum is right ----


def _edit(header: Header, r: random.Random) -> None:
    """Change one field, deep or not: another value, a number next to it, the field of another file."""
    key = r.choice(list(header))
    kind = r.randrange(5)
    if kind == 0:
        header[key] = _odd(r)
    elif kind == 1:
        other = parts(r.choice(files())[1])[1]
        header[key] = other.get(key, other)
    elif kind == 2:
        header[r.choice(["extra", "ranks", "codes", "scale_code", "terms", "steps", "axis", "coefficients"])] = _odd(r)
    elif kind == 3 and r.random() < 0.3:
        del header[key]
    else:
        node, at = header, key
        while isinstance(node[at], (list, dict)) and node[at]:
            node = node[at]
            at = r.choice(list(node)) if isinstance(node, dict) else r.randrange(len(node))
        near = isinstance(node[at], int) and r.random() < 0.8
        node[at] = node[at] + r.choice([-1, 1, 2]) if near else _odd(r)


def _change(tensors: Tensors, r: random.Random) -> None:
    """Change numbers, length, shape or type of one tensor, or its place."""
    name = r.choice(list(tensors))
    x = tensors[name].copy()
    kind = r.randrange(6)
    if kind <= 1 and x.size:
        flat = x.reshape(-1).view(np.uint8)
        for _ in range(r.randint(1, 3)):
            flat[r.randrange(flat.size)] = r.choice([0, 255, 127, r.randrange(256)])
    elif kind == 2:
        x = r.choice([x[:-1], x[1:], np.concatenate([x, x[:1]]), x[:0], x[None], x.reshape(-1)])
    elif kind == 3:
        words = np.frombuffer(x.tobytes()[: x.nbytes // 4 * 4], "<u4")
        x = r.choice([words, words.view("<f4"), x.astype("<f8"), x[::-1].copy()])
    elif kind == 4:
        number = np.array(r.choice([0, 1, 2, 1e30] if x.dtype.kind == "f" else [0, 1, 2**31, 2**32 - 1]))
        x = np.full_like(x, number.astype(x.dtype))
    else:
        del tensors[name]
        name = r.choice(["rows", "columns", "pivots", "steps", "0.rows", "1.columns", "9.words", name])
    tensors[name] = x


def _sealed(header: Header, tensors: Tensors) -> Header:
    """The header with the checksums of what it says, those of members too."""
    terms = header.get("terms")
    if isinstance(terms, list) and all(isinstance(term, dict) for term in terms):
        for at, term in enumerate(terms):
            own = {name.removeprefix(f"{at}."): x for name, x in tensors.items() if name.startswith(f"{at}.")}
            terms[at] = _sealed(term, own)
        numbers = {str(at) for at in range(len(terms))}
        tensors = {name: x for name, x in tensors.items() if name.partition(".")[0] not in numbers}
    return header | {"sha256": checksum(header, tensors)}


def _inner(header: Header, r: random.Random) -> Header:
    """The header, or that of a member, or of a member of one."""
    terms = header.get("terms")
    if not isinstance(terms, list) or not terms or r.random() < 0.3:
        return header
    inner = r.choice(terms)
    return _inner(inner, r) if isinstance(inner, dict) and inner else header


def _forged(data: bytes, r: random.Random) -> bytes:
    _, header, tensors = parts(data)
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        if r.random() < 0.6:
            _edit(_inner(header, r), r)
        elif tensors:
            with np.errstate(over="ignore", invalid="ignore"):
                _change(tensors, r)
    header = _sealed(header, tensors)
    outer, body = {}, b""
    types = {np.dtype(code): name for name, code in _TYPES.items()}
    for name, x in tensors.items():
        raw = x.tobytes()
        span = [len(body), len(body) + len(raw)]
        outer[name] = {"dtype": types[x.dtype], "shape": list(x.shape), "data_offsets": span}
        body += raw
    return container(outer, json.dumps(header), body)


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [_bits, _cut, _removed, _repeated, _overwritten, _swapped]
DAMAGES += [_grafted, _appended, _length, _tokens, _twice, _entries, _field]


# ---- trials ----


@dataclass
class Outcome:
    """How many trials of each mutation were refused, loaded unchanged, or (forged) loaded as another valid operator."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0


def mutation(seed: int, trial: int) -> tuple[str, str, bytes, bytes]:
    """The name of the file and of the mutation of a trial, the good contents and the bad ones."""
    r = random.Random(f"{seed} {trial}")
    name, good = files()[trial % len(files())]
    change = _forged if r.random() < 0.4 else r.choice(DAMAGES)
    return name, change.__name__.strip("_"), good, change(good, r)


def check_valid(op: Any, r: random.Random) -> None:
    """Assert that a forged operator is valid in itself: its products have the right shape, moderate ones are finite."""
    if isinstance(op, CutTensor):
        _check_tensor(op, r)
        return
    if isinstance(op, FactoredConvolution):
        _check_kernel(op)
        return
    m, n = op.shape
    assert op.nbytes >= 0 and not op.relative_error < 0
    assert max(m, n) <= 4096 or _has_toeplitz(op)
    if max(m, n) > _MULTIPLIED:  # a few numbers stand for a matrix of any size: what is not formed costs nothing
        assert max(m, n) < 1 << 62 and repr(op)
        return
    columns = r.choice([1, 3, 17])
    forward, backward = op.apply(np.ones((n, columns))), op.rmatmat(np.ones((m, columns)))
    assert forward.shape == (m, columns) and backward.shape == (n, columns)
    assert forward.dtype == np.result_type(op.dtype, np.float64)
    data = storage.to_bytes(op)
    numbers = [x for x in parts(data)[2].values() if x.dtype.kind == "f"]
    numbers += [np.abs(c) for c in _coefficients(op)]
    moderate = _MODERATE if op.kind in ("float", "packed", "sum") else _MODERATE ** (1 / 2)
    numbers += [np.array(2.0 ** min(each, 1000)) for each in _exponents(parts(data)[1])]
    if all(float(np.max(np.abs(x), initial=0)) <= moderate for x in numbers):
        assert np.all(np.isfinite(forward)) and np.all(np.isfinite(backward))


def _check_tensor(cut: CutTensor, r: random.Random) -> None:
    axis = r.randrange(len(cut.shape))
    assert cut.nbytes > 0 and not cut.relative_error < 0 and len(cut.signs) == len(cut.shape)
    if all(abs(c) <= _MODERATE for c in cut.coefficients):
        rest = cut.contract({axis: np.ones(cut.shape[axis])})
        assert np.all(np.isfinite(rest if len(cut.shape) == 1 else rest.coefficients))


def _check_kernel(kernel: FactoredConvolution) -> None:
    with np.errstate(all="ignore"):
        assert kernel.dense().shape == kernel.shape and kernel.nbytes > 0 and not kernel.relative_error < 0
        op = kernel.to_operator(kernel.shape[2:])
        assert (op @ np.ones(op.shape[1])).shape == (kernel.shape[0],)


def _has_toeplitz(op: Any) -> bool:
    """Whether an operator may have more rows than its file has bytes."""
    return op.kind == "toeplitz" or any(map(_has_toeplitz, op.members))


def _coefficients(op: Any) -> list[complex]:
    return [*getattr(op, "coefficients", ()), *(c for member in op.members for c in _coefficients(member))]


def _exponents(header: Header) -> list[int]:
    """Of the numbers of window codes, of all members."""
    return [header.get("exponent", 0), *(each for term in header.get("terms", []) for each in _exponents(term))]


def run(count: int, seed: int = 0, first: int = 0, progress: Callable[[int, Outcome], Any] | None = None) -> Outcome:
    """Load the files of `count` trials; faults are told with their numbers."""
    out = Outcome()
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for trial in range(first, first + count):
            name, change, good, bad = mutation(seed, trial)
            load = loader(name)
            try:
                out.counts[change, _loaded(file, load, change, good, bad, out)] += 1
            except Exception as error:
                out.faults.append(f"seed {seed}, trial {trial}, {name}, {change}: {type(error).__name__}: {error}")
            if progress and (trial + 1) % 10_000 == 0:
                progress(trial + 1, out)
    return out


def _loaded(file: Any, load: Callable[[str], Any], change: str, good: bytes, bad: bytes, out: Outcome) -> str:
    file.seek(0)
    file.truncate()
    file.write(bad)
    file.flush()
    begun = time.perf_counter()
    try:
        op = load(file.name)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    finally:
        out.slowest = max(out.slowest, time.perf_counter() - begun)
    if message:
        assert message.startswith(f"{file.name}: ") and len(message) < 1000, message
        return "refused"
    same = to_bytes(op) == good
    if change == "forged":
        check_valid(op, random.Random(len(bad)))
    else:
        whole = change == "grafted" and bad in {data for _, data in files()}  # the graft may be all of the other file
        assert same or whole, "another operator"
    return "unchanged" if same else "another"


def _lines(out: Outcome) -> Iterator[str]:
    for change in sorted({change for change, _ in out.counts}):
        row = {end: out.counts[change, end] for end in ("refused", "unchanged", "another")}
        yield f"{change:12s}" + "".join(f"{end:>12s} {number:8d}" for end, number in row.items())
    yield f"faults {len(out.faults)}, slowest load {out.slowest:.3f} s"
    yield from out.faults[:20]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))  # what asks for more memory than that is a fault
    show = lambda done, out: print(f"{done} trials, {len(out.faults)} faults", flush=True)  # noqa: E731
    print("\n".join(_lines(run(given.count, given.seed, given.first, show))))


if __name__ == "__main__":
    main()
