"""Sums of signed cuts in files."""

from __future__ import annotations

import numpy as np

from bitterfly.files.container import (
    MAX_SIZE,
    Codec,
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
    numbers_of,
    read_tensors,
    reals,
)
from bitterfly.operators.cuts import SignedCut

VERSION = 7

_FIELDS = {"shape", "dtype", "mode", "width"}
_MODES = ("forward", "transpose")


def _describe(op: SignedCut) -> Parts:
    header: Header = {
        "format_version": VERSION,
        "kind": op.kind,
        "shape": list(op.stored_shape),
        "dtype": str(op.dtype),
        "mode": op.mode,
        "width": op.width,
    }
    left, right = op.bits
    tensors = {"coefficients": op.coefficients, "rows": left, "columns": right}
    if not np.all(np.isnan(op.errors)):
        tensors["errors"] = op.errors
    return header | error_fields(op), tensors


def _read(header: Header, file: Tensors) -> SignedCut:
    expect(header.get("format_version") == VERSION, "format_version", f"{VERSION} for kind 'cuts'", header)
    check_fields(header, _FIELDS)
    known, dtype, shape = checked_error(header), checked_dtype(header), header["shape"]
    check_digest(header)
    expect(dtype.kind == "f", "dtype", "float32 or float64", header)
    expect(is_one_of(header["mode"], _MODES), "mode", ", ".join(_MODES), header)
    good = are_ints(shape, 2) and all(1 <= size < MAX_SIZE for size in shape)
    expect(good, "shape", f"two sizes below {MAX_SIZE}", header)
    width = header["width"]
    expect(is_int(width) and 1 <= width < MAX_SIZE, "width", f"a number of cuts below {MAX_SIZE}", header)
    m, n = shape
    expected = {
        "coefficients": numbers_of(dtype, width),
        "rows": ("U8", [width, -(-m // 8)]),
        "columns": ("U8", [width, -(-n // 8)]),
        "errors": ("F64", [width]),
    }
    tensors = read_tensors(file, expected, optional={"errors"})
    check_sum(header, tensors)
    for name, size in (("rows", m), ("columns", n)):
        if size % 8 and np.any(tensors[name][:, -1] >> size % 8):
            raise ValueError(f"{name}: expected zeros behind the last sign")
    errors = tensors.get("errors")
    if errors is not None and (np.any(errors < 0) or np.all(np.isnan(errors))):
        raise ValueError("errors: expected numbers >= 0 or nan, not all of them nan")
    facts = {"mode": header["mode"], "errors": errors} | known.facts
    return SignedCut.from_bits((m, n), reals(tensors, "coefficients"), tensors["rows"], tensors["columns"], **facts)


CODEC = Codec(_describe, _read)
