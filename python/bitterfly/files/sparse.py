"""Sparse matrices in files."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

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
    error_fields,
    expect,
    is_int,
    is_one_of,
    numbers,
    numbers_of,
    read_tensors,
)
from bitterfly.inputs import Array
from bitterfly.operators.sparse import SparseOperator
from bitterfly.operators.views import FLAGS

VERSION = 7

_FIELDS = {"shape", "dtype", "mode", "entries"}
_MOST_ENTRIES = 1 << 40


def _describe(op: SparseOperator) -> Parts:
    matrix = op.matrix
    header: Header = {
        "format_version": VERSION,
        "kind": op.kind,
        "shape": list(op.stored_shape),
        "dtype": str(op.dtype),
        "mode": op.mode,
        "entries": op.nnz,
    }
    counts = np.diff(matrix.indptr).astype(np.uint32)
    tensors = {"numbers": as_reals(matrix.data), "columns": matrix.indices.astype(np.uint32), "counts": counts}
    return header | error_fields(op), tensors


def _read(header: Header, file: Tensors) -> SparseOperator:
    expect(header.get("format_version") == VERSION, "format_version", f"{VERSION} for kind 'sparse'", header)
    check_fields(header, _FIELDS)
    known, dtype, shape = checked_error(header), checked_dtype(header), header["shape"]
    check_digest(header)
    expect(is_one_of(header["mode"], FLAGS), "mode", ", ".join(FLAGS), header)
    good = are_ints(shape, 2) and all(1 <= size < MAX_SIZE for size in shape)
    expect(good, "shape", f"two sizes below {MAX_SIZE}", header)
    count = header["entries"]
    good = is_int(count) and 0 <= count <= min(_MOST_ENTRIES, shape[0] * shape[1])
    expect(good, "entries", "a number of entries", header)
    expected = {"numbers": numbers_of(dtype, count), "columns": ("U32", [count]), "counts": ("U32", [shape[0]])}
    tensors = read_tensors(file, expected)
    check_sum(header, tensors)
    starts, columns = _checked_places(tensors, shape[1], count)
    matrix = csr_array((numbers(tensors, "numbers", dtype), columns, starts), shape=tuple(shape))
    op = SparseOperator(matrix, mode=header["mode"], **known.facts)
    expect(op.nnz == count, "entries", "numbers that are not zero", header)
    return op


def _checked_places(tensors: dict[str, Array], n: int, count: int) -> tuple[Array, Array]:
    """Return where rows begin, and the columns of their entries, which ascend in each row."""
    counts, columns = tensors["counts"].astype(np.int64), tensors["columns"].astype(np.int64)
    if counts.sum() != count:
        raise ValueError(f"counts: expected {count} entries in all, got {counts.sum()}")
    starts = np.concatenate([[0], np.cumsum(counts)])
    is_first = np.zeros(count + 1, bool)
    is_first[starts] = True
    ascends = is_first[1:count] | (np.diff(columns) > 0)
    if (count and columns.max() >= n) or not np.all(ascends):
        raise ValueError(f"columns: expected ascending columns below {n} in each row")
    narrow = np.int32 if max(count, n) < MAX_SIZE else np.int64
    return starts.astype(narrow), columns.astype(narrow)


CODEC = Codec(_describe, _read)
