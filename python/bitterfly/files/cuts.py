"""Sums of signed cuts in files, of matrices and of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.files.container import (
    MAX_SIZE,
    Codec,
    Header,
    Parts,
    Tensors,
    are_ints,
    as_reals,
    check_digest,
    check_fields,
    check_sum,
    checked_dtype,
    checked_error,
    checksum,
    error_fields,
    expect,
    is_int,
    is_one_of,
    numbers,
    numbers_of,
    read_tensors,
    reals,
)
from bitterfly.inputs import Array
from bitterfly.operators.cuts import SignedCut

VERSION = 7
TENSOR = "cut_tensor"

_FIELDS = {"shape", "dtype", "mode", "width"}
_MOST_AXES = 64  # of arrays of NumPy
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
    width = _checked_width(header)
    m, n = shape
    expected = {
        "coefficients": numbers_of(dtype, width),
        "rows": ("U8", [width, -(-m // 8)]),
        "columns": ("U8", [width, -(-n // 8)]),
        "errors": ("F64", [width]),
    }
    tensors = read_tensors(file, expected, optional={"errors"})
    check_sum(header, tensors)
    _check_signs(tensors, {"rows": m, "columns": n})
    errors = tensors.get("errors")
    if errors is not None and (np.any(errors < 0) or np.all(np.isnan(errors))):
        raise ValueError("errors: expected numbers >= 0 or nan, not all of them nan")
    facts = {"mode": header["mode"], "errors": errors} | known.facts
    return SignedCut.from_bits((m, n), reals(tensors, "coefficients"), tensors["rows"], tensors["columns"], **facts)


def describe_tensor(cut: Any) -> Parts:
    """Return the metadata, with the checksum, and the tensors of a `CutTensor`."""
    header: Header = {
        "format_version": VERSION,
        "kind": TENSOR,
        "shape": list(cut.shape),
        "dtype": str(cut.dtype),
        "width": cut.width,
    }
    header |= error_fields(cut)
    tensors = {"coefficients": as_reals(cut.coefficients), "errors": cut.errors}
    tensors |= {f"signs.{axis}": side for axis, side in enumerate(cut.bits)}
    return header | {"sha256": checksum(header, tensors)}, tensors


def read_tensor(header: Header, file: Tensors) -> tuple[Any, ...]:
    """Return what a `CutTensor` is made of, checked."""
    expect(header.get("kind") == TENSOR, "kind", repr(TENSOR), header)
    expect(header.get("format_version") == VERSION, "format_version", f"{VERSION} for kind {TENSOR!r}", header)
    check_fields(header, _FIELDS - {"mode"})
    known, dtype, shape = checked_error(header), checked_dtype(header), header["shape"]
    check_digest(header)
    good = isinstance(shape, list) and 1 <= len(shape) <= _MOST_AXES and are_ints(shape, len(shape))
    good = good and all(1 <= size < MAX_SIZE for size in shape)
    expect(good, "shape", f"1 to {_MOST_AXES} sizes below {MAX_SIZE}", header)
    width = _checked_width(header)
    sides = {f"signs.{axis}": size for axis, size in enumerate(shape)}
    expected = {name: ("U8", [width, -(-size // 8)]) for name, size in sides.items()}
    expected |= {"coefficients": numbers_of(dtype, width), "errors": ("F64", [width])}
    tensors = read_tensors(file, expected)
    check_sum(header, tensors)
    _check_signs(tensors, sides)
    errors = tensors["errors"]
    if np.any(errors < 0):
        raise ValueError("errors: expected numbers >= 0 or nan")
    same = np.array_equal(errors[-1:], [known.error], equal_nan=True)
    expect(same, "relative_error", f"that of all cuts, {errors[-1]}", header)
    signs = tuple(tensors[name] for name in sides)
    return tuple(shape), numbers(tensors, "coefficients", dtype), signs, errors, known.kind


def _checked_width(header: Header) -> int:
    width = header["width"]
    expect(is_int(width) and 1 <= width < MAX_SIZE, "width", f"a number of cuts below {MAX_SIZE}", header)
    return int(width)


def _check_signs(tensors: dict[str, Array], sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        if size % 8 and np.any(tensors[name][:, -1] >> size % 8):
            raise ValueError(f"{name}: expected zeros behind the last sign")


CODEC = Codec(_describe, _read)
