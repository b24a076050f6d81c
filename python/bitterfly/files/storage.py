"""Operators to safetensors files and back; what is loaded is checked, checksum included."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bitterfly import _core
from bitterfly.chains.chain import Chain
from bitterfly.files.checksum import checksum
from bitterfly.files.composites import Tensors, composite_parts, is_composite, read_composite
from bitterfly.files.container import (
    REAL_TYPE,
    SHORT_SCALE,
    Header,
    canonical,
    check_size,
    check_units,
    checked_header,
    is_complex,
    parse,
)
from bitterfly.files.replacing import Path, as_regular_file, replacing
from bitterfly.inputs import Array, IndexArray, as_permutation
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.contract import Operator
from bitterfly.stores.codes import scale_length, word_count
from bitterfly.stores.direction_codes import DirectionCodes
from bitterfly.stores.floats import DyadicFloats, TiledFloats, aligned, frozen_view
from bitterfly.stores.kinds import Code
from bitterfly.stores.scale_codes import ScaleCodes, scale_words
from bitterfly.stores.tile_codes import TiledCodes
from bitterfly.stores.tiles import layouts

if TYPE_CHECKING:
    from safetensors import safe_open

METADATA_KEY = "bitterfly"

_PERMUTATIONS = ("rows", "columns")


def save(path: Path, op: Operator) -> None:
    """Write an operator to a safetensors file.

    Parameters
    ----------
    path : str or path-like
        The file appears, or replaces an older one, only once it is complete.
    op : operator
        Of any kind and in any mode: of a transposed operator the shared buffers are stored, and the mode; of one that
        is made of others, all of these.

    Raises
    ------
    TypeError
        Where `op` is no operator of this package.
    ValueError
        Where operators are made of more operators than a file holds: 1024 at a time, about 2000 in all, 14 deep.
    OSError
        Where the file cannot be written; an existing file is left as it was.
    """
    data = to_bytes(op)
    with replacing(path) as file:
        file.write(data)


def load(path: Path) -> Operator:
    """Read an operator that `save` has written.

    Parameters
    ----------
    path : str or path-like
        A file in the format of docs/storage.md; of a pipe, a copy is made first.

    Returns
    -------
    operator
        Of the same kind, equal in all buffers, mode and error to what was saved.

    Raises
    ------
    ValueError
        Where the file is no such file, or damaged; the message names the field at fault.
    OSError
        Where the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    try:
        with as_regular_file(path) as regular, safe_open(regular, framework="numpy") as file:
            return _read(file)
    except SafetensorError as error:
        raise ValueError(f"{name}: header: not a safetensors file, or damaged ({error})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from error


# ---- writing ----


def to_bytes(op: Operator) -> bytes:
    """Return the contents of a file of an operator."""
    from safetensors.numpy import save as container

    header, tensors = _sealed(op)
    text = canonical(header)
    check_size(text)
    return container(tensors, metadata={METADATA_KEY: text})


def _sealed(op: Any) -> tuple[Header, dict[str, Array]]:
    """Return the metadata, with the checksum, and the tensors of an operator."""
    if not isinstance(op, Operator):
        raise TypeError(f"op: expected an operator of this package, got {type(op).__name__}")
    if op.members:
        header, tensors = composite_parts(op, _sealed)
        header["sha256"] = checksum(header, {})
    else:
        header, tensors = _describe(op)
        header["sha256"] = checksum(header, tensors)
    return header, tensors


def _describe(op: Any) -> tuple[Header, dict[str, Array]]:
    """Return the metadata, without the checksum, and the tensors of a butterfly."""
    chain = op.stored_chain
    header = {
        "format_version": _version(op.store),
        "shape": list(op.stored_shape),
        "dtype": np.dtype(op.dtype).name,
        "chain": [list(pattern) for pattern in chain],
        "mode": op.mode,
        "relative_error": None if math.isnan(op.relative_error) else float(op.relative_error),
        "error_kind": op.error_kind,
    }
    tensors = {
        name: order.astype(np.uint32)
        for name, order in zip(_PERMUTATIONS, op.base_permutations, strict=True)
        if order is not None
    }
    if op.kind == "float":
        if isinstance(op.store, TiledFloats):
            header |= {"ranks": list(op.store.ranks)}
            return header | {"kind": "float"}, tensors | op.store.buffers
        return header | {"kind": "float"}, tensors | {"values": _as_reals(op.values)}
    codes = [[code.kind, code.bits] for code in op.codes]
    buffers, lengths = {"words": op.words}, op.store.lengths
    if isinstance(lengths, ScaleCodes):
        header |= {"scale_code": list(lengths.code)}
        buffers |= {"scale": lengths.store.words, "steps": lengths.store.steps}
    else:
        buffers |= {"scale": _as_reals(lengths)} | ({} if op.steps is None else {"steps": op.steps})
    return header | {"kind": "packed", "codes": codes}, tensors | buffers


def _version(store: Any) -> int:
    if isinstance(store, DirectionCodes) and isinstance(store.lengths, ScaleCodes):
        return SHORT_SCALE
    return 1 if isinstance(store, (DyadicFloats, DirectionCodes)) else 2


def _as_reals(a: Array) -> Array:
    """View complex numbers as a trailing axis of two real ones; safetensors has no complex128."""
    return a.view(a.real.dtype).reshape(*a.shape, 2) if a.dtype.kind == "c" else a


# ---- reading ----


def _read(file: safe_open) -> Operator:
    text = (file.metadata() or {}).get(METADATA_KEY)
    if text is None:
        raise ValueError(f"metadata: no key {METADATA_KEY!r}, this is no bitterfly file")
    return _read_any(parse(text), file)


def _read_any(header: Header, file: Tensors) -> Operator:
    """Return the operator of any kind that a header and tensors are of."""
    if is_composite(header):
        return cast(Operator, read_composite(header, file, _read_one, _read_any))
    return _read_one(header, file)


def _read_one(header: Header, file: Tensors) -> ButterflyOperator | PackedButterfly:
    """Return the butterfly that a header and tensors are of."""
    codes = checked_header(header)
    tensors = _read_tensors(file, _expected_tensors(header, codes))
    if checksum(header, tensors) != header["sha256"]:
        raise ValueError("sha256: the checksum does not match the contents, the file is damaged")
    return _build(header, codes, tensors)


def _expected_tensors(header: Header, codes: tuple[Code, ...]) -> dict[str, tuple[str, list[int]]]:
    """Return the type and shape that the metadata ask of each tensor."""
    chain, tail = Chain(header["chain"]), [2] if is_complex(header) else []
    real = REAL_TYPE[header["dtype"]]
    expected = {name: ("U32", [size]) for name, size in zip(_PERMUTATIONS, chain.shape, strict=True)}
    if header["kind"] == "packed":
        expected["words"] = "U32", [word_count(chain, codes, is_complex(header))]
        if header["format_version"] == SHORT_SCALE:
            count = scale_words(chain.shape[1], Code(*header["scale_code"]), is_complex(header))
            return expected | {"scale": ("U32", [count]), "steps": ("F64", [1])}
        expected["scale"] = real, [scale_length(chain, codes), *tail]
        return expected if header["format_version"] == 1 else expected | {"steps": ("F64", [len(chain)])}
    if header["format_version"] == 1:
        return expected | {"values": (real, [len(chain), 2 * chain.shape[1], *tail])}
    plan = layouts(chain, header["ranks"])
    numbers = sum(at.numbers(2 if is_complex(header) else 1) for at in plan)
    expected["values"] = (real, [numbers])
    if any(header["ranks"]):
        expected["pivots"] = ("U32", [sum(at.pivot_words for at in plan)])
    return expected


def _read_tensors(file: Tensors, expected: dict[str, tuple[str, list[int]]]) -> dict[str, Array]:
    """Check names, types and shapes of all tensors, then read them into aligned memory."""
    names = set(file.keys())
    for name in sorted(names - expected.keys()):
        raise ValueError(f"{name[:60]}: unknown tensor")
    for name in sorted(expected.keys() - names - set(_PERMUTATIONS)):
        raise ValueError(f"{name}: missing tensor")
    for name in sorted(names):
        _check_tensor(file, name, *expected[name])
    return {name: frozen_view(aligned(file.get_tensor(name))) for name in sorted(names)}


def _check_tensor(file: Tensors, name: str, kind: str, shape: list[int]) -> None:
    view = file.get_slice(name)
    got = view.get_dtype(), list(view.get_shape())
    if got != (kind, shape):
        raise ValueError(f"{name}: expected {kind} of shape {shape}, got {got[0]} of {got[1]}")


def _build(header: Header, codes: tuple[Code, ...], tensors: dict[str, Array]) -> ButterflyOperator | PackedButterfly:
    error = header["relative_error"]
    rest = {
        "permutations": tuple(_order(tensors, name) for name in _PERMUTATIONS),
        "relative_error": math.nan if error is None else error,
        "error_kind": header["error_kind"],
        "mode": header["mode"],
    }
    dtype = np.dtype(header["dtype"])
    if header["format_version"] == 2:
        return _build_tiled(header, codes, tensors, rest)
    if header["kind"] == "float":
        return ButterflyOperator.from_values(_numbers(tensors, "values", dtype), **rest)
    _check_padding(tensors["words"], codes, header["shape"][0])
    if header["format_version"] == 1:
        return PackedButterfly(tensors["words"], codes, _numbers(tensors, "scale", dtype), **rest)
    code, step = Code(*header["scale_code"]), float(tensors["steps"][0])
    scale = ScaleCodes.of_words(tensors["scale"], code, step, header["shape"][0], dtype)
    return PackedButterfly(tensors["words"], codes, scale, **rest)


def _build_tiled(
    header: Header, codes: tuple[Code, ...], tensors: dict[str, Array], rest: dict[str, Any]
) -> ButterflyOperator | PackedButterfly:
    dtype, chain = np.dtype(header["dtype"]), Chain(header["chain"])
    rest |= {"shape": tuple(header["shape"])}
    if header["kind"] == "float":
        if not np.all(np.isfinite(tensors["values"])):
            raise ValueError("values: expected finite numbers, got NaN or infinity")
        pivots = tensors.get("pivots", np.empty(0, np.uint32))
        store = TiledFloats(chain, header["ranks"], tensors["values"], pivots, dtype.kind == "c")
        return ButterflyOperator.from_store(store, **rest)
    scale = _numbers(tensors, "scale", dtype)
    check_units(codes, tensors["steps"], scale)
    packed = PackedButterfly(tensors["words"], codes, scale, chain=chain, steps=tensors["steps"], **rest)
    if not cast(TiledCodes, packed.store).is_canonical():
        raise ValueError("words: unused bits are not zero")
    return packed


def _order(tensors: dict[str, Array], name: str) -> IndexArray | None:
    order = tensors.get(name)
    return None if order is None else as_permutation(order.astype(np.intp), (len(order),), name)


def _numbers(tensors: dict[str, Array], name: str, dtype: np.dtype[Any]) -> Array:
    reals = tensors[name]
    if not np.all(np.isfinite(reals)):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return reals.view(dtype)[..., 0] if dtype.kind == "c" else reals


def _check_padding(words: Array, codes: tuple[Code, ...], n: int) -> None:
    """Require the unused bits, which only factors of fewer than 512 columns have, to be zero."""
    start = 0
    for level, code in enumerate(codes):
        stop = start + _core.packed_words(n, code.bits)
        if n < 512:
            part = words[start:stop]
            again = _core.pack(_core.unpack(part, n, n >> (level + 1), code.bits), code.bits)
            if not np.array_equal(part, again):
                raise ValueError(f"words: unused bits of factor {level + 1} are not zero")
        start = stop
