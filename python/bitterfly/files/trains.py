"""Tensor trains in files: arrays of cores, and the operators of those that are coded, with metadata of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import isnan, prod
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
    as_reals,
    check_digest,
    check_fields,
    check_sum,
    checked_dtype,
    checked_error,
    checked_metric_errors,
    error_fields,
    expect,
    is_int,
    is_one_of,
    members_of,
    metric_errors_of,
    numbers,
    numbers_of,
    own_tensors,
    read_tensors,
    reals,
)
from bitterfly.inputs import Array
from bitterfly.operators.views import FLAGS
from bitterfly.structures.tensor_trains.cores import CodedCore, Core
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

FLOATS = 7  # format version of trains of arrays in the precision of the operator
CODED = 8  # and of those with codes, short floats, an order of rows, or errors in metrics

_STORED = ("float", "half", "coded")
_MOST_NUMBERS = 1 << 40
_MOST_CORES = 64
_LARGEST = 1 << 62  # rows or columns


def codec(sealed: Callable[[Any], Parts], read: Callable[[Header, Tensors], Any]) -> Codec:
    """Return the codec of tensor trains, of whose cores `sealed` describes and `read` reads those that are coded."""
    return Codec(partial(_describe, sealed), partial(_read, read))


# ---- writing ----


def _describe(sealed: Callable[[Any], Parts], op: TensorTrainOperator) -> Parts:
    stored = list(map(_stored_as, op.stored_cores))
    has_metric = not all(map(isnan, op._metric_errors))
    is_plain = op.stored_rows is None and set(stored) == {"float"} and not has_metric
    header: Header = {"format_version": FLOATS if is_plain else CODED, "kind": op.kind, "dtype": str(op.dtype)}
    header |= {"mode": op.mode, "cores": [list(core.shape) for core in op.stored_cores]} | error_fields(op)
    tensors: dict[str, Array] = {}
    terms: list[Header] = []
    for at, core in enumerate(op.stored_cores):
        if not isinstance(core, CodedCore):
            tensors[f"cores.{at}"] = as_reals(core)
            continue
        term, buffers = sealed(core.matrix)
        tensors |= {f"{len(terms)}.{name}": buffer for name, buffer in buffers.items()}
        terms.append(term)
    if is_plain:
        return header, tensors
    if op.stored_rows is not None:
        tensors["rows"] = op.stored_rows
    rows = None if op.stored_rows is None else len(op.stored_rows)
    header |= metric_errors_of(op) if has_metric else {}
    return header | {"stored": stored, "terms": terms, "rows": rows}, tensors


def _stored_as(core: Core) -> str:
    return "coded" if isinstance(core, CodedCore) else "half" if core.dtype == np.float16 else "float"


# ---- reading ----


def _read(read: Callable[[Header, Tensors], Any], header: Header, file: Tensors) -> TensorTrainOperator:
    version = header.get("format_version")
    good = type(version) is int and version in (FLOATS, CODED)
    expect(good, "format_version", f"{FLOATS} or {CODED} for kind 'tensor_train'", header)
    more = {"stored", "terms", "rows"} | ({"metric_errors"} & set(header)) if version == CODED else set()
    check_fields(header, {"dtype", "mode", "cores"} | more)
    known, dtype = checked_error(header), checked_dtype(header)
    check_digest(header)
    expect(is_one_of(header["mode"], FLAGS), "mode", ", ".join(FLAGS), header)
    shapes = _checked_shapes(header)
    stored = _checked_forms(header) if version == CODED else ["float"] * len(shapes)
    own, others = own_tensors(file, len(header.get("terms", [])))
    tensors = read_tensors(own, _expected(header, dtype, stored))
    check_sum(header, tensors)
    coded = iter(members_of(header.get("terms", []), others, read))
    cores = [
        _core(form, shape, at, tensors, dtype, coded)
        for at, (form, shape) in enumerate(zip(stored, shapes, strict=True))
    ]
    op = TensorTrainOperator(cores, rows=tensors.get("rows"), dtype=dtype, mode=header["mode"], **known.facts)
    expect(op.dtype == dtype, "dtype", f"{op.dtype}, that of the cores", header)
    return op._viewed(_metric_errors=checked_metric_errors(header)) if "metric_errors" in header else op


def _checked_shapes(header: Header) -> list[tuple[int, ...]]:
    cores = header["cores"]
    good = isinstance(cores, list) and 1 <= len(cores) <= _MOST_CORES and all(map(_is_shape, cores))
    good = good and all(left[3] == right[0] for left, right in pairwise(cores)) and cores[0][0] == cores[-1][3] == 1
    good = good and all(prod(core[at] for core in cores) < _LARGEST for at in (1, 2))
    expect(good, "cores", f"1 to {_MOST_CORES} shapes [r, m, n, s] that fit each other", header)
    return [tuple(core) for core in cores]


def _is_shape(x: Any) -> bool:
    return are_ints(x, 4) and all(1 <= each < MAX_SIZE for each in x) and prod(x) < _MOST_NUMBERS


def _checked_forms(header: Header) -> list[str]:
    cores, stored, terms, rows = (header[name] for name in ("cores", "stored", "terms", "rows"))
    good = isinstance(stored, list) and len(stored) == len(cores) and all(is_one_of(each, _STORED) for each in stored)
    expect(good, "stored", f"one of {', '.join(_STORED)} for each core", header)
    good = isinstance(terms, list) and len(terms) == stored.count("coded") and all(isinstance(t, dict) for t in terms)
    expect(good, "terms", "an object for each coded core", header)
    most = prod(core[1] for core in cores)
    good = rows is None or (is_int(rows) and 1 <= rows <= most < MAX_SIZE)
    expect(good, "rows", "null, or how many rows of the train there are", header)
    return list(stored)


def _expected(header: Header, dtype: np.dtype[Any], stored: list[str]) -> Expected:
    out: Expected = {}
    for at, (form, shape) in enumerate(zip(stored, header["cores"], strict=True)):
        if form != "coded":
            out[f"cores.{at}"] = numbers_of(dtype, *shape) if form == "float" else ("F16", list(shape))
    return out | ({"rows": ("U32", [header["rows"]])} if header.get("rows") is not None else {})


def _core(form: str, shape: Any, at: int, tensors: dict[str, Array], dtype: np.dtype[Any], coded: Any) -> Core:
    if form == "coded":
        return CodedCore(next(coded), shape)
    return numbers(tensors, f"cores.{at}", dtype) if form == "float" else reals(tensors, f"cores.{at}")
