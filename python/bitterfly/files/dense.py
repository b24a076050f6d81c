"""Dense matrices in window codes in files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bitterfly.files.container import (
    MAX_SIZE,
    Codec,
    Expected,
    Header,
    Parts,
    Tensors,
    are_ints,
    check_digest,
    check_fields,
    check_sum,
    checked_dtype,
    checked_error,
    error_fields,
    expect,
    is_int,
    is_one_of,
    read_tensors,
)
from bitterfly.inputs import Array
from bitterfly.operators.dense import DenseOperator
from bitterfly.operators.views import FLAGS
from bitterfly.stores.dense.codes import BLOCK, HALF_BITS, MOST_EXPONENT, DenseCodes, tiles_bytes
from bitterfly.stores.dense.tiles import PADDING, padded
from bitterfly.stores.dense.windows import WINDOW_BITS

VERSION = 7

_FIELDS = {"shape", "dtype", "mode", "code", "rates", "exponent", "inputs", "outputs", "metric_error"}
_MAX_CODES = 1 << 40
_ROOM = 20  # bits by which numbers of rotated rows may be larger than the largest of the matrix


def _describe(op: DenseOperator) -> Parts:
    codes, (inputs, outputs) = op.codes, op.rotations
    header: Header = {
        "format_version": VERSION,
        "kind": op.kind,
        "shape": list(op.stored_shape),
        "dtype": str(op.dtype),
        "mode": op.mode,
        "code": codes.name,
        "rates": [[piece.code.half_bits, len(piece.columns)] for piece in codes.pieces],
        "exponent": codes.exponent,
        "inputs": inputs,
        "outputs": outputs,
        "metric_error": None if math.isnan(op.stored_metric_error) else op.stored_metric_error,
    }
    tensors = {f"tiles.{piece.code.half_bits}": piece.tiles[:-PADDING] for piece in codes.pieces}
    return header | error_fields(op), tensors | {"half_bits": codes.half_bits, "scale": codes.scale}


def _read(header: Header, file: Tensors) -> DenseOperator:
    expect(header.get("format_version") == VERSION, "format_version", f"{VERSION} for kind 'dense'", header)
    check_fields(header, _FIELDS)
    known, dtype = checked_error(header), checked_dtype(header)
    check_digest(header)
    expect(is_one_of(header["mode"], FLAGS), "mode", ", ".join(FLAGS), header)
    expect(is_one_of(header["code"], WINDOW_BITS), "code", ", ".join(WINDOW_BITS), header)
    m, n = _checked_shape(header)
    rows = 2 * m if dtype.kind == "c" else m
    good = is_int(header["exponent"]) and abs(header["exponent"]) <= MOST_EXPONENT
    expect(good, "exponent", f"an integer, at most {MOST_EXPONENT} in size", header)
    for name in ("inputs", "outputs"):
        seed = header[name]
        expect(seed is None or (is_int(seed) and 0 <= seed < 1 << 64), name, "a seed of 64 bits or null", header)
    error = header["metric_error"]
    good = error is None or (type(error) is float and math.isfinite(error) and error >= 0)
    expect(good, "metric_error", "a finite float, not negative, or null", header)
    tensors = read_tensors(file, _expected(header, rows, n))
    check_sum(header, tensors)
    codes = DenseCodes(
        (rows, n),
        header["code"],
        tensors["half_bits"],
        [padded(tensors[f"tiles.{half_bits}"]) for half_bits, _ in header["rates"]],
        tensors["scale"],
        header["exponent"],
    )
    _check_range(header, codes.scale, dtype)
    return DenseOperator(
        codes,
        inputs=header["inputs"],
        outputs=header["outputs"],
        dtype=dtype,
        mode=header["mode"],
        metric_error=math.nan if error is None else error,
        **known.facts,
    )


def _checked_shape(header: Header) -> tuple[int, int]:
    shape = header["shape"]
    good = are_ints(shape, 2) and all(1 <= size < MAX_SIZE // 2 for size in shape) and math.prod(shape) <= _MAX_CODES
    expect(good, "shape", f"two sizes below {MAX_SIZE // 2}", header)
    return shape[0], shape[1]


def _expected(header: Header, rows: int, n: int) -> Expected:
    rates = header["rates"]
    good = isinstance(rates, list) and 1 <= len(rates) <= len(HALF_BITS) and all(are_ints(rate, 2) for rate in rates)
    good = good and all(half_bits in HALF_BITS and count >= 1 for half_bits, count in rates)
    good = good and [half_bits for half_bits, _ in rates] == sorted({half_bits for half_bits, _ in rates})
    good = good and sum(count for _, count in rates) == n
    expect(good, "rates", f"pairs [half bits, columns] with ascending rates, {n} columns in all", header)
    tiles = {f"tiles.{rate}": ("U8", [tiles_bytes(rows, count, rate)]) for rate, count in rates}
    return tiles | {"half_bits": ("U8", [-(-n // BLOCK)]), "scale": ("F16", [rows])}


def _check_range(header: Header, scale: Array, dtype: np.dtype[Any]) -> None:
    """Refuse numbers that the precision does not hold."""
    largest = int(np.frexp(np.max(np.abs(scale)))[1]) + header["exponent"]
    good = not scale.any() or largest <= np.finfo(dtype).maxexp + _ROOM
    expect(good, "exponent", f"one with which numbers fit {dtype}", header)


CODEC = Codec(_describe, _read)
