"""The true error of an operator, multiplied out in extended precision with the matrix scaled to about one."""

from __future__ import annotations

import numpy as np

import bitterfly
import strategies as own

Operator = bitterfly.ButterflyOperator | bitterfly.PackedButterfly


def floats(op: Operator) -> bitterfly.ButterflyOperator:
    """The factors that an operator stands for, in double precision or better than its own."""
    if isinstance(op, bitterfly.ButterflyOperator):
        return op
    return op.astype(np.result_type(op.dtype, np.float64)).dequantize()


def true_error(a: np.ndarray, op: Operator) -> float:
    """Return ||a - op|| / ||a||, or ||op|| where a is zero."""
    a, exponent = own.wide(a)
    dtype = np.result_type(a.dtype, np.longdouble)
    n, identity = len(a), np.arange(len(a))
    product = np.eye(n, dtype=dtype)
    for f in reversed(floats(op).factors):
        blocks, _, _, d = f.shape
        product = np.einsum("ijkl,iklx->ijlx", f.astype(dtype), product.reshape(blocks, 2, d, n)).reshape(n, n)
    rows, columns = (identity if p is None else p for p in op.permutations)
    difference = product * np.longdouble(2) ** -exponent - a[np.ix_(rows, columns)]
    return float(norm(difference) / (norm(a) or 1))


def norm(a: np.ndarray) -> np.longdouble:
    return np.sqrt(np.sum(np.abs(a).astype(np.longdouble) ** 2))
