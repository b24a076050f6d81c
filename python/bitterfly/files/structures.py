"""Structures beside butterflies in files: each kind a record of its fields, its tensors and what reads them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, dia_array

from bitterfly.accuracy.known import Known
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
    metric_errors_of,
    numbers,
    numbers_of,
    read_tensors,
)
from bitterfly.inputs import Array
from bitterfly.operators.contract import Operator
from bitterfly.operators.sparse import SparseOperator
from bitterfly.operators.views import FLAGS
from bitterfly.structures.inverse_fisher import InverseFisherOperator
from bitterfly.structures.multilevel import ToeplitzOperator
from bitterfly.structures.permutations import PermutationOperator

VERSION = 7

_MOST_NUMBERS = 1 << 40
_MOST_AXES = 8


class _Kind(NamedTuple):
    """How a kind is stored: facts and tensors of an operator, the tensors that a header promises, the operator."""

    fields: frozenset[str]
    describe: Callable[[Any], Parts]
    expected: Callable[[Header, np.dtype[Any]], Expected]
    read: Callable[[Header, np.dtype[Any], dict[str, Array], Known], Operator]


def codecs() -> dict[str, Codec]:
    """Return the codecs of all kinds of this module."""
    return {name: Codec(partial(_describe, kind), partial(_read, kind)) for name, kind in _KINDS.items()}


def _describe(kind: _Kind, op: Any) -> Parts:
    facts, tensors = kind.describe(op)
    common: Header = {"format_version": VERSION, "kind": op.kind, "dtype": str(op.dtype), "mode": op.mode}
    return common | facts | error_fields(op), tensors


def _read(kind: _Kind, header: Header, file: Tensors) -> Operator:
    expect(header.get("format_version") == VERSION, "format_version", f"{VERSION} for kind {header['kind']!r}", header)
    check_fields(header, {"dtype", "mode", *kind.fields})
    known, dtype = checked_error(header), checked_dtype(header)
    check_digest(header)
    expect(is_one_of(header["mode"], FLAGS), "mode", ", ".join(FLAGS), header)
    tensors = read_tensors(file, kind.expected(header, dtype))
    check_sum(header, tensors)
    return kind.read(header, dtype, tensors, known)


def _check_shape(header: Header) -> None:
    shape = header["shape"]
    good = are_ints(shape, 2) and all(1 <= size < MAX_SIZE for size in shape)
    expect(good, "shape", f"two sizes below {MAX_SIZE}", header)


# ---- sparse matrices ----


def _describe_sparse(op: SparseOperator) -> Parts:
    matrix, shape = op.matrix, list(op.stored_shape)
    if matrix.format == "dia":
        tensors = {"numbers": as_reals(matrix.data), "offsets": matrix.offsets.astype(np.int32)}
        return {"shape": shape, "stored": "diagonals", "entries": len(matrix.offsets)} | metric_errors_of(op), tensors
    counts = np.diff(matrix.indptr).astype(np.uint32)
    tensors = {"numbers": as_reals(matrix.data), "columns": matrix.indices.astype(np.uint32), "counts": counts}
    return {"shape": shape, "stored": "rows", "entries": op.nnz} | metric_errors_of(op), tensors


def _expected_of_sparse(header: Header, dtype: np.dtype[Any]) -> Expected:
    _check_shape(header)
    (m, n), count = header["shape"], header["entries"]
    expect(is_one_of(header["stored"], ("rows", "diagonals")), "stored", "rows or diagonals", header)
    most = m * n if header["stored"] == "rows" else m + n - 1
    expect(is_int(count) and 0 <= count <= min(_MOST_NUMBERS, most), "entries", "a number of entries", header)
    if header["stored"] == "diagonals":
        return {"numbers": numbers_of(dtype, count, n), "offsets": ("I32", [count])}
    return {"numbers": numbers_of(dtype, count), "columns": ("U32", [count]), "counts": ("U32", [m])}


def _read_sparse(header: Header, dtype: np.dtype[Any], tensors: dict[str, Array], known: Known) -> Operator:
    shape, x = tuple(header["shape"]), numbers(tensors, "numbers", dtype)
    matrix = _diagonals(shape, x, tensors) if header["stored"] == "diagonals" else _rows(shape, x, tensors)
    op = SparseOperator(matrix, mode=header["mode"], **known.facts)
    expect(np.array_equal(op.matrix.data, x), "entries", "numbers that are not zero, inside of the matrix", header)
    return op._viewed(_metric_errors=checked_metric_errors(header))


def _diagonals(shape: tuple[int, int], x: Array, tensors: dict[str, Array]) -> dia_array:
    offsets = tensors["offsets"].astype(np.int64)
    good = np.all(np.diff(offsets) > 0) and np.all((offsets > -shape[0]) & (offsets < shape[1]))
    if not good:
        raise ValueError(f"offsets: expected ascending diagonals of a matrix of shape {shape}")
    return dia_array((x, offsets), shape=shape)


def _rows(shape: tuple[int, int], x: Array, tensors: dict[str, Array]) -> csr_array:
    counts, columns, n = tensors["counts"].astype(np.int64), tensors["columns"].astype(np.int64), shape[1]
    if counts.sum() != len(x):
        raise ValueError(f"counts: expected {len(x)} entries in all, got {counts.sum()}")
    starts = np.concatenate([[0], np.cumsum(counts)])
    is_first = np.zeros(len(x) + 1, bool)
    is_first[starts] = True
    if (len(x) and columns.max() >= n) or not np.all(is_first[1 : len(x)] | (np.diff(columns) > 0)):
        raise ValueError(f"columns: expected ascending columns below {n} in each row")
    narrow = np.int32 if max(len(x), n) < MAX_SIZE else np.int64
    return csr_array((x, columns.astype(narrow), starts.astype(narrow)), shape=shape)


# ---- permutations ----


def _expected_of_permutation(header: Header, dtype: np.dtype[Any]) -> Expected:
    n = header["size"]
    expect(is_int(n) and 1 <= n < MAX_SIZE, "size", f"a size below {MAX_SIZE}", header)
    return {"order": ("U32", [n])}


def _read_permutation(header: Header, dtype: np.dtype[Any], tensors: dict[str, Array], known: Known) -> Operator:
    return PermutationOperator(tensors["order"], dtype=dtype, mode=header["mode"], **known.facts)


# ---- Toeplitz operators ----


def _describe_toeplitz(op: ToeplitzOperator) -> Parts:
    rows, columns = op.sizes
    facts = {"rows": list(rows), "columns": list(columns), "coefficients": list(op.coefficients.shape)}
    places = None if op.is_periodic else [list(op.first), list(op.strides)]
    return facts | {"places": places}, {"numbers": as_reals(op.coefficients)}


def _expected_of_toeplitz(header: Header, dtype: np.dtype[Any]) -> Expected:
    rows, columns, sizes, places = (header[name] for name in ("rows", "columns", "coefficients", "places"))
    d = len(rows) if isinstance(rows, list) else 0
    expect(1 <= d <= _MOST_AXES and _are_sizes(rows, d), "rows", f"1 to {_MOST_AXES} sizes", header)
    expect(_are_sizes(columns, d), "columns", f"{d} sizes", header)
    expect(_are_sizes(sizes, d + 2), "coefficients", f"{d + 2} sizes", header)
    for size, name in ((sizes[0] * prod(rows), "rows"), (sizes[1] * prod(columns), "columns")):
        expect(size < MAX_SIZE, name, f"sizes whose product is below {MAX_SIZE}", header)
    if places is None:
        expect(rows == columns == sizes[2:], "places", "null only for equal sizes", header)
    else:
        good = isinstance(places, list) and len(places) == 2 and all(are_ints(each, d) for each in places)
        good = good and all(abs(first) < MAX_SIZE for first in places[0]) and _are_sizes(places[1], d)
        expect(good, "places", f"two lists of {d} integers, the second positive", header)
    return {"numbers": numbers_of(dtype, *sizes)}


def _are_sizes(x: Any, count: int) -> bool:
    return are_ints(x, count) and all(1 <= each < MAX_SIZE for each in x) and prod(x) < _MOST_NUMBERS


def _read_toeplitz(header: Header, dtype: np.dtype[Any], tensors: dict[str, Array], known: Known) -> Operator:
    places = header["places"]
    where: dict[str, Any] = {"periodic": True} if places is None else {"first": places[0], "strides": places[1]}
    t = numbers(tensors, "numbers", dtype)
    return ToeplitzOperator(t, header["rows"], header["columns"], mode=header["mode"], **where, **known.facts)


# ---- inverse Fisher matrices ----


def _describe_inverse_fisher(op: InverseFisherOperator) -> Parts:
    return {"gradients": list(op.gradients.shape), "damping": op.damping}, {"numbers": as_reals(op.gradients)}


def _expected_of_inverse_fisher(header: Header, dtype: np.dtype[Any]) -> Expected:
    shape, damping = header["gradients"], header["damping"]
    expect(_are_sizes(shape, 2), "gradients", f"two sizes below {MAX_SIZE}", header)
    expect(type(damping) is float and damping > 0, "damping", "a positive float", header)
    return {"numbers": numbers_of(dtype, *shape)}


def _read_inverse_fisher(header: Header, dtype: np.dtype[Any], tensors: dict[str, Array], known: Known) -> Operator:
    g = numbers(tensors, "numbers", dtype)
    return InverseFisherOperator(g, header["damping"], mode=header["mode"], **known.facts)


_KINDS = {
    "sparse": _Kind(
        frozenset({"shape", "stored", "entries", "metric_errors"}), _describe_sparse, _expected_of_sparse, _read_sparse
    ),
    "permutation": _Kind(
        frozenset({"size"}),
        lambda op: ({"size": op.shape[0]}, {"order": op.stored_order}),
        _expected_of_permutation,
        _read_permutation,
    ),
    "toeplitz": _Kind(
        frozenset({"rows", "columns", "coefficients", "places"}),
        _describe_toeplitz,
        _expected_of_toeplitz,
        _read_toeplitz,
    ),
    "inverse_fisher": _Kind(
        frozenset({"gradients", "damping"}),
        _describe_inverse_fisher,
        _expected_of_inverse_fisher,
        _read_inverse_fisher,
    ),
}
