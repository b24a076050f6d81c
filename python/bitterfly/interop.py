"""To and from other packages of the field: lazylinop's Kronecker-sparse products and pyfaust's sparse ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from bitterfly.inputs import Array
from bitterfly.operators.butterfly import ButterflyOperator


def to_lazylinop(op: ButterflyOperator) -> Any:
    """Return the operator as a lazylinop ``LazyLinOp``, a product of ``ksm`` factors between permutations.

    Raises
    ------
    ImportError
        Where lazylinop is not installed.
    """
    import lazylinop
    from lazylinop.butterfly import ksm

    product = ksm([np.ascontiguousarray(f) for f in op.factors])
    m, n = op.shape
    rows, columns = (
        _selection(p, size, room, op.dtype)
        for p, size, room in zip(op.permutations, (m, n), op.chain.shape, strict=True)
    )
    return lazylinop.aslazylinop(rows.T.tocsr()) @ product @ lazylinop.aslazylinop(columns.tocsr())


def from_lazylinop(values: Any, *, permutations: Any = (None, None)) -> ButterflyOperator:
    """Return a butterfly of lazylinop's 4-D ``ks_values``, or of an operator that has them.

    Parameters
    ----------
    values : sequence of array_like, or an operator with ``ks_values``
        Arrays of shape (a, b, c, d) from left to right.
    permutations : pair, optional
        See `ButterflyOperator`.

    Raises
    ------
    TypeError, ValueError
        Where there are no such values, or they do not chain.
    """
    found = getattr(values, "ks_values", values)
    if not isinstance(found, (list, tuple)):
        raise TypeError(f"values: expected 4-D arrays or an operator with ks_values, got {type(values).__name__}")
    return ButterflyOperator([np.asarray(v) for v in found], permutations=permutations)


def to_faust(op: ButterflyOperator) -> Any:
    """Return the operator as a pyfaust ``Faust`` of sparse factors, the permutations among them.

    Raises
    ------
    ImportError
        Where pyfaust is not installed.
    """
    import pyfaust

    known = np.complex128 if op.dtype == np.complex64 else op.dtype  # a Faust has no complex64
    return pyfaust.Faust([sparse.csr_matrix(factor, dtype=known) for factor in to_sparse(op)])


def from_faust(faust: Any, chain: Any, *, permutations: Any = (None, None)) -> ButterflyOperator:
    """Return a butterfly of the factors of a Faust whose supports are those of a chain.

    Parameters
    ----------
    faust : pyfaust.Faust, or sequence of matrices
        Dense or sparse factors from left to right.
    chain : Chain
        One pattern for each factor.

    Raises
    ------
    ValueError
        Where the number, shape or support of a factor does not fit its pattern.
    """
    count = faust.numfactors() if hasattr(faust, "numfactors") else len(faust)
    matrices = [faust.factors(at) for at in range(count)] if hasattr(faust, "numfactors") else list(faust)
    if count != len(chain):
        raise ValueError(f"chain: expected {count} patterns, one a factor, got {len(chain)}")
    return ButterflyOperator(
        [_values(matrix, pattern, at) for at, (matrix, pattern) in enumerate(zip(matrices, chain, strict=True))],
        permutations=permutations,
    )


def to_sparse(op: ButterflyOperator) -> list[Any]:
    """Return CSR matrices whose product is the operator: its factors between the permutations."""
    rows, columns = (
        _selection(p, size, room, op.dtype)
        for p, size, room in zip(op.permutations, op.shape, op.chain.shape, strict=True)
    )
    factors = [_sparse(f) for f in op.factors]
    factors[0] = (rows.T @ factors[0]).tocsr()
    factors[-1] = (factors[-1] @ columns).tocsr()
    return factors


def _selection(order: Array | None, size: int, room: int, dtype: Any) -> Any:
    """Return the room x size matrix S with ``(S x)[i] = x[order[i]]``, zero where that is padding."""
    order = np.arange(room) if order is None else order
    inside = np.flatnonzero(order < size)
    return sparse.csr_array((np.ones(len(inside), dtype), (inside, order[inside])), shape=(room, size))


def _sparse(factor: Array) -> Any:
    a, b, c, d = factor.shape
    i, j, k, t = np.indices(factor.shape, dtype=np.int64)
    rows, columns = (i * b + j) * d + t, (i * c + k) * d + t
    return sparse.csr_array((factor.ravel(), (rows.ravel(), columns.ravel())), shape=(a * b * d, a * c * d))


def _values(matrix: Any, pattern: tuple[int, int, int, int], at: int) -> Array:
    a, b, c, d = pattern
    if tuple(matrix.shape) != (a * b * d, a * c * d):
        raise ValueError(
            f"factor {at}: expected shape {(a * b * d, a * c * d)} of pattern {pattern}, got {matrix.shape}"
        )
    entries = sparse.coo_array(matrix)
    (i, rest), (i2, rest2) = np.divmod(entries.row, b * d), np.divmod(entries.col, c * d)
    (j, t), (k, t2) = np.divmod(rest, d), np.divmod(rest2, d)
    if np.any(entries.data[(i != i2) | (t != t2)] != 0):
        raise ValueError(f"factor {at}: has entries outside the support of pattern {pattern}")
    out = np.zeros(pattern, np.result_type(entries.dtype, np.float32))
    keep = (i == i2) & (t == t2)
    out[i[keep], j[keep], k[keep], t[keep]] = entries.data[keep]
    return out


__all__ = ["from_faust", "from_lazylinop", "to_faust", "to_lazylinop", "to_sparse"]
